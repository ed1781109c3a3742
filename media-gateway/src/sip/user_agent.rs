//! The user agent: what the shell talks to.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::dialog::{EndReason, Leg, LegId, LegState};
use super::framing::{FramingError, StreamFramer, parse_datagram};
use super::keepalive::{PING, PONG};
use super::message::{HeaderValues, Message, Response, ResponseBuilder, via};
use super::registration::{Account, Outcome, Registration, RegistrationFailure};
use super::transaction::{Acknowledged, ClientTransaction, LIFETIME, ServerTransactions};
use super::{Flow, StreamId, Transmit};

/// How the gateway names itself.
pub(super) const USER_AGENT: &str = concat!("Sidetone/", env!("CARGO_PKG_VERSION"));

/// What a user agent is told when it is made.
#[derive(Clone, Debug)]
pub struct UserAgentConfig {
    /// The device to register.
    pub account: Account,
    /// Legs at once, answered or not. One INVITE more is refused with 486.
    pub max_legs: usize,
}

/// A SIP user agent without sockets, clock or randomness of its own.
///
/// After every `handle_*` or command, take everything from [`poll_transmit`](Self::poll_transmit) and
/// [`poll_event`](Self::poll_event), and call [`handle_timeout`](Self::handle_timeout) at
/// [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct UserAgent {
    pub(super) account: Account,
    pub(super) max_legs: usize,
    pub(super) random: StdRng,
    registration: Registration,
    streams: HashMap<StreamId, Stream>,
    pub(super) transactions: ServerTransactions,
    byes: HashMap<LegId, ClientTransaction>,
    pub(super) legs: HashMap<LegId, Leg>,
    pub(super) next_leg: u64,
    pub(super) transmits: VecDeque<Transmit>,
    pub(super) events: VecDeque<Event>,
}

/// Something that the shell must know or act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The device is reachable on its flow for this long; it is refreshed in time without further ado.
    Registered {
        /// As granted by the registrar.
        expires: Duration,
    },
    /// The registrar has forgotten the device, as [`UserAgent::unregister`] asked.
    Unregistered,
    /// The device is not registered. Nothing is tried until [`UserAgent::register`] is called again.
    RegistrationFailed(RegistrationFailure),
    /// Someone calls. Answer or reject.
    Invited(Invite),
    /// The leg's 200 is acknowledged. Carries the SDP of the ACK when the INVITE had none.
    Confirmed {
        /// Which leg.
        leg: LegId,
        /// The answer to our offer.
        answer: Option<Vec<u8>>,
    },
    /// A re-INVITE or UPDATE within the leg. Answer or reject; rejecting leaves the leg as it was.
    Reoffered {
        /// Which leg.
        leg: LegId,
        /// Absent: our offer is asked for.
        offer: Option<Vec<u8>>,
    },
    /// The leg is over. Its id means nothing any more.
    Ended {
        /// Which leg.
        leg: LegId,
        /// Why.
        reason: EndReason,
    },
    /// A request was refused before it could become anything.
    Refused {
        /// Why.
        reason: Refusal,
        /// Who sent it.
        flow: Flow,
    },
    /// The bytes on a stream are not SIP: close it.
    StreamCorrupt {
        /// Which stream.
        stream: StreamId,
        /// What is wrong.
        error: FramingError,
    },
}

/// An INVITE that opens a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// The leg that it opens.
    pub leg: LegId,
    /// Where it came from.
    pub flow: Flow,
    /// Whether that is the flow that the device is registered on.
    pub on_registered_flow: bool,
    /// The value of `p-rc-api-ids`.
    pub api_ids: Option<String>,
    /// The value of `p-rc-api-monitoring-ids`.
    pub monitoring_ids: Option<String>,
    /// The SDP offer; absent when ours is asked for.
    pub offer: Option<Vec<u8>>,
}

