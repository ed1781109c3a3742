//! From samples to payloads: Opus (RFC 7587) and G.711 (RFC 3551).

use super::FRAMES_PER_SECOND;
use crate::plan::Codec;
use audiopus::coder::Encoder;
use audiopus::{Application, Bitrate, Channels, SampleRate};
use bytes::Bytes;

/// The bit rate of Opus, in bits per second: what telephone services use for wideband speech.
const OPUS_BIT_RATE: i32 = 24_000;
/// The least packet loss that Opus is told to expect, in percent. Below that, the encoder leaves
/// out the redundancy that in-band error correction is made of.
const OPUS_MIN_EXPECTED_LOSS: u8 = 5;
/// The largest Opus payload: RFC 6716 allows 1275 bytes for a frame.
const MAX_OPUS_BYTES: usize = 1275;

/// A codec that the simulator can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PayloadCodec {
    /// Opus, mono, fed at 16 kHz.
    Opus,
    /// G.711 mu-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
}

impl From<Codec> for PayloadCodec {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::Opus => Self::Opus,
            Codec::Pcmu => Self::Pcmu,
        }
    }
}

impl PayloadCodec {
    /// The rate of the samples that the encoder takes, in Hz.
    pub(crate) fn sample_rate(self) -> u32 {
        match self {
            PayloadCodec::Opus => 16_000,
            PayloadCodec::Pcmu | PayloadCodec::Pcma => 8_000,
        }
    }

    /// The samples in a frame.
    pub(crate) fn frame_samples(self) -> usize {
        (self.sample_rate() / FRAMES_PER_SECOND) as usize
    }

    /// How far the RTP timestamp moves with each frame. The clock of Opus is always 48 kHz.
    pub(crate) fn timestamp_step(self) -> u32 {
        match self {
            PayloadCodec::Opus => 48_000 / FRAMES_PER_SECOND,
            PayloadCodec::Pcmu | PayloadCodec::Pcma => 8_000 / FRAMES_PER_SECOND,
        }
    }
}

/// Encodes one stream, frame by frame.
pub(crate) enum FrameEncoder {
    Opus(Encoder),
    Pcmu,
    Pcma,
}

impl FrameEncoder {
    pub(crate) fn new(codec: PayloadCodec, loss_percent: f32) -> Result<Self, audiopus::Error> {
        match codec {
            PayloadCodec::Opus => {
                let mut encoder =
                    Encoder::new(SampleRate::Hz16000, Channels::Mono, Application::Voip)?;
                encoder.set_bitrate(Bitrate::BitsPerSecond(OPUS_BIT_RATE))?;
                encoder.enable_inband_fec()?;
                let expected_loss = (loss_percent.ceil() as u8).max(OPUS_MIN_EXPECTED_LOSS);
                encoder.set_packet_loss_perc(expected_loss.min(100))?;
                Ok(Self::Opus(encoder))
            }
            PayloadCodec::Pcmu => Ok(Self::Pcmu),
            PayloadCodec::Pcma => Ok(Self::Pcma),
        }
    }

    pub(crate) fn encode(&mut self, frame: &[i16]) -> Result<Bytes, audiopus::Error> {
        match self {
            Self::Opus(encoder) => {
                let mut payload = [0; MAX_OPUS_BYTES];
                let length = encoder.encode(frame, &mut payload)?;
                Ok(Bytes::copy_from_slice(&payload[..length]))
            }
            Self::Pcmu => Ok(frame.iter().copied().map(mu_law).collect()),
            Self::Pcma => Ok(frame.iter().copied().map(a_law).collect()),
        }
    }
}

/// G.711 mu-law: 14 bits of magnitude with a bias, in eight segments of sixteen steps, inverted.
fn mu_law(sample: i16) -> u8 {
    const BIAS: u16 = 33;
    const CLIP: u16 = 8_158;
    let magnitude = (sample.unsigned_abs() >> 2).min(CLIP) + BIAS;
    let segment = magnitude.ilog2() - 5;
    let step = (magnitude >> (segment + 1)) & 0x0f;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(sign | (segment as u8) << 4 | step as u8)
}

/// G.711 A-law: 12 bits of magnitude in eight segments of sixteen steps, even bits inverted.
fn a_law(sample: i16) -> u8 {
    // Negative values are taken by one's complement, so that both signs have the same steps.
    let magnitude = (if sample < 0 { !sample } else { sample }) as u16 >> 4;
    let code = if magnitude < 16 {
        magnitude as u8
    } else {
        let segment = magnitude.ilog2() - 3;
        (segment as u8) << 4 | ((magnitude >> (segment - 1)) & 0x0f) as u8
    };
    let sign = if sample < 0 { 0 } else { 0x80 };
    (sign | code) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g711_matches_the_tables_of_the_recommendation() {
        for (sample, mu, a) in [
            (0, 0xff, 0xd5),
            (-1, 0x7f, 0x55),
            (8, 0xfe, 0xd5),
            (1_000, 0xce, 0xfa),
            (-1_000, 0x4e, 0x7a),
            (i16::MAX, 0x80, 0xaa),
            (i16::MIN, 0x00, 0x2a),
        ] {
            assert_eq!(mu_law(sample), mu, "mu-law of {sample}");
            assert_eq!(a_law(sample), a, "A-law of {sample}");
        }
    }

    #[test]
    fn g711_codes_are_monotonic() {
        let order = |code: u8, inverted: u8| {
            let code = code ^ inverted;
            if code & 0x80 == 0 { -i16::from(code) } else { i16::from(code & 0x7f) }
        };
        for sample in i16::MIN..i16::MAX {
            // For mu-law the inverted sign bit is 1 for positive values, as it is for A-law.
            let [mu, next_mu] = [sample, sample + 1].map(|s| order(mu_law(s), 0x7f));
            assert!(mu <= next_mu, "mu-law at {sample}");
            let [a, next_a] = [sample, sample + 1].map(|s| order(a_law(s), 0x55));
            assert!(a <= next_a, "A-law at {sample}");
        }
    }
}
