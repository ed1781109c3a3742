//! One loop that awaits one input and hands it to one handler.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caption_publisher::Publisher;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sidetone_proto::v1::Consent;
use sidetone_proto::{CallId, Party};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::admission::{Admission, Denied};
use super::connect::{ConnectError, Connected, Connector};
use super::controller::Sources;
use super::device::device;
use super::flows::Flows;
use super::invites::Waiting;
use super::journal::Journal;
use super::legs::Legs;
use super::registrar::Registrar;
use super::{Refusals, controller};
use crate::config::{Config, NotificationScope, Transport};
use crate::control::{Commands, Hold, LegNews};
use crate::metrics;
use crate::ringcentral::{
    Client, EventFilters, NOTIFICATION_CAPACITY, Notification, Notifications,
};
use crate::sip::{Event, LegId, StreamId, UserAgent, UserAgentConfig};
use crate::supervision::{Match, RequestId, SuperviseRequest, Supervision};
use crate::uplink::Transcribers;

/// Inputs waiting for the loop. When full, sockets are not read, and the kernel drops datagrams: SIP repeats them.
const INPUT_CAPACITY: usize = 1024;

/// Legs per call: one per party, and one more while one is replaced.
const LEGS_PER_CALL: usize = 3;

/// How long the other sides get to take note of our leaving, while audio may still be waited for.
const GOODBYE: Duration = Duration::from_secs(3);

/// Everything that the loop reacts to, besides time.
#[derive(Debug)]
pub(super) enum Input {
    Datagram {
        peer: SocketAddr,
        bytes: Bytes,
    },
    Accepted {
        stream: TcpStream,
        peer: SocketAddr,
    },
    StreamBytes {
        stream: StreamId,
        bytes: Bytes,
    },
    StreamClosed(StreamId),
    /// The way to the registrar, or why there is none.
    Connected(Result<Connected, ConnectError>),
    SuperviseRequested {
        request: SuperviseRequest,
        reply: oneshot::Sender<Result<RequestId, Denied>>,
    },
    SuperviseAccepted {
        id: RequestId,
        supervisor: String,
    },
    SuperviseRefused {
        id: RequestId,
    },
    /// What RingCentral knows of the parties that a leg names.
    Looked {
        matched: Match,
        parties: Vec<Party>,
    },
    Reregister,
    HangUp {
        leg: LegId,
    },
    /// A call's audio goes to the transcriber from now on, or is kept back.
    Forward {
        call: CallId,
        is_withheld: bool,
    },
    /// Somebody on a call was put on hold, or taken off it, at that time (milliseconds since the Unix epoch).
    Hold {
        call: CallId,
        hold: Hold,
        since_unix_ms: Option<i64>,
    },
    /// What the relay is to know about consent.
    Consent(Consent),
    /// No further leg of a call will come.
    Release {
        call: CallId,
    },
}

/// Runs the gateway until it is cancelled and has wound down.
pub(super) async fn run(
    config: Arc<Config>,
    client: Arc<Client>,
    (udp, tcp): (UdpSocket, TcpListener),
    (connector, instance): (Connector, Uuid),
    (commands, registered): (Commands, watch::Sender<bool>),
    refusals: Refusals,
    shutdown: CancellationToken,
) {
    let device = device(&config, &client, instance);
    let Some((account, proxies)) = shutdown.run_until_cancelled(device).await else { return };
    info!(device = account.authorization_id, ?proxies, "registering the supervisor's device");
    let (input_sender, inputs) = mpsc::channel(INPUT_CAPACITY);
    let max_legs = config.max_calls.saturating_mul(LEGS_PER_CALL);
    let publisher = Publisher::start(config.relay.clone());
    let (news, legs) = mpsc::channel(controller::NEWS_CAPACITY);
    let (subscription, notifications) = subscribe(&config, &client, &shutdown);
    let sources = Sources { registered: registered.subscribe(), legs, commands, notifications };
    let controlling = tokio::spawn(controller::run(
        config.clone(),
        client.clone(),
        input_sender.clone(),
        sources,
        shutdown.clone(),
    ));
    let journal = Journal::open(config.state_directory.as_deref());
    let keeping = tokio::spawn(journal.clone().keep());
    let event_loop = EventLoop {
        user_agent: UserAgent::new(
            UserAgentConfig { account, max_legs },
            StdRng::from_rng(&mut rand::rng()),
        ),
        supervision: Supervision::default(),
        flows: Flows::new(udp, tcp, config.allowed_sources.clone(), input_sender.clone()),
        legs: Legs::new(
            config.listen.ip(),
            config.transport == Transport::Tls,
            Transcribers::connect(config.transcribers.clone()),
            publisher,
            news.clone(),
            journal.clone(),
            config.consent_rules.clone(),
        ),
        admission: Admission::new(config.max_calls, config.max_calls_per_second),
        waiting: HashMap::new(),
        registrar: Registrar::new(connector, proxies),
        registered,
        config,
        client,
        refusals,
        input_sender,
        news,
    };
    event_loop.run(inputs, shutdown).await;
    // Calls that go on without us are interrupted: the next start tells.
    keeping.abort();
    journal.write().await;
    let _ = controlling.await;
    if let Some(subscription) = subscription {
        subscription.stopped().await;
    }
}

