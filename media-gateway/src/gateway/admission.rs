//! Which calls are let in, decided before anything is opened for them. Pure.

use std::time::{Duration, Instant};

/// Why a call is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    /// An INVITE from neither the registered flow nor an allowed source.
    #[error("it came from neither the registered flow nor one of allowed_sources")]
    Forbidden,
    /// The gateway is going down.
    #[error("the gateway is going down")]
    Draining,
    /// More INVITEs in a second than the limit.
    #[error("more INVITEs came in a second than max_calls_per_second")]
    TooFast,
    /// As many calls as the limit are up.
    #[error("as many calls as max_calls are up")]
    TooManyCalls,
    /// An ordinary call to the supervisor's number: not ours to answer.
    #[error("no supervise request asked for it")]
    Unsolicited,
}

/// Limits, and what has been used of them.
#[derive(Debug)]
pub(super) struct Admission {
    max_calls: usize,
    bucket: TokenBucket,
    draining: bool,
}

/// Holds one second's worth of tokens. Kept as the time at which it is full again (GCRA).
#[derive(Debug)]
struct TokenBucket {
    interval: Duration,
    full_at: Option<Instant>,
}

impl Denied {
    /// The response to the INVITE. A 503 says when to try again.
    pub(super) fn status(self) -> (u16, &'static str) {
        match self {
            Denied::Forbidden => (403, "Forbidden"),
            Denied::Draining | Denied::TooFast => (503, "Service Unavailable"),
            Denied::TooManyCalls => (486, "Busy Here"),
            Denied::Unsolicited => (480, "Temporarily Unavailable"),
        }
    }
}

impl Admission {
    /// Lets in `max_calls` at once, and `max_per_second` INVITEs; a burst may be one second's worth.
    pub(super) fn new(max_calls: usize, max_per_second: u32) -> Self {
        let interval = Duration::from_secs(1) / max_per_second.max(1);
        Self { max_calls, bucket: TokenBucket { interval, full_at: None }, draining: false }
    }

    /// From now on nobody is let in.
    pub(super) fn drain(&mut self) {
        self.draining = true;
    }

    /// An INVITE arrived, from a trusted source or a stranger. Strangers use up nothing of the rate.
    pub(super) fn invited(&mut self, now: Instant, is_trusted: bool) -> Result<(), Denied> {
        if !is_trusted {
            Err(Denied::Forbidden)
        } else if self.draining {
            Err(Denied::Draining)
        } else if !self.bucket.take(now) {
            Err(Denied::TooFast)
        } else {
            Ok(())
        }
    }

    /// A leg is about to be asked for, or answered: of one of the `calls` that are up, or of a new one.
    pub(super) fn joining(&self, calls: usize, is_new: bool) -> Result<(), Denied> {
        if self.draining {
            Err(Denied::Draining)
        } else if is_new && calls >= self.max_calls {
            Err(Denied::TooManyCalls)
        } else {
            Ok(())
        }
    }
}

impl TokenBucket {
    fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + self.interval;
        let is_there = full_at.duration_since(now) <= Duration::from_secs(1).max(self.interval);
        if is_there {
            self.full_at = Some(full_at);
        }
        is_there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn let_in(admission: &mut Admission, now: Instant, invites: u32) -> usize {
        (0..invites).filter(|_| admission.invited(now, true).is_ok()).count()
    }

    #[test]
    fn a_burst_is_one_seconds_worth_and_then_the_rate_holds() {
        let (mut admission, start) = (Admission::new(1, 5), Instant::now());
        assert_eq!(let_in(&mut admission, start, 20), 5);
        assert_eq!(admission.invited(start, true), Err(Denied::TooFast));
        let mut admitted = 0;
        for ms in (0..10_000).step_by(10) {
            admitted += let_in(&mut admission, start + Duration::from_millis(ms), 3);
        }
        assert_eq!(admitted, 49);
        assert_eq!(let_in(&mut admission, start + Duration::from_secs(60), 20), 5);
    }

    #[test]
    fn one_call_a_second_is_let_in() {
        let (mut admission, start) = (Admission::new(1, 1), Instant::now());
        assert_eq!(let_in(&mut admission, start, 3), 1);
        assert_eq!(let_in(&mut admission, start + Duration::from_secs(1), 3), 1);
    }

    #[test]
    fn strangers_use_up_nothing() {
        let (mut admission, now) = (Admission::new(1, 1), Instant::now());
        for _ in 0..100 {
            assert_eq!(admission.invited(now, false), Err(Denied::Forbidden));
        }
        assert_eq!(admission.invited(now, true), Ok(()));
    }

    #[test]
    fn only_new_calls_count_against_the_limit() {
        let admission = Admission::new(2, 1);
        assert_eq!(admission.joining(1, true), Ok(()));
        assert_eq!(admission.joining(2, true), Err(Denied::TooManyCalls));
        assert_eq!(admission.joining(2, false), Ok(()));
    }

    #[test]
    fn nobody_is_let_in_while_draining() {
        let (mut admission, now) = (Admission::new(2, 10), Instant::now());
        admission.drain();
        assert_eq!(admission.invited(now, true), Err(Denied::Draining));
        assert_eq!(admission.invited(now, false), Err(Denied::Forbidden));
        assert_eq!(admission.joining(0, true), Err(Denied::Draining));
        assert_eq!(admission.joining(0, false), Err(Denied::Draining));
    }

    #[test]
    fn each_denial_has_its_status() {
        for (denied, code) in [
            (Denied::Forbidden, 403),
            (Denied::Draining, 503),
            (Denied::TooFast, 503),
            (Denied::TooManyCalls, 486),
            (Denied::Unsolicited, 480),
        ] {
            assert_eq!(denied.status().0, code, "{denied}");
        }
    }
}
