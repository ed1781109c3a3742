//! Where on its own clock a party is at a given instant, judged by when its packets arrive.

use crate::clock::SamplePosition;
use std::time::{Duration, Instant};

/// Follows the earliest arrivals, which are those that the network delayed least: a packet ahead
/// of the expectation moves it at once, one behind moves it by a fraction, so that neither jitter
/// nor a sender whose crystal runs slow leads it astray.
#[derive(Clone, Copy, Debug)]
pub(super) struct ArrivalClock {
    at: Instant,
    position: SamplePosition,
    rate: u32,
}

/// Of the lag of a packet behind the expectation, this part is believed.
const LAG_SHARE: u64 = 64;

impl ArrivalClock {
    pub(super) fn new(at: Instant, position: SamplePosition, rate: u32) -> Self {
        Self { at, position, rate }
    }

    /// Notes that audio starting at `position` arrived at `at`, which may be before the last.
    pub(super) fn observe(&mut self, at: Instant, position: SamplePosition) {
        let now = at.max(self.at);
        let arrived = Self { at, position, ..*self }.position_at(now);
        let expected = self.position_at(now);
        let lag = expected.since(arrived);
        self.position = arrived.max(SamplePosition(expected.0 - lag / LAG_SHARE));
        self.at = now;
    }

    /// The position that a packet arriving at `now` would start at.
    pub(super) fn position_at(&self, now: Instant) -> SamplePosition {
        let elapsed = now.saturating_duration_since(self.at);
        let samples = elapsed.as_nanos() * u128::from(self.rate) / NANOS_PER_SECOND;
        self.position.plus(u64::try_from(samples).unwrap_or(u64::MAX))
    }

    /// The first instant whose [`position_at`](Self::position_at) is `position` or later; `None`
    /// when that is too far away for the platform's clock.
    pub(super) fn instant_of(&self, position: SamplePosition) -> Option<Instant> {
        let samples = u128::from(position.since(self.position));
        let nanos = (samples * NANOS_PER_SECOND).div_ceil(u128::from(self.rate));
        self.at.checked_add(Duration::from_nanos(u64::try_from(nanos).ok()?))
    }
}

const NANOS_PER_SECOND: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_and_positions_agree() {
        let start = Instant::now();
        let clock = ArrivalClock::new(start, SamplePosition(100), 16_000);
        for samples in [0, 1, 7, 320, 16_000, 999_999] {
            let position = SamplePosition(100 + samples);
            let instant = clock.instant_of(position).unwrap();
            assert_eq!(clock.position_at(instant), position);
            if samples > 0 {
                assert!(clock.position_at(instant - Duration::from_nanos(1)) < position);
            }
        }
        assert_eq!(clock.instant_of(SamplePosition(u64::MAX)), None);
    }

    #[test]
    fn early_packets_lead_and_late_ones_hardly_drag() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut clock = ArrivalClock::new(start, SamplePosition(0), 8000);
        // 60 ms late, once.
        clock.observe(ms(80), SamplePosition(160));
        assert_eq!(clock.position_at(ms(80)), SamplePosition(640 - 480 / 64));
        // On time again.
        clock.observe(ms(100), SamplePosition(800));
        assert_eq!(clock.position_at(ms(100)), SamplePosition(800));
        // Of two released together the later arrived first, and on time.
        clock.observe(ms(200), SamplePosition(960));
        clock.observe(ms(140), SamplePosition(1120));
        assert_eq!(clock.position_at(ms(200)), SamplePosition(1600));
        // Every packet from now on takes a second longer: believed within a few seconds.
        for n in 0..500 {
            clock.observe(ms(1120 + 20 * n), SamplePosition(960 + 160 * n));
        }
        let expected = clock.position_at(ms(1120 + 20 * 500)).0;
        assert!(expected.abs_diff(960 + 160 * 500) < 80, "{expected}");
    }
}
