//! G.711: mu-law and A-law, and the concealment of lost packets.

use super::Codec;
use std::collections::VecDeque;

/// The mu-law code of a sample of value 0.
pub const MU_LAW_SILENCE: u8 = 0xff;

/// The A-law code of the smallest positive sample; A-law has no 0.
pub const A_LAW_SILENCE: u8 = 0xd5;

/// Decodes one mu-law code to 16-bit linear PCM (ITU-T G.711 table 2a, 14-bit values times 4).
#[must_use]
pub const fn decode_mu_law(code: u8) -> i16 {
    let code = !code;
    let segment = (code >> 4) & 0x07;
    let magnitude = ((((code & 0x0f) as i16) << 3) + MU_LAW_BIAS) << segment;
    if code & 0x80 == 0 { magnitude - MU_LAW_BIAS } else { MU_LAW_BIAS - magnitude }
}

/// Encodes 16-bit linear PCM as mu-law; samples beyond the scale are clipped.
#[must_use]
pub const fn encode_mu_law(sample: i16) -> u8 {
    const CLIP: i32 = 32_635;
    let magnitude = (sample as i32).abs();
    let biased = (if magnitude > CLIP { CLIP } else { magnitude }) + MU_LAW_BIAS as i32;
    // The bias makes 128 the smallest value, so the segment is where the highest bit stands.
    let segment = 24 - biased.leading_zeros();
    let code = ((segment << 4) as u8) | ((biased >> (segment + 3)) & 0x0f) as u8;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(code | sign)
}

/// Decodes one A-law code to 16-bit linear PCM (ITU-T G.711 table 1a, 13-bit values times 8).
#[must_use]
pub const fn decode_a_law(code: u8) -> i16 {
    let code = code ^ A_LAW_INVERSION;
    let step = ((code & 0x0f) as i16) << 4;
    let magnitude = match (code >> 4) & 0x07 {
        0 => step + 8,
        segment => (step + 0x108) << (segment - 1),
    };
    if code & 0x80 != 0 { magnitude } else { -magnitude }
}

/// Encodes 16-bit linear PCM as A-law.
#[must_use]
pub const fn encode_a_law(sample: i16) -> u8 {
    // Negative values are taken one nearer to 0, so that each sign has the same intervals.
    let magnitude = (if sample < 0 { !sample } else { sample }) as u32;
    let code = if magnitude < 256 {
        magnitude >> 4
    } else {
        let segment = 24 - magnitude.leading_zeros();
        (segment << 4) | ((magnitude >> (segment + 3)) & 0x0f)
    };
    let sign = if sample < 0 { 0 } else { 0x80 };
    (code as u8 | sign) ^ A_LAW_INVERSION
}

const MU_LAW_BIAS: i16 = 132;

/// A-law sends its even bits inverted.
const A_LAW_INVERSION: u8 = 0x55;

#[derive(Clone, Copy, Debug)]
pub(super) enum Companding {
    MuLaw,
    ALaw,
}

#[derive(Debug)]
pub(super) struct G711Decoder {
    companding: Companding,
    concealer: Concealer,
}

impl G711Decoder {
    pub(super) fn new(companding: Companding) -> Self {
        Self { companding, concealer: Concealer::default() }
    }

    pub(super) fn decode(&mut self, payload: &[u8]) -> Vec<i16> {
        let expand = match self.companding {
            Companding::MuLaw => decode_mu_law,
            Companding::ALaw => decode_a_law,
        };
        let pcm: Vec<i16> = payload.iter().map(|&code| expand(code)).collect();
        self.concealer.heard(&pcm);
        pcm
    }

    pub(super) fn conceal(&mut self, samples: usize) -> Vec<i16> {
        self.concealer.conceal(samples)
    }

    pub(super) fn reset(&mut self) {
        self.concealer = Concealer::default();
    }
}

/// Repeats the last pitch period, as loud as it was for 10 ms, then fading to silence at 60 ms:
/// the method and the times of G.711 Appendix I, without its cross-fades.
#[derive(Debug, Default)]
struct Concealer {
    history: VecDeque<i16>,
    period: Vec<i16>,
    concealed: usize,
}

/// Pitch periods of speech: 66 to 200 Hz, as in Appendix I.
const SHORTEST_PERIOD: usize = MS * 5;
const LONGEST_PERIOD: usize = MS * 15;
/// The stretch that is compared with itself one period earlier.
const WINDOW: usize = MS * 20;
const HISTORY: usize = WINDOW + LONGEST_PERIOD;
const FADE_FROM: usize = MS * 10;
const FADE_TO: usize = MS * 60;
const MS: usize = Codec::Pcmu.samples_in_ms(1) as usize;

impl Concealer {
    fn heard(&mut self, pcm: &[i16]) {
        self.history.extend(&pcm[pcm.len().saturating_sub(HISTORY)..]);
        self.history.drain(..self.history.len().saturating_sub(HISTORY));
        self.concealed = 0;
    }

