//! One loop that awaits one input and hands it to one handler.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use caption_publisher::Publisher;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::flows::{Connected, Flows, connect};
use super::legs::{Legs, Unacceptable, acceptable_lines};
use super::{Refusals, watcher};
use crate::config::{Config, Transport};
use crate::ringcentral::{Client, Error};
use crate::sdp::Description;
use crate::sip::{Account, Event, Flow, Invite, LegId, StreamId, UserAgent, UserAgentConfig};
use crate::supervision::{
    Ids, InviteIds, Match, RequestId, SuperviseRequest, Supervision, Verdict,
};

/// Inputs waiting for the loop. When full, sockets are not read, and the kernel drops datagrams: SIP repeats them.
const INPUT_CAPACITY: usize = 1024;

/// Legs per call: one per party, and one more while one is replaced.
const LEGS_PER_CALL: usize = 3;

/// How long the other sides get to take note of our leaving.
const GOODBYE: Duration = Duration::from_secs(3);

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

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
    Connected(std::io::Result<Connected>),
    SuperviseRequested {
        request: SuperviseRequest,
        reply: oneshot::Sender<RequestId>,
    },
    SuperviseAccepted {
        id: RequestId,
        supervisor: String,
    },
    SuperviseRefused {
        id: RequestId,
    },
    Reregister,
}

/// Runs the gateway until it is cancelled and has wound down.
pub(super) async fn run(
    config: Arc<Config>,
    client: Arc<Client>,
    udp: UdpSocket,
    tcp: TcpListener,
    refusals: Refusals,
    shutdown: CancellationToken,
) {
    let Some((account, proxy)) = shutdown.run_until_cancelled(device(&config, &client)).await
    else {
        return;
    };
    info!(device = account.authorization_id, proxy, "registering the supervisor's device");
    let (input_sender, inputs) = mpsc::channel(INPUT_CAPACITY);
    let (registered, is_registered) = watch::channel(false);
    let max_legs = config.max_calls.saturating_mul(LEGS_PER_CALL);
    let publisher = Publisher::start(config.relay.clone());
    let watching = tokio::spawn(watcher::run(
        config.clone(),
        client,
        input_sender.clone(),
        is_registered,
        shutdown.clone(),
    ));
    let event_loop = EventLoop {
        user_agent: UserAgent::new(
            UserAgentConfig { account, max_legs },
            StdRng::from_rng(&mut rand::rng()),
        ),
        supervision: Supervision::default(),
        flows: Flows::new(udp, tcp, config.allowed_sources.clone(), input_sender.clone()),
        legs: Legs::new(config.listen.ip(), config.max_calls, transcriber(&config), publisher),
        waiting: HashMap::new(),
        registrar: Registrar {
            proxy,
            stream: None,
            retry: FIRST_RETRY,
            retry_at: Some(Instant::now()),
        },
        registered,
        config,
        refusals,
        input_sender,
    };
    event_loop.run(inputs, shutdown).await;
    let _ = watching.await;
}

struct EventLoop {
    config: Arc<Config>,
    user_agent: UserAgent,
    supervision: Supervision,
    flows: Flows,
    legs: Legs,
    /// Legs that are parked: their offers, and where they came from.
    waiting: HashMap<LegId, Waiting>,
    registrar: Registrar,
    registered: watch::Sender<bool>,
    refusals: Refusals,
    input_sender: mpsc::Sender<Input>,
}

struct Waiting {
    offer: Option<Description>,
    flow: Flow,
}

