//! The shell: sockets and tasks around the pure parts.
//!
//! [`Gateway::start`] binds the ports and starts one event loop, which owns the SIP user agent, the supervise requests and
//! the legs. Beside it run a task per socket, one for the control plane, one per m-line, one per uplink and one per call.

mod admission;
mod call;
mod condition;
pub(crate) mod connect;
mod continuity;
mod controller;
pub(crate) mod device;
mod ear;
mod event_loop;
mod flows;
pub(crate) mod instance;
mod invites;
mod journal;
mod legs;
mod registrar;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::config::{Config, ControlConfig};
use crate::control::Control;
use crate::control_api::ControlApi;
use crate::metrics;
use crate::operations::Operations;
use crate::ringcentral::{self, Client, Credentials};
use connect::Connector;

pub use connect::TlsError;
pub use instance::InstanceError;

/// Attempts to bind UDP and TCP on the same port, when any port will do.
const BIND_ATTEMPTS: u32 = 20;

/// The last request may take this long.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(2);

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    sip_address: SocketAddr,
    control: Control,
    shutdown: CancellationToken,
    refusals: Refusals,
    operations: Option<Operations>,
    control_api: Option<ControlApi>,
    task: JoinHandle<()>,
}

/// Why a gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The SIP port can't be had.
    #[error("could not listen for SIP on {address}; free the port or change [sip] listen")]
    Bind {
        /// As configured.
        address: SocketAddr,
        /// In the system's words.
        #[source]
        source: io::Error,
    },
    /// The port for metrics can't be had.
    #[error(
        "could not listen for operators on {address}; free the port or change [operations] listen"
    )]
    Operations {
        /// As configured.
        address: SocketAddr,
        /// In the system's words.
        #[source]
        source: io::Error,
    },
    /// The port for control by hand can't be had.
    #[error(
        "could not listen for control of calls on {address}; free the port or change [control] listen"
    )]
    Control {
        /// As configured.
        address: SocketAddr,
        /// In the system's words.
        #[source]
        source: io::Error,
    },
    /// Another part of the process keeps the metrics.
    #[error("another metrics recorder is installed in this process; remove [operations] listen")]
    Recorder,
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The device's instance id can't be read or made.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The REST client could not be made.
    #[error(transparent)]
    RingCentral(#[from] ringcentral::Error),
}

/// How often something was refused, by reason. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<Mutex<BTreeMap<String, u64>>>);

impl Gateway {
    /// Binds the SIP port and starts everything else in the background: the login, the registration, and the search for
    /// calls are tried until they succeed.
    ///
    /// Must be called inside a tokio runtime, in a process that has installed a rustls crypto provider.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let connector = Connector::new(config.transport, config.tls_ca_file.as_deref())?;
        let instance = match &config.state_directory {
            Some(directory) => instance::instance_in(directory)?,
            None => instance::instance_of(&config.supervisor_device_id),
        };
        let (udp, tcp) = bind(config.listen)
            .await
            .map_err(|source| StartError::Bind { address: config.listen, source })?;
        let sip_address = udp
            .local_addr()
            .map_err(|source| StartError::Bind { address: config.listen, source })?;
        let credentials = Credentials {
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.expose().to_owned(),
            jwt: config.jwt.expose().to_owned(),
        };
        let client = Arc::new(Client::new(&config.server, credentials)?);
        let shutdown = CancellationToken::new();
        let (registered, is_registered) = watch::channel(false);
        let operations = match config.operations.listen {
            Some(address) => {
                let metrics = metrics::install().ok_or(StartError::Recorder)?;
                Some(
                    Operations::start(address, is_registered, shutdown.clone(), metrics)
                        .await
                        .map_err(|source| StartError::Operations { address, source })?,
                )
            }
            None => None,
        };
        let refusals = Refusals::default();
        let (control, commands) = Control::new();
        let control_api = match &config.control {
            Some(ControlConfig { listen, token }) => {
                let (control, client) = (control.clone(), client.clone());
                let started =
                    ControlApi::start(*listen, token.expose(), control, client, shutdown.clone());
                let address = *listen;
                Some(started.await.map_err(|source| StartError::Control { address, source })?)
            }
            None => None,
        };
        info!(address = %sip_address, "listening for sip over udp and tcp");
        let event_loop = event_loop::run(
            Arc::new(config),
            client.clone(),
            (udp, tcp),
            (connector, instance),
            (commands, registered),
            refusals.clone(),
            shutdown.clone(),
        );
        let task = tokio::spawn(async move {
            event_loop.await;
            // Only five logins of a user live at once: one that is over makes room.
            if let Ok(Err(error)) = timeout(REVOKE_TIMEOUT, client.revoke()).await {
                debug!(%error, "could not end the login");
            }
        });
        Ok(Self { sip_address, control, shutdown, refusals, operations, control_api, task })
    }

    /// Where SIP is listened for, over UDP and TCP.
    pub fn sip_address(&self) -> SocketAddr {
        self.sip_address
    }

    /// Lists calls, and interferes with them.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Where metrics, health and readiness are served, if they are.
    pub fn operations_address(&self) -> Option<SocketAddr> {
        self.operations.as_ref().map(Operations::address)
    }

    /// Where calls are listed and controlled over HTTP, if they are.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control_api.as_ref().map(ControlApi::address)
    }

    /// How often requests and offers were refused since the start, by reason.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        self.refusals.counts()
    }

    /// Lets no more calls in, takes the device off the registrar, hangs up every leg, and waits until the last audio is
    /// acknowledged; at most for the drain limit of the configuration.
    pub async fn shutdown(mut self) {
        self.shutdown.cancel();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Refusals {
    pub(crate) fn count(&self, reason: impl Into<String>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = reason.into();
        metrics::REFUSALS.increment_of("reason", reason.clone());
        *counts.entry(reason).or_default() += 1;
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Binds UDP and TCP on the same port number.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut attempts = if address.port() == 0 { BIND_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let udp = UdpSocket::bind(address).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if attempts == 0 => return Err(error),
            Err(_) => {}
        }
    }
}
