//! The hub: takes the events of all calls, gives each a place in its call's order, has the durable ones stored before
//! anybody sees them, and tells the clients that follow a call when there is something to fetch.
//!
//! A pure state machine: whoever owns it hands in events, answers of the store and the time, and carries out what
//! [`Hub::poll_output`] asks for. Clients are not pushed to. Each keeps the `seq` of the newest event that it has and
//! pulls what came after, as fast as its connection takes it; a partial that has meanwhile been superseded is simply
//! no longer there, and a final always is.

mod call;
mod directory;
mod log;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use sidetone_proto::CallId;

use self::call::{Admission, Call};
use self::directory::Directory;
use crate::incoming::Incoming;
use crate::store::{RecentCall, StoredCall, Write};

pub use self::call::{MAX_CONSENTS, MAX_OPEN_SEGMENTS, MAX_SEGMENTS, SEQ_BLOCK};
pub use self::directory::{LISTED_MS, MAX_LISTED};
pub use self::log::LOG_BYTES;

/// Calls in memory. When full, events and subscriptions that need one more are turned away as unavailable.
pub const MAX_CALLS: usize = 10_000;

/// How long a call that ended, and that nobody follows, stays in memory.
pub const ENDED_CALL_MS: i64 = 5 * 60_000;

/// How long a call without an end, in which nothing happens and that nobody follows, stays in memory.
pub const QUIET_CALL_MS: i64 = 60 * 60_000;

/// A client of the hub, numbered by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// An event on its way through the hub, numbered by its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicationId(pub u64);

/// A write that the store has not yet confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What the hub asks its owner to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Load the call and answer with [`Hub::handle_loaded`].
    Load(CallId),
    /// Append and answer with [`Hub::handle_stored`]. Writes must reach the store in the order they come out here.
    Append(Ticket, Write),
    /// The publication is done with.
    Settle(PublicationId, Settled),
    /// Answers [`Hub::handle_open`].
    Opened(ClientId, CallId, Result<u64, OpenError>),
    /// The client should pull this call.
    News(ClientId, CallId),
    /// The client should fetch the list of calls.
    ListNews(ClientId),
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Durable or passed on, or a duplicate of an event that is.
    Done,
    /// The event can't be taken now or later: the call has reached a limit.
    Refused(&'static str),
    /// The event was not taken: send it again later.
    Unavailable(&'static str),
}

/// Why a client can't follow a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// There is no such call.
    Unknown,
    /// The store failed, or the hub is full.
    Unavailable,
}

/// What a client gets for its place in a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pull {
    /// Everything after its place, as JSON, and its new place.
    Events {
        /// In order.
        messages: Vec<Arc<str>>,
        /// The call's newest event.
        as_of_seq: u64,
    },
    /// The hub does not reach back that far: read the store.
    Behind,
    /// The call is not in memory: open it again.
    NotOpen,
}

/// See the module.
#[derive(Debug)]
pub struct Hub {
    calls: HashMap<CallId, Slot>,
    directory: Directory,
    list_watchers: HashSet<ClientId>,
    tickets: HashMap<Ticket, CallId>,
    next_ticket: u64,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Slot {
    state: State,
    watchers: HashSet<ClientId>,
}

#[derive(Debug)]
enum State {
    /// The store has been asked. Bounded by the owner, who limits how many publications and clients there are.
    Loading {
        publications: Vec<(PublicationId, Incoming)>,
        openers: Vec<ClientId>,
    },
    Open(Box<Call>),
}

impl Hub {
    /// A hub that lists these calls, and knows no other until somebody names one.
    pub fn new(recent: Vec<RecentCall>) -> Self {
        Self {
            calls: HashMap::new(),
            directory: Directory::new(recent),
            list_watchers: HashSet::new(),
            tickets: HashMap::new(),
            next_ticket: 0,
            outputs: VecDeque::new(),
        }
    }

    /// An event from a publisher. Settled later, in the order of the call's publications.
    pub fn handle_publication(&mut self, now_unix_ms: i64, id: PublicationId, incoming: Incoming) {
        let Some(slot) = self.slot(incoming.call()) else {
            let reason = "the relay holds as many calls as it can";
            self.outputs.push_back(Output::Settle(id, Settled::Unavailable(reason)));
            return;
        };
        match &mut slot.state {
            State::Loading { publications, .. } => publications.push((id, incoming)),
            State::Open(_) => self.publish(now_unix_ms, id, incoming),
        }
    }

