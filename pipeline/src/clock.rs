//! The one clock of a party: a count of its samples.

use std::fmt;

/// A place on a party's clock: the number of samples since the first that the party ever sent.
///
/// The unit is one sample at the rate of the party's decoded audio, 8000 or 16000 per second
/// ([`Codec::sample_rate`](crate::codec::Codec::sample_rate)). 2^64 samples outlast any call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SamplePosition(pub u64);

impl SamplePosition {
    /// The first sample of a party.
    pub const ZERO: Self = Self(0);

    /// The position `samples` later; saturates at the end of the clock.
    #[must_use]
    pub fn plus(self, samples: u64) -> Self {
        Self(self.0.saturating_add(samples))
    }

    /// Samples from `earlier` to here; 0 when `earlier` is the later of the two.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole milliseconds since the party's first sample, rounded down, at `rate` samples per
    /// second. A rate of 0 is read as 1.
    #[must_use]
    pub fn to_ms(self, rate: u32) -> u64 {
        let rate = u64::from(rate.max(1));
        let (seconds, rest) = (self.0 / rate, self.0 % rate);
        seconds.saturating_mul(1000).saturating_add(rest * 1000 / rate)
    }
}

impl fmt::Display for SamplePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_round_down_and_never_overflow() {
        assert_eq!(SamplePosition(159).to_ms(8000), 19);
        assert_eq!(SamplePosition(160).to_ms(8000), 20);
        assert_eq!(SamplePosition(16_000 * 3600).to_ms(16_000), 3_600_000);
        assert_eq!(SamplePosition(u64::MAX).to_ms(8000), u64::MAX / 8);
        assert_eq!(SamplePosition(u64::MAX).to_ms(0), u64::MAX);
    }

    #[test]
    fn distances_saturate() {
        assert_eq!(SamplePosition(5).since(SamplePosition(3)), 2);
        assert_eq!(SamplePosition(3).since(SamplePosition(5)), 0);
        assert_eq!(SamplePosition(u64::MAX).plus(1), SamplePosition(u64::MAX));
    }
}
