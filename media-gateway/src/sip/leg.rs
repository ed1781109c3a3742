//! The legs that RingCentral opens towards the gateway: what waits for whom, and until when.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::dialog::Dialog;
use super::message::{HeaderValues, Request};
use super::session_timer::{SessionTimer, Terms};
use super::transaction::{ClientTransaction, LIFETIME, Retransmission, TransactionKey};
use super::{Flow, Transmit};

/// How long an INVITE or UPDATE may wait for [`answer`](super::UserAgent::answer): as long as a proxy waits for a final
/// response (RFC 3261 section 16.6, timer C).
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(180);

/// How long a leg that can't be moved to the new flow is kept: until then its media may still be flowing.
const MOVE_LIMIT: Duration = Duration::from_secs(300);

/// Between two attempts to move a leg: doubled from the first to the last.
const FIRST_MOVE_RETRY: Duration = Duration::from_secs(1);
const LAST_MOVE_RETRY: Duration = Duration::from_secs(30);

/// A leg: one INVITE and the dialog that grows from it. Never reused within a user agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LegId(pub u64);

impl std::fmt::Display for LegId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a leg is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The other side sent BYE.
    Bye,
    /// The other side took its INVITE back before the answer.
    Cancelled,
    /// The INVITE was neither answered nor rejected within three minutes.
    NotAnswered,
    /// Our 200 was never acknowledged.
    NotAcknowledged,
    /// Nobody refreshed the session in time (RFC 4028): the other side is gone, or its BYE was lost.
    SessionExpired,
    /// The other side does not know the leg any more, or did not answer a request of ours.
    Unreachable,
    /// We hung up, and the other side knows or can't be reached.
    HungUp,
}

/// How far a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LegState {
    /// The first INVITE waits for an answer.
    Proceeding,
    /// Answered, no ACK yet. With `closing`, a BYE follows the ACK: RFC 3261 section 15 forbids it before.
    Answered { closing: bool },
    /// Acknowledged.
    Confirmed,
    /// Our BYE is under way.
    Closing,
}

/// A request of theirs while it is served.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) key: TransactionKey,
    pub(super) flow: Flow,
    pub(super) request: Request,
}

/// An INVITE or UPDATE that waits for [`answer`](super::UserAgent::answer).
#[derive(Debug)]
pub(super) struct PendingRequest {
    pub(super) incoming: Incoming,
    pub(super) terms: Terms,
    pub(super) answer_by: Instant,
}

/// A 2xx of ours to an INVITE: the core repeats it until the ACK, on any transport (RFC 3261 section 13.3.1.4).
#[derive(Debug)]
pub(super) struct Unacknowledged {
    /// The CSeq number of the INVITE.
    pub(super) cseq: u32,
    pub(super) transmit: Transmit,
    /// Whether the 2xx has our offer, so that the ACK brings the answer.
    pub(super) expects_answer: bool,
    pub(super) again: Retransmission,
    ends: Instant,
}

/// What a request of ours within a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnMethod {
    /// A re-INVITE that repeats our last SDP.
    Invite,
    /// An UPDATE without SDP.
    Update,
}

/// A re-INVITE or UPDATE of ours that waits for its final response.
#[derive(Debug)]
pub(super) struct OwnRequest {
    pub(super) method: OwnMethod,
    pub(super) cseq: u32,
    pub(super) transaction: ClientTransaction,
}

/// The ACK that repetitions of a final response to our re-INVITE get.
#[derive(Debug)]
pub(super) struct SentAck {
    /// The branch of the re-INVITE.
    pub(super) branch: String,
    pub(super) transmit: Transmit,
}

/// The leg has to follow the registration to another flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub(super) retry_at: Instant,
    wait: Duration,
    pub(super) give_up_at: Instant,
}

/// What a leg has to do at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Nobody answered the request that waits.
    Unanswered,
    /// Our 2xx has to be sent again.
    RepeatAnswer,
    /// Our 2xx was not acknowledged.
    NotAcknowledged,
    /// Our own request has to be sent again or given up.
    OwnRequest,
    /// It is on us to refresh the session.
    Refresh,
    /// It is time to try to move.
    Move,
    /// The session was not refreshed.
    SessionExpired,
}

