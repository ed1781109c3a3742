//! The stream of one SSRC while it is the party's.

use super::reception::ReceptionCounter;
use super::reorder::{Misplaced, ReorderBuffer};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// How long audio may stay away before its sender is taken for silent, if it was never seen to
/// pause: a stall of the network is shorter, and what it held back is heard in full.
const STEADY_PATIENCE: Duration = Duration::from_secs(2);

/// The same for a sender that does pause.
const PAUSING_PATIENCE: Duration = Duration::from_millis(300);

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
    /// What the sender does between two sentences, as far as is known.
    pub(super) pauses: Pauses,
    /// The sender said goodbye, and was not heard since.
    pub(super) left: bool,
    pub(super) reception: ReceptionCounter,
}

/// How a sender treats silence (RFC 3551 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pauses {
    /// It sends all the time, as far as is known.
    Never,
    /// It was seen to send nothing for a while.
    Sometimes,
    /// It said that it is silent now: comfort noise, or Opus in DTX.
    Now,
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
            pauses: Pauses::Never,
            left: false,
            reception: ReceptionCounter::new(first_number),
        }
    }

    /// From when on the lack of audio is silence.
    pub(super) fn silent_from(&self) -> Instant {
        match self.pauses {
            Pauses::Never => self.audio_at + STEADY_PATIENCE,
            Pauses::Sometimes => self.audio_at + PAUSING_PATIENCE,
            Pauses::Now => self.audio_at,
        }
    }

    /// Puts a packet of this source in order.
    pub(super) fn insert(
        &mut self,
        sequence_number: u16,
        packet: Arrived,
        clock_rate: u32,
    ) -> Result<(), Misplaced<Arrived>> {
        let Arrived { at, timestamp, .. } = packet;
        let is_audio = matches!(packet.content, Content::Audio(_));
        let inserted = self.reorder.insert(at, sequence_number, packet);
        if !matches!(inserted, Err(Misplaced::Stray(_))) {
            self.reception.count(sequence_number);
        }
        inserted?;
        self.heard_at = at;
        self.left = false;
        if is_audio {
            self.audio_at = at;
            self.reception.time(at, timestamp, clock_rate);
        }
        Ok(())
    }
}

/// A packet and when it arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) at: Instant,
    pub(super) timestamp: u32,
    pub(super) content: Content,
}

/// What a packet carries.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// A payload of the party's codec.
    Audio(Bytes),
    /// Comfort noise (RFC 3389): the sender is silent from here on.
    ComfortNoise,
    /// Time passing: a telephone-event, a keep-alive, what nobody agreed on.
    Other,
}
