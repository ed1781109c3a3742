//! The gRPC service between a gateway and a relay that do what the test says, with a recogniser that follows a script.

mod acknowledgements;
mod consent;
mod contract;
mod failures;
mod gateway;
mod recognisers;
mod reconnects;
mod redaction;
mod relay;
mod remote;
mod script;
mod spool;
mod timing;

use std::net::SocketAddr;
use std::sync::Arc;

use caption_publisher::{Publisher, SpoolOptions};
use pipeline::redaction::Policy;
use pipeline::speech::Endpointing;
use sidetone_proto::v1::audio_ingest_server::AudioIngestServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use transcriber::backends::Backends;
use transcriber::recogniser::RecogniserFactory;
use transcriber::redaction::Redaction;
use transcriber::server::AudioIngestService;

use crate::gateway::Gateway;
use crate::relay::Relay;
use crate::script::Script;

/// A transcriber with one worker, and the relay that it publishes to.
struct World {
    address: SocketAddr,
    relay: Relay,
}

impl World {
    async fn new(slots: usize, script: Script) -> Self {
        // What scripts say is all numbers.
        let backends: Arc<dyn RecogniserFactory> = Arc::new(script);
        Self::build(slots, backends.into(), Redaction::new(Policy::off())).await
    }

    /// With recognisers of any kind.
    async fn with(backends: Backends) -> Self {
        Self::build(8, backends, Redaction::new(Policy::off())).await
    }

    async fn with_redaction(script: Script, redaction: Redaction) -> Self {
        let backends: Arc<dyn RecogniserFactory> = Arc::new(script);
        Self::build(8, backends.into(), redaction).await
    }

    /// With a recogniser that never fails, and a place to keep captions. The relay stores nothing of a party for now.
    async fn with_spool(spool: &SpoolOptions, party: &str) -> Self {
        let (relay, address) = Relay::start().await;
        relay.acknowledge_only(party, 0);
        let publisher = Publisher::start_with_spool(endpoint(address), spool).unwrap();
        let backends: Arc<dyn RecogniserFactory> =
            Arc::new(Script::new(|window| Ok(script::said(window))));
        Self::serve(8, backends.into(), publisher, Redaction::new(Policy::off()), relay).await
    }

    async fn build(slots: usize, backends: Backends, redaction: Redaction) -> Self {
        let (relay, relay_address) = Relay::start().await;
        let publisher = Publisher::start(endpoint(relay_address));
        Self::serve(slots, backends, publisher, redaction, relay).await
    }

    async fn serve(
        slots: usize,
        backends: Backends,
        publisher: Publisher,
        redaction: Redaction,
        relay: Relay,
    ) -> Self {
        let recognisers = backends.start(1).unwrap();
        let endpointing = Endpointing::default();
        let service =
            AudioIngestService::new(recognisers, publisher, redaction, endpointing, slots);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder()
            .add_service(AudioIngestServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        Self { address, relay }
    }

    /// With a recogniser that never fails.
    async fn faultless() -> Self {
        Self::new(8, Script::new(|window| Ok(script::said(window)))).await
    }

    /// On a connection of its own.
    async fn gateway(&self) -> Gateway {
        Gateway::connect(endpoint(self.address)).await
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).unwrap()
}
