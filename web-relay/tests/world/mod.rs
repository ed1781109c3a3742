//! A hub, a store that lives in memory and a client, without sockets, tasks or clocks: whoever tests decides what
//! happens next.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use sidetone_proto::{CallId, Party, PartyId, Role};
use web_relay::event::{
    Caption, CaptionState, ConsentSource, ConsentState, Event, GapReason, PartyRole, ServerMessage,
};
use web_relay::hub::{ClientId, Hub, Output, PublicationId, Settled, Ticket};
use web_relay::incoming::Incoming;
use web_relay::session::{self, Session};
use web_relay::store::{StoredCall, Write};

/// Wall clock of every test, in milliseconds since the Unix epoch.
pub const NOW: i64 = 1_800_000_000_000;

pub fn call() -> CallId {
    CallId::new("s-1")
}

pub struct World {
    pub hub: Hub,
    pub stored: Vec<Event>,
    reserved_seq: u64,
    jobs: VecDeque<Job>,
    next_publication: u64,
    unsettled: BTreeMap<PublicationId, Incoming>,
    pub settled: Vec<(PublicationId, Settled)>,
    pub client: Client,
}

enum Job {
    Append(Ticket, Write),
    Load,
}

/// A client that remembers everything it was sent over all its connections.
pub struct Client {
    id: ClientId,
    session: Option<Session>,
    pub received: Vec<Event>,
    pub control: Vec<ServerMessage>,
    pub closed: Option<(u16, String)>,
}

impl World {
    pub fn new() -> Self {
        let client = Client {
            id: ClientId(1),
            session: None,
            received: Vec::new(),
            control: Vec::new(),
            closed: None,
        };
        Self {
            hub: Hub::new(Vec::new()),
            stored: Vec::new(),
            reserved_seq: 0,
            jobs: VecDeque::new(),
            next_publication: 0,
            unsettled: BTreeMap::new(),
            settled: Vec::new(),
            client,
        }
    }

    pub fn publish(&mut self, incoming: Incoming) -> PublicationId {
        let id = PublicationId(self.next_publication);
        self.next_publication += 1;
        self.unsettled.insert(id, incoming.clone());
        self.hub.handle_publication(NOW, id, incoming);
        self.drive();
        id
    }

    /// Publishes and lets the store keep up.
    pub fn publish_all(&mut self, incoming: impl IntoIterator<Item = Incoming>) {
        for incoming in incoming {
            self.publish(incoming);
            self.settle();
        }
    }

    /// The store does the next thing that it was asked for, or fails to.
    pub fn store_step(&mut self, works: bool) {
        match self.jobs.pop_front() {
            Some(Job::Append(ticket, write)) => {
                if works {
                    self.append(write);
                }
                self.hub.handle_stored(NOW, ticket, works);
            }
            Some(Job::Load) => {
                let loaded = works.then(|| self.load());
                self.hub.handle_loaded(NOW, &call(), loaded);
            }
            None => {}
        }
        self.drive();
    }

    /// Lets the store do everything that it was asked for.
    pub fn settle(&mut self) {
        while !self.jobs.is_empty() {
            self.store_step(true);
        }
    }

    /// The relay dies when the store has done `survive` more writes, and starts again; publishers send what was not
    /// acknowledged.
    pub fn crash(&mut self, survive: usize) {
        for job in std::mem::take(&mut self.jobs).into_iter().take(survive) {
            if let Job::Append(_, write) = job {
                self.append(write);
            }
        }
        self.hub = Hub::new(Vec::new());
        self.client.session = None;
        for incoming in std::mem::take(&mut self.unsettled).into_values() {
            self.publish(incoming);
        }
    }

    /// The client connects anew and asks for what it has not seen.
    pub fn connect(&mut self) {
        let newest = self.client.received.iter().map(Event::seq).max();
        self.connect_after(newest);
    }

