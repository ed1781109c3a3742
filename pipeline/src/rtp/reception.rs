//! What a receiver knows about the packets of one source (RFC 3550 sections 6.4.1 and A.8).

use std::time::Instant;

/// The figures of a reception report about one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reception {
    /// The source.
    pub ssrc: u32,
    /// Packets lost since the last report, of 256 expected.
    pub fraction_lost: u8,
    /// Packets lost since the source began; 0 where duplicates outnumber losses.
    pub lost: u32,
    /// The highest sequence number, with the count of its cycles above 16 bits.
    pub highest_sequence_number: u32,
    /// Mean deviation of the packets' spacing, in ticks of the RTP clock.
    pub jitter: u32,
}

/// The 24 bits that a report has for lost packets are signed.
const MOST_LOST: u32 = (1 << 23) - 1;

/// Counts the packets of one source.
#[derive(Debug)]
pub(super) struct ReceptionCounter {
    first: u32,
    highest: u32,
    received: u64,
    /// Expected and received at the last report.
    reported: (u64, u64),
    /// Sixteen times the jitter.
    jitter: u64,
    /// When the last audio arrived, and its timestamp.
    last: Option<(Instant, u32)>,
}

impl ReceptionCounter {
    pub(super) fn new(first: u16) -> Self {
        let first = u32::from(first);
        Self { first, highest: first, received: 0, reported: (0, 0), jitter: 0, last: None }
    }

    pub(super) fn count(&mut self, sequence_number: u16) {
        self.received += 1;
        let step = sequence_number.wrapping_sub(self.highest as u16);
        if step < 1 << 15 {
            self.highest = self.highest.wrapping_add(u32::from(step));
        }
    }

    /// Notes when audio arrived; those that a delay in this process let arrive together do not count as late.
    pub(super) fn time(&mut self, at: Instant, timestamp: u32, clock_rate: u32) {
        if let Some((then, before)) = self.last.replace((at, timestamp)) {
            let passed =
                at.saturating_duration_since(then).as_micros() * u128::from(clock_rate) / 1_000_000;
            let sent = i128::from(timestamp.wrapping_sub(before) as i32);
            let passed = i128::try_from(passed).unwrap_or(i128::MAX / 2);
            let deviation = u64::try_from((passed - sent).unsigned_abs()).unwrap_or(u64::MAX);
            // A pause, or a jump of the timestamps, says nothing about the network.
            if deviation < u64::from(clock_rate) {
                self.jitter = self.jitter + deviation - (self.jitter + 8) / 16;
            }
        }
    }

    pub(super) fn report(&mut self, ssrc: u32) -> Reception {
        let expected = u64::from(self.highest.wrapping_sub(self.first)) + 1;
        let (expected_before, received_before) =
            std::mem::replace(&mut self.reported, (expected, self.received));
        let interval = expected.saturating_sub(expected_before);
        let lost = interval.saturating_sub(self.received - received_before);
        Reception {
            ssrc,
            fraction_lost: (lost * 256).checked_div(interval).unwrap_or(0).min(255) as u8,
            lost: u32::try_from(expected.saturating_sub(self.received))
                .map_or(MOST_LOST, |lost| lost.min(MOST_LOST)),
            highest_sequence_number: self.highest,
            jitter: u32::try_from(self.jitter / 16).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn losses_are_counted_across_the_wrap_and_by_interval() {
        let mut counter = ReceptionCounter::new(65_500);
        for number in 65_500..65_600_u32 {
            if number % 10 != 0 {
                counter.count(number as u16);
            }
        }
        // 65500 itself and nine more are missing, one that was counted twice.
        counter.count(65_599_u32 as u16);
        let report = counter.report(7);
        assert_eq!(report.highest_sequence_number, 65_599);
        assert_eq!((report.lost, report.fraction_lost), (9, 23));
        for number in 65_600..65_700_u32 {
            counter.count(number as u16);
        }
        let report = counter.report(7);
        assert_eq!((report.lost, report.fraction_lost), (9, 0));
        // Nothing since.
        assert_eq!(counter.report(7).fraction_lost, 0);
    }

    #[test]
    fn jitter_is_the_mean_deviation_of_the_spacing() {
        let start = Instant::now();
        let mut counter = ReceptionCounter::new(0);
        for n in 0..1000_u64 {
            // 20 ms apart, every other one 10 ms late: each spacing is off by 10 ms.
            let at = start + Duration::from_millis(n * 20 + n % 2 * 10);
            counter.time(at, (n * 160) as u32, 8000);
        }
        let jitter = counter.report(7).jitter;
        assert!((75..=80).contains(&jitter), "{jitter}");
        // An hour of silence is no jitter.
        counter.time(start + Duration::from_secs(3700), 160_000, 8000);
        assert_eq!(counter.report(7).jitter, jitter);
    }
}
