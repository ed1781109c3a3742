//! The simulator as a whole: its ports, its tasks, and the calls on its line.

use crate::account::Account;
use crate::conversation::{COMMAND_CAPACITY, CallCommand, Conversation};
use crate::kind::CallKind;
use crate::load::StreamPool;
use crate::plan::CallPlan;
use crate::report::CallReport;
use crate::rest::{Cloud, Controls, Lines, distribute, front};
use crate::sip::certificate::{Certificate, CertificateError};
use crate::sip::endpoint::Endpoint;
use crate::sip::transport::{SipTransport, Sockets};
use crate::switchboard::{Cast, Switchboard};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use thiserror::Error;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a shutdown waits for the BYEs of the calls on the line to be answered.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// The TLS port lies this far above the one of UDP and TCP, as 5096 above 5090 on RingCentral's proxies.
const TLS_PORT_DISTANCE: u16 = 6;
/// Attempts to find a port that is free for both UDP and TCP.
const PORT_ATTEMPTS: usize = 16;

/// What a simulator needs to start.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    /// Where REST listens; port 0 takes a free one.
    pub rest_listen: SocketAddr,
    /// Where SIP listens, over UDP and TCP on one port number; IPv4, port 0 takes a free one. TLS
    /// has the port six above it, or a free one, too. The device's settings name this address as
    /// its proxy: give one that the device can reach.
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
    /// There is no certificate for TLS.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
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
    /// The kind of call needs a second extension, and the account has none.
    #[error("a call of kind {kind} needs a second agent: add one to the account")]
    NoColleague {
        /// The kind that was asked for.
        kind: CallKind,
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
    authority_pem: String,
    rest_address: SocketAddr,
    seed: u64,
    calls_placed: AtomicU64,
    calls: Mutex<JoinSet<()>>,
    services: Arc<Services>,
}

/// What the accounts of a cloud share. Dropping it ends everything at once.
struct Services {
    tasks: JoinSet<()>,
    cancelled: CancellationToken,
    _cancel_on_drop: DropGuard,
}

/// A call on the line.
#[derive(Clone, Debug)]
pub struct Call {
    telephony_session_id: String,
    commands: mpsc::WeakSender<CallCommand>,
    report: watch::Receiver<Option<CallReport>>,
}

impl Simulator {
    /// Binds the ports and starts answering.
    ///
    /// # Errors
    /// [`StartError`] names the address that cannot be listened on.
    pub async fn start(config: SimulatorConfig) -> Result<Self, StartError> {
        Self::start_several(config, Vec::new()).await.map(|(simulator, _)| simulator)
    }

    /// The same with further accounts, at the same addresses: the first simulator is that of the configured account, the
    /// others follow in order. Every account has its own client, tokens, limits, groups, device and calls, and sees
    /// nothing of the others'. The cloud lives as long as one of the simulators.
    ///
    /// # Errors
    /// [`StartError`] names the address that cannot be listened on.
    pub async fn start_accounts(
        config: SimulatorConfig,
        others: Vec<Account>,
    ) -> Result<Vec<Self>, StartError> {
        let (first, others) = Self::start_several(config, others).await?;
        Ok([first].into_iter().chain(others).collect())
    }

