//! Which device to register, and where.

use std::time::Duration;

use tokio::time::sleep;
use tracing::error;
use uuid::Uuid;

use crate::config::{Config, Transport};
use crate::ringcentral::{Client, Error, OutboundProxy, SipInfo};
use crate::sip::Account;

/// Between two attempts to read the device: doubled from the first to the last.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(8);

/// The device's credentials and its proxies: as configured, else as RingCentral says. Tries until it has them.
pub(super) async fn device(
    config: &Config,
    client: &Client,
    instance: Uuid,
) -> (Account, Vec<String>) {
    if let Some(account) = account(config, None, instance)
        && !config.outbound_proxies.is_empty()
    {
        return (account, config.outbound_proxies.clone());
    }
    let mut retry = FIRST_RETRY;
    loop {
        let wait = match client.sip_info(&config.supervisor_device_id).await {
            Ok(info) => {
                let proxies = proxies(config, Some(&info));
                if let Some(account) = account(config, Some(&info), instance)
                    && !proxies.is_empty()
                {
                    return (account, proxies);
                }
                let transport = config.transport;
                error!(?transport, "sip-info lists no proxy for it; set [sip] outbound_proxies");
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

/// The device's credentials: as configured, else as RingCentral says, if it does.
pub(crate) fn account(config: &Config, info: Option<&SipInfo>, instance: Uuid) -> Option<Account> {
    if let Some(account) = &config.account {
        return Some(Account {
            domain: without_port(&account.domain),
            user_name: account.user_name.clone(),
            authorization_id: account.authorization_id.clone(),
            password: account.password.expose().to_owned(),
            instance,
        });
    }
    info.map(|info| Account {
        domain: without_port(&info.domain),
        user_name: info.user_name.clone(),
        authorization_id: info.authorization_id.clone(),
        password: info.password.clone(),
        instance,
    })
}

/// Where to register, each `host:port`: as configured, else as RingCentral says, if it does.
pub(crate) fn proxies(config: &Config, info: Option<&SipInfo>) -> Vec<String> {
    match info {
        Some(info) if config.outbound_proxies.is_empty() => {
            listed(&info.outbound_proxies, config.transport)
        }
        _ => config.outbound_proxies.clone(),
    }
}

/// The proxies for a transport, in the order that RingCentral lists their regions in.
fn listed(proxies: &[OutboundProxy], transport: Transport) -> Vec<String> {
    let address = |proxy: &OutboundProxy| match transport {
        Transport::Tls => proxy.proxy_tls.clone(),
        Transport::Tcp | Transport::Udp => proxy.proxy.clone(),
    };
    let mut listed: Vec<String> = Vec::new();
    for address in proxies.iter().map(address).filter(|address| !address.is_empty()) {
        if !listed.contains(&address) {
            listed.push(address);
        }
    }
    listed
}

fn without_port(domain: &str) -> String {
    domain.split(':').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_taken_in_order_and_of_the_right_kind() {
        let proxy = |plain: &str, tls: &str| OutboundProxy {
            region: "NA".into(),
            proxy: plain.into(),
            proxy_tls: tls.into(),
        };
        let proxies = [proxy("a:5090", "a:5096"), proxy("b:5090", ""), proxy("a:5090", "c:5096")];
        assert_eq!(listed(&proxies, Transport::Tls), ["a:5096", "c:5096"]);
        assert_eq!(listed(&proxies, Transport::Tcp), ["a:5090", "b:5090"]);
        assert_eq!(listed(&proxies, Transport::Udp), ["a:5090", "b:5090"]);
    }
}
