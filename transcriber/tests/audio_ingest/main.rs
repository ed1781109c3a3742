//! The gRPC service between a gateway and a relay that do what the test says, with a recogniser that follows a script.

mod acknowledgements;
mod consent;
mod contract;
mod failures;
mod gateway;
mod recognisers;
mod reconnects;
mod relay;
mod remote;
mod script;

use std::net::SocketAddr;
use std::sync::Arc;

use caption_publisher::Publisher;
use pipeline::speech::Endpointing;
use sidetone_proto::v1::audio_ingest_server::AudioIngestServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use transcriber::backends::{Backends, Recognisers};
use transcriber::server::AudioIngestService;
use transcriber::workers::Workers;

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
        let (relay, relay_address) = Relay::start().await;
        Self::serve(slots, Workers::start(Arc::new(script), 1).unwrap(), relay, relay_address).await
    }

    /// With recognisers of any kind.
    async fn with(backends: Backends) -> Self {
        let (relay, relay_address) = Relay::start().await;
        Self::serve(8, backends.start(1).unwrap(), relay, relay_address).await
    }

    async fn serve(
        slots: usize,
        recognisers: impl Into<Recognisers>,
        relay: Relay,
        relay_address: SocketAddr,
    ) -> Self {
        let publisher = Publisher::start(endpoint(relay_address));
        let endpointing = Endpointing::default();
        let service = AudioIngestService::new(recognisers, publisher, endpointing, slots);
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