/// Why a request was refused without asking the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// Not SIP at all: dropped.
    NotSip,
    /// Malformed: 400.
    Malformed,
    /// An extension method: 501.
    UnknownMethod,
    /// A method that a supervisor's device does not serve: 405.
    MethodNotAllowed,
    /// In a dialog that does not exist: 481.
    UnknownDialog,
    /// More legs than the limit: 486.
    TooManyLegs,
    /// Requires an extension that is not supported: 420.
    UnsupportedExtension,
    /// A re-INVITE out of order, or while another one is pending: 500 or 491.
    OutOfOrder,
}

#[derive(Debug)]
struct Stream {
    local: SocketAddr,
    framer: StreamFramer,
}

impl UserAgent {
    /// A user agent that is not registered yet. `random` makes tags, branches and Call-IDs.
    pub fn new(config: UserAgentConfig, mut random: StdRng) -> Self {
        let call_id = token(&mut random);
        let tag = token(&mut random);
        Self {
            registration: Registration::new(config.account.clone(), call_id, tag),
            account: config.account,
            max_legs: config.max_legs,
            random,
            streams: HashMap::new(),
            transactions: ServerTransactions::default(),
            byes: HashMap::new(),
            legs: HashMap::new(),
            next_leg: 0,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A datagram arrived on the UDP socket, whose address towards `peer` is `local`.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        peer: SocketAddr,
        datagram: &[u8],
    ) {
        let flow = Flow::Udp(peer);
        match parse_datagram(datagram) {
            Ok(Some(message)) => self.handle_message(now, flow, local, message),
            Ok(None) => {}
            Err(_) => self.events.push_back(Event::Refused { reason: Refusal::NotSip, flow }),
        }
    }

    /// A TCP connection was opened by us or accepted.
    pub fn handle_stream_opened(&mut self, stream: StreamId, local: SocketAddr) {
        self.streams.insert(stream, Stream { local, framer: StreamFramer::default() });
    }

    /// Bytes were read from a connection.
    pub fn handle_stream_bytes(&mut self, now: Instant, stream: StreamId, bytes: &[u8]) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        let keep_alive = state.framer.is_between_messages().then_some(bytes);
        self.registration.handle_received(Flow::Stream(stream), keep_alive == Some(PONG));
        if keep_alive == Some(PING) {
            let bytes = Bytes::from_static(PONG);
            self.transmits.push_back(Transmit { flow: Flow::Stream(stream), bytes });
        }
        state.framer.push(bytes);
        while let Some(state) = self.streams.get_mut(&stream)
            && let Some(message) = state.framer.next_message()
        {
            let local = state.local;
            match message {
                Ok(message) => self.handle_message(now, Flow::Stream(stream), local, message),
                Err(error) => {
                    self.streams.remove(&stream);
                    self.events.push_back(Event::StreamCorrupt { stream, error });
                }
            }
        }
    }

    /// A connection is gone. Legs that came over it live on: their media do not depend on it.
    pub fn handle_stream_closed(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
        let outcome = self.registration.handle_closed(Flow::Stream(stream));
        self.registration_event(outcome);
    }

    /// Registers the device on a flow and keeps it registered there. `local` is our address on that flow.
    pub fn register(&mut self, now: Instant, flow: Flow, local: SocketAddr) {
        self.registration.start(now, flow, local, &mut self.random, &mut self.transmits);
    }

    /// Takes the device off the registrar. `false`: it is not registered, so no event follows.
    pub fn unregister(&mut self, now: Instant) -> bool {
        self.registration.stop(now, &mut self.random, &mut self.transmits)
    }

    /// The flow that the device is registered on now.
    pub fn registered_flow(&self) -> Option<Flow> {
        self.registration.flow()
    }

    /// The flow that a leg's last request came on.
    pub fn flow_of(&self, leg: LegId) -> Option<Flow> {
        self.legs.get(&leg).map(|leg| leg.flow)
    }