struct Registrar {
    proxy: String,
    stream: Option<StreamId>,
    retry: Duration,
    /// When to connect next; absent while connecting or connected.
    retry_at: Option<Instant>,
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
                None => self.refusals.count("connection refused"),
            },
            Input::StreamBytes { stream, bytes } => {
                self.user_agent.handle_stream_bytes(now, stream, &bytes);
            }
            Input::StreamClosed(stream) => self.stream_closed(stream),
            Input::Connected(connected) => self.connected(connected),
            Input::SuperviseRequested { request, reply } => {
                let _ = reply.send(self.supervision.request(now, request));
            }
            Input::SuperviseAccepted { id, supervisor } => {
                if let Some(matched) = self.supervision.accepted(now, id, &supervisor) {
                    self.answer(matched).await;
                }
            }
            Input::SuperviseRefused { id } => self.supervision.refused(id),
            Input::Reregister => self.reconnect(Duration::ZERO),
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
                return;
            }
        }
    }

    async fn handle_event(&mut self, event: Event) {
        match event {
            Event::Registered { expires } => {
                debug!(?expires, "device registered");
                self.registrar.retry = FIRST_RETRY;
                if !self.registered.send_replace(true) {
                    info!(?expires, "device registered, looking for calls");
                }
            }
            Event::Unregistered => info!("device unregistered"),
            Event::RegistrationFailed(failure) => {
                let retry_in = self.registrar.retry;
                error!(%failure, ?retry_in, proxy = self.registrar.proxy, "device not registered");
                self.reconnect(retry_in);
                self.registrar.retry = (retry_in * 2).min(LAST_RETRY);
            }
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
                info!(%leg, ?reason, "leg ended");
                self.supervision.forget(leg);
                self.waiting.remove(&leg);
                self.legs.end(leg);
            }
            Event::Refused { reason, flow } => {
                self.refusals.count(format!("{reason:?}"));
                debug!(?reason, %flow, "request refused");
            }
            Event::StreamCorrupt { stream, error } => {
                warn!(stream = stream.0, %error, "closing a sip connection");
                self.refusals.count("corrupt stream");
                self.flows.close(stream);
                self.stream_closed(stream);
            }
        }
    }

    async fn invited(&mut self, invite: Invite) {
        let leg = invite.leg;
        if !invite.on_registered_flow && !self.is_allowed(invite.flow) {
            self.reject(leg, forbidden(invite.flow));
            return;
        }
        let ids = match read_invite(&invite) {
            Ok((ids, offer)) => {
                self.waiting.insert(leg, Waiting { offer, flow: invite.flow });
                ids
            }
            Err(unacceptable) => {
                self.reject(leg, unacceptable);
                return;
            }
        };
        let now = Instant::now().into_std();
        match self.supervision.invited(now, leg, ids) {
            Verdict::Matched(matched) => self.answer(matched).await,
            Verdict::Parked => debug!(%leg, "invite matches no supervise request yet"),
            Verdict::Unwanted => self.leave_alone(leg),
        }
    }

    async fn answer(&mut self, matched: Match) {
        let leg = matched.leg;
        let Some(Waiting { offer, flow }) = self.waiting.remove(&leg) else { return };
        let signalling = self.flows.local_of(flow);
        let remote =
            offer.iter().flat_map(|offer| &offer.media).find(|media| media.unfit.is_none());
        let local = match remote {
            Some(media) if !media.remote.ip().is_unspecified() => {
                self.flows.local_towards(media.remote.ip()).ip()
            }
            Some(_) | None => signalling.ip(),
        };
        match self.legs.answer(matched, offer.as_ref(), local).await {
            Ok(sdp) => self.send_answer(leg, Some(signalling), &sdp),
            Err(unacceptable) => self.reject(leg, unacceptable),
        }
    }

    fn send_answer(&mut self, leg: LegId, local: Option<SocketAddr>, sdp: &str) {
        let local = local.unwrap_or_else(|| self.local_of(leg));
        self.user_agent.answer(Instant::now().into_std(), leg, local, sdp);
    }

    fn reject(&mut self, leg: LegId, unacceptable: Unacceptable) {
        let Unacceptable { code, reason, detail } = unacceptable;
        warn!(%leg, code, reason, detail, "invite refused");
        self.refusals.count(format!("{code}"));
        self.user_agent.reject(Instant::now().into_std(), leg, code, reason);
    }

    /// An ordinary call to the supervisor's number: not ours to answer.
    fn leave_alone(&mut self, leg: LegId) {
        self.waiting.remove(&leg);
        let detail = "no supervise request asked for it".to_owned();
        self.reject(leg, Unacceptable { code: 480, reason: "Temporarily Unavailable", detail });
    }

    fn hang_up(&mut self, leg: LegId) {
        let local = self.local_of(leg);
        self.user_agent.hang_up(Instant::now().into_std(), leg, local);
        self.legs.end(leg);
    }

    fn local_of(&self, leg: LegId) -> SocketAddr {
        self.user_agent
            .flow_of(leg)
            .map_or_else(|| self.flows.listening(), |flow| self.flows.local_of(flow))
    }

    fn is_allowed(&self, flow: Flow) -> bool {
        match flow {
            Flow::Udp(peer) => self.flows.is_allowed(peer.ip()),
            // A connection is either one of ours to the registrar, or was let in by its address.
            Flow::Stream(_) => true,
        }
    }

    fn stream_closed(&mut self, stream: StreamId) {
        self.flows.close(stream);
        self.user_agent.handle_stream_closed(stream);
    }

    fn connected(&mut self, connected: std::io::Result<Connected>) {
        let now = Instant::now().into_std();
        match connected {
            Ok(Connected::Udp(address)) => {
                let local = self.flows.local_towards(address.ip());
                self.user_agent.register(now, Flow::Udp(address), local);
            }
            Ok(Connected::Tcp(stream)) => match self.flows.open(stream) {
                Some((id, local)) => {
                    self.registrar.stream = Some(id);
                    self.user_agent.handle_stream_opened(id, local);
                    self.user_agent.register(now, Flow::Stream(id), local);
                }
                None => self.reconnect(FIRST_RETRY),
            },
            Err(error) => {
                let retry_in = self.registrar.retry;
                warn!(%error, ?retry_in, proxy = self.registrar.proxy, "could not reach the sip proxy");
                self.reconnect(retry_in);
                self.registrar.retry = (retry_in * 2).min(LAST_RETRY);
            }
        }
    }

    /// Registers anew after a wait, over a new connection.
    fn reconnect(&mut self, after: Duration) {
        self.registered.send_replace(false);
        self.registrar.retry_at = Some(Instant::now() + after);
        if let Some(stream) = self.registrar.stream.take() {
            self.flows.close(stream);
            self.user_agent.handle_stream_closed(stream);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let pure = [self.user_agent.poll_timeout(), self.supervision.poll_timeout()];
        pure.into_iter().flatten().map(Instant::from).chain(self.registrar.retry_at).min()
    }

    fn handle_timeout(&mut self) {
        let now = Instant::now();
        if self.registrar.retry_at.take_if(|at| *at <= now).is_some() {
            let (proxy, transport) = (self.registrar.proxy.clone(), self.config.transport);
            let inputs = self.input_sender.clone();
            tokio::spawn(async move {
                let _ = inputs.send(Input::Connected(connect(&proxy, transport).await)).await;
            });
        }
        let now = now.into_std();
        self.user_agent.handle_timeout(now);
        let (unwanted, unserved) = self.supervision.handle_timeout(now);
        for leg in unwanted {
            self.leave_alone(leg);
        }
        for request in unserved {
            warn!(call = %request.call, target = ?request.target, "supervision brought no invite");
        }
    }

    async fn wind_down(mut self, mut inputs: mpsc::Receiver<Input>) {
        self.registered.send_replace(false);
        for leg in self.legs.ids() {
            self.hang_up(leg);
        }
        let waiting: Vec<LegId> = self.waiting.keys().copied().collect();
        for leg in waiting {
            self.leave_alone(leg);
        }
        let mut registered = self.user_agent.unregister(Instant::now().into_std());
        self.registrar.retry_at = None;
        let goodbye = async {
            loop {
                while let Some(transmit) = self.user_agent.poll_transmit() {
                    self.flows.send(transmit);
                }
                while let Some(event) = self.user_agent.poll_event() {
                    registered &=
                        !matches!(event, Event::Unregistered | Event::RegistrationFailed(_));
                }
                if !registered && self.user_agent.is_idle() {
                    return;
                }
                tokio::select! {
                    Some(input) = inputs.recv() => match input {
                        Input::Datagram { .. } | Input::StreamBytes { .. } | Input::StreamClosed(_) => {
                            self.handle_input(input).await;
                        }
                        // Nothing new is begun.
                        _ => {}
                    },
                    () = expired(self.user_agent.poll_timeout().map(Instant::from)) => {
                        self.user_agent.handle_timeout(Instant::now().into_std());
                    }
                }
            }
        };
        if timeout(GOODBYE, goodbye).await.is_err() {
            warn!("not every leg confirmed its end");
        }
        drop(inputs);
        self.legs.drain().await;
    }
}