/// Has RingCentral tell of the agents' calls, if it should.
fn subscribe(
    config: &Config,
    client: &Arc<Client>,
    shutdown: &CancellationToken,
) -> (Option<Notifications>, Option<mpsc::Receiver<Notification>>) {
    let filters = match config.notifications {
        NotificationScope::Agents => EventFilters::extensions(&config.agents),
        NotificationScope::Account => EventFilters::account(),
        NotificationScope::Off => return (None, None),
    };
    let (sender, receiver) = mpsc::channel(NOTIFICATION_CAPACITY);
    let subscription = Notifications::start(client.clone(), filters, sender, shutdown.clone());
    (Some(subscription), Some(receiver))
}

pub(super) struct EventLoop {
    pub(super) config: Arc<Config>,
    pub(super) client: Arc<Client>,
    pub(super) user_agent: UserAgent,
    pub(super) supervision: Supervision,
    pub(super) flows: Flows,
    pub(super) legs: Legs,
    pub(super) admission: Admission,
    /// Legs that are parked: their offers, and where they came from.
    pub(super) waiting: HashMap<LegId, Waiting>,
    pub(super) registrar: Registrar,
    pub(super) registered: watch::Sender<bool>,
    pub(super) refusals: Refusals,
    pub(super) input_sender: mpsc::Sender<Input>,
    pub(super) news: mpsc::Sender<LegNews>,
}