    async fn start_several(
        config: SimulatorConfig,
        others: Vec<Account>,
    ) -> Result<(Self, Vec<Self>), StartError> {
        let SimulatorConfig { rest_listen, sip_listen, account, seed } = config;
        if !sip_listen.is_ipv4() {
            return Err(StartError::SipAddressFamily { address: sip_listen });
        }
        let bind_failed = |source| StartError::Sip { address: sip_listen, source };
        let (udp, tcp, sip_address) = bind_sip(sip_listen).await.map_err(bind_failed)?;
        let tls_port = match sip_listen.port() {
            0 => 0,
            port => port.saturating_add(TLS_PORT_DISTANCE),
        };
        let tls_listen = SocketAddr::new(sip_listen.ip(), tls_port);
        let tls_failed = |source| StartError::Sip { address: tls_listen, source };
        let tls = TcpListener::bind(tls_listen).await.map_err(tls_failed)?;
        let tls_address = tls.local_addr().map_err(tls_failed)?;
        let certificate = Certificate::generate(sip_address.ip())?;
        let bind_rest = async {
            let listener = TcpListener::bind(rest_listen).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (rest, rest_address) =
            bind_rest.await.map_err(|source| StartError::Rest { address: rest_listen, source })?;

        let accounts = [account.clone()].into_iter().chain(others.iter().cloned());
        let endpoint = Endpoint::new(accounts.collect(), seed);
        let tls = (tls, TlsAcceptor::from(certificate.server));
        let mut transport =
            SipTransport::new(endpoint, Sockets { udp, tcp, tls, local: sip_address });
        let mut open = |account: Account, seed: u64| {
            let switchboard = Arc::new(Mutex::new(Switchboard::new(account, seed)));
            let sip = transport.next_handle();
            Cloud::new(switchboard, Lines::default(), sip, (sip_address, tls_address), seed)
        };
        let first = open(account, seed);
        // No two accounts give out the same tokens or sessions.
        let others: Vec<Cloud> =
            (1_u64..).zip(others).map(|(n, it)| open(it, seed.wrapping_add(n << 32))).collect();
        let clouds: Vec<Cloud> = [&first].into_iter().chain(&others).cloned().collect();
        let cancelled = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(transport.run(cancelled.clone()));
        for cloud in &clouds {
            let changes = cloud.switchboard().subscribe();
            let distribute = distribute(cloud.clone(), changes);
            let ends = cancelled.clone().cancelled_owned();
            tasks.spawn(async move {
                tokio::select! {
                    () = distribute => {}
                    () = ends => {}
                }
            });
        }
        let serve = axum::serve(rest, front(&clouds))
            .with_graceful_shutdown(cancelled.clone().cancelled_owned());
        tasks.spawn(async move {
            if let Err(error) = serve.await {
                tracing::error!(%error, "rest has stopped");
            }
        });
        tracing::info!(
            rest = %rest_address, sip = %sip_address, tls = %tls_address, "simulator started"
        );
        let _cancel_on_drop = cancelled.clone().drop_guard();
        let services = Arc::new(Services { tasks, cancelled, _cancel_on_drop });
        let simulator = |cloud| Self {
            cloud,
            authority_pem: certificate.authority_pem.clone(),
            rest_address,
            seed,
            calls_placed: AtomicU64::new(0),
            calls: Mutex::default(),
            services: services.clone(),
        };
        Ok((simulator(first), others.into_iter().map(simulator).collect()))
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

    /// Where devices register over TLS. The certificate is for `localhost` and this address.
    pub fn sip_tls_address(&self) -> SocketAddr {
        self.cloud.sip_tls_address
    }

    /// The certificate, in PEM, of the authority to trust for TLS. It is another one at every start.
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// The extension ids of the account's agents, in order.
    pub(crate) fn agents(&self) -> Vec<String> {
        let switchboard = self.cloud.switchboard();
        switchboard.account().agents.iter().map(|agent| agent.extension_id.clone()).collect()
    }

    /// Waits until the supervisor's device is registered.
    pub async fn registered(&self) {
        self.cloud.sip.registered().await;
    }

    /// Puts a call on the line. If it does not ring, both sides have answered already.
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
        let id = {
            let mut switchboard = self.cloud.switchboard();
            let cast = cast(switchboard.account(), &plan)?;
            switchboard.open(cast, plan.variant, SystemTime::now())
        };
        let number = self.calls_placed.fetch_add(1, Ordering::Relaxed);
        let (sender, commands) = mpsc::channel(COMMAND_CAPACITY);
        let (report_sender, report) = watch::channel(None);
        let call = Call { telephony_session_id: id.clone(), commands: sender.downgrade(), report };
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
            let report = conversation.run(commands).await;
            lock(&lines).remove(&id);
            report_sender.send_replace(Some(report));
        });
        Ok(call)
    }

    /// Hangs up every call, waits a moment for the answers, and stops; the cloud stops with the last of its accounts.
    pub async fn shutdown(self) {
        // Without its sender a call's task hangs up.
        lock(&self.cloud.lines).clear();
        let mut calls = std::mem::take(&mut *lock(&self.calls));
        let all_ended = async { while calls.join_next().await.is_some() {} };
        if tokio::time::timeout(SHUTDOWN_GRACE, all_ended).await.is_err() {
            tracing::warn!("some calls were not hung up properly");
        }
        let Some(mut services) = Arc::into_inner(self.services) else { return };
        services.cancelled.cancel();
        let all_stopped = async { while services.tasks.join_next().await.is_some() {} };
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
        self.report().await;
    }

    /// Waits like [`Call::finished`], and says what became of the call; `None` if the simulator went away before.
    pub async fn report(&self) -> Option<CallReport> {
        let mut report = self.report.clone();
        let finished = report.wait_for(Option::is_some).await;
        finished.ok().and_then(|report| report.clone())
    }

    /// Ends every leg to the supervisor's device, while the parties talk on: as when the server of the legs is restarted.
    pub async fn drop_legs(&self) {
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.send(CallCommand::DropLegs).await;
        }
    }

    /// Ends the call before its voices have ended.
    pub async fn hang_up(&self) {
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.send(CallCommand::HangUp).await;
        }
    }
}

/// The people of a planned call.
fn cast(account: &Account, plan: &CallPlan) -> Result<Cast, PlaceCallError> {
    let agent = account.agent(&plan.agent_extension_id).cloned().ok_or_else(|| {
        PlaceCallError::UnknownAgent { extension_id: plan.agent_extension_id.clone() }
    })?;
    let colleague = account.colleague_of(&agent.extension_id).cloned();
    if plan.kind.needs_colleague() && colleague.is_none() {
        return Err(PlaceCallError::NoColleague { kind: plan.kind });
    }
    Ok(Cast { agent, colleague, customer: plan.person.clone() })
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