/// What an INVITE is about.
fn read_invite(invite: &Invite) -> Result<(InviteIds, Option<Description>), Unacceptable> {
    let offer = invite.offer.as_deref().map(Description::parse).transpose()?;
    let media = match &offer {
        Some(offer) => {
            acceptable_lines(offer)?.into_iter().map(|media| media.party_id.clone()).collect()
        }
        None => vec![None],
    };
    let ids = InviteIds {
        supervisor: invite.api_ids.as_deref().map(Ids::parse),
        monitored: invite.monitoring_ids.as_deref().map(Ids::parse),
        media,
    };
    Ok((ids, offer))
}

fn forbidden(flow: Flow) -> Unacceptable {
    let detail = format!("{flow} is neither the registered flow nor in allowed_sources");
    Unacceptable { code: 403, reason: "Forbidden", detail }
}

async fn expired(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The way to the transcriber, whose silence is noticed within seconds.
fn transcriber(config: &Config) -> tonic::transport::Channel {
    config
        .transcriber
        .clone()
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .connect_lazy()
}

/// The device's credentials and its proxy: as configured, else as RingCentral says. Tries until it has them.
async fn device(config: &Config, client: &Client) -> (Account, String) {
    let configured = config.account.as_ref().map(|account| Account {
        domain: without_port(&account.domain),
        user_name: account.user_name.clone(),
        authorization_id: account.authorization_id.clone(),
        password: account.password.expose().to_owned(),
    });
    if let (Some(account), Some(proxy)) = (&configured, &config.outbound_proxy) {
        return (account.clone(), proxy.clone());
    }
    let mut retry = FIRST_RETRY;
    loop {
        let wait = match client.sip_info(&config.supervisor_device_id).await {
            Ok(info) => {
                let listed = info.outbound_proxies.iter().map(|proxy| proxy.proxy.clone());
                let proxy = config
                    .outbound_proxy
                    .clone()
                    .or_else(|| listed.into_iter().find(|it| !it.is_empty()));
                if let Some(proxy) = proxy {
                    let account = configured.unwrap_or_else(|| Account {
                        domain: without_port(&info.domain),
                        user_name: info.user_name,
                        authorization_id: info.authorization_id,
                        password: info.password,
                    });
                    return (account, proxy);
                }
                error!(
                    "sip-info lists no proxy for {}; set [sip] outbound_proxy",
                    transport(config)
                );
                LAST_RETRY
            }
            Err(Error::RateLimited { retry_after }) => retry_after,
            Err(error) => {
                error!(%error, retry_in = ?retry, "could not read the supervisor's device");
                retry
            }
        };
        sleep(wait).await;
        retry = (retry * 2).min(LAST_RETRY);
    }
}

fn without_port(domain: &str) -> String {
    domain.split(':').next().unwrap_or_default().to_owned()
}

fn transport(config: &Config) -> &'static str {
    match config.transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}
