//! The last seconds of one party's audio, by sample position. Pure.

use std::collections::VecDeque;

use pipeline::clock::SamplePosition;
use sidetone_proto::v1::GapReason;

/// How far back a party's audio reaches. When full, the oldest audio becomes lost audio with the reason
/// `TRANSCRIBER_UNAVAILABLE`; new audio is never refused.
pub const RING_SECONDS: u64 = 30;

/// Audio goes out in frames of this length: what a message costs on its way is most of what a G.711 party costs, and
/// nobody sees a caption that is 20 ms later on average.
const FRAME_MS: u64 = 100;

/// A stretch of a party's clock, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Audio.
    Frame {
        /// Of the first sample.
        position: SamplePosition,
        /// 16-bit mono.
        pcm: Vec<i16>,
        /// Nobody has consented to its transcription yet: phrases about that are listened for, and nothing else.
        for_consent_only: bool,
    },
    /// Audio that is not there.
    Lost {
        /// Of the first lost sample.
        position: SamplePosition,
        /// At least 1.
        samples: u64,
        /// Why.
        reason: GapReason,
    },
}

/// A party's audio from the last acknowledged position on.
#[derive(Debug)]
pub struct AudioRing {
    frame_samples: usize,
    capacity_samples: u64,
    /// What is pushed is for consent only.
    for_consent_only: bool,
    /// In order, not overlapping, none empty.
    chunks: VecDeque<Chunk>,
    /// Audio that does not fill a frame yet.
    gathering: Option<(SamplePosition, Vec<i16>)>,
    /// What was pushed out of the ring: from here, up to the first chunk.
    dropped_from: Option<SamplePosition>,
    dropped_to: SamplePosition,
    /// Audio that was pushed out of the ring and not yet asked for.
    overflowed: u64,
    acknowledged: SamplePosition,
    next_segment: u32,
    end: SamplePosition,
}

impl Chunk {
    /// Of the first sample.
    pub fn position(&self) -> SamplePosition {
        match self {
            Chunk::Frame { position, .. } | Chunk::Lost { position, .. } => *position,
        }
    }

    /// One past the last sample.
    pub fn end(&self) -> SamplePosition {
        match self {
            Chunk::Frame { position, pcm, .. } => position.plus(pcm.len() as u64),
            Chunk::Lost { position, samples, .. } => position.plus(*samples),
        }
    }

    /// What of it lies at or after a position before its end.
    fn starting_at(&self, start: SamplePosition) -> Self {
        let skipped = start.since(self.position());
        match self {
            Chunk::Frame { position, pcm, for_consent_only } => {
                let pcm = pcm.get(skipped as usize..).unwrap_or_default().to_vec();
                let for_consent_only = *for_consent_only;
                Chunk::Frame { position: position.plus(skipped), pcm, for_consent_only }
            }
            Chunk::Lost { position, samples, reason } => Chunk::Lost {
                position: position.plus(skipped),
                samples: samples.saturating_sub(skipped),
                reason: *reason,
            },
        }
    }
}

impl AudioRing {
    /// An empty ring for audio at `rate` samples per second.
    pub fn new(rate: u32) -> Self {
        Self {
            frame_samples: (u64::from(rate) * FRAME_MS / 1000) as usize,
            capacity_samples: u64::from(rate) * RING_SECONDS,
            for_consent_only: false,
            chunks: VecDeque::new(),
            gathering: None,
            dropped_from: None,
            dropped_to: SamplePosition(0),
            overflowed: 0,
            acknowledged: SamplePosition(0),
            next_segment: 0,
            end: SamplePosition(0),
        }
    }

    /// What is pushed from now on is for consent only, or is not.
    pub fn withhold(&mut self, for_consent_only: bool) {
        if for_consent_only != self.for_consent_only {
            self.seal();
            self.for_consent_only = for_consent_only;
        }
    }

    /// Forgets all audio, as if it were acknowledged.
    pub fn discard(&mut self) {
        self.chunks.clear();
        self.gathering = None;
        self.dropped_from = None;
        self.acknowledged = self.end;
    }

    /// Adds audio. Positions must not run backwards. Whether there is a new chunk to send.
    pub fn push(&mut self, position: SamplePosition, pcm: &[i16]) -> bool {
        let last = self.last_chunk();
        if self
            .gathering
            .as_ref()
            .is_some_and(|(start, held)| start.plus(held.len() as u64) != position)
        {
            self.seal();
        }
        let (_, gathered) = self
            .gathering
            .get_or_insert_with(|| (position, Vec::with_capacity(self.frame_samples)));
        gathered.extend_from_slice(pcm);
        self.end = position.plus(pcm.len() as u64);
        while let Some((start, held)) = &mut self.gathering
            && held.len() >= self.frame_samples
        {
            let mut rest = held.split_off(self.frame_samples);
            rest.reserve_exact(self.frame_samples.saturating_sub(rest.len()));
            let pcm = std::mem::replace(held, rest);
            let for_consent_only = self.for_consent_only;
            let frame = Chunk::Frame { position: *start, pcm, for_consent_only };
            *start = frame.end();
            self.chunks.push_back(frame);
        }
        self.make_room();
        self.last_chunk() != last
    }

