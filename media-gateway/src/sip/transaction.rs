//! Transactions (RFC 3261 section 17): what repeats messages that get lost, and recognises repeated ones.
//!
//! One store holds the server transactions of every method. The 2xx of an INVITE is not repeated here but by its leg
//! (RFC 3261 section 13.3.1.4); repetitions of the INVITE get it from here (RFC 6026).

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::message::{HeaderValues, Method, Request};
use super::{Flow, Transmit};

/// Round-trip estimate: the first retransmission comes after this.
pub const T1: Duration = Duration::from_millis(500);
/// Longest interval between retransmissions.
pub const T2: Duration = Duration::from_secs(4);
/// How long a transaction lives: 64 * T1.
pub const LIFETIME: Duration = Duration::from_secs(32);

/// Server transactions held at once. When full, the oldest one that has its response is forgotten: its request, if
/// repeated, is served again.
const CAPACITY: usize = 4096;

/// What makes two requests the same transaction (RFC 3261 section 17.2.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TransactionKey {
    via: String,
    method: String,
}

impl TransactionKey {
    /// The key of a request. An ACK has the key of its INVITE.
    pub fn of(request: &Request) -> Self {
        let method = match request.method {
            Method::Known(rsip::Method::Ack) => "INVITE".to_owned(),
            Method::Known(_) | Method::Extension(_) => request.method.name(),
        };
        Self { via: Self::via(request), method }
    }

    /// The key of the INVITE that a CANCEL is about.
    pub fn cancelled_by(cancel: &Request) -> Self {
        Self { via: Self::via(cancel), method: "INVITE".to_owned() }
    }

    /// Whether it is an INVITE's.
    pub fn is_invite(&self) -> bool {
        self.method == "INVITE"
    }

    fn via(request: &Request) -> String {
        let via = request.top_via().unwrap_or_default();
        match request.branch() {
            Some(branch) if branch.starts_with("z9hG4bK") => {
                let sent_by = via.split(';').next().unwrap_or_default();
                format!("{branch} {sent_by}")
            }
            // An RFC 2543 client: the branch is not unique.
            _ => format!(
                "{via} {} {} {}",
                request.call_id().unwrap_or_default(),
                request.cseq().map_or(0, |(number, _)| number),
                request.tag_in_from().unwrap_or_default()
            ),
        }
    }
}

/// Every request that was received lately, with the response it got.
#[derive(Debug, Default)]
pub struct ServerTransactions {
    transactions: HashMap<TransactionKey, ServerTransaction>,
    /// In the order of arrival.
    order: VecDeque<TransactionKey>,
}

/// The last response to a request.
#[derive(Debug)]
struct ServerTransaction {
    /// The flow that the request came on last.
    flow: Flow,
    /// Absent until the first response.
    response: Option<Bytes>,
    retransmission: Option<Retransmission>,
    /// Absent until the final response.
    ends: Option<Instant>,
}

/// When to send again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retransmission {
    pub(super) at: Instant,
    interval: Duration,
    longest: Duration,
}

impl ServerTransactions {
    /// Enters a request. `false` if it is a repetition: then the response to it, if there is one, is in `out`.
    pub fn receive(
        &mut self,
        key: &TransactionKey,
        flow: Flow,
        out: &mut VecDeque<Transmit>,
    ) -> bool {
        if let Some(known) = self.transactions.get_mut(key) {
            known.flow = flow;
            out.extend(known.response.clone().map(|bytes| Transmit { flow, bytes }));
            return false;
        }
        if self.order.len() >= CAPACITY {
            self.forget_one();
        }
        let transaction =
            ServerTransaction { flow, response: None, retransmission: None, ends: None };
        self.transactions.insert(key.clone(), transaction);
        self.order.push_back(key.clone());
        true
    }

