//! The party's clock as far as it has been told, and what has been told but not yet taken.

use super::PartyAudio;
use crate::clock::SamplePosition;
use std::collections::VecDeque;

/// How many stretches of audio wait to be taken. When it is full the two oldest become one
/// [`PartyAudio::Lost`], so that a consumer that fell behind learns what it missed.
pub const OUTPUT_CAPACITY: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Timeline {
    waiting: VecDeque<PartyAudio>,
    end: SamplePosition,
}

impl Timeline {
    /// One past the last sample that was told.
    pub(super) fn end(&self) -> SamplePosition {
        self.end
    }

    pub(super) fn pop(&mut self) -> Option<PartyAudio> {
        self.waiting.pop_front()
    }

    /// Adds audio that starts at `position`. What lies before the end has been told already and
    /// is cut off; returns how many samples that was.
    pub(super) fn push(&mut self, position: SamplePosition, mut pcm: Vec<i16>) -> u64 {
        let overlap = self.end.since(position).min(pcm.len() as u64);
        pcm.drain(..overlap as usize);
        if !pcm.is_empty() {
            self.add(PartyAudio::Frame { position: position.plus(overlap), pcm });
        }
        overlap
    }

    /// Marks the next `samples` samples as lost.
    pub(super) fn lose(&mut self, samples: u64) {
        if samples > 0 {
            self.add(PartyAudio::Lost { position: self.end, samples });
        }
    }

    /// Passes over silence that the party did not send.
    pub(super) fn skip_to(&mut self, position: SamplePosition) {
        self.end = self.end.max(position);
    }

    fn add(&mut self, audio: PartyAudio) {
        if self.waiting.len() == OUTPUT_CAPACITY
            && let (Some(first), Some(second)) =
                (self.waiting.pop_front(), self.waiting.pop_front())
        {
            let position = first.position();
            let samples = second.end().since(position);
            self.waiting.push_front(PartyAudio::Lost { position, samples });
        }
        self.end = audio.end();
        self.waiting.push_back(audio);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_cut_off() {
        let mut timeline = Timeline::default();
        assert_eq!(timeline.push(SamplePosition(0), vec![1, 2, 3]), 0);
        assert_eq!(timeline.push(SamplePosition(1), vec![4, 5, 6]), 2);
        assert_eq!(timeline.push(SamplePosition(2), vec![7]), 1);
        assert_eq!(timeline.end(), SamplePosition(4));
        let frame =
            |position, pcm| Some(PartyAudio::Frame { position: SamplePosition(position), pcm });
        assert_eq!(timeline.pop(), frame(0, vec![1, 2, 3]));
        assert_eq!(timeline.pop(), frame(3, vec![6]));
        assert_eq!(timeline.pop(), None);
    }

    #[test]
    fn a_consumer_that_falls_behind_is_told_what_it_missed() {
        let mut timeline = Timeline::default();
        for n in 0..OUTPUT_CAPACITY as u64 + 3 {
            timeline.push(SamplePosition(n * 2), vec![0; 2]);
        }
        let lost = PartyAudio::Lost { position: SamplePosition(0), samples: 8 };
        assert_eq!(timeline.pop(), Some(lost));
        assert_eq!(timeline.pop().map(|audio| audio.position()), Some(SamplePosition(8)));
        assert_eq!(timeline.waiting.len(), OUTPUT_CAPACITY - 2);
    }
}
