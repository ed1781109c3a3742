//! All services together, as `serve` and the demo run them: gateway and relay in this process, the transcriber as a
//! child of it.

use std::net::SocketAddr;

use anyhow::Context;
use media_gateway::Gateway;
use web_relay::Relay;

use crate::config::Config;
use crate::transcriber_process::TranscriberProcess;

/// Running services.
pub struct System {
    relay: Relay,
    transcriber: TranscriberProcess,
    gateway: Gateway,
}

impl System {
    /// Starts the services from right to left, so that each finds its neighbour.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let relay = Relay::start(config.relay.clone()).await.context("relay")?;
        let ingest = format!("http://{}", relay.ingest_address());
        let transcriber = TranscriberProcess::start(config.transcriber_settings(ingest.clone()))?;
        let audio = format!("http://{}", transcriber.address());
        let gateway =
            Gateway::start(config.gateway(&audio, &ingest)?).await.context("media gateway")?;
        Ok(Self { relay, transcriber, gateway })
    }

    /// Where the page is.
    pub fn http_address(&self) -> SocketAddr {
        self.relay.http_address()
    }

    /// The transcriber's process id, while it runs.
    pub fn transcriber_pid(&self) -> Option<u32> {
        self.transcriber.pid()
    }

    /// Completes when a service has failed for good.
    pub async fn failed(&self) -> anyhow::Error {
        self.transcriber.failed().await
    }

    /// Stops the services from left to right, so that what was said still arrives.
    pub async fn shutdown(self) {
        self.gateway.shutdown().await;
        self.transcriber.shutdown().await;
        self.relay.shutdown().await;
    }
}