    /// The store's answer to [`Output::Load`]. `None` if it failed.
    pub fn handle_loaded(
        &mut self,
        now_unix_ms: i64,
        call: &CallId,
        loaded: Option<Option<StoredCall>>,
    ) {
        let Some(slot) = self.calls.get_mut(call) else { return };
        let State::Loading { publications, openers } = &mut slot.state else { return };
        let publications = std::mem::take(publications);
        let openers = std::mem::take(openers);

        let failure = match loaded {
            None => Some(OpenError::Unavailable),
            Some(None) if publications.is_empty() => Some(OpenError::Unknown),
            Some(stored) => {
                slot.state = State::Open(Box::new(match stored {
                    Some(stored) => Call::resume(call.clone(), now_unix_ms, stored),
                    None => Call::new(call.clone(), now_unix_ms),
                }));
                None
            }
        };
        if let Some(error) = failure {
            // Whoever still follows the call finds it gone when it pulls.
            let followers = self.calls.remove(call).map(|slot| slot.watchers).unwrap_or_default();
            let news = followers.into_iter().filter(|client| !openers.contains(client));
            self.outputs.extend(news.map(|client| Output::News(client, call.clone())));
            for client in openers {
                self.outputs.push_back(Output::Opened(client, call.clone(), Err(error)));
            }
            for (id, _) in publications {
                let reason = "the transcript store can't be read";
                self.outputs.push_back(Output::Settle(id, Settled::Unavailable(reason)));
            }
            return;
        }
        for client in openers {
            self.answer_open(client, call);
        }
        for (id, incoming) in publications {
            self.publish(now_unix_ms, id, incoming);
        }
        self.notify(call);
    }

    /// The store's answer to [`Output::Append`].
    ///
    /// After a failed write nobody knows what the store holds, so the call is read back from it. What was on its way is
    /// sent again by its publisher.
    pub fn handle_stored(&mut self, now_unix_ms: i64, ticket: Ticket, stored: bool) {
        let Some(id) = self.tickets.remove(&ticket) else { return };
        let Some(slot) = self.calls.get_mut(&id) else { return };
        let State::Open(call) = &mut slot.state else { return };
        if stored {
            call.confirm(ticket);
            self.release(now_unix_ms, &id);
        } else if call.is_waiting_for(ticket) {
            let reason = "the transcript store can't be written";
            let failed = call
                .pending_publications()
                .map(|publication| Output::Settle(publication, Settled::Unavailable(reason)));
            self.outputs.extend(failed);
            slot.state = State::Loading { publications: Vec::new(), openers: Vec::new() };
            self.outputs.push_back(Output::Load(id));
        }
    }

    /// A client wants to follow a call. Answered by [`Output::Opened`] with the call's newest `seq`; from then on the
    /// client may pull, and hears of news.
    pub fn handle_open(&mut self, client: ClientId, call: &CallId) {
        let Some(slot) = self.slot(call) else {
            let refused = Err(OpenError::Unavailable);
            self.outputs.push_back(Output::Opened(client, call.clone(), refused));
            return;
        };
        slot.watchers.insert(client);
        match &mut slot.state {
            State::Loading { openers, .. } => {
                if !openers.contains(&client) {
                    openers.push(client);
                }
            }
            State::Open(_) => self.answer_open(client, call),
        }
    }

    /// A client no longer follows a call.
    pub fn handle_leave(&mut self, client: ClientId, call: &CallId) {
        if let Some(slot) = self.calls.get_mut(call) {
            slot.watchers.remove(&client);
            if let State::Loading { openers, .. } = &mut slot.state {
                openers.retain(|opener| *opener != client);
            }
        }
    }

    /// A client wants to hear of changes of the list of calls.
    pub fn handle_watch_list(&mut self, client: ClientId) {
        self.list_watchers.insert(client);
        self.outputs.push_back(Output::ListNews(client));
    }

    /// A client no longer wants to hear of the list of calls.
    pub fn handle_leave_list(&mut self, client: ClientId) {
        self.list_watchers.remove(&client);
    }

