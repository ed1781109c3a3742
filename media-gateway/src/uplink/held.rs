//! What is heard on hold is not transcribed: music, most of all. Pure.

use std::collections::VecDeque;

use pipeline::clock::SamplePosition;

use crate::sdp::{Direction, Media};

/// How long audio is kept back on hold, in milliseconds of audio: the news that a hold is over comes later than the first
/// words after it.
const KEPT_BACK_MS: u64 = 2000;

/// Silence that goes out at the beginning of a hold, so that the utterance that it cut off comes to its end.
const TAIL_MS: u64 = 2000;

/// Two clocks tell when the hold was over: RingCentral's and ours. They may differ by this much without a word being lost.
const CLOCK_MARGIN_MS: i64 = 250;

/// What the other side's SDP says of a line in mid-call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineHold {
    /// They send the party's voice.
    #[default]
    Open,
    /// They send nothing.
    Silent,
    /// They only send, which they did not before: music.
    Music,
}

/// The audio of one hold.
#[derive(Debug)]
pub(super) struct Held {
    rate: u32,
    kept: VecDeque<Kept>,
    kept_samples: u64,
    /// Samples of silence that still go out.
    tail: u64,
}

/// A frame, and the wall clock at its arrival in milliseconds since the Unix epoch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) position: SamplePosition,
    pub(super) pcm: Vec<i16>,
    pub(super) arrived_unix_ms: i64,
}

impl LineHold {
    /// What a description says of a line whose media flowed `first` in the beginning, seen from them.
    pub fn of(theirs: &Media, first: Direction) -> Self {
        match theirs.direction {
            _ if !theirs.sends() => Self::Silent,
            Direction::SendOnly if first != Direction::SendOnly => Self::Music,
            _ => Self::Open,
        }
    }
}

impl Held {
    /// A hold that begins now, of audio at `rate` samples per second.
    pub(super) fn new(rate: u32) -> Self {
        let tail = u64::from(rate) * TAIL_MS / 1000;
        Self { rate, kept: VecDeque::new(), kept_samples: 0, tail }
    }

    /// Keeps a frame back. Gives the silence that takes the place of one that has been kept long enough.
    pub(super) fn keep(&mut self, frame: Kept) -> Option<Kept> {
        self.kept_samples += frame.pcm.len() as u64;
        self.kept.push_back(frame);
        if self.kept_samples <= u64::from(self.rate) * KEPT_BACK_MS / 1000 {
            return None;
        }
        let mut oldest = self.kept.pop_front()?;
        let samples = oldest.pcm.len() as u64;
        self.kept_samples -= samples;
        let is_tail = self.tail > 0;
        self.tail = self.tail.saturating_sub(samples);
        oldest.pcm.fill(0);
        is_tail.then_some(oldest)
    }

    /// The hold is over, since then if that is known. Gives what was said after it.
    pub(super) fn end(self, since_unix_ms: Option<i64>) -> impl Iterator<Item = Kept> {
        let since = since_unix_ms.map_or(i64::MAX, |since| since.saturating_sub(CLOCK_MARGIN_MS));
        self.kept.into_iter().filter(move |frame| frame.arrived_unix_ms >= since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 8000;

    /// 20 ms of music that arrive on time.
    fn frame(number: u64) -> Kept {
        Kept {
            position: SamplePosition(number * 160),
            pcm: vec![7; 160],
            arrived_unix_ms: 1_000_000 + 20 * number as i64,
        }
    }

    #[test]
    fn a_hold_begins_with_silence_and_music_never_comes_through() {
        let mut held = Held::new(RATE);
        let out: Vec<Kept> = (0..3000).filter_map(|number| held.keep(frame(number))).collect();
        assert_eq!(out.len(), 100);
        assert!(out.iter().all(|frame| frame.pcm == [0; 160]));
        assert_eq!(out[99].position, SamplePosition(99 * 160));
        assert_eq!((held.kept.len(), held.kept_samples), (100, 16_000));
        assert_eq!(held.end(None).count(), 0);
    }

    #[test]
    fn what_was_said_before_the_news_came_is_not_lost() {
        for (late, found) in [(0, 12), (400, 32), (5_000, 100)] {
            let mut held = Held::new(RATE);
            (0..500).for_each(|number| drop(held.keep(frame(number))));
            let news = 1_000_000 + 500 * 20 - late;
            let said: Vec<Kept> = held.end(Some(news)).collect();
            assert_eq!(said.len(), found, "{late} ms late");
            assert_eq!(said.last(), Some(&frame(499)));
        }
    }
}
