//! The transcriber: audio of many parties in, labelled captions out.
//!
//! Gateways stream each party's audio over gRPC ([`server`]). Each stream ([`party`]) cuts it into utterances and has
//! them recognised by the first backend that works ([`backends`]): by threads that all parties share ([`workers`]), in the
//! order that [`queue`] decides, or elsewhere. Captions go to the relay; what it has stored is acknowledged to the gateway
//! ([`ledger`]).

pub mod backends;
pub mod config;
pub mod conformance;
pub mod ledger;
pub mod party;
pub mod queue;
pub mod recogniser;
mod seats;
pub mod server;
pub mod start;
pub mod workers;

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use caption_publisher::Publisher;
use pipeline::speech::Endpointing;
use sidetone_proto::v1::audio_ingest_server::AudioIngestServer;
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tracing::{info, warn};

use crate::backends::{Backend, Backends};
use crate::config::{BackendConfig, Config};
use crate::recogniser::{Grpc, ModelError, OpenAi, OpenAiError, RecogniserError, Whisper};
use crate::server::AudioIngestService;

/// How long parties may take to say their last words when the transcriber goes down.
const DRAIN: Duration = Duration::from_secs(5);

/// Bytes that a gateway's connection may have under way. All its parties share it, and their audio is sent in bursts.
pub const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Why the transcriber can't start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum TranscriberError {
    /// The recogniser can't be set up.
    #[error(transparent)]
    Recogniser(#[from] RecogniserError),
    /// The port is taken, or not ours to take.
    #[error("cannot listen for audio on {address}; set [transcriber] listen to a free port")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The gRPC server broke.
    #[error("the audio server failed: {0}")]
    Server(#[from] tonic::transport::Error),
    /// A thread or socket could not be had.
    #[error("out of resources: {0}")]
    Resources(#[from] std::io::Error),
}

/// Why a backend can't be made.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The model can't be loaded.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// There can be no client of the OpenAI-compatible server.
    #[error("[transcriber.openai]: {0}")]
    OpenAi(#[from] OpenAiError),
}

/// Makes the backends that the configuration names; loads the model, if it is one of them.
pub fn load(config: &Config) -> Result<Backends, LoadError> {
    let mut order = Vec::new();
    for backend in &config.backends {
        let made = match backend {
            BackendConfig::Whisper => {
                Backend::Windowed(Arc::new(Whisper::load(&config.model, &config.whisper)?))
            }
            BackendConfig::Grpc(endpoint) => {
                let language = &config.whisper.language;
                let grpc = Grpc::new((**endpoint).clone(), language, &config.vocabulary);
                Backend::Remote(Arc::new(grpc))
            }
            BackendConfig::OpenAi(options) => {
                Backend::Remote(Arc::new(OpenAi::new(options.clone())?))
            }
        };
        order.push((backend.name().to_owned(), made));
    }
    Ok(Backends::new(order, config.deadline))
}

/// Opens the port that the configuration names.
pub fn bind(config: &Config) -> Result<TcpListener, TranscriberError> {
    TcpListener::bind(config.listen)
        .map_err(|source| TranscriberError::Listen { address: config.listen, source })
}

/// Serves until `shutdown` completes, then lets parties finish for a few seconds.
pub async fn serve(
    config: Config,
    backends: impl Into<Backends>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), TranscriberError> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    let recognisers = backends.into().start(config.workers)?;
    let publisher = Publisher::start(config.relay.clone());
    info!(
        %address,
        backends = %recognisers.names().join(", "),
        model = %config.model.name(),
        workers = config.workers,
        "transcriber is ready"
    );
    let endpointing = Endpointing { partials: config.partials, ..Endpointing::default() };
    let service =
        AudioIngestService::new(recognisers.clone(), publisher, endpointing, config.slots);

    let (drain, draining) = oneshot::channel::<()>();
    let server = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .initial_connection_window_size(CONNECTION_WINDOW)
        .add_service(AudioIngestServer::new(service))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
            let _ = draining.await;
        });
    tokio::pin!(server);
    let outcome = tokio::select! {
        outcome = &mut server => outcome,
        () = shutdown => {
            let _ = drain.send(());
            tokio::time::timeout(DRAIN, &mut server).await.unwrap_or_else(|_| {
                warn!("parties were still speaking at shutdown; the gateway resumes them elsewhere");
                Ok(())
            })
        }
    };
    recognisers.close();
    Ok(outcome?)
}