    fn conceal(&mut self, samples: usize) -> Vec<i16> {
        if self.concealed == 0 {
            self.period = last_pitch_period(self.history.make_contiguous()).to_vec();
        }
        let start = self.concealed;
        self.concealed += samples;
        if self.period.is_empty() {
            return vec![0; samples];
        }
        (start..start + samples)
            .map(|n| {
                let left = FADE_TO.saturating_sub(n).min(FADE_TO - FADE_FROM) as i32;
                let sample = i32::from(self.period[n % self.period.len()]);
                (sample * left / (FADE_TO - FADE_FROM) as i32) as i16
            })
            .collect()
    }
}

/// The tail of `history` that its past resembles most when shifted by the tail's own length;
/// all of it while too little was heard to compare.
fn last_pitch_period(history: &[i16]) -> &[i16] {
    if history.len() < HISTORY {
        return history;
    }
    let window = &history[LONGEST_PERIOD..];
    let likeness = |period: &usize| {
        let earlier = &history[LONGEST_PERIOD - period..HISTORY - period];
        let (mut product, mut energy) = (0.0, 1.0);
        for (&now, &then) in window.iter().zip(earlier) {
            product += f64::from(now) * f64::from(then);
            energy += f64::from(then) * f64::from(then);
        }
        product / f64::sqrt(energy)
    };
    let period = (SHORTEST_PERIOD..=LONGEST_PERIOD)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .unwrap_or(LONGEST_PERIOD);
    &history[HISTORY - period..]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code words and quantised values of ITU-T G.711 table 2a, scaled from 14 to 16 bits.
    const MU_LAW_TABLE: [(u8, i16); 12] = [
        (0x80, 8031 * 4),
        (0x8f, 4191 * 4),
        (0x9f, 2079 * 4),
        (0xaf, 1023 * 4),
        (0xbf, 495 * 4),
        (0xcf, 231 * 4),
        (0xdf, 99 * 4),
        (0xef, 33 * 4),
        (0xfe, 2 * 4),
        (0xff, 0),
        (0x00, -8031 * 4),
        (0x7e, -2 * 4),
    ];

    /// Code words (even bits inverted) and quantised values of ITU-T G.711 table 1a, scaled from
    /// 13 to 16 bits.
    const A_LAW_TABLE: [(u8, i16); 10] = [
        (0xaa, 4032 * 8),
        (0xa5, 2112 * 8),
        (0xb5, 1056 * 8),
        (0x85, 528 * 8),
        (0x95, 264 * 8),
        (0xe5, 132 * 8),
        (0xf5, 66 * 8),
        (0xd5, 8),
        (0x55, -8),
        (0x2a, -4032 * 8),
    ];

    #[test]
    fn codes_decode_to_the_values_of_the_recommendation() {
        for (code, sample) in MU_LAW_TABLE {
            assert_eq!(decode_mu_law(code), sample, "mu-law {code:#04x}");
        }
        for (code, sample) in A_LAW_TABLE {
            assert_eq!(decode_a_law(code), sample, "A-law {code:#04x}");
        }
    }

    #[test]
    fn every_code_survives_decoding_and_encoding() {
        for code in 0..=u8::MAX {
            assert_eq!(encode_a_law(decode_a_law(code)), code, "A-law {code:#04x}");
            // 0x7f is minus zero, which linear PCM does not have.
            let expected = if code == 0x7f { MU_LAW_SILENCE } else { code };
            assert_eq!(encode_mu_law(decode_mu_law(code)), expected, "mu-law {code:#04x}");
        }
    }

    #[test]
    fn encoding_picks_a_code_within_half_a_step() {
        for sample in i16::MIN..=i16::MAX {
            let magnitude = i32::from(sample).abs();
            // A step is a sixteenth of the value where its segment starts, mu-law's bias included.
            let tolerance = ((magnitude + i32::from(MU_LAW_BIAS)) / 32).max(8) + 4;
            let mu = (i32::from(decode_mu_law(encode_mu_law(sample))) - i32::from(sample)).abs();
            let a = (i32::from(decode_a_law(encode_a_law(sample))) - i32::from(sample)).abs();
            assert!(mu <= tolerance, "mu-law {sample} is off by {mu}");
            assert!(a <= tolerance, "A-law {sample} is off by {a}");
        }
    }

    #[test]
    fn concealment_continues_the_pitch_then_fades_out() {
        // 100 Hz with harmonics: a period of 80 samples.
        let voiced = |n: usize| {
            let turn = n as f64 / 80.0 * std::f64::consts::TAU;
            (8000.0 * turn.sin() + 3000.0 * (3.0 * turn).cos()) as i16
        };
        let heard: Vec<i16> = (0..800).map(voiced).collect();
        let mut concealer = Concealer::default();
        concealer.heard(&heard);
        let mut invented = concealer.conceal(160);
        invented.extend(concealer.conceal(640));

        for (n, &sample) in invented[..FADE_FROM].iter().enumerate() {
            assert!((sample - voiced(800 + n)).abs() < 100, "sample {n} breaks the waveform");
        }
        let peak = |range: std::ops::Range<usize>| {
            invented[range].iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0)
        };
        assert!(peak(80..160) > peak(240..320));
        assert!(peak(240..320) > peak(400..480));
        assert_eq!(peak(480..800), 0);
    }

    #[test]
    fn concealment_without_a_past_is_silence() {
        assert_eq!(Concealer::default().conceal(3), [0, 0, 0]);
    }
}