impl EventLoop {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>, shutdown: CancellationToken) {
        loop {
            self.settle().await;
            tokio::select! {
                Some(input) = inputs.recv() => self.handle_input(input).await,
                () = expired(self.poll_timeout()) => self.handle_timeout(),
                () = shutdown.cancelled() => break,
            }
            // Hundreds of calls may begin at once; the audio of those that are up goes between.
            yield_now().await;
        }
        self.wind_down(inputs).await;
    }

    async fn handle_input(&mut self, input: Input) {
        let now = Instant::now().into_std();
        match input {
            Input::Datagram { peer, bytes } => {
                let local = self.flows.listening();
                self.user_agent.handle_datagram(now, local, peer, &bytes);
            }
            Input::Accepted { stream, peer } => match self.flows.accepted(stream, peer) {
                Some((id, local)) => self.user_agent.handle_stream_opened(id, local),
                None => self.refusals.count("connection_refused"),
            },
            Input::StreamBytes { stream, bytes } => {
                self.user_agent.handle_stream_bytes(now, stream, &bytes);
            }
            Input::StreamClosed(stream) => self.stream_closed(stream),
            Input::Connected(connected) => self.connected(connected),
            Input::SuperviseRequested { request, reply } => {
                let is_new = !self.legs.has_call(&request.call);
                let admitted = self.admission.joining(self.legs.calls(), is_new);
                let _ = reply.send(admitted.map(|()| self.supervision.request(now, request)));
            }
            Input::SuperviseAccepted { id, supervisor } => {
                if let Some(matched) = self.supervision.accepted(now, id, &supervisor) {
                    self.matched(matched).await;
                }
            }
            Input::SuperviseRefused { id } => self.supervision.refused(id),
            Input::Looked { matched, parties } => self.answer(matched.resolved(&parties)).await,
            Input::Reregister => self.reregister(),
            Input::HangUp { leg } => self.hang_up(leg),
            Input::Forward { call, is_withheld } => self.legs.withhold(&call, is_withheld),
            Input::Hold { call, hold, since_unix_ms } => {
                self.legs.hold(&call, hold, since_unix_ms);
            }
            Input::Consent(consent) => self.legs.consent(consent),
            Input::Release { call } => self.legs.release(&call),
        }
    }

    /// Sends what is to be sent and acts on what has happened, until nothing is left.
    async fn settle(&mut self) {
        loop {
            if let Some(transmit) = self.user_agent.poll_transmit() {
                if let Some(closed) = self.flows.send(transmit) {
                    self.stream_closed(closed);
                }
            } else if let Some(event) = self.user_agent.poll_event() {
                self.handle_event(event).await;
            } else {
                metrics::REGISTERED.set(f64::from(u8::from(*self.registered.borrow())));
                metrics::CALLS.set(self.legs.calls() as f64);
                metrics::LEGS.set(self.legs.ids().len() as f64);
                return;
            }
        }
    }

    async fn handle_event(&mut self, event: Event) {
        match event {
            Event::Registered { expires } => self.device_registered(expires),
            Event::Unregistered => info!("device unregistered"),
            Event::RegistrationFailed(failure) => self.registration_failed(&failure),
            Event::Invited(invite) => self.invited(invite).await,
            Event::Confirmed { leg, answer } => {
                if let Err(unacceptable) = self.legs.confirm(leg, answer.as_deref()) {
                    warn!(%leg, %unacceptable, "leg can't be used, hanging up");
                    self.hang_up(leg);
                }
            }
            Event::Reoffered { leg, offer } => match self.legs.reoffer(leg, offer.as_deref()) {
                Ok(sdp) => self.send_answer(leg, None, &sdp),
                Err(unacceptable) => self.reject(leg, unacceptable),
            },
            Event::Ended { leg, reason } => {
                let call = self.legs.call_of(leg).map(tracing::field::display);
                info!(%leg, call, ?reason, "leg ended");
                metrics::LEGS_ENDED.increment_of("reason", metrics::label(&reason));
                self.supervision.forget(leg);
                self.waiting.remove(&leg);
                self.legs.end(leg);
                self.tell(LegNews::Ended { leg }).await;
            }
            Event::Refused { reason, flow } => {
                self.refusals.count(metrics::label(&reason));
                debug!(?reason, %flow, "request refused");
            }
            Event::StreamCorrupt { stream, error } => {
                warn!(%stream, %error, "closing a sip connection");
                self.refusals.count("corrupt_stream");
                self.flows.close(stream);
                self.stream_closed(stream);
            }
        }
    }

    /// Tells the control plane, which ends before this loop does.
    pub(super) async fn tell(&self, news: LegNews) {
        let _ = self.news.send(news).await;
    }

    fn hang_up(&mut self, leg: LegId) {
        self.user_agent.hang_up(Instant::now().into_std(), leg);
        self.legs.end(leg);
    }

    pub(super) fn local_of(&self, leg: LegId) -> SocketAddr {
        self.user_agent
            .flow_of(leg)
            .map_or_else(|| self.flows.listening(), |flow| self.flows.local_of(flow))
    }

    pub(super) fn stream_closed(&mut self, stream: StreamId) {
        self.flows.close(stream);
        self.user_agent.handle_stream_closed(stream);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let (registrar, supervision) = (&self.registrar, &self.supervision);
        let pure =
            [self.user_agent.poll_timeout(), supervision.poll_timeout(), registrar.poll_timeout()];
        pure.into_iter().flatten().map(Instant::from).min()
    }

    fn handle_timeout(&mut self) {
        self.fail_back_if_due();
        self.register_if_due();
        let now = Instant::now().into_std();
        self.user_agent.handle_timeout(now);
        let (unwanted, unserved) = self.supervision.handle_timeout(now);
        for leg in unwanted {
            self.deny(leg, Denied::Unsolicited);
        }
        for request in unserved {
            warn!(call = %request.call, target = ?request.target, "supervision brought no invite");
        }
    }

    /// Leaves without losing a word: nobody new is let in, every leg is hung up, and what was said is acknowledged, all
    /// within the drain limit.
    async fn wind_down(mut self, mut inputs: mpsc::Receiver<Input>) {
        let now = Instant::now();
        let (goodbye, deadline) = (now + GOODBYE, now + self.config.operations.drain_limit);
        info!(calls = self.legs.calls(), "draining");
        self.registered.send_replace(false);
        self.admission.drain();
        self.registrar.stop();
        let mut registered = self.user_agent.unregister(now.into_std());
        for leg in self.legs.ids() {
            self.hang_up(leg);
        }
        self.legs.release_all();
        let waiting: Vec<LegId> = self.waiting.keys().copied().collect();
        for leg in waiting {
            self.deny(leg, Denied::Draining);
        }
        let mut delivered = false;
        loop {
            while let Some(event) = self.user_agent.poll_event() {
                match event {
                    Event::Unregistered | Event::RegistrationFailed(_) => registered = false,
                    Event::Invited(invite) => self.invited(invite).await,
                    _ => {}
                }
            }
            while let Some(transmit) = self.user_agent.poll_transmit() {
                self.flows.send(transmit);
            }
            let now = Instant::now();
            let parted = (!registered && self.user_agent.is_idle()) || now >= goodbye;
            if delivered && parted {
                return;
            }
            if now >= deadline {
                warn!(delivered, "the gateway did not wind up in time");
                return;
            }
            let wake = [self.user_agent.poll_timeout().map(Instant::from), Some(deadline)];
            let goodbye = Some(goodbye).filter(|_| !parted);
            tokio::select! {
                Some(input) = inputs.recv() => match input {
                    Input::Datagram { .. } | Input::StreamBytes { .. } | Input::StreamClosed(_) => {
                        self.handle_input(input).await;
                    }
                    // Nothing new is begun. A refusal still counts.
                    Input::Consent(consent) => self.legs.consent(consent),
                    _ => {}
                },
                () = self.legs.drained(), if !delivered => delivered = true,
                () = expired(wake.into_iter().chain([goodbye]).flatten().min()) => {
                    self.user_agent.handle_timeout(Instant::now().into_std());
                }
            }
        }
    }
}

async fn expired(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