    /// Notes that audio is lost.
    pub fn push_lost(&mut self, position: SamplePosition, samples: u64, reason: GapReason) {
        self.seal();
        self.chunks.push_back(Chunk::Lost { position, samples, reason });
        self.end = position.plus(samples);
        self.make_room();
    }

    /// Closes the frame that is being gathered: nothing more will come.
    pub fn seal(&mut self) {
        if let Some((position, pcm)) = self.gathering.take()
            && !pcm.is_empty()
        {
            let for_consent_only = self.for_consent_only;
            self.chunks.push_back(Chunk::Frame { position, pcm, for_consent_only });
        }
    }

    /// Samples from the oldest that is kept to the newest.
    pub fn held(&self) -> u64 {
        self.chunks.front().map_or(0, |oldest| self.end.since(oldest.position()))
    }

    /// Samples that were lost because the ring was full, since the last call.
    pub fn take_overflowed(&mut self) -> u64 {
        std::mem::take(&mut self.overflowed)
    }

    /// The first whole chunk that lies after `sent`.
    pub fn next_after(&self, sent: SamplePosition) -> Option<Chunk> {
        if let Some(from) = self.dropped_from
            && self.dropped_to > sent
        {
            let position = from.max(sent);
            let samples = self.dropped_to.since(position);
            let reason = GapReason::TranscriberUnavailable;
            return Some(Chunk::Lost { position, samples, reason });
        }
        let next = self.chunks.partition_point(|chunk| chunk.end() <= sent);
        self.chunks.get(next).map(|chunk| chunk.starting_at(sent))
    }

    /// The transcriber has everything up to a position; what lies before is forgotten.
    pub fn acknowledge(&mut self, position: SamplePosition, next_segment: u32) {
        if position < self.acknowledged || position > self.end {
            return;
        }
        self.acknowledged = position;
        self.next_segment = next_segment;
        while self.chunks.front().is_some_and(|chunk| chunk.end() <= position) {
            self.chunks.pop_front();
        }
        if self.dropped_to <= position {
            self.dropped_from = None;
        }
    }

    /// Where a stream resumes, and with which segment number.
    pub fn resume_from(&self) -> (SamplePosition, u32) {
        (self.acknowledged, self.next_segment)
    }

    /// One past the last sample.
    pub fn end(&self) -> SamplePosition {
        self.end
    }

    fn make_room(&mut self) {
        while let Some(oldest) = self.chunks.front()
            && self.end.since(oldest.position()) > self.capacity_samples
        {
            self.dropped_from.get_or_insert(oldest.position());
            self.dropped_to = oldest.end();
            if let Chunk::Frame { pcm, .. } = oldest {
                self.overflowed += pcm.len() as u64;
            }
            self.chunks.pop_front();
        }
    }

    fn last_chunk(&self) -> Option<SamplePosition> {
        self.chunks.back().map(Chunk::position)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: u32 = 8000;

    fn drain(ring: &AudioRing, mut sent: SamplePosition) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        while let Some(chunk) = ring.next_after(sent) {
            sent = chunk.end();
            chunks.push(chunk);
        }
        chunks
    }

    fn lengths(chunks: &[Chunk]) -> Vec<(u64, u64)> {
        chunks
            .iter()
            .map(|chunk| (chunk.position().0, chunk.end().since(chunk.position())))
            .collect()
    }

    #[test]
    fn packets_become_frames_of_100_ms_and_jumps_end_them() {
        let mut ring = AudioRing::new(RATE);
        let ready: Vec<bool> =
            (0..6).map(|packet| ring.push(SamplePosition(packet * 160), &[0; 160])).collect();
        assert_eq!(ready, [false, false, false, false, true, false]);
        assert_eq!(ring.held(), 960);
        assert_eq!(lengths(&drain(&ring, SamplePosition(0))), [(0, 800)]);
        assert!(ring.push(SamplePosition(2000), &[0; 160]));
        assert_eq!(lengths(&drain(&ring, SamplePosition(0))), [(0, 800), (800, 160)]);
        ring.push_lost(SamplePosition(2160), 90, GapReason::PacketLoss);
        ring.seal();
        let all = [(0, 800), (800, 160), (2000, 160), (2160, 90)];
        assert_eq!(lengths(&drain(&ring, SamplePosition(0))), all);
    }

