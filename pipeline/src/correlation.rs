//! Whether two streams that should carry one voice each carry the same audio.
//!
//! Loudness over time is enough to tell: two people who talk to each other take turns, so that their envelopes hardly
//! correlate, while two copies of one mix correlate fully, whatever codec, level and delay each of them has.

use crate::clock::SamplePosition;

/// What loudness is measured over.
const FRAME_MS: u64 = 20;

/// How far two copies of the same audio may be apart.
const MAX_LAG_MS: u64 = 500;

/// Longest stretch that is compared; further audio is not taken.
const MAX_LENGTH_MS: u64 = 30_000;

/// Both streams must carry this much sound before they are compared.
const MIN_SOUND_MS: u64 = 2_000;

/// RMS above which a frame counts as sound, full scale = 32768: -50 dBFS, well above the noise of a telephone line.
const SOUND_LEVEL: f32 = 100.0;

/// Correlation from which on audio is the same.
const SAME: f32 = 0.9;

/// Correlation up to which audio is not the same.
const SEPARATE: f32 = 0.5;

const MAX_LAG: usize = (MAX_LAG_MS / FRAME_MS) as usize;
const MAX_FRAMES: usize = (MAX_LENGTH_MS / FRAME_MS) as usize;
const MIN_SOUND: usize = (MIN_SOUND_MS / FRAME_MS) as usize;

/// How a stream counts its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Samples per second.
    pub rate: u32,
    /// Wall clock at sample 0, in milliseconds since the Unix epoch.
    pub anchor_unix_ms: i64,
}

/// What a comparison has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Each stream carries something of its own.
    Separate,
    /// Both carry the same.
    Same,
}

/// Compares two streams by what is pushed of them.
#[derive(Clone, Debug)]
pub struct Comparison {
    sides: [Envelope; 2],
    /// Frames that both had when they were last compared: comparing again is of no use before there are more.
    compared: usize,
    verdict: Option<(Verdict, f32)>,
}

/// Loudness over time, on a clock that both streams share.
#[derive(Clone, Debug)]
struct Envelope {
    frame_len: u64,
    /// What is added to positions to put them on the shared clock.
    offset: u64,
    /// Energy of each frame.
    energies: Vec<f32>,
    sounding: usize,
}

impl Comparison {
    /// A comparison that has heard nothing.
    pub fn new(streams: [Stream; 2]) -> Self {
        let first = streams[0].anchor_unix_ms.min(streams[1].anchor_unix_ms);
        let envelope = |stream: Stream| {
            let rate = u64::from(stream.rate);
            // A clock that jumped would not fit into the stretch that is compared anyway.
            let late_ms = stream.anchor_unix_ms.abs_diff(first).min(MAX_LENGTH_MS);
            Envelope {
                frame_len: (rate * FRAME_MS / 1000).max(1),
                offset: late_ms * rate / 1000,
                energies: Vec::new(),
                sounding: 0,
            }
        };
        Self { sides: streams.map(envelope), compared: 0, verdict: None }
    }

    /// Takes audio of one side, 0 or 1. Positions must not run backwards; what lies between two pushes is silence.
    pub fn push(&mut self, side: usize, position: SamplePosition, pcm: &[i16]) {
        if let Some(envelope) = self.sides.get_mut(side)
            && self.verdict.is_none()
        {
            envelope.push(position, pcm);
        }
    }

    /// What has been found, with the correlation, -1 to 1. `None` until both streams carry enough sound.
    ///
    /// Streams that are neither clearly the same nor clearly separate are compared again as more comes; those that
    /// still are not at the end of the longest stretch count as separate.
    pub fn verdict(&mut self) -> Option<(Verdict, f32)> {
        if self.verdict.is_some() {
            return self.verdict;
        }
        let [one, other] = &self.sides;
        let frames = one.energies.len().min(other.energies.len());
        let has_sound = one.sounding >= MIN_SOUND && other.sounding >= MIN_SOUND;
        // A second of new audio may change the result.
        if !has_sound || frames < self.compared + (1000 / FRAME_MS) as usize {
            return None;
        }
        self.compared = frames;
        // Before the later one began there is nothing to compare.
        let start = one.start().max(other.start());
        let correlation = correlation(&one.levels(start, frames), &other.levels(start, frames));
        let verdict = match correlation {
            SAME.. => Verdict::Same,
            ..=SEPARATE => Verdict::Separate,
            _ if frames + (1000 / FRAME_MS) as usize > MAX_FRAMES => Verdict::Separate,
            _ => return None,
        };
        self.verdict = Some((verdict, correlation));
        self.verdict
    }
}

impl Envelope {
    fn push(&mut self, position: SamplePosition, pcm: &[i16]) {
        let sound = SOUND_LEVEL * SOUND_LEVEL * self.frame_len as f32;
        let start = position.0.saturating_add(self.offset);
        for (ahead, sample) in (0_u64..).zip(pcm) {
            let at = start.saturating_add(ahead);
            let frame = usize::try_from(at / self.frame_len).unwrap_or(usize::MAX);
            if frame >= MAX_FRAMES {
                return;
            }
            if frame >= self.energies.len() {
                self.energies.resize(frame + 1, 0.0);
            }
            let before = self.energies[frame];
            let energy = before + f32::from(*sample) * f32::from(*sample);
            self.sounding += usize::from(before < sound && energy >= sound);
            self.energies[frame] = energy;
        }
    }

