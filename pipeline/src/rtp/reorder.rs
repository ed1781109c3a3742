//! Puts packets back into the order of their sequence numbers, and decides when one is lost.

use std::time::{Duration, Instant};

/// How many packets wait behind a hole. When it is full the hole is given up.
pub(super) const HELD_CAPACITY: usize = 32;

/// How long packets wait behind a hole at first ...
pub(super) const HOLD: Duration = Duration::from_millis(100);

/// ... and at most, when packets were found to come later than that.
const LONGEST_HOLD: Duration = Duration::from_millis(300);

/// By how much a packet that came too late makes the next ones wait longer, ...
const HOLD_STEP: Duration = Duration::from_millis(50);

/// ... and by how much each packet in order makes them wait less: back to normal within 20 s.
const HOLD_DECAY: Duration = Duration::from_micros(200);

/// A step ahead by more is another stream, not a hole (RFC 3550 appendix A.1, MAX_DROPOUT).
const MAX_DROPOUT: u16 = 3000;

/// A step back by more is another stream, not a late packet (RFC 3550 appendix A.1, MAX_MISORDER).
const MAX_MISORDER: u16 = 100;

/// Why a packet cannot be put in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misplaced<T> {
    Duplicate,
    Late,
    /// So far from the others that it belongs to another stream.
    Stray(T),
}

/// Nobody listens to the output, so there is no playout delay: a packet in order passes at once,
/// and only those behind a hole wait.
#[derive(Debug)]
pub(super) struct ReorderBuffer<T> {
    /// The sequence number that is due, counted on beyond 16 bits.
    next: u64,
    /// Bit `n` is set if the packet `n + 1` before `next` was received.
    received: u64,
    /// By place. Its room is kept, so that a packet costs no allocation.
    held: Vec<Held<T>>,
    /// When the packet that was due last arrived.
    in_order_at: Instant,
    hold: Duration,
}

#[derive(Debug)]
struct Held<T> {
    place: u64,
    at: Instant,
    packet: T,
}

impl<T> ReorderBuffer<T> {
    /// `first` is the sequence number that is due first.
    pub(super) fn new(now: Instant, first: u16) -> Self {
        Self { next: u64::from(first), received: 0, held: Vec::new(), in_order_at: now, hold: HOLD }
    }

    pub(super) fn insert(
        &mut self,
        now: Instant,
        sequence_number: u16,
        packet: T,
    ) -> Result<(), Misplaced<T>> {
        let ahead = sequence_number.wrapping_sub(self.next as u16);
        let behind = ahead.wrapping_neg();
        if ahead > MAX_DROPOUT {
            return Err(match behind {
                1..=64 if self.received >> (behind - 1) & 1 == 1 => Misplaced::Duplicate,
                1..=64 => {
                    self.hold = (self.hold + HOLD_STEP).min(LONGEST_HOLD);
                    Misplaced::Late
                }
                65..=MAX_MISORDER => Misplaced::Late,
                _ => Misplaced::Stray(packet),
            });
        }
        let place = self.next + u64::from(ahead);
        let Err(index) = self.held.binary_search_by_key(&place, |held| held.place) else {
            return Err(Misplaced::Duplicate);
        };
        if ahead == 0 {
            self.in_order_at = now;
            self.hold = self.hold.saturating_sub(HOLD_DECAY).max(HOLD);
        }
        self.held.insert(index, Held { place, at: now, packet });
        Ok(())
    }

