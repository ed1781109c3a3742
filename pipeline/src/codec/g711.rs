//! G.711: mu-law and A-law.

use super::Codec;
use super::concealer::Concealer;

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

/// The samples of all codes: at a thousand streams the look-up is what decoding costs.
static MU_LAW: [i16; 256] = table(Companding::MuLaw);
static A_LAW: [i16; 256] = table(Companding::ALaw);

#[derive(Clone, Copy, Debug)]
pub(super) enum Companding {
    MuLaw,
    ALaw,
}

const fn table(companding: Companding) -> [i16; 256] {
    let mut samples = [0; 256];
    let mut code = 0;
    while code < samples.len() {
        samples[code] = match companding {
            Companding::MuLaw => decode_mu_law(code as u8),
            Companding::ALaw => decode_a_law(code as u8),
        };
        code += 1;
    }
    samples
}

#[derive(Debug)]
pub(super) struct G711Decoder {
    companding: Companding,
    concealer: Concealer,
}

impl G711Decoder {
    pub(super) fn new(companding: Companding) -> Self {
        Self { companding, concealer: Concealer::new(Codec::Pcmu.sample_rate()) }
    }

    pub(super) fn decode(&mut self, payload: &[u8]) -> Vec<i16> {
        let samples = match self.companding {
            Companding::MuLaw => &MU_LAW,
            Companding::ALaw => &A_LAW,
        };
        let pcm: Vec<i16> = payload.iter().map(|&code| samples[usize::from(code)]).collect();
        self.concealer.heard(&pcm);
        pcm
    }

    pub(super) fn conceal(&mut self, samples: usize) -> Vec<i16> {
        self.concealer.conceal(samples)
    }

    pub(super) fn reset(&mut self) {
        self.concealer.reset();
    }
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
}
