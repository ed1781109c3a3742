//! Requests that are repeated until they are answered (RFC 3261 section 17.1).

use super::Flow;
use bytes::Bytes;
use std::time::{Duration, Instant};

/// The estimate of the round-trip time (RFC 3261 section 17.1.1.1).
pub(crate) const T1: Duration = Duration::from_millis(500);
/// The longest interval between repeats of a request other than INVITE.
pub(crate) const T2: Duration = Duration::from_secs(4);
/// How long a transaction waits for its final response: timers B and F.
pub(crate) const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(32);

/// A request that is repeated until it is answered.
pub(crate) struct Repeat {
    message: Bytes,
    /// When to send it again; never on a reliable transport.
    pub(super) next: Option<Instant>,
    interval: Duration,
    longest: Duration,
    /// When to give up: timers B and F.
    pub(super) deadline: Instant,
}

impl Repeat {
    pub(super) fn new(now: Instant, message: Bytes, flow: &Flow, longest: Duration) -> Self {
        Self {
            message,
            next: flow.is_unreliable().then(|| now + T1),
            interval: T1,
            longest,
            deadline: now + TRANSACTION_TIMEOUT,
        }
    }

    /// When there is something to do.
    pub(super) fn wake(&self) -> Instant {
        self.next.map_or(self.deadline, |next| next.min(self.deadline))
    }

    /// The message, when it is time to repeat it; each wait is twice the one before.
    pub(super) fn due(&mut self, now: Instant) -> Option<Bytes> {
        let next = self.next.filter(|next| *next <= now)?;
        self.interval = (self.interval * 2).min(self.longest);
        self.next = Some(next + self.interval);
        Some(self.message.clone())
    }
}