    /// The next packet, if it is due or if `now` is the time to give up the hole before it, with
    /// the number of packets lost before it. Call it until it returns `None`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(u64, T)> {
        let due = self.held.first().is_some_and(|held| held.place == self.next)
            || self.held.len() >= HELD_CAPACITY
            || self.deadline().is_some_and(|deadline| deadline <= now);
        if due { self.pop_any() } else { None }
    }

    /// The next packet, without waiting for those missing before it.
    pub(super) fn pop_any(&mut self) -> Option<(u64, T)> {
        if self.held.is_empty() {
            return None;
        }
        let Held { place, packet, .. } = self.held.remove(0);
        let missing = place - self.next;
        let shift = u32::try_from(missing + 1).unwrap_or(u32::MAX);
        self.received = self.received.checked_shl(shift).unwrap_or(0) | 1;
        self.next = place + 1;
        Some((missing, packet))
    }

    /// When [`pop`](Self::pop) will give up the hole, if there is one.
    ///
    /// The time runs from when the hole was noticed. A packet that was due and came in the
    /// meantime starts it again: what is held then lies further ahead than a hole of this stream.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let noticed = self.held.iter().map(|held| held.at).min()?;
        Some(noticed.max(self.in_order_at) + self.hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(buffer: &mut ReorderBuffer<u16>, now: Instant) -> Vec<(u64, u16)> {
        std::iter::from_fn(|| buffer.pop(now)).collect()
    }

    fn offer(buffer: &mut ReorderBuffer<u16>, now: Instant, number: u16) -> Vec<(u64, u16)> {
        buffer.insert(now, number, number).unwrap();
        drain(buffer, now)
    }

    #[test]
    fn order_is_restored_across_the_wrap() {
        let now = Instant::now();
        let mut buffer = ReorderBuffer::new(now, u16::MAX - 1);
        assert_eq!(offer(&mut buffer, now, 65534), [(0, 65534)]);
        assert_eq!(offer(&mut buffer, now, 0), []);
        assert_eq!(offer(&mut buffer, now, 1), []);
        assert_eq!(offer(&mut buffer, now, 65535), [(0, 65535), (0, 0), (0, 1)]);
        assert_eq!(buffer.deadline(), None);
    }

    #[test]
    fn a_hole_is_given_up_after_its_time() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut buffer = ReorderBuffer::new(start, 10);
        assert_eq!(offer(&mut buffer, ms(0), 10), [(0, 10)]);
        assert_eq!(offer(&mut buffer, ms(40), 12), []);
        // A second hole is noticed 40 ms after the first and given up 40 ms after it.
        assert_eq!(offer(&mut buffer, ms(80), 14), []);
        assert_eq!(buffer.deadline(), Some(ms(140)));
        assert_eq!(drain(&mut buffer, ms(139)), []);
        assert_eq!(drain(&mut buffer, ms(140)), [(1, 12)]);
        assert_eq!(buffer.deadline(), Some(ms(180)));
        assert_eq!(buffer.insert(ms(150), 11, 11), Err(Misplaced::Late));
        assert_eq!(buffer.insert(ms(150), 12, 12), Err(Misplaced::Duplicate));
        assert_eq!(buffer.insert(ms(150), 14, 14), Err(Misplaced::Duplicate));
        // One that came too late makes the others wait longer.
        assert_eq!(drain(&mut buffer, ms(229)), []);
        assert_eq!(drain(&mut buffer, ms(230)), [(1, 14)]);
    }

    #[test]
    fn a_network_that_reorders_further_is_given_more_time() {
        let start = Instant::now();
        let ms = |ms| start + Duration::from_millis(ms);
        let mut buffer = ReorderBuffer::new(start, 0);
        assert_eq!(offer(&mut buffer, ms(0), 0), [(0, 0)]);
        assert_eq!(offer(&mut buffer, ms(40), 2), []);
        assert_eq!(drain(&mut buffer, ms(140)), [(1, 2)]);
        assert_eq!(buffer.insert(ms(160), 1, 1), Err(Misplaced::Late));
        // The next that is as late is waited for.
        assert_eq!(offer(&mut buffer, ms(180), 4), []);
        assert_eq!(buffer.deadline(), Some(ms(330)));
        assert_eq!(offer(&mut buffer, ms(300), 3), [(0, 3), (0, 4)]);
        for late in 0..9 {
            buffer.next += 2;
            buffer.received = 0;
            assert_eq!(buffer.insert(ms(300), buffer.next as u16 - 1, late), Err(Misplaced::Late));
        }
        assert_eq!(buffer.hold, LONGEST_HOLD);
        for _ in 0..1000 {
            let next = buffer.next as u16;
            offer(&mut buffer, ms(400), next);
        }
        assert_eq!(buffer.hold, HOLD);
    }

    #[test]
    fn a_full_buffer_gives_the_hole_up() {
        let now = Instant::now();
        let mut buffer = ReorderBuffer::new(now, 0);
        let last = 3 + HELD_CAPACITY as u16 - 1;
        for number in 3..last {
            assert_eq!(offer(&mut buffer, now, number), []);
        }
        let released = offer(&mut buffer, now, last);
        assert_eq!(released.len(), HELD_CAPACITY);
        assert_eq!(released[0], (3, 3));
    }

    #[test]
    fn a_forged_packet_far_ahead_does_not_tear_a_hole() {
        let start = Instant::now();
        let mut buffer = ReorderBuffer::new(start, 0);
        assert_eq!(offer(&mut buffer, start, 2000), []);
        for number in 0..100 {
            let now = start + Duration::from_millis(20 * u64::from(number));
            assert_eq!(offer(&mut buffer, now, number), [(0, number)]);
        }
    }

    #[test]
    fn other_streams_are_told_apart() {
        let now = Instant::now();
        let mut buffer = ReorderBuffer::new(now, 1000);
        assert_eq!(offer(&mut buffer, now, 1000), [(0, 1000)]);
        assert_eq!(buffer.insert(now, 1001 + 3001, 7), Err(Misplaced::Stray(7)));
        assert_eq!(buffer.insert(now, 1001 - 101, 7), Err(Misplaced::Stray(7)));
        assert_eq!(buffer.insert(now, 1001 - 100, 7), Err(Misplaced::Late));
    }
}
