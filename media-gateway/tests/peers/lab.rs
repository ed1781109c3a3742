//! The gateway under test, with all that it needs besides the peers.

use std::net::SocketAddr;
use std::path::Path;

use media_gateway::Gateway;
use media_gateway::config::Config;

use super::cloud::{AGENT, Cloud};
use super::downstream::{self, Heard};
use super::process::within;
use super::support::{self, Downstream};

/// The device's address of record, as the peers write it.
pub const DEVICE: &str = "18002097562*102";
/// The realm of its digest.
pub const DOMAIN: &str = "sip.example";
/// The user name of its digest.
pub const AUTHORIZATION_ID: &str = "802512345678";
/// And its password.
pub const PASSWORD: &str = "not a secret";

/// A gateway that wants to supervise one call.
pub struct Lab {
    gateway: Gateway,
    cloud: Cloud,
    downstream: Downstream,
}

impl Lab {
    /// Starts a gateway that registers over a transport through proxies, trusting `ca_file`.
    pub async fn start(transport: &str, proxies: &[String], ca_file: Option<&Path>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cloud = Cloud::start().await;
        let downstream = Downstream::default();
        let address = support::serve(downstream.clone()).await;
        let ca_file = ca_file.map(|path| format!("tls_ca_file = {path:?}\n")).unwrap_or_default();
        let config = Config::from_toml(&format!(
            "[ringcentral]\nserver = \"{}\"\nclient_id = \"id\"\nclient_secret = \"secret\"\njwt = \"jwt\"\n\
             supervisor_device_id = \"{AUTHORIZATION_ID}\"\nagents = [\"{AGENT}\"]\nsupervise = \"session\"\n\
             poll_interval_ms = 200\n\
             [sip]\nlisten = \"127.0.0.1:0\"\ntransport = \"{transport}\"\noutbound_proxies = {proxies:?}\n{ca_file}\
             domain = \"{DOMAIN}\"\nuser_name = \"{DEVICE}\"\nauthorization_id = \"{AUTHORIZATION_ID}\"\n\
             password = \"{PASSWORD}\"\nallowed_sources = [\"127.0.0.1\"]\n\
             [uplink]\ntranscriber = \"http://{address}\"\nrelay = \"http://{address}\"\n",
            cloud.url
        ))
        .unwrap();
        Self { gateway: Gateway::start(config).await.unwrap(), cloud, downstream }
    }

    /// Where the gateway takes SIP.
    pub fn sip_address(&self) -> SocketAddr {
        self.gateway.sip_address()
    }

    /// Waits until the gateway expects the supervise INVITE.
    pub async fn expects_invite(&mut self) {
        self.cloud.supervised().await;
    }

    /// Waits until this much audio has reached the transcriber.
    pub async fn hears(&self, seconds: f64) {
        downstream::hears(&self.downstream, seconds).await;
    }

    /// Waits until the call is over, now that the peer has hung up. Gives what was heard.
    pub async fn call_over(&self) -> Heard {
        self.cloud.hang_up();
        downstream::over(&self.downstream).await
    }

    /// Shuts the gateway down as a SIGTERM does.
    pub async fn stop(self) {
        within("the gateway has shut down", self.gateway.shutdown()).await;
    }
}