    pub fn connect_after(&mut self, after_seq: Option<u64>) {
        self.disconnect();
        let mut session = Session::new(Instant::now());
        let after = after_seq.map(|seq| format!(r#","after_seq":{seq}"#)).unwrap_or_default();
        let subscribe = format!(r#"{{"type":"subscribe","call_id":"{}"{after}}}"#, call());
        session.handle_message(Instant::now(), Some(&subscribe));
        self.client.session = Some(session);
        self.client.closed = None;
        self.drive();
    }

    pub fn disconnect(&mut self) {
        self.client.session = None;
        self.hub.handle_leave(self.client.id, &call());
    }

    pub fn is_acknowledged(&self, id: PublicationId) -> bool {
        self.settled.contains(&(id, Settled::Done))
    }

    fn append(&mut self, write: Write) {
        self.reserved_seq = self.reserved_seq.max(write.reserved_seq);
        if is_refusal(write.event.as_ref()) {
            self.stored.retain(|event| !matches!(event, Event::Final(_) | Event::Gap(_)));
        }
        self.stored.extend(write.event);
    }

    fn load(&self) -> Option<StoredCall> {
        let mut call = StoredCall {
            started_unix_ms: NOW,
            ended_unix_ms: None,
            has_start: false,
            last_seq: self.stored.last().map_or(0, Event::seq),
            reserved_seq: self.reserved_seq,
            parties: Vec::new(),
            finals: Vec::new(),
            gaps: Vec::new(),
            consents: Vec::new(),
        };
        for event in &self.stored {
            match event {
                Event::CallStarted(_) => call.has_start = true,
                Event::CallEnded(ended) => call.ended_unix_ms = Some(ended.ended_unix_ms),
                Event::Final(caption) => {
                    call.finals.push((caption.party_id.clone(), caption.id()));
                }
                Event::Gap(gap) => call.gaps.push((gap.party_id.clone(), gap.id())),
                Event::Consent(consent) => call.consents.push((consent.at_unix_ms, consent.state)),
                Event::Partial(_) | Event::Status(_) | Event::Recognition(_) => {
                    panic!("{event:?} is never stored")
                }
            }
        }
        (self.reserved_seq > 0).then_some(call)
    }

    fn drive(&mut self) {
        loop {
            if let Some(output) = self.hub.poll_output() {
                self.perform(output);
            } else if let Some(output) = self.client.session.as_mut().and_then(Session::poll_output)
            {
                self.perform_for_client(output);
            } else {
                return;
            }
        }
    }

    fn perform(&mut self, output: Output) {
        match output {
            Output::Load(_) => self.jobs.push_back(Job::Load),
            Output::Append(ticket, write) => self.jobs.push_back(Job::Append(ticket, write)),
            Output::Settle(id, settled) => {
                self.settled.push((id, settled));
                // A publisher that is told to send again does.
                if let Some(incoming) = self.unsettled.remove(&id)
                    && matches!(settled, Settled::Unavailable(_))
                {
                    self.publish(incoming);
                }
            }
            Output::Opened(_, call, opened) => {
                if let Some(session) = &mut self.client.session {
                    session.handle_opened(call, opened);
                }
            }
            Output::News(_, call) => {
                if let Some(session) = &mut self.client.session {
                    session.handle_news(call);
                }
            }
            Output::ListNews(_) => {}
        }
    }

    fn perform_for_client(&mut self, output: session::Output) {
        let Some(session) = &mut self.client.session else { return };
        match output {
            session::Output::Send(json) => match serde_json::from_str(&json).unwrap() {
                ServerMessage::Event(event) => self.client.received.push(event),
                control => self.client.control.push(control),
            },
            session::Output::Close { code, reason } => {
                self.client.closed = Some((code, reason));
                self.disconnect();
            }
            session::Output::Open(call) => self.hub.handle_open(self.client.id, &call),
            session::Output::Leave(call) => self.hub.handle_leave(self.client.id, &call),
            session::Output::Pull { call, after_seq, whole } => {
                let pulled = self.hub.pull(&call, after_seq, whole);
                session.handle_pulled(call, pulled);
            }
            session::Output::Page { call, after_seq } => {
                let newer = self.stored.iter().filter(|event| event.seq() > after_seq);
                session.handle_page(call, Some(newer.take(3).cloned().collect()));
            }
            session::Output::WatchList => self.hub.handle_watch_list(self.client.id),
            session::Output::FetchList => session.handle_list(self.hub.list()),
        }
    }
}

pub fn party(number: u8) -> Party {
    let role = if number == 0 { Role::Agent } else { Role::Customer };
    Party { call: call(), id: PartyId::new(format!("p-{number}")), role }
}

pub fn started() -> Incoming {
    let parties = vec![PartyRole { party_id: party(0).id, role: Role::Agent }];
    Incoming::CallStarted { call: call(), started_unix_ms: NOW - 5_000, parties }
}

pub fn ended() -> Incoming {
    Incoming::CallEnded { call: call(), ended_unix_ms: NOW }
}

pub fn status(state: CaptionState) -> Incoming {
    let parties_on_hold = vec![party(0).id];
    Incoming::Status { call: call(), state, is_on_hold: false, parties_on_hold }
}

pub fn recognition(number: u8, is_fallback: bool) -> Incoming {
    Incoming::Recognition { party: party(number), is_fallback }
}

pub fn consent(state: ConsentState, at_unix_ms: i64) -> Incoming {
    Incoming::Consent { call: call(), state, source: ConsentSource::Operator, at_unix_ms }
}

fn is_refusal(event: Option<&Event>) -> bool {
    matches!(event, Some(Event::Consent(consent)) if consent.state == ConsentState::Refused)
}

pub fn gap(number: u8, start_ms: u64) -> Incoming {
    let end_ms = start_ms + 100;
    let (party, anchor_unix_ms) = (party(number), NOW - 3_000);
    Incoming::Gap { party, start_ms, end_ms, reason: GapReason::PacketLoss, anchor_unix_ms }
}

pub fn partial(number: u8, segment: u32, revision: u32) -> Incoming {
    Incoming::Partial(caption(number, segment, revision, "provis"))
}

pub fn finished(number: u8, segment: u32) -> Incoming {
    Incoming::Final(caption(number, segment, 99, "said and done"))
}

/// The same, heard on another stream of the party.
pub fn heard_anew(mut incoming: Incoming) -> Incoming {
    if let Incoming::Partial(Caption { anchor_unix_ms, .. })
    | Incoming::Final(Caption { anchor_unix_ms, .. })
    | Incoming::Gap { anchor_unix_ms, .. } = &mut incoming
    {
        *anchor_unix_ms += 2_000;
    }
    incoming
}

pub fn caption(number: u8, segment: u32, revision: u32, text: &str) -> Caption {
    let Party { call: call_id, id: party_id, role } = party(number);
    Caption {
        call_id,
        seq: 0,
        party_id,
        role,
        segment,
        revision,
        text: text.to_owned(),
        stable_len: 0,
        start_ms: u64::from(segment) * 1_000,
        end_ms: u64::from(segment) * 1_000 + 800,
        anchor_unix_ms: NOW - 3_000,
        latency_ms: None,
        words: Vec::new(),
    }
}

/// The durable ones of some events, without what differs between live and replayed.
pub fn durable(events: &[Event]) -> Vec<Event> {
    events
        .iter()
        .filter(|event| {
            !matches!(event, Event::Partial(_) | Event::Status(_) | Event::Recognition(_))
        })
        .cloned()
        .map(|mut event| {
            if let Event::Final(caption) = &mut event {
                caption.latency_ms = None;
            }
            event
        })
        .collect()
}
