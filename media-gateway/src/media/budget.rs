//! How many packets a stream looks at: a flood must not take the processor from the other calls. Pure.

use std::time::Instant;

/// Packets per second in the long run: three times what a codec with packets of 20 ms sends.
const RATE: f64 = 150.0;

/// Packets at once: what a network that stalled for ten seconds delivers in one burst.
const BURST: f64 = 500.0;

/// A bucket of packets that may still be looked at. When it is empty, packets are dropped.
#[derive(Debug)]
pub(super) struct PacketBudget {
    left: f64,
    at: Instant,
}

impl PacketBudget {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BURST, at: now }
    }

    /// Whether one more packet is looked at.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * RATE;
        self.at = self.at.max(now);
        self.left = (self.left + earned).min(BURST);
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_call_and_a_burst_pass_and_a_flood_does_not() {
        let start = Instant::now();
        let mut budget = PacketBudget::new(start);
        let mut now = start;
        for _ in 0..5000 {
            assert!(budget.take(now));
            now += Duration::from_millis(20);
        }
        assert!((0..500).all(|_| budget.take(now)));
        assert!(!budget.take(now));
        // Of 10,000 in a second 150 pass.
        let passed =
            (0..10_000).filter(|n| budget.take(now + Duration::from_micros(n * 100))).count();
        assert!((149..=151).contains(&passed), "{passed}");
    }
}