/// One leg.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) state: LegState,
    pub(super) dialog: Dialog,
    /// The flow that their last INVITE or UPDATE came on, or that the leg was moved to.
    pub(super) flow: Flow,
    /// Our address on that flow.
    pub(super) local: SocketAddr,
    /// The flow of the registration that brought the INVITE: the leg follows when it becomes another.
    pub(super) follows: Option<Flow>,
    pub(super) allows_update: bool,
    /// The last SDP of ours.
    pub(super) sdp: String,
    pub(super) pending: Option<PendingRequest>,
    pub(super) unacknowledged: Option<Unacknowledged>,
    pub(super) own_request: Option<OwnRequest>,
    pub(super) sent_ack: Option<SentAck>,
    /// From the first answer on.
    pub(super) session: Option<SessionTimer>,
    pub(super) moving: Option<Move>,
}

impl Leg {
    /// The leg of a first INVITE. `local` is our address on its flow.
    pub(super) fn new(
        now: Instant,
        incoming: Incoming,
        dialog: Dialog,
        terms: Terms,
        local: SocketAddr,
    ) -> Self {
        Self {
            state: LegState::Proceeding,
            dialog,
            flow: incoming.flow,
            local,
            follows: None,
            allows_update: allows_update(&incoming.request),
            sdp: String::new(),
            pending: Some(PendingRequest::new(now, incoming, terms)),
            unacknowledged: None,
            own_request: None,
            sent_ack: None,
            session: None,
            moving: None,
        }
    }

    /// What this leg has to do next, and when.
    pub(super) fn next_timer(&self) -> Option<(Instant, Timer)> {
        let unanswered = self.pending.as_ref().map(|one| (one.answer_by, Timer::Unanswered));
        let not_acknowledged =
            self.unacknowledged.as_ref().map(|one| (one.ends, Timer::NotAcknowledged));
        let repeat = self.unacknowledged.as_ref().map(|one| (one.again.at, Timer::RepeatAnswer));
        let own = self
            .own_request
            .as_ref()
            .map(|own| (own.transaction.poll_timeout(), Timer::OwnRequest));
        let is_up = matches!(self.state, LegState::Answered { .. } | LegState::Confirmed);
        let session = self.session.filter(|_| is_up);
        let expires = session.map(|session| (session.expires_at, Timer::SessionExpired));
        let may_request = self.state == LegState::Confirmed
            && self.own_request.is_none()
            && self.pending.is_none()
            && self.unacknowledged.is_none();
        let refresh = session.filter(|_| may_request).and_then(|session| session.refresh_at);
        let moving = self.moving.filter(|_| may_request);
        [
            unanswered,
            not_acknowledged,
            repeat,
            own,
            expires,
            moving.map(|moving| (moving.retry_at, Timer::Move)),
            refresh.map(|at| (at, Timer::Refresh)),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    /// Whether an offer of ours waits for its answer: another one would collide with it.
    pub(super) fn has_offered(&self) -> bool {
        self.own_request.as_ref().is_some_and(|own| own.method == OwnMethod::Invite)
            || self.unacknowledged.as_ref().is_some_and(|answer| answer.expects_answer)
    }
}

impl Incoming {
    pub(super) fn is_invite(&self) -> bool {
        self.key.is_invite()
    }
}

impl PendingRequest {
    pub(super) fn new(now: Instant, incoming: Incoming, terms: Terms) -> Self {
        Self { incoming, terms, answer_by: now + ANSWER_LIMIT }
    }
}

impl Unacknowledged {
    pub(super) fn new(now: Instant, cseq: u32, transmit: Transmit, expects_answer: bool) -> Self {
        let again = Retransmission::first(now);
        Self { cseq, transmit, expects_answer, again, ends: now + LIFETIME }
    }
}

impl Move {
    pub(super) fn new(now: Instant, first_try: Instant) -> Self {
        Self { retry_at: first_try, wait: FIRST_MOVE_RETRY, give_up_at: now + MOVE_LIMIT }
    }

    /// The attempt failed. `None`: it was the last one.
    pub(super) fn again(self, now: Instant) -> Option<Self> {
        let retry_at = now + self.wait;
        let wait = (self.wait * 2).min(LAST_MOVE_RETRY);
        (retry_at < self.give_up_at).then_some(Self { retry_at, wait, ..self })
    }
}

fn allows_update(request: &Request) -> bool {
    let mut methods = request.values("Allow").flat_map(|methods| methods.split(','));
    methods.any(|method| method.trim() == "UPDATE")
}
