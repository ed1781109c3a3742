//! One client's side of protocol `captions.v1` as a pure state machine: its messages, news of the hub and the time go
//! in; messages to send and questions to ask come out.
//!
//! A subscription replays by pulling: first from the hub's memory, from the store if that does not reach back far
//! enough, and from the hub again, until nothing is missing. Only then is it live. Nothing is queued for a client but
//! what one pull has brought, so a slow one costs no memory; one that is live and then falls behind by more than the
//! hub remembers is told where to resume, and closed.

mod limits;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use sidetone_proto::CallId;

use self::limits::RateLimit;
pub use self::limits::{MAX_MESSAGE_BYTES, MESSAGE_BURST, MESSAGES_PER_SECOND};
use crate::event::{ClientMessage, ErrorCode, Event, ServerMessage};
use crate::hub::{OpenError, Pull};

/// Calls that one connection may follow at a time.
pub const MAX_SUBSCRIPTIONS: usize = 20;

/// Broken or too frequent messages that close the connection.
pub const MAX_VIOLATIONS: u32 = 3;

/// How often a heartbeat is sent.
pub const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(5);

/// WebSocket close codes of this protocol (RFC 6455, section 7.4; 4000 and up are for applications).
pub mod close_code {
    /// The relay is shutting down: connect again.
    pub const GOING_AWAY: u16 = 1001;
    /// The client broke the protocol or its limits too often.
    pub const POLICY: u16 = 1008;
    /// The store or the hub failed: connect again and resume.
    pub const TRY_AGAIN_LATER: u16 = 1013;
    /// The client reads too slowly. The reason is `resume_after=SEQ`: what to say in `after_seq`.
    pub const TOO_SLOW: u16 = 4008;
}

/// What a session wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this text message.
    Send(Arc<str>),
    /// Send a close frame and end. Nothing comes after it.
    Close {
        /// See [`close_code`].
        code: u16,
        /// At most 123 bytes.
        reason: String,
    },
    /// Ask the hub to open this call; its answer goes to [`Session::handle_opened`].
    Open(CallId),
    /// Tell the hub that the call is no longer followed.
    Leave(CallId),
    /// Pull from the hub; the answer goes to [`Session::handle_pulled`].
    Pull {
        /// The call.
        call: CallId,
        /// The session's place in it.
        after_seq: u64,
        /// With partials that are older than the place.
        whole: bool,
    },
    /// Read a page from the store; the answer goes to [`Session::handle_page`].
    Page {
        /// The call.
        call: CallId,
        /// The session's place in it.
        after_seq: u64,
    },
    /// Tell the hub to report changes of the list of calls.
    WatchList,
    /// Fetch the list of calls; the answer goes to [`Session::handle_list`].
    FetchList,
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    subscriptions: BTreeMap<CallId, Subscription>,
    rate: RateLimit,
    violations: u32,
    heartbeat_at: Instant,
    outputs: VecDeque<Output>,
    closed: bool,
}

#[derive(Debug)]
struct Subscription {
    phase: Phase,
    /// The newest event that was sent, or that the client says it has.
    after_seq: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opening,
    Replaying,
    Live,
}

impl Session {
    /// A session that begins now.
    pub fn new(now: Instant) -> Self {
        Self {
            subscriptions: BTreeMap::new(),
            rate: RateLimit::new(now),
            violations: 0,
            heartbeat_at: now + HEARTBEAT,
            outputs: VecDeque::new(),
            closed: false,
        }
    }

    /// A text message from the client. Anything else, such as a binary message, is `None`.
    pub fn handle_message(&mut self, now: Instant, message: Option<&str>) {
        if !self.rate.admits(now) {
            let code = ErrorCode::RateLimited;
            return self.violation(code, "too many messages: send at most 10 a second");
        }
        let Some(text) = message.filter(|text| text.len() <= MAX_MESSAGE_BYTES) else {
            let code = ErrorCode::InvalidMessage;
            return self.violation(code, "send text messages of at most 4 KiB");
        };
        match serde_json::from_str(text) {
            Ok(ClientMessage::SubscribeCalls) => self.push(Output::WatchList),
            Ok(ClientMessage::Subscribe { call_id, after_seq }) => {
                self.subscribe(call_id, after_seq.unwrap_or(0));
            }
            Ok(ClientMessage::Unsubscribe { call_id }) => {
                if self.subscriptions.remove(&call_id).is_some() {
                    self.push(Output::Leave(call_id));
                }
            }
            Err(_) => self.violation(
                ErrorCode::InvalidMessage,
                "not a message of captions.v1: send subscribe_calls, subscribe or unsubscribe",
            ),
        }
    }

