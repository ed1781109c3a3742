//! Opus through libopus, decoded at 16 kHz mono, with its packet loss concealment and in-band FEC.

use super::CodecError;
use audiopus::coder::{Decoder, GenericCtl};
use audiopus::packet::{self, Packet};
use audiopus::{Channels, MutSignals, SampleRate};

/// A packet of 20 ms of silence: CELT, full band, mono (RFC 6716 section 3.1).
pub(super) const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

const RATE: SampleRate = SampleRate::Hz16000;

/// libopus conceals in whole steps of 2.5 ms: 40 samples at 16 kHz.
const STEP: usize = 40;

#[derive(Debug)]
pub(super) struct OpusDecoder {
    decoder: Decoder,
}

impl OpusDecoder {
    pub(super) fn new() -> Result<Self, CodecError> {
        let decoder = Decoder::new(RATE, Channels::Mono).map_err(CodecError::DecoderUnavailable)?;
        Ok(Self { decoder })
    }

    /// Decodes a payload that is known to hold `samples` samples.
    pub(super) fn decode(
        &mut self,
        payload: &[u8],
        samples: usize,
    ) -> Result<Vec<i16>, CodecError> {
        self.run(Some(payload), samples, false).map_err(|reason| malformed(payload, reason))
    }

    pub(super) fn conceal(&mut self, samples: usize) -> Vec<i16> {
        let samples = samples / STEP * STEP;
        if samples == 0 {
            return Vec::new();
        }
        // A decoder that cannot even conceal leaves the hole open for the caller to report.
        self.run(None, samples, false).unwrap_or_default()
    }

    /// Decodes the `samples` samples before `payload` from its redundant copy.
    pub(super) fn recover(
        &mut self,
        payload: &[u8],
        samples: usize,
    ) -> Result<Vec<i16>, CodecError> {
        self.run(Some(payload), samples, true).map_err(|reason| malformed(payload, reason))
    }

    pub(super) fn reset(&mut self) {
        // The only failure is an unknown request. Old state would merely blur the first frame.
        let _ = self.decoder.reset_state();
    }

    fn run(
        &mut self,
        payload: Option<&[u8]>,
        samples: usize,
        fec: bool,
    ) -> Result<Vec<i16>, audiopus::Error> {
        let packet = payload.map(Packet::try_from).transpose()?;
        let mut pcm = vec![0; samples];
        let decoded = self.decoder.decode(packet, MutSignals::try_from(&mut pcm)?, fec)?;
        pcm.truncate(decoded);
        Ok(pcm)
    }
}

/// Samples in a packet, from its table of contents.
pub(super) fn duration(payload: &[u8]) -> Result<u64, CodecError> {
    Packet::try_from(payload)
        .and_then(|packet| packet::nb_samples(packet, RATE))
        .map(|samples| samples as u64)
        .map_err(|reason| malformed(payload, reason))
}

/// Samples before the packet that it repeats: one Opus frame if the LBRR flag of its first frame
/// is set, else 0.
///
/// The flag follows the voice activity flags, one for each 20 ms, at the start of a SILK frame
/// (RFC 6716 section 4.2.3). libopus answers this question only from 1.5 on.
pub(super) fn redundant_samples(payload: &[u8]) -> u64 {
    let Some(&toc) = payload.first() else { return 0 };
    let celt_only = toc & 0x80 != 0;
    if celt_only {
        return 0;
    }
    let Some(&flags) = first_frame(payload).and_then(<[u8]>::first) else { return 0 };
    let frame = Packet::try_from(payload)
        .and_then(|packet| packet::samples_per_frame(packet, RATE))
        .unwrap_or(0);
    let voice_flags = (frame / 320).max(1);
    let lbrr = |voice_flags: usize| flags & (0x80 >> voice_flags) != 0;
    let stereo = toc & 0x04 != 0;
    let present = lbrr(voice_flags) || (stereo && lbrr(2 * voice_flags + 1));
    if present { frame as u64 } else { 0 }
}

/// The bytes from the start of a packet's first frame (RFC 6716 section 3.2), or `None` if the
/// frame is empty or the packet ends early.
fn first_frame(payload: &[u8]) -> Option<&[u8]> {
    let (&toc, rest) = payload.split_first()?;
    match toc & 0x03 {
        0 | 1 => Some(rest),
        2 => {
            let (length, rest) = frame_length(rest)?;
            (length > 0).then_some(rest)
        }
        _ => {
            let (&count, mut rest) = rest.split_first()?;
            let (vbr, padded, frames) = (count & 0x80 != 0, count & 0x40 != 0, count & 0x3f);
            if padded {
                loop {
                    let (&padding, after) = rest.split_first()?;
                    rest = after;
                    if padding != 255 {
                        break;
                    }
                }
            }
            let mut first = None;
            for _ in 1..if vbr { frames } else { 1 } {
                let (length, after) = frame_length(rest)?;
                first.get_or_insert(length);
                rest = after;
            }
            (first != Some(0)).then_some(rest)
        }
    }
}

/// Reads a frame length of one or two bytes (RFC 6716 section 3.2.1).
fn frame_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match *bytes {
        [short @ ..=251, ref rest @ ..] => Some((usize::from(short), rest)),
        [low, high, ref rest @ ..] => Some((usize::from(high) * 4 + usize::from(low), rest)),
        _ => None,
    }
}

fn malformed(payload: &[u8], reason: audiopus::Error) -> CodecError {
    CodecError::Malformed { bytes: payload.len(), reason }
}
