//! Concealment of lost packets, for the codecs that have none of their own.

/// Repeats the last pitch period, as loud as it was for 10 ms, then fading to silence at 60 ms:
/// the method and the times of G.711 Appendix I, without its cross-fades.
#[derive(Debug)]
pub(super) struct Concealer {
    /// Samples per millisecond.
    ms: usize,
    /// The last [`HISTORY_MS`], or less at first.
    history: Vec<i16>,
    period: Vec<i16>,
    concealed: usize,
}

/// Pitch periods of speech: 66 to 200 Hz, as in Appendix I.
const SHORTEST_PERIOD_MS: usize = 5;
const LONGEST_PERIOD_MS: usize = 15;
/// The stretch that is compared with itself one period earlier.
const WINDOW_MS: usize = 20;
const HISTORY_MS: usize = WINDOW_MS + LONGEST_PERIOD_MS;
const FADE_FROM_MS: usize = 10;
const FADE_TO_MS: usize = 60;

impl Concealer {
    /// A concealer of audio at `rate` samples per second that has heard nothing yet.
    pub(super) fn new(rate: u32) -> Self {
        Self { ms: rate as usize / 1000, history: Vec::new(), period: Vec::new(), concealed: 0 }
    }

    pub(super) fn heard(&mut self, pcm: &[i16]) {
        let capacity = HISTORY_MS * self.ms;
        let pcm = &pcm[pcm.len().saturating_sub(capacity)..];
        let kept = self.history.len().min(capacity - pcm.len());
        self.history.drain(..self.history.len() - kept);
        self.history.extend_from_slice(pcm);
        self.concealed = 0;
    }

    pub(super) fn conceal(&mut self, samples: usize) -> Vec<i16> {
        if self.concealed == 0 {
            self.period = self.last_pitch_period().to_vec();
        }
        let start = self.concealed;
        self.concealed += samples;
        if self.period.is_empty() {
            return vec![0; samples];
        }
        let (fade, fade_to) = ((FADE_TO_MS - FADE_FROM_MS) * self.ms, FADE_TO_MS * self.ms);
        (start..start + samples)
            .map(|n| {
                let left = fade_to.saturating_sub(n).min(fade) as i32;
                let sample = i32::from(self.period[n % self.period.len()]);
                (sample * left / fade as i32) as i16
            })
            .collect()
    }

    pub(super) fn reset(&mut self) {
        self.history.clear();
        self.concealed = 0;
    }

    /// The tail of the history that its past resembles most when shifted by the tail's own
    /// length; all of it while too little was heard to compare.
    fn last_pitch_period(&self) -> &[i16] {
        let (longest, length) = (LONGEST_PERIOD_MS * self.ms, HISTORY_MS * self.ms);
        if self.history.len() < length {
            return &self.history;
        }
        let window = &self.history[longest..];
        let likeness = |period: &usize| {
            let earlier = &self.history[longest - period..length - period];
            let (mut product, mut energy) = (0.0, 1.0);
            for (&now, &then) in window.iter().zip(earlier) {
                product += f64::from(now) * f64::from(then);
                energy += f64::from(then) * f64::from(then);
            }
            product / f64::sqrt(energy)
        };
        let period = (SHORTEST_PERIOD_MS * self.ms..=longest)
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
            .unwrap_or(longest);
        &self.history[length - period..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concealment_continues_the_pitch_then_fades_out() {
        for ms in [8, 16] {
            // 100 Hz with harmonics: a period of 10 ms.
            let voiced = |n: usize| {
                let turn = n as f64 / (10 * ms) as f64 * std::f64::consts::TAU;
                (8000.0 * turn.sin() + 3000.0 * (3.0 * turn).cos()) as i16
            };
            let heard: Vec<i16> = (0..100 * ms).map(voiced).collect();
            let mut concealer = Concealer::new(1000 * ms as u32);
            for packet in heard.chunks(20 * ms) {
                concealer.heard(packet);
            }
            let mut invented = concealer.conceal(20 * ms);
            invented.extend(concealer.conceal(80 * ms));

            for (n, &sample) in invented[..FADE_FROM_MS * ms].iter().enumerate() {
                let expected = voiced(100 * ms + n);
                assert!((sample - expected).abs() < 100, "sample {n} breaks the waveform");
            }
            let peak = |from: usize, to: usize| {
                let stretch = &invented[from * ms..to * ms];
                stretch.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0)
            };
            assert!(peak(10, 20) > peak(30, 40));
            assert!(peak(30, 40) > peak(50, 60));
            assert_eq!(peak(60, 100), 0);
        }
    }

    #[test]
    fn concealment_without_a_past_is_silence() {
        assert_eq!(Concealer::new(8000).conceal(3), [0, 0, 0]);
    }
}
