//! The stream of one SSRC while it is the party's.

use super::reorder::{Misplaced, ReorderBuffer};
use bytes::Bytes;
use std::time::Instant;

/// The stream that is being heard.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) ssrc: u32,
    pub(super) reorder: ReorderBuffer<Arrived>,
    /// The RTP timestamp that continues the audio without a pause ...
    pub(super) next_timestamp: u32,
    /// ... and its place on the party's clock, in ticks of the RTP clock.
    pub(super) next_ticks: u64,
    /// Packets missing since the last that was decoded.
    pub(super) missing: u64,
    /// Samples in the last packet that was decoded; 0 before the first.
    pub(super) frame: u64,
    /// When the last packet of any kind arrived.
    pub(super) heard_at: Instant,
    /// When the last audio packet arrived.
    pub(super) audio_at: Instant,
    /// When the packet that was played last arrived.
    pub(super) played_at: Instant,
    /// Since when packets have come too late for the clock.
    pub(super) overlapped_since: Option<Instant>,
}

impl Source {
    /// A source of which nothing was played yet, whose packet `first_number`, of time `timestamp`,
    /// arrived at `at` and belongs at `ticks` on the party's clock.
    pub(super) fn new(
        ssrc: u32,
        first_number: u16,
        timestamp: u32,
        at: Instant,
        ticks: u64,
    ) -> Self {
        Self {
            ssrc,
            reorder: ReorderBuffer::new(at, first_number),
            next_timestamp: timestamp,
            next_ticks: ticks,
            missing: 0,
            frame: 0,
            heard_at: at,
            audio_at: at,
            played_at: at,
            overlapped_since: None,
        }
    }

    /// Puts a packet of this source in order.
    pub(super) fn insert(
        &mut self,
        sequence_number: u16,
        packet: Arrived,
    ) -> Result<(), Misplaced<Arrived>> {
        let (at, is_audio) = (packet.at, packet.payload.is_some());
        self.reorder.insert(at, sequence_number, packet)?;
        self.heard_at = at;
        if is_audio {
            self.audio_at = at;
        }
        Ok(())
    }
}

/// A packet and when it arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) at: Instant,
    pub(super) timestamp: u32,
    /// `None` if the packet is not audio.
    pub(super) payload: Option<Bytes>,
}