    /// Notes the response that repetitions of a request get, and repeats the refusal of an INVITE until its ACK. Gives the
    /// flow to send it on, unless the request is forgotten.
    pub fn respond(
        &mut self,
        now: Instant,
        key: &TransactionKey,
        code: u16,
        response: &Bytes,
    ) -> Option<Flow> {
        let transaction = self.transactions.get_mut(key)?;
        let flow = transaction.flow;
        transaction.response = Some(response.clone());
        transaction.ends = (code >= 200).then(|| now + LIFETIME);
        let repeats = code >= 300 && key.is_invite() && !flow.is_reliable();
        transaction.retransmission = repeats.then(|| Retransmission::first(now));
        Some(flow)
    }

    /// Whether a request was received lately.
    pub fn contains(&self, key: &TransactionKey) -> bool {
        self.transactions.contains_key(key)
    }

    /// An ACK arrived for the refused INVITE with this key.
    pub fn acknowledge(&mut self, key: &TransactionKey) {
        if let Some(transaction) = self.transactions.get_mut(key) {
            transaction.retransmission = None;
        }
    }

    /// The next time at which [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let times = |one: &ServerTransaction| {
            let again = one.retransmission.map(|again| again.at);
            one.ends.into_iter().chain(again).min()
        };
        self.transactions.values().filter_map(times).min()
    }

    /// Repeats and forgets what is due.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Transmit>) {
        self.transactions.retain(|_, transaction| {
            if transaction.ends.is_some_and(|ends| ends <= now) {
                return false;
            }
            if let (Some(again), Some(bytes)) =
                (&mut transaction.retransmission, &transaction.response)
                && again.is_due(now)
            {
                out.push_back(Transmit { flow: transaction.flow, bytes: bytes.clone() });
            }
            true
        });
        if self.order.len() != self.transactions.len() {
            self.order.retain(|key| self.transactions.contains_key(key));
        }
    }

    fn forget_one(&mut self) {
        let is_answered = |key: &TransactionKey| {
            self.transactions.get(key).is_none_or(|transaction| transaction.ends.is_some())
        };
        let oldest = self.order.iter().position(is_answered).unwrap_or(0);
        if let Some(key) = self.order.remove(oldest) {
            self.transactions.remove(&key);
        }
    }
}

/// A request of ours that waits for its final response.
#[derive(Debug)]
pub struct ClientTransaction {
    /// The branch of its Via.
    pub branch: String,
    flow: Flow,
    bytes: Bytes,
    retransmission: Option<Retransmission>,
    ends: Instant,
}

impl ClientTransaction {
    /// A request that is sent now, and given up after `timeout`. An INVITE is repeated ever more rarely (timer A), any
    /// other request at least every [`T2`] (timer E).
    pub fn send(
        now: Instant,
        flow: Flow,
        branch: String,
        bytes: Bytes,
        timeout: Duration,
        out: &mut VecDeque<Transmit>,
    ) -> Self {
        out.push_back(Transmit { flow, bytes: bytes.clone() });
        let longest = if bytes.starts_with(b"INVITE ") { LIFETIME } else { T2 };
        let retransmission =
            (!flow.is_reliable()).then(|| Retransmission { longest, ..Retransmission::first(now) });
        Self { branch, flow, bytes, retransmission, ends: now + timeout }
    }

    /// A provisional response: the request has arrived (RFC 3261 section 17.1.2.2 slows down, it need not stop).
    pub fn provisional(&mut self) {
        self.retransmission = None;
    }

    /// The next time at which [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Instant {
        self.retransmission.map_or(self.ends, |again| again.at.min(self.ends))
    }

    /// Repeats the request if that is due. `false` when no answer will be waited for any longer.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Transmit>) -> bool {
        if self.ends <= now {
            return false;
        }
        if self.retransmission.as_mut().is_some_and(|again| again.is_due(now)) {
            out.push_back(Transmit { flow: self.flow, bytes: self.bytes.clone() });
        }
        true
    }
}

impl Retransmission {
    /// First after [`T1`], and then after twice as long each time, up to [`T2`].
    pub(super) fn first(now: Instant) -> Self {
        Self { at: now + T1, interval: T1, longest: T2 }
    }

    /// Whether it is time; if so, the next time is set.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        if self.at > now {
            return false;
        }
        self.interval = (self.interval * 2).min(self.longest);
        self.at = now + self.interval;
        true
    }
}