    /// Whether no leg is left.
    pub fn is_idle(&self) -> bool {
        self.legs.is_empty()
    }

    /// Answers the INVITE, re-INVITE or UPDATE that waits on a leg with 200 and this SDP.
    pub fn answer(&mut self, now: Instant, leg: LegId, local: SocketAddr, sdp: &str) {
        let Some(state) = self.legs.get_mut(&leg) else { return };
        let Some(pending) = state.pending.take() else { return };
        let contact = super::registration::contact_uri(&self.account, state.flow, local);
        let mut response = ResponseBuilder::new(&pending.request, 200, "OK", peer(state.flow))
            .to_tag(&state.local_tag)
            .header("Contact", &format!("<{contact}>"))
            .header("Allow", super::message::ALLOW)
            .header("Supported", "timer")
            .header("User-Agent", USER_AGENT);
        if let Some(expires) = refreshed_by_peer(&pending.request) {
            response = response.header("Require", "timer").header("Session-Expires", &expires);
        }
        let is_invite = pending.request.cseq().is_some_and(|(_, method)| method == "INVITE");
        let acknowledged =
            if is_invite { Acknowledged::ByDialog(leg) } else { Acknowledged::Never };
        if is_invite && state.state == LegState::Proceeding {
            state.state = LegState::Answered { closing: false };
        }
        let bytes = response.sdp(sdp).build();
        let transmit = self.transactions.respond(now, &pending.key, bytes, acknowledged);
        self.transmits.extend(transmit);
    }

    /// Refuses what waits on a leg. A refused first INVITE ends the leg, without an event.
    pub fn reject(&mut self, now: Instant, leg: LegId, code: u16, reason: &str) {
        let Some(state) = self.legs.get_mut(&leg) else { return };
        let Some(pending) = state.pending.take() else { return };
        let is_invite = pending.request.cseq().is_some_and(|(_, method)| method == "INVITE");
        let tag = state.local_tag.clone();
        if state.state == LegState::Proceeding {
            self.legs.remove(&leg);
        }
        let acknowledged =
            if is_invite { Acknowledged::ByTransaction } else { Acknowledged::Never };
        self.respond(now, &pending.key, &pending.request, code, reason, &tag, acknowledged);
    }

    /// Ends a leg: 480 if it is not answered, else BYE. [`Event::Ended`] follows once the other side knows.
    pub fn hang_up(&mut self, now: Instant, leg: LegId, local: SocketAddr) {
        let Some(state) = self.legs.get_mut(&leg) else { return };
        match state.state {
            LegState::Proceeding => {
                self.reject(now, leg, 480, "Temporarily Unavailable");
                self.events.push_back(Event::Ended { leg, reason: EndReason::HungUp });
            }
            LegState::Answered { .. } => state.state = LegState::Answered { closing: true },
            LegState::Confirmed => self.send_bye(now, leg, local),
            LegState::Closing => {}
        }
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        let byes = self.byes.values().map(ClientTransaction::poll_timeout).min();
        [self.registration.poll_timeout(), self.transactions.poll_timeout(), byes]
            .into_iter()
            .flatten()
            .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let outcome = self.registration.handle_timeout(now, &mut self.random, &mut self.transmits);
        self.registration_event(outcome);
        for leg in self.transactions.handle_timeout(now, &mut self.transmits) {
            if self.legs.get(&leg).is_some_and(|leg| leg.state != LegState::Closing) {
                // RFC 3261 section 13.3.1.4: the session is to be terminated with a BYE.
                let local = self.local_of(leg);
                self.send_bye(now, leg, local);
                self.end(leg, EndReason::NotAcknowledged);
            }
        }
        let transmits = &mut self.transmits;
        let mut unanswered = Vec::new();
        self.byes.retain(|leg, bye| {
            let alive = bye.handle_timeout(now, transmits);
            if !alive {
                unanswered.push(*leg);
            }
            alive
        });
        for leg in unanswered {
            self.end(leg, EndReason::HungUp);
        }
    }

