//! Where a media stream puts audio and an uplink takes it: never blocks the one, wakes the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pipeline::clock::SamplePosition;
use pipeline::rtp::PartyAudio;
use sidetone_proto::v1::{AudioAck, GapReason};
use tokio::sync::Notify;

use super::ring::{AudioRing, Chunk};
use crate::metrics::{self, Share};

/// One party's audio on its way from the RTP socket to the uplink. Clones share it.
#[derive(Clone, Debug)]
pub struct Feed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the one stream of the one uplink.
    changed: Notify,
    /// Tells the uplink that the party has left.
    left: Notify,
}

#[derive(Debug)]
struct State {
    ring: AudioRing,
    rate: u32,
    /// Seconds of audio in the ring, as part of those in all rings.
    held: Share,
    /// Wall clock at sample 0, in milliseconds since the Unix epoch. Absent until the first audio.
    anchor_unix_ms: Option<i64>,
    finished: bool,
    /// What comes is dropped: nobody has consented to its transcription.
    is_withheld: bool,
}

/// What the uplink sends next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Audio, or its loss.
    Chunk(Chunk),
    /// The party has left at this position.
    End(SamplePosition),
    /// Wait.
    Nothing,
}

impl Feed {
    /// A feed of audio at `rate` samples per second.
    pub fn new(rate: u32) -> Self {
        let state = State {
            ring: AudioRing::new(rate),
            rate,
            held: Share::of(metrics::RING_SECONDS),
            anchor_unix_ms: None,
            finished: false,
            is_withheld: false,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            changed: Notify::new(),
            left: Notify::new(),
        }))
    }

    /// Takes what a receiver made of the party's packets. `arrived_unix_ms` is the wall clock now; the first frame
    /// anchors the party's clock with it.
    pub fn push(&self, audio: PartyAudio, rate: u32, arrived_unix_ms: i64) {
        let mut state = self.state();
        if state.is_withheld {
            return;
        }
        let is_ready = match audio {
            PartyAudio::Frame { position, pcm } => {
                let end = position.plus(pcm.len() as u64);
                state.anchor_unix_ms.get_or_insert_with(|| {
                    arrived_unix_ms.saturating_sub_unsigned(end.to_ms(rate))
                });
                state.ring.push(position, &pcm)
            }
            PartyAudio::Lost { position, samples } => {
                state.ring.push_lost(position, samples, GapReason::PacketLoss);
                metrics::gap(GapReason::PacketLoss, samples, rate);
                true
            }
        };
        // Most packets complete no frame: the uplink is not woken for them.
        if is_ready {
            let overflowed = state.ring.take_overflowed();
            metrics::gap(GapReason::TranscriberUnavailable, overflowed, rate);
            state.measure();
            drop(state);
            self.0.changed.notify_one();
        }
    }

    /// From now on audio is dropped as if nothing were said, or taken.
    pub fn withhold(&self, is_withheld: bool) {
        self.state().is_withheld = is_withheld;
    }

    /// One past the newest sample.
    pub fn heard_until(&self) -> SamplePosition {
        self.state().ring.end()
    }

    /// Audio at or after a position that is still kept, as far as it fills frames.
    pub fn audio_since(&self, mut position: SamplePosition) -> Vec<Chunk> {
        let state = self.state();
        let mut chunks = Vec::new();
        while let Some(chunk) = state.ring.next_after(position) {
            position = chunk.end();
            chunks.push(chunk);
        }
        chunks
    }

    /// Wall clock at sample 0, in milliseconds since the Unix epoch, once there was audio.
    pub fn known_anchor(&self) -> Option<i64> {
        self.state().anchor_unix_ms
    }

    /// The party has left.
    pub fn finish(&self) {
        let mut state = self.state();
        state.ring.seal();
        state.finished = true;
        drop(state);
        self.0.changed.notify_one();
        self.0.left.notify_one();
    }

    /// Waits until a frame of audio is there. `None`: the party left without a sound.
    pub(super) async fn anchor(&self) -> Option<i64> {
        loop {
            {
                let state = self.state();
                if state.anchor_unix_ms.is_some() || state.finished {
                    return state.anchor_unix_ms;
                }
            }
            self.changed().await;
        }
    }

    /// Waits for the next push, or returns at once if there was one since the last wait.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Waits until the party has left. For one at a time.
    pub(super) async fn left(&self) {
        if !self.is_finished() {
            self.0.left.notified().await;
        }
    }

    pub(super) fn next_after(&self, sent: SamplePosition) -> Next {
        let state = self.state();
        match state.ring.next_after(sent) {
            Some(chunk) => Next::Chunk(chunk),
            None if state.finished => Next::End(state.ring.end()),
            None => Next::Nothing,
        }
    }

    pub(super) fn acknowledge(&self, ack: AudioAck) {
        let mut state = self.state();
        state.ring.acknowledge(SamplePosition(ack.sample_position), ack.next_segment);
        let lag = state.ring.end().since(state.ring.resume_from().0);
        metrics::ACKNOWLEDGEMENT_LAG.record(lag as f64 / f64::from(state.rate));
        state.measure();
    }

    pub(super) fn resume_from(&self) -> (SamplePosition, u32) {
        self.state().ring.resume_from()
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state().finished
    }

    /// The audio that was never acknowledged is given up: how much of it there is.
    pub(super) fn give_up(&self) -> (SamplePosition, SamplePosition) {
        let state = self.state();
        let ((from, _), to) = (state.ring.resume_from(), state.ring.end());
        metrics::gap(GapReason::TranscriberUnavailable, state.ring.held(), state.rate);
        (from, to)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding the lock; if something did, the audio is still worth having.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn measure(&mut self) {
        self.held.set(self.ring.held() as f64 / f64::from(self.rate));
    }
}
