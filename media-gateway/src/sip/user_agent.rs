//! The user agent: what the shell talks to.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::event::{Event, Refusal};
use super::framing::{StreamFramer, parse_datagram};
use super::keepalive::{PING, PONG};
use super::leg::{EndReason, Leg, LegId, LegState};
use super::message::{HeaderValues, Message, Response};
use super::registration::{Account, Outcome, Registration};
use super::transaction::{ClientTransaction, ServerTransactions};
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
    /// The flow that the device is or was to be registered on, and our address on it.
    pub(super) home: Option<(Flow, SocketAddr)>,
    streams: HashMap<StreamId, Stream>,
    pub(super) transactions: ServerTransactions,
    pub(super) byes: BTreeMap<LegId, ClientTransaction>,
    pub(super) legs: BTreeMap<LegId, Leg>,
    pub(super) next_leg: u64,
    pub(super) transmits: VecDeque<Transmit>,
    pub(super) events: VecDeque<Event>,
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
            home: None,
            streams: HashMap::new(),
            transactions: ServerTransactions::default(),
            byes: BTreeMap::new(),
            legs: BTreeMap::new(),
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

    /// A connection is gone. Legs that came over it live on: their media do not depend on it, and they follow the
    /// registration to another one.
    pub fn handle_stream_closed(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
        let outcome = self.registration.handle_closed(Flow::Stream(stream));
        self.events.extend(outcome.map(registration_event));
    }

    /// Registers the device on a flow and keeps it registered there. `local` is our address on that flow. Legs that came
    /// on the flow of an earlier registration are moved to this one once it succeeds.
    pub fn register(&mut self, now: Instant, flow: Flow, local: SocketAddr) {
        self.home = Some((flow, local));
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

    /// Ends a leg: 480 if it is not answered, else BYE. [`Event::Ended`] follows once the other side knows.
    pub fn hang_up(&mut self, now: Instant, leg: LegId) {
        let Some(state) = self.legs.get_mut(&leg) else { return };
        match state.state {
            LegState::Proceeding => {
                self.reject(now, leg, 480, "Temporarily Unavailable");
                self.events.push_back(Event::Ended { leg, reason: EndReason::HungUp });
            }
            LegState::Answered { .. } => state.state = LegState::Answered { closing: true },
            LegState::Confirmed => self.send_bye(now, leg),
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
        let byes = self.byes.values().map(ClientTransaction::poll_timeout);
        let legs = self.legs.values().filter_map(Leg::next_timer).map(|(at, _)| at);
        [self.registration.poll_timeout(), self.transactions.poll_timeout()]
            .into_iter()
            .flatten()
            .chain(byes)
            .chain(legs)
            .min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let outcome = self.registration.handle_timeout(now, &mut self.random, &mut self.transmits);
        self.registration_event(now, outcome);
        self.transactions.handle_timeout(now, &mut self.transmits);
        let transmits = &mut self.transmits;
        let mut given_up = Vec::new();
        self.byes.retain(|leg, bye| {
            let is_alive = bye.handle_timeout(now, transmits);
            given_up.extend((!is_alive).then_some(*leg));
            is_alive
        });
        for leg in given_up {
            self.end(leg, EndReason::HungUp);
        }
        let is_due = |leg: &Leg| leg.next_timer().is_some_and(|(at, _)| at <= now);
        let due = self.legs.iter().filter(|(_, leg)| is_due(leg)).map(|(id, _)| *id);
        for id in due.collect::<Vec<LegId>>() {
            while let Some((at, timer)) = self.legs.get(&id).and_then(Leg::next_timer)
                && at <= now
            {
                self.expire(now, id, timer);
            }
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
                self.registration_event(now, outcome);
            }
            Some(_) | None => self.handle_leg_response(now, response),
        }
    }

    fn registration_event(&mut self, now: Instant, outcome: Option<Outcome>) {
        if matches!(outcome, Some(Outcome::Registered(_))) {
            self.follow_registration(now);
        }
        self.events.extend(outcome.map(registration_event));
    }

    /// Ends a leg that the shell knows.
    pub(super) fn end(&mut self, leg: LegId, reason: EndReason) {
        if self.legs.remove(&leg).is_some() {
            self.events.push_back(Event::Ended { leg, reason });
        }
    }

    /// Whether messages can be sent on a flow.
    pub(super) fn is_open(&self, flow: Flow) -> bool {
        match flow {
            Flow::Stream(stream) => self.streams.contains_key(&stream),
            Flow::Udp(_) => true,
        }
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

fn registration_event(outcome: Outcome) -> Event {
    match outcome {
        Outcome::Registered(expires) => Event::Registered { expires },
        Outcome::Unregistered => Event::Unregistered,
        Outcome::Failed(failure) => Event::RegistrationFailed(failure),
    }
}
