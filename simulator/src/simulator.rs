//! The simulator as a whole: its ports, its tasks, and the calls on its line.

use crate::account::Account;
use crate::conversation::{COMMAND_CAPACITY, CallCommand, Conversation};
use crate::load::StreamPool;
use crate::plan::CallPlan;
use crate::rest::{Cloud, Controls, Lines, distribute, router};
use crate::sip::endpoint::Endpoint;
use crate::sip::transport::SipTransport;
use crate::switchboard::Switchboard;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a shutdown waits for the BYEs of the calls on the line to be answered.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// Attempts to find a port that is free for both UDP and TCP.
const PORT_ATTEMPTS: usize = 16;

/// What a simulator needs to start.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// Where REST listens; port 0 takes a free one.
    pub rest_listen: SocketAddr,
    /// Where SIP listens, over UDP and TCP on one port number; IPv4, port 0 takes a free one. The
    /// device's settings name this address as its proxy: give one that the device can reach.
    pub sip_listen: SocketAddr,
    /// The account to play.
    pub account: Account,
    /// What all random choices derive from: ids, the order of media lines, lost packets.
    pub seed: u64,
}

/// Why a simulator could not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The REST address cannot be listened on.
    #[error("cannot listen for REST on {address}: choose another address or port")]
    Rest {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The SIP address cannot be listened on over both UDP and TCP.
    #[error("cannot listen for SIP on {address} over UDP and TCP: choose another address or port")]
    Sip {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The SIP address is not an IPv4 address.
    #[error("SIP cannot listen on {address}: give an IPv4 address")]
    SipAddressFamily {
        /// The address.
        address: SocketAddr,
    },
}

/// Why a call could not be placed.
#[derive(Debug, PartialEq, Error)]
pub enum PlaceCallError {
    /// The account has no such agent.
    #[error("the account has no agent with extension id {extension_id}: use one of its agents")]
    UnknownAgent {
        /// The extension id that was asked for.
        extension_id: String,
    },
    /// The loss is not a percentage.
    #[error("a packet loss of {percent} percent is impossible: use 0 to 100")]
    LossOutOfRange {
        /// The loss that was asked for.
        percent: f32,
    },
}

/// A running simulator. Dropping it ends everything at once; [`Simulator::shutdown`] hangs up
/// first.
pub struct Simulator {
    cloud: Cloud,
    rest_address: SocketAddr,
    seed: u64,
    calls_placed: AtomicU64,
    calls: Mutex<JoinSet<()>>,
    services: JoinSet<()>,
    cancelled: CancellationToken,
    _cancel_on_drop: DropGuard,
}

/// A call on the line.
#[derive(Clone, Debug)]
pub struct Call {
    telephony_session_id: String,
    commands: mpsc::WeakSender<CallCommand>,
    finished: watch::Receiver<()>,
}

impl Simulator {
    /// Binds the ports and starts answering.
    ///
    /// # Errors
    /// [`StartError`] names the address that cannot be listened on.
    pub async fn start(config: SimulatorConfig) -> Result<Self, StartError> {
        let SimulatorConfig { rest_listen, sip_listen, account, seed } = config;
        if !sip_listen.is_ipv4() {
            return Err(StartError::SipAddressFamily { address: sip_listen });
        }
        let (udp, tcp, sip_address) = bind_sip(sip_listen)
            .await
            .map_err(|source| StartError::Sip { address: sip_listen, source })?;
        let bind_rest = async {
            let listener = TcpListener::bind(rest_listen).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (rest, rest_address) =
            bind_rest.await.map_err(|source| StartError::Rest { address: rest_listen, source })?;

        let endpoint = Endpoint::new(account.clone(), seed);
        let (transport, sip) = SipTransport::new(endpoint, udp, tcp, sip_address);
        let switchboard = Arc::new(Mutex::new(Switchboard::new(account, seed)));
        let cloud = Cloud::new(switchboard, Lines::default(), sip, sip_address, seed);
        let cancelled = CancellationToken::new();
        let mut services = JoinSet::new();
        services.spawn(transport.run(cancelled.clone()));
        let changes = cloud.switchboard().subscribe();
        let distribute = distribute(cloud.clone(), changes);
        let ends = cancelled.clone().cancelled_owned();
        services.spawn(async move {
            tokio::select! {
                () = distribute => {}
                () = ends => {}
            }
        });
        let serve = axum::serve(rest, router(cloud.clone()))
            .with_graceful_shutdown(cancelled.clone().cancelled_owned());
        services.spawn(async move {
            if let Err(error) = serve.await {
                tracing::error!(%error, "rest has stopped");
            }
        });
        tracing::info!(rest = %rest_address, sip = %sip_address, "simulator started");
        Ok(Self {
            cloud,
            rest_address,
            seed,
            calls_placed: AtomicU64::new(0),
            calls: Mutex::default(),
            services,
            _cancel_on_drop: cancelled.clone().drop_guard(),
            cancelled,
        })
    }

    /// The base URL of REST, without a path.
    pub fn rest_url(&self) -> String {
        format!("http://{}", self.rest_address)
    }

    /// What can be changed while the cloud runs.
    pub fn controls(&self) -> Controls {
        Controls::new(self.cloud.clone())
    }

    /// Where devices register, over UDP and TCP.
    pub fn sip_address(&self) -> SocketAddr {
        self.cloud.sip_address
    }

    /// Waits until the supervisor's device is registered.
    pub async fn registered(&self) {
        self.cloud.sip.registered().await;
    }

    /// Puts a call between a customer and an agent on the line. Both have answered already; they
    /// start to talk once the supervisor hears both, or 5 s after it hears one.
    ///
    /// # Errors
    /// [`PlaceCallError`] says what is wrong with the plan.
    pub async fn place_call(&self, plan: CallPlan) -> Result<Call, PlaceCallError> {
        if !(0.0..=100.0).contains(&plan.loss_percent) {
            return Err(PlaceCallError::LossOutOfRange { percent: plan.loss_percent });
        }
        self.place(plan, None)
    }

    /// With a pool, the streams come from there, and the call lasts until it is hung up.
    pub(crate) fn place(
        &self,
        plan: CallPlan,
        pool: Option<StreamPool>,
    ) -> Result<Call, PlaceCallError> {
        let placed = self.cloud.switchboard().place(&plan.agent_extension_id, SystemTime::now());
        let id = placed.ok_or_else(|| PlaceCallError::UnknownAgent {
            extension_id: plan.agent_extension_id.clone(),
        })?;
        let number = self.calls_placed.fetch_add(1, Ordering::Relaxed);
        let (sender, commands) = mpsc::channel(COMMAND_CAPACITY);
        let (finished_sender, finished) = watch::channel(());
        let call =
            Call { telephony_session_id: id.clone(), commands: sender.downgrade(), finished };
        let lines = self.cloud.lines.clone();
        lock(&lines).insert(id.clone(), sender);
        let conversation = Conversation::new(
            id.clone(),
            plan,
            pool,
            self.cloud.switchboard.clone(),
            self.cloud.sip.clone(),
            self.seed.wrapping_add(number),
        );
        let mut calls = lock(&self.calls);
        while calls.try_join_next().is_some() {}
        calls.spawn(async move {
            conversation.run(commands).await;
            lock(&lines).remove(&id);
            drop(finished_sender);
        });
        Ok(call)
    }

    /// Hangs up every call, waits a moment for the answers, and stops.
    pub async fn shutdown(mut self) {
        // Without its sender a call's task hangs up.
        lock(&self.cloud.lines).clear();
        let mut calls = std::mem::take(&mut *lock(&self.calls));
        let all_ended = async { while calls.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_GRACE, all_ended).await.is_err() {
            tracing::warn!("some calls were not hung up properly");
        }
        self.cancelled.cancel();
        let all_stopped = async { while self.services.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_GRACE, all_stopped).await.is_err() {
            tracing::warn!("a rest client kept its connection open");
        }
    }
}

impl Call {
    /// The id of the telephony session, such as `s-a0d17e3226ac5z18b67af8d17z38176bd0000`.
    pub fn telephony_session_id(&self) -> &str {
        &self.telephony_session_id
    }

    /// Waits until the call is over and every BYE has been answered.
    pub async fn finished(&self) {
        // Nothing is ever sent: the sender goes away with the call.
        let _ = self.finished.clone().changed().await;
    }

    /// Ends the call before its voices have ended.
    pub async fn hang_up(&self) {
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.send(CallCommand::HangUp).await;
        }
    }
}

/// Binds UDP and TCP to one port number.
async fn bind_sip(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener, SocketAddr)> {
    let mut attempt = 1;
    loop {
        let tcp = TcpListener::bind(address).await?;
        let bound = tcp.local_addr()?;
        match UdpSocket::bind(bound).await {
            Ok(udp) => return Ok((udp, tcp, bound)),
            // The port was chosen for TCP; another program may have it for UDP.
            Err(_) if address.port() == 0 && attempt < PORT_ATTEMPTS => attempt += 1,
            Err(error) => return Err(error),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
