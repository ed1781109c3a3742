//! Which device to register, and where.

use tokio::time::sleep;
use tracing::error;

use super::event_loop::{FIRST_RETRY, LAST_RETRY};
use crate::config::{Config, Transport};
use crate::ringcentral::{Client, Error};
use crate::sip::Account;

/// The device's credentials and its proxy: as configured, else as RingCentral says. Tries until it has them.
pub(super) async fn device(config: &Config, client: &Client) -> (Account, String) {
    let configured = config.account.as_ref().map(|account| Account {
        domain: without_port(&account.domain),
        user_name: account.user_name.clone(),
        authorization_id: account.authorization_id.clone(),
        password: account.password.expose().to_owned(),
    });
    if let (Some(account), Some(proxy)) = (&configured, &config.outbound_proxy) {
        return (account.clone(), proxy.clone());
    }
    let mut retry = FIRST_RETRY;
    loop {
        let wait = match client.sip_info(&config.supervisor_device_id).await {
            Ok(info) => {
                let listed = info.outbound_proxies.iter().map(|proxy| proxy.proxy.clone());
                let proxy = config
                    .outbound_proxy
                    .clone()
                    .or_else(|| listed.into_iter().find(|it| !it.is_empty()));
                if let Some(proxy) = proxy {
                    let account = configured.unwrap_or_else(|| Account {
                        domain: without_port(&info.domain),
                        user_name: info.user_name,
                        authorization_id: info.authorization_id,
                        password: info.password,
                    });
                    return (account, proxy);
                }
                error!(
                    "sip-info lists no proxy for {}; set [sip] outbound_proxy",
                    transport(config)
                );
                LAST_RETRY
            }
            Err(Error::RateLimited { retry_after }) => retry_after,
            Err(error) => {
                error!(%error, retry_in = ?retry, "could not read the supervisor's device");
                retry
            }
        };
        sleep(wait).await;
        retry = (retry * 2).min(LAST_RETRY);
    }
}

fn without_port(domain: &str) -> String {
    domain.split(':').next().unwrap_or_default().to_owned()
}

fn transport(config: &Config) -> &'static str {
    match config.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}