    /// Forgets what is no longer needed. To be called every few seconds.
    pub fn handle_timeout(&mut self, now_unix_ms: i64) {
        self.calls.retain(|_, slot| match &slot.state {
            State::Loading { .. } => true,
            State::Open(call) => {
                let keep_ms = if call.has_ended() { ENDED_CALL_MS } else { QUIET_CALL_MS };
                let recent = now_unix_ms.saturating_sub(call.updated_unix_ms()) < keep_ms;
                recent || !slot.watchers.is_empty() || call.is_pending()
            }
        });
        if self.directory.expire(now_unix_ms) {
            self.notify_list();
        }
    }

    /// What happened on a call after a client's place in it. `whole` adds the current partials that the client may
    /// have seen before: for a client that starts afresh.
    pub fn pull(&self, call: &CallId, after_seq: u64, whole: bool) -> Pull {
        match self.calls.get(call).map(|slot| &slot.state) {
            Some(State::Open(call)) => call.pull(after_seq, whole),
            // A reload is on its way, and news with it.
            Some(State::Loading { .. }) => {
                Pull::Events { messages: Vec::new(), as_of_seq: after_seq }
            }
            None => Pull::NotOpen,
        }
    }

    /// How many events of a call came after a refusal of consent and were dropped, while it is in memory.
    pub fn dropped(&self, call: &CallId) -> u64 {
        match self.calls.get(call).map(|slot| &slot.state) {
            Some(State::Open(call)) => call.dropped(),
            Some(State::Loading { .. }) | None => 0,
        }
    }

    /// The list of calls as a JSON message.
    pub fn list(&mut self) -> Arc<str> {
        self.directory.json()
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The call's slot; asks the store when there is none. `None` when the hub is full.
    fn slot(&mut self, call: &CallId) -> Option<&mut Slot> {
        if !self.calls.contains_key(call) {
            if self.calls.len() >= MAX_CALLS {
                return None;
            }
            let state = State::Loading { publications: Vec::new(), openers: Vec::new() };
            self.calls.insert(call.clone(), Slot { state, watchers: HashSet::new() });
            self.outputs.push_back(Output::Load(call.clone()));
        }
        self.calls.get_mut(call)
    }

    fn answer_open(&mut self, client: ClientId, id: &CallId) {
        if let Some(State::Open(call)) = self.calls.get(id).map(|slot| &slot.state) {
            let as_of_seq = call.published_seq();
            self.outputs.push_back(Output::Opened(client, id.clone(), Ok(as_of_seq)));
        }
    }

    fn publish(&mut self, now_unix_ms: i64, publication: PublicationId, incoming: Incoming) {
        let id = incoming.call().clone();
        let Some(State::Open(call)) = self.calls.get_mut(&id).map(|slot| &mut slot.state) else {
            return;
        };
        let ticket = Ticket(self.next_ticket);
        match call.admit(now_unix_ms, publication, incoming, ticket) {
            Admission::Append(write) => {
                self.next_ticket += 1;
                self.tickets.insert(ticket, id.clone());
                self.outputs.push_back(Output::Append(ticket, write));
            }
            Admission::Queued => self.release(now_unix_ms, &id),
            Admission::Refused(reason) => {
                self.outputs.push_back(Output::Settle(publication, Settled::Refused(reason)));
            }
        }
    }

    /// Passes on what waits for nothing any more.
    fn release(&mut self, now_unix_ms: i64, id: &CallId) {
        let Some(State::Open(call)) = self.calls.get_mut(id).map(|slot| &mut slot.state) else {
            return;
        };
        let before = call.published_seq();
        let settled = call.release(now_unix_ms);
        let done = settled.into_iter().map(|id| Output::Settle(id, Settled::Done));
        self.outputs.extend(done);
        if call.published_seq() == before {
            return;
        }
        if self.directory.update(call.summary(), call.updated_unix_ms()) {
            self.notify_list();
        }
        self.notify(id);
    }

    fn notify(&mut self, call: &CallId) {
        if let Some(slot) = self.calls.get(call) {
            let news = slot.watchers.iter().map(|client| Output::News(*client, call.clone()));
            self.outputs.extend(news);
        }
    }

    fn notify_list(&mut self) {
        self.outputs.extend(self.list_watchers.iter().map(|client| Output::ListNews(*client)));
    }
}
