//! One leg that a call is to have: asked for, awaited, up, or given up.

use std::time::{Duration, Instant};

use crate::sip::LegId;
use crate::supervision::{REQUEST_LIFETIME, Target};

/// The first wait after a refusal; it doubles from one to the next.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Refusals and losses that a repetition may not mend, before a leg is given up.
const MAX_STRIKES: u32 = 8;

/// A leg that was up for this long was a good one: what went wrong before does not count any more.
const STEADY: Duration = Duration::from_secs(30);

/// The INVITE of an accepted request has not come by then: a little after the request has lapsed.
const INVITE_LIMIT: Duration = REQUEST_LIFETIME.saturating_add(Duration::from_secs(1));

/// A leg of a call, or the wish for one.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) target: Target,
    pub(super) state: State,
    /// Our own party on the call, once named.
    pub(super) supervisor: Option<String>,
    /// Whether the request names the agent's extension.
    pub(super) names_agent: bool,
    /// Why it is not asked for any more.
    pub(super) given_up: Option<String>,
    /// Why it had to be asked for again.
    pub(super) failure: Option<String>,
    /// When a leg that nobody wants any more is hung up.
    pub(super) leave_at: Option<Instant>,
    /// It is being hung up.
    pub(super) is_leaving: bool,
    not_before: Option<Instant>,
    /// The wait was asked for by RingCentral, and is not cut short.
    is_penalty: bool,
    delay: Duration,
    strikes: u32,
}

/// How far an attachment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is under way.
    Idle,
    /// The request is.
    Asking,
    /// The INVITE is to come by then.
    Invited { until: Instant },
    /// The leg is answered.
    Up { leg: LegId, since: Instant },
}

impl Attachment {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            state: State::Idle,
            supervisor: None,
            names_agent: true,
            given_up: None,
            failure: None,
            leave_at: None,
            is_leaving: false,
            not_before: None,
            is_penalty: false,
            delay: FIRST_RETRY,
            strikes: 0,
        }
    }

    /// Whether there is a leg that stays, or may soon be.
    pub(super) fn is_active(&self) -> bool {
        self.state != State::Idle && !self.is_leaving
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. }) && !self.is_leaving
    }

    pub(super) fn leg(&self) -> Option<LegId> {
        match self.state {
            State::Up { leg, .. } => Some(leg),
            State::Idle | State::Asking | State::Invited { .. } => None,
        }
    }

    /// Whether it is to be asked for now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.state == State::Idle
            && self.given_up.is_none()
            && self.not_before.is_none_or(|at| at <= now)
    }

    /// When something becomes of it without a word from outside.
    pub(super) fn wake(&self) -> Option<Instant> {
        match self.state {
            State::Idle => self.not_before.filter(|_| self.given_up.is_none()),
            State::Asking => None,
            State::Invited { until } => Some(until),
            State::Up { .. } => self.leave_at.filter(|_| !self.is_leaving),
        }
    }

    /// The request was accepted. The INVITE may have come before.
    pub(super) fn accepted(&mut self, now: Instant, supervisor: String) {
        match self.state {
            State::Asking => {
                self.state = State::Invited { until: now + INVITE_LIMIT };
                self.supervisor = Some(supervisor);
            }
            State::Up { .. } => self.supervisor = Some(supervisor),
            // The INVITE came and could not be answered: that party is stuck.
            State::Idle | State::Invited { .. } => {}
        }
    }

    /// The leg is answered.
    pub(super) fn up(&mut self, now: Instant, leg: LegId, supervisor: Option<String>) {
        self.state = State::Up { leg, since: now };
        self.supervisor = supervisor.or(self.supervisor.take());
        (self.failure, self.given_up) = (None, None);
    }

    /// The leg is over. It may be asked for again after `pause`; sooner and sooner given up if it never lasts.
    pub(super) fn ended(&mut self, now: Instant, pause: Duration) {
        let is_steady =
            matches!(self.state, State::Up { since, .. } if now.duration_since(since) >= STEADY);
        let is_good = is_steady || self.is_leaving;
        self.reset();
        if is_good {
            (self.strikes, self.delay) = (0, FIRST_RETRY);
            self.not_before = Some(now + pause);
        } else {
            self.strike(now, "its leg did not last");
        }
    }

    /// Ask again, a little later each time.
    pub(super) fn retry(&mut self, now: Instant, longest: Duration, why: &str) {
        if !matches!(self.state, State::Up { .. }) {
            self.reset();
        }
        self.not_before = Some(now + self.delay.min(longest));
        self.is_penalty = false;
        self.delay = (self.delay * 2).min(longest);
        self.failure = Some(why.to_owned());
    }

    /// Ask again after a while, and give up if that happens too often.
    pub(super) fn strike(&mut self, now: Instant, why: &str) {
        self.retry(now, super::call::LAST_RETRY, why);
        self.strikes += 1;
        if self.strikes >= MAX_STRIKES {
            self.given_up = Some(format!("tried {MAX_STRIKES} times: {why}"));
        }
    }

    /// Keep quiet for as long as RingCentral says.
    pub(super) fn wait(&mut self, now: Instant, pause: Duration, why: &str) {
        self.retry(now, pause, why);
        self.not_before = Some(now + pause);
        self.is_penalty = true;
    }

    /// The call has changed: what was refused may be granted now.
    pub(super) fn hurry(&mut self) {
        if !self.is_penalty {
            self.not_before = None;
        }
    }

    /// Somebody asks for it by hand: as if nothing had been tried.
    pub(super) fn start_over(&mut self) {
        if self.state == State::Idle {
            *self = Self::new(self.target.clone());
        }
    }

    fn reset(&mut self) {
        self.state = State::Idle;
        self.supervisor = None;
        self.leave_at = None;
        self.is_leaving = false;
    }
}
