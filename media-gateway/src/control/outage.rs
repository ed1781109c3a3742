//! What to ask for while RingCentral does not answer: nothing but a probe now and then, so that the requests that the
//! rate limit allows are there when it is well again.

use std::time::{Duration, Instant};

/// Answers in a row that say so before RingCentral counts as unwell: one call may be unlucky by itself.
const SUSPICIOUS: u32 = 3;

/// Between two probes, doubled from one to the next. Calls are heard again within ten seconds of its recovery.
const FIRST_PROBE: Duration = Duration::from_secs(1);
const LAST_PROBE: Duration = Duration::from_secs(4);

/// Whether RingCentral is well, by its answers.
#[derive(Debug, Default)]
pub(super) struct Outage {
    failures: u32,
    probe: Option<Probe>,
}

#[derive(Debug)]
struct Probe {
    /// When the next request may be made; `None` while one is under way.
    due: Option<Instant>,
    delay: Duration,
}

impl Outage {
    /// A request was not served. Nothing more is sent until a probe is.
    pub(super) fn failed(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        if self.failures < SUSPICIOUS {
            return;
        }
        let delay = match &self.probe {
            None => FIRST_PROBE,
            // The answer to a request of before the outage was known.
            Some(Probe { due: Some(_), .. }) => return,
            Some(Probe { delay, .. }) => (*delay * 2).min(LAST_PROBE),
        };
        self.probe = Some(Probe { due: Some(now + delay), delay });
    }

    /// A request was served, or refused for a reason. Whether that ends an outage.
    pub(super) fn answered(&mut self) -> bool {
        self.failures = 0;
        self.probe.take().is_some()
    }

    /// A request was not sent after all.
    pub(super) fn postponed(&mut self, now: Instant) {
        if let Some(Probe { due: due @ None, delay }) = &mut self.probe {
            *due = Some(now + *delay);
        }
    }

    /// When a probe may be made.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.probe.as_ref()?.due
    }

    /// Whether a request may be made. During an outage it is the probe, once it is due.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        match &mut self.probe {
            None => true,
            Some(probe) => probe.due.take_if(|due| *due <= now).is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_unlucky_request_is_no_outage() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        for _ in 0..10 {
            outage.failed(now);
            outage.failed(now);
            assert!(outage.admits(now));
            assert!(!outage.answered());
        }
    }

    #[test]
    fn an_outage_is_probed_until_it_is_over() {
        let (mut outage, mut now) = (Outage::default(), Instant::now());
        (0..7).for_each(|_| outage.failed(now));
        for seconds in [1, 2, 4, 4, 4] {
            let due = outage.poll_timeout().unwrap();
            assert_eq!(due, now + seconds * SECOND);
            assert!(!outage.admits(due - Duration::from_millis(1)));
            assert!(outage.admits(due));
            assert!(!outage.admits(due + SECOND), "one probe at a time");
            now = due;
            outage.failed(now);
        }
        assert!(outage.admits(now + 4 * SECOND));
        outage.postponed(now + 4 * SECOND);
        assert!(outage.admits(now + 8 * SECOND), "a probe that was not sent is made again");
        assert!(outage.answered());
        assert_eq!(outage.poll_timeout(), None);
        assert!(outage.admits(now) && outage.admits(now));
    }
}