    /// Amplitudes: energies would let the loudest syllable decide alone.
    fn levels(&self, start: usize, end: usize) -> Vec<f32> {
        let compared = self.energies.get(start..end).unwrap_or_default();
        compared.iter().map(|energy| energy.sqrt()).collect()
    }

    /// The frame of its sample 0.
    fn start(&self) -> usize {
        usize::try_from(self.offset / self.frame_len).unwrap_or(usize::MAX)
    }
}

/// The highest correlation coefficient at any lag up to [`MAX_LAG`] either way.
fn correlation(one: &[f32], other: &[f32]) -> f32 {
    (0..=MAX_LAG)
        .flat_map(|lag| {
            let late = |levels: &'_ [f32]| levels.get(lag..).unwrap_or_default().to_vec();
            [coefficient(&late(one), other), coefficient(one, &late(other))]
        })
        .fold(-1.0, f32::max)
}

/// Pearson's, over the length that both have.
fn coefficient(one: &[f32], other: &[f32]) -> f32 {
    let len = one.len().min(other.len());
    let (one, other) = (&one[..len], &other[..len]);
    let mean = |levels: &[f32]| levels.iter().sum::<f32>() / (len.max(1) as f32);
    let (mean_one, mean_other) = (mean(one), mean(other));
    let (mut product, mut square_one, mut square_other) = (0.0_f32, 0.0_f32, 0.0_f32);
    for (a, b) in one.iter().zip(other) {
        let (a, b) = (a - mean_one, b - mean_other);
        product += a * b;
        square_one += a * a;
        square_other += b * b;
    }
    let scale = (square_one * square_other).sqrt();
    if scale > 0.0 { product / scale } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 8000;

    fn compare(anchors: [i64; 2], one: &[i16], other: &[i16]) -> Option<(Verdict, f32)> {
        let stream = |anchor_unix_ms| Stream { rate: RATE, anchor_unix_ms };
        let mut comparison = Comparison::new(anchors.map(stream));
        for (at, (a, b)) in one.chunks(160).zip(other.chunks(160)).enumerate() {
            let position = SamplePosition(at as u64 * 160);
            comparison.push(0, position, a);
            comparison.push(1, position, b);
            if let Some(verdict) = comparison.verdict() {
                return Some(verdict);
            }
        }
        None
    }

    /// What one of two parties says who take turns of 0.4 to 2.9 s.
    fn turns(seconds: usize, is_first: bool) -> Vec<i16> {
        let mut random = 7_u32;
        let (mut audio, mut speaks) = (Vec::new(), is_first);
        while audio.len() < RATE as usize * seconds {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let len = (400 + random as usize % 2500) * RATE as usize / 1000;
            let tone = |at: usize| ((at as f32 * 0.3).sin() * 8000.0) as i16;
            audio.extend((0..len).map(|at| if speaks { tone(at) } else { 0 }));
            speaks = !speaks;
        }
        audio
    }

    #[test]
    fn turns_are_separate_and_copies_are_the_same() {
        let (one, other) = (turns(30, true), turns(30, false));
        assert_eq!(compare([0, 0], &one, &other).map(|it| it.0), Some(Verdict::Separate));
        assert_eq!(compare([0, 0], &one, &one).map(|it| it.0), Some(Verdict::Same));
    }

    #[test]
    fn anchors_put_streams_on_one_clock() {
        let one = turns(20, true);
        // Two seconds late by its own clock, as its anchor says.
        let late = &one[2 * RATE as usize..];
        let (verdict, correlation) = compare([0, 2000], &one, late).unwrap();
        assert_eq!(verdict, Verdict::Same);
        assert!(correlation > 0.98, "{correlation}");
    }

    #[test]
    fn nothing_is_found_while_one_side_is_silent() {
        let one = turns(40, true);
        assert_eq!(compare([0, 0], &one, &vec![0; one.len()]), None);
        assert_eq!(compare([0, 0], &one, &vec![20; one.len()]), None);
    }

    #[test]
    fn hostile_positions_and_anchors_take_no_memory() {
        let streams = [
            Stream { rate: 0, anchor_unix_ms: i64::MIN },
            Stream { rate: u32::MAX, anchor_unix_ms: i64::MAX },
        ];
        let mut comparison = Comparison::new(streams);
        for side in 0..3 {
            comparison.push(side, SamplePosition(u64::MAX - 1), &[1; 10]);
            comparison.push(side, SamplePosition(0), &[1; 10]);
        }
        assert_eq!(comparison.verdict(), None);
        assert!(comparison.sides.iter().all(|side| side.energies.len() <= MAX_FRAMES));
    }
}