    #[test]
    fn a_resumed_stream_starts_exactly_at_the_acknowledged_position() {
        let mut ring = AudioRing::new(RATE);
        let samples: Vec<i16> = (0..1000).collect();
        ring.push(SamplePosition(0), &samples);
        ring.seal();
        ring.acknowledge(SamplePosition(500), 3);
        ring.acknowledge(SamplePosition(400), 9);
        ring.acknowledge(SamplePosition(5000), 9);
        assert_eq!(ring.resume_from(), (SamplePosition(500), 3));
        let resumed: Vec<i16> = drain(&ring, SamplePosition(500))
            .into_iter()
            .flat_map(|chunk| match chunk {
                Chunk::Frame { pcm, .. } => pcm,
                Chunk::Lost { .. } => Vec::new(),
            })
            .collect();
        assert_eq!(resumed, samples[500..]);
    }

    #[test]
    fn an_overflow_turns_the_oldest_audio_into_lost_audio() {
        let mut ring = AudioRing::new(RATE);
        for second in 0..40 {
            ring.push(SamplePosition(second * 8000), &[0; 8000]);
        }
        let chunks = drain(&ring, SamplePosition(0));
        let Chunk::Lost { position, samples, reason } = chunks[0] else { panic!("{chunks:?}") };
        assert_eq!((position, reason), (SamplePosition(0), GapReason::TranscriberUnavailable));
        assert!((80_000..=80_800).contains(&samples), "{samples}");
        assert_eq!((ring.take_overflowed(), ring.take_overflowed()), (samples, 0));
        assert!((240_000 - 800..=240_000).contains(&ring.held()), "{}", ring.held());
        assert_eq!(chunks.last().map(Chunk::end), Some(SamplePosition(320_000)));
        // A stream that had sent more than was dropped does not hear of it.
        assert!(matches!(ring.next_after(SamplePosition(100_000)), Some(Chunk::Frame { .. })));
        ring.acknowledge(SamplePosition(100_000), 1);
        assert!(matches!(ring.next_after(SamplePosition(100_000)), Some(Chunk::Frame { .. })));
    }

    #[test]
    fn what_is_for_consent_only_is_marked_and_can_be_forgotten() {
        let mut ring = AudioRing::new(RATE);
        ring.withhold(true);
        ring.push(SamplePosition(0), &[0; 1000]);
        ring.withhold(true);
        ring.withhold(false);
        ring.push(SamplePosition(1000), &[0; 800]);
        let marks: Vec<(u64, bool)> = drain(&ring, SamplePosition(100))
            .into_iter()
            .map(|chunk| match chunk {
                Chunk::Frame { position, for_consent_only, .. } => (position.0, for_consent_only),
                Chunk::Lost { .. } => panic!("nothing is lost"),
            })
            .collect();
        assert_eq!(marks, [(100, true), (800, true), (1000, false)]);
        ring.push(SamplePosition(1800), &[0; 10]);
        ring.discard();
        ring.seal();
        assert_eq!(drain(&ring, SamplePosition(0)), []);
        assert_eq!((ring.held(), ring.resume_from()), (0, (SamplePosition(1810), 0)));
    }

    proptest! {
        /// Whatever is pushed and acknowledged, a resumed stream covers what follows in order.
        #[test]
        fn streams_never_run_backwards(
            pushes in proptest::collection::vec((0u64..2000, 1usize..9000, any::<bool>()), 1..80),
            share in 0.0f64..1.0,
        ) {
            let mut ring = AudioRing::new(RATE);
            let mut at = SamplePosition(0);
            for (jump, samples, lost) in pushes {
                at = at.plus(jump);
                if lost {
                    ring.push_lost(at, samples as u64, GapReason::PacketLoss);
                } else {
                    ring.push(at, &vec![1; samples]);
                }
                at = at.plus(samples as u64);
                prop_assert!(ring.chunks.iter().map(|c| c.end().since(c.position())).sum::<u64>()
                    <= u64::from(RATE) * RING_SECONDS);
            }
            ring.seal();
            let from = SamplePosition((at.0 as f64 * share) as u64);
            ring.acknowledge(from, 0);
            let chunks = drain(&ring, from);
            let mut sent = from;
            for chunk in &chunks {
                prop_assert!(chunk.position() >= sent && chunk.end() > chunk.position());
                sent = chunk.end();
            }
            prop_assert!(chunks.is_empty() || sent == at);
        }
    }
}