    /// The hub's answer to [`Output::Open`]: the call's newest event.
    pub fn handle_opened(&mut self, call: CallId, opened: Result<u64, OpenError>) {
        let Some(subscription) = self.subscriptions.get_mut(&call) else { return };
        if subscription.phase != Phase::Opening {
            return;
        }
        match opened {
            Ok(as_of_seq) => {
                if subscription.after_seq > as_of_seq {
                    // The client's place is in another store's past: it has nothing of this call.
                    subscription.after_seq = 0;
                }
                subscription.phase = Phase::Replaying;
                let after_seq = subscription.after_seq;
                self.send(&ServerMessage::Subscribed { call_id: call.clone(), as_of_seq });
                self.push(Output::Pull { call, after_seq, whole: true });
            }
            Err(error) => {
                self.subscriptions.remove(&call);
                let (code, message) = match error {
                    OpenError::Unknown => (ErrorCode::UnknownCall, "there is no such call"),
                    OpenError::Unavailable => {
                        (ErrorCode::Unavailable, "the call can't be read now: try again")
                    }
                };
                self.error(code, message, Some(call.clone()));
                self.push(Output::Leave(call));
            }
        }
    }

    /// The hub's answer to [`Output::Pull`].
    pub fn handle_pulled(&mut self, call: CallId, pulled: Pull) {
        let Some(subscription) = self.subscriptions.get_mut(&call) else { return };
        match pulled {
            Pull::Events { messages, as_of_seq } => {
                subscription.phase = Phase::Live;
                subscription.after_seq = subscription.after_seq.max(as_of_seq);
                for message in messages {
                    self.push(Output::Send(message));
                }
            }
            Pull::Behind if subscription.phase == Phase::Live => {
                let reason = format!("resume_after={}", subscription.after_seq);
                self.close(close_code::TOO_SLOW, reason);
            }
            Pull::Behind => {
                let after_seq = subscription.after_seq;
                self.push(Output::Page { call, after_seq });
            }
            Pull::NotOpen => self.close(close_code::TRY_AGAIN_LATER, "resume".to_owned()),
        }
    }

    /// The store's answer to [`Output::Page`]. `None` if it failed.
    pub fn handle_page(&mut self, call: CallId, page: Option<Vec<Event>>) {
        let Some(subscription) = self.subscriptions.get_mut(&call) else { return };
        // An empty page can't be: the hub says that there is more. A store that lost it would be asked for ever.
        let Some(newest) = page.as_ref().and_then(|events| events.last()).map(Event::seq) else {
            return self.close(close_code::TRY_AGAIN_LATER, "resume".to_owned());
        };
        subscription.after_seq = newest;
        for event in page.into_iter().flatten() {
            self.push(Output::Send(event.to_json().into()));
        }
        self.push(Output::Pull { call, after_seq: newest, whole: true });
    }

    /// Something happened on a call.
    pub fn handle_news(&mut self, call: CallId) {
        // While it replays, it pulls anyway.
        let live = self.subscriptions.get(&call).filter(|known| known.phase == Phase::Live);
        if let Some(after_seq) = live.map(|subscription| subscription.after_seq) {
            self.push(Output::Pull { call, after_seq, whole: false });
        }
    }

    /// The list of calls has changed.
    pub fn handle_list_news(&mut self) {
        self.push(Output::FetchList);
    }

    /// The list of calls, as a message.
    pub fn handle_list(&mut self, list: Arc<str>) {
        self.push(Output::Send(list));
    }

    /// The relay is shutting down.
    pub fn handle_shutdown(&mut self) {
        self.close(close_code::GOING_AWAY, "the relay is shutting down".to_owned());
    }

    /// The time is [`Session::poll_timeout`] or later.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.heartbeat_at {
            self.heartbeat_at = now + HEARTBEAT;
            self.send(&ServerMessage::Heartbeat);
        }
    }

    /// When to call [`Session::handle_timeout`].
    pub fn poll_timeout(&self) -> Instant {
        self.heartbeat_at
    }

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn subscribe(&mut self, call: CallId, after_seq: u64) {
        let known = self.subscriptions.contains_key(&call);
        if !known && self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            let code = ErrorCode::TooManySubscriptions;
            return self.error(code, "unsubscribe from a call first: 20 are followed", Some(call));
        }
        let subscription = Subscription { phase: Phase::Opening, after_seq };
        self.subscriptions.insert(call.clone(), subscription);
        self.push(Output::Open(call));
    }

    fn violation(&mut self, code: ErrorCode, message: &str) {
        self.violations += 1;
        self.error(code, message, None);
        if self.violations >= MAX_VIOLATIONS {
            self.close(close_code::POLICY, "too many invalid messages".to_owned());
        }
    }

    fn error(&mut self, code: ErrorCode, message: &str, call_id: Option<CallId>) {
        self.send(&ServerMessage::Error { code, message: message.to_owned(), call_id });
    }

    fn send(&mut self, message: &ServerMessage) {
        self.push(Output::Send(message.to_json().into()));
    }

    fn close(&mut self, code: u16, reason: String) {
        self.push(Output::Close { code, reason });
        self.closed = true;
    }

    fn push(&mut self, output: Output) {
        if !self.closed {
            self.outputs.push_back(output);
        }
    }
}