    fn handle_message(&mut self, now: Instant, flow: Flow, local: SocketAddr, message: Message) {
        match message {
            Message::Request(request) => self.serve(now, flow, local, request),
            Message::Response(response) => self.handle_response(now, &response),
        }
    }

    fn handle_response(&mut self, now: Instant, response: &Response) {
        match response.cseq() {
            Some((_, "REGISTER")) => {
                let (random, out) = (&mut self.random, &mut self.transmits);
                let outcome = self.registration.handle_response(now, response, random, out);
                self.registration_event(outcome);
            }
            Some((_, "BYE")) => {
                let leg = self
                    .byes
                    .iter()
                    .find(|(_, bye)| response.branch() == Some(bye.branch.as_str()))
                    .map(|(leg, _)| *leg);
                if let Some(leg) = leg.filter(|_| response.code >= 200) {
                    self.byes.remove(&leg);
                    self.end(leg, EndReason::HungUp);
                }
            }
            // A stray response to nothing we asked.
            Some(_) | None => {}
        }
    }

    fn registration_event(&mut self, outcome: Option<Outcome>) {
        self.events.extend(outcome.map(|outcome| match outcome {
            Outcome::Registered(expires) => Event::Registered { expires },
            Outcome::Unregistered => Event::Unregistered,
            Outcome::Failed(failure) => Event::RegistrationFailed(failure),
        }));
    }

    pub(super) fn send_bye(&mut self, now: Instant, leg: LegId, local: SocketAddr) {
        let branch = format!("z9hG4bK{}", token(&mut self.random));
        let registered = self.registration.flow();
        let Some(state) = self.legs.get_mut(&leg) else { return };
        let flow = match state.flow {
            Flow::Stream(stream) if !self.streams.contains_key(&stream) => {
                registered.unwrap_or(state.flow)
            }
            flow => flow,
        };
        state.state = LegState::Closing;
        let bytes = state.bye(via(flow, local, &branch));
        let bye = ClientTransaction::send(now, flow, branch, bytes, LIFETIME, &mut self.transmits);
        self.byes.insert(leg, bye);
    }

    /// Ends a leg that the shell knows.
    pub(super) fn end(&mut self, leg: LegId, reason: EndReason) {
        if self.legs.remove(&leg).is_some() {
            self.events.push_back(Event::Ended { leg, reason });
        }
    }

    /// Our address on a leg's stream; for UDP any address will do, because responses follow `rport`.
    fn local_of(&self, leg: LegId) -> SocketAddr {
        let stream = match self.legs.get(&leg).map(|leg| leg.flow) {
            Some(Flow::Stream(stream)) => self.streams.get(&stream),
            Some(Flow::Udp(_)) | None => None,
        };
        stream.map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 5060)), |stream| stream.local)
    }
}

/// 128 random bits in hexadecimal: tags, branches and Call-IDs that can't be guessed.
pub(super) fn token(random: &mut StdRng) -> String {
    format!("{:032x}", random.random::<u128>())
}

/// Where a datagram came from.
pub(super) fn peer(flow: Flow) -> Option<SocketAddr> {
    match flow {
        Flow::Udp(peer) => Some(peer),
        Flow::Stream(_) => None,
    }
}

/// The Session-Expires of our answer (RFC 4028 section 9): the caller refreshes, as RingCentral asks.
fn refreshed_by_peer(request: &super::message::Request) -> Option<String> {
    let seconds =
        request.value("Session-Expires")?.split(';').next()?.trim().parse::<u32>().ok()?;
    let supported =
        request.values("Supported").any(|options| options.to_ascii_lowercase().contains("timer"));
    supported.then(|| format!("{seconds};refresher=uac"))
}

#[cfg(test)]
#[path = "user_agent_tests.rs"]
mod tests;
