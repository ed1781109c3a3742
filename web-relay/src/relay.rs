//! Starts the relay's parts and ends them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use sidetone_proto::v1::caption_ingest_server::CaptionIngestServer;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Server;
use tracing::{error, info, warn};

use crate::config::{Config, ConfigError};
use crate::http::{self, Context, Hosts, MAX_CLIENTS};
use crate::hub::{Hub, LISTED_MS};
use crate::ingest::{Ingest, MAX_REQUEST_BYTES};
use crate::store::{SqliteStore, StoreError, TranscriptStore};
use crate::switchboard::{Switchboard, unix_ms};

/// How often the hub forgets what is no longer needed.
const UPKEEP: Duration = Duration::from_secs(15);

/// How long clients and publishers get to leave when the relay shuts down.
const DRAIN: Duration = Duration::from_secs(5);

/// A running relay. Ends when dropped; [`Relay::shutdown`] ends it in order.
#[derive(Debug)]
pub struct Relay {
    http_address: SocketAddr,
    ingest_address: SocketAddr,
    store: Arc<dyn TranscriptStore>,
    clients: Arc<Semaphore>,
    tasks: JoinSet<()>,
    shutdown: DropGuard,
}

/// Why the relay can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings can't be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address is taken, or not this machine's.
    #[error(
        "cannot listen on {address} ({setting}): stop what uses that port, or set {setting} to another one"
    )]
    Listen {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The transcript store can't be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Relay {
    /// Starts a relay. When this returns, it accepts publishers and browsers.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let (listener, http_address) = listen("listen", config.listen).await?;
        let (ingest_listener, ingest_address) =
            listen("ingest_listen", config.ingest_listen).await?;
        let store = open_store(&config).await?;
        let recent = store.calls_since(unix_ms() - LISTED_MS).await?;
        let switchboard = Switchboard::new(Hub::new(recent), store.clone());

        let token = CancellationToken::new();
        let clients = Arc::new(Semaphore::new(MAX_CLIENTS as usize));
        let context = Context {
            switchboard: switchboard.clone(),
            clients: clients.clone(),
            shutdown: token.clone(),
        };
        let hosts = Hosts::new(http_address, config.public_authority()?);

        let mut tasks = JoinSet::new();
        tasks.spawn(serve_http(listener, http::router(context, hosts), token.clone()));
        let ingest = Ingest::new(switchboard.clone(), token.clone());
        tasks.spawn(serve_ingest(ingest_listener, ingest, token.clone()));
        tasks.spawn(keep_up(switchboard, token.clone()));
        info!(http = %http_address, ingest = %ingest_address, "relay is up");

        let shutdown = token.drop_guard();
        Ok(Self { http_address, ingest_address, store, clients, tasks, shutdown })
    }

    /// Where browsers connect.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where publishers connect.
    pub fn ingest_address(&self) -> SocketAddr {
        self.ingest_address
    }

    /// Tells clients and publishers to go, waits a few seconds until they have, and closes the store.
    pub async fn shutdown(mut self) {
        drop(self.shutdown);
        let gone = async {
            while self.tasks.join_next().await.is_some() {}
            // A client that is still connected holds a place.
            let _ = self.clients.acquire_many(MAX_CLIENTS).await;
        };
        if timeout(DRAIN, gone).await.is_err() {
            warn!("some connections did not end in time");
        }
        if let Err(error) = self.store.close().await {
            warn!(%error, "the transcript store did not close cleanly");
        }
    }
}

async fn listen(
    setting: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { setting, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn open_store(config: &Config) -> Result<Arc<dyn TranscriptStore>, StoreError> {
    let path = config.database.clone();
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&path)).await;
    let store = opened.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string())))?;
    Ok(Arc::new(store))
}

async fn serve_http(listener: TcpListener, router: axum::Router, shutdown: CancellationToken) {
    // Captions are small and urgent.
    let listener = listener.tap_io(|connection| {
        let _ = connection.set_nodelay(true);
    });
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(async move { shutdown.cancelled().await })
        .await;
    if let Err(error) = served {
        error!(%error, "http server failed");
    }
}

async fn serve_ingest(listener: TcpListener, ingest: Ingest, shutdown: CancellationToken) {
    let service = CaptionIngestServer::new(ingest).max_decoding_message_size(MAX_REQUEST_BYTES);
    let connections = TcpListenerStream::new(listener);
    let served = Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(connections, async move { shutdown.cancelled().await })
        .await;
    if let Err(error) = served {
        error!(%error, "ingest server failed");
    }
}

async fn keep_up(switchboard: Switchboard, shutdown: CancellationToken) {
    let mut ticks = interval(UPKEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => switchboard.handle_timeout(),
            () = shutdown.cancelled() => return,
        }
    }
}
