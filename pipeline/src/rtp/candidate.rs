//! A source that may follow the present one, on probation until it has proved itself.

use super::source::{Arrived, Source};
use std::time::{Duration, Instant};

/// A candidate is believed after this many packets in order ...
const MIN_PACKETS: usize = 5;

/// ... once the present source has been silent for this long, ...
const MIN_SILENCE: Duration = Duration::from_millis(200);

/// ... or at its first packet once the present source has been silent for this long, or has left.
const ABANDONED: Duration = Duration::from_secs(1);

/// How many packets of a candidate wait. When it is full the oldest is dropped.
const CAPACITY: usize = 25;

/// The packets of another SSRC, or of the same SSRC after it jumped, in order so far. They wait so
/// that nothing is lost when the candidate turns out to be the party after a transfer or a hold.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) ssrc: u32,
    /// Sequence numbers and packets, never empty.
    pub(super) packets: Vec<(u16, Arrived)>,
}

impl Candidate {
    pub(super) fn new(ssrc: u32, sequence_number: u16, packet: Arrived) -> Self {
        Self { ssrc, packets: vec![(sequence_number, packet)] }
    }

    /// Adds the packet that follows the last one; starts again with any other.
    pub(super) fn push(&mut self, ssrc: u32, sequence_number: u16, packet: Arrived) {
        let expected = self.packets.last().map(|&(number, _)| number.wrapping_add(1));
        if self.ssrc != ssrc || expected != Some(sequence_number) {
            *self = Self::new(ssrc, sequence_number, packet);
            return;
        }
        if self.packets.len() == CAPACITY {
            self.packets.remove(0);
        }
        self.packets.push((sequence_number, packet));
    }

    /// Whether the candidate takes over from this source.
    pub(super) fn takes_over(&self, now: Instant, source: &Source) -> bool {
        let silence = now.saturating_duration_since(source.heard_at);
        source.left
            || silence >= ABANDONED
            || (silence >= MIN_SILENCE && self.packets.len() >= MIN_PACKETS)
    }
}
