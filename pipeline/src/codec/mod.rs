//! Speech codecs of telephony: payload bytes in, 16-bit mono PCM out.

mod concealer;
pub mod g711;
mod g722;
mod opus;

use g711::Companding;

/// The codecs that a party's audio can arrive in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus (RFC 6716). libopus resamples by itself, so it is decoded at 16 kHz mono whatever the
    /// sender's RTP clock rate or channel count.
    Opus,
    /// G.711 mu-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
    /// G.722 at 64 kbit/s: 16 kHz audio with an RTP clock of 8000 (RFC 3551 section 4.5.2).
    G722,
}

impl Codec {
    /// Samples per second of the decoded PCM: 16000 for Opus and G.722, 8000 for G.711.
    #[must_use]
    pub const fn sample_rate(self) -> u32 {
        match self {
            Self::Opus | Self::G722 => 16_000,
            Self::Pcmu | Self::Pcma => 8_000,
        }
    }

    /// Whether a stream of this codec may have this RTP clock: 8000 Hz for G.711 and G.722; for
    /// Opus 48000 Hz by RFC 7587, or 16000 Hz as RingCentral has it.
    #[must_use]
    pub const fn fits_clock(self, clock_rate: u32) -> bool {
        match self {
            Self::Opus => matches!(clock_rate, 16_000 | 48_000),
            Self::Pcmu | Self::Pcma | Self::G722 => clock_rate == 8_000,
        }
    }

    /// The payload of a packet of 20 ms of silence.
    #[must_use]
    pub fn silence(self) -> Vec<u8> {
        let samples = self.samples_in_ms(20) as usize;
        match self {
            Self::Opus => opus::SILENCE.to_vec(),
            Self::Pcmu => vec![g711::MU_LAW_SILENCE; samples],
            Self::Pcma => vec![g711::A_LAW_SILENCE; samples],
            Self::G722 => g722::silence(samples),
        }
    }

    /// Samples of decoded PCM in `ms` milliseconds.
    #[must_use]
    pub const fn samples_in_ms(self, ms: u64) -> u64 {
        ms * self.sample_rate() as u64 / 1000
    }
}

/// The most audio that one packet may decode to, in milliseconds: the longest Opus packet
/// (RFC 6716 section 3.2.5). A packet that claims more is an attack or damaged.
pub const MAX_PACKET_MS: u64 = 120;

/// Why a codec cannot be set up, or a payload cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The codec has no streams with this RTP clock rate ([`Codec::fits_clock`]).
    #[error(
        "RTP clock rate {clock_rate} Hz does not fit {codec:?}; refuse this payload type in the \
         answer"
    )]
    UnsupportedClockRate {
        /// The codec that was asked for.
        codec: Codec,
        /// The RTP clock rate that was asked for, in Hz.
        clock_rate: u32,
    },
    /// libopus could not make a decoder, which means that memory ran out.
    #[error("libopus could not create a decoder ({0}); retry once memory is free")]
    DecoderUnavailable(#[source] audiopus::Error),
    /// The payload breaks the codec's format.
    #[error("payload of {bytes} bytes is not valid Opus ({reason}); treat it as lost")]
    Malformed {
        /// Length of the payload.
        bytes: usize,
        /// What libopus says.
        #[source]
        reason: audiopus::Error,
    },
    /// The payload holds more than [`MAX_PACKET_MS`] of audio.
    #[error("payload decodes to {samples} samples, more than {MAX_PACKET_MS} ms; treat it as lost")]
    TooLong {
        /// Samples the payload would decode to.
        samples: u64,
    },
    /// The payload has no bytes.
    #[error("payload is empty; skip it")]
    Empty,
}

/// The decoder of one party's stream. Decoders remember the past, so each party needs its own.
#[derive(Debug)]
pub struct Decoder {
    codec: Codec,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Opus(opus::OpusDecoder),
    G711(g711::G711Decoder),
    G722(Box<g722::G722Decoder>),
}

impl Decoder {
    /// A decoder that has heard nothing yet.
    ///
    /// # Errors
    /// [`CodecError::DecoderUnavailable`] when libopus cannot allocate.
    pub fn new(codec: Codec) -> Result<Self, CodecError> {
        let inner = match codec {
            Codec::Opus => Inner::Opus(opus::OpusDecoder::new()?),
            Codec::Pcmu => Inner::G711(g711::G711Decoder::new(Companding::MuLaw)),
            Codec::Pcma => Inner::G711(g711::G711Decoder::new(Companding::ALaw)),
            Codec::G722 => Inner::G722(Box::new(g722::G722Decoder::new())),
        };
        Ok(Self { codec, inner })
    }

    /// Samples that `payload` decodes to, from its header alone.
    ///
    /// # Errors
    /// [`CodecError::Empty`], [`CodecError::TooLong`], [`CodecError::Malformed`].
    pub fn duration(&self, payload: &[u8]) -> Result<u64, CodecError> {
        if payload.is_empty() {
            return Err(CodecError::Empty);
        }
        let samples = match &self.inner {
            Inner::Opus(_) => opus::duration(payload)?,
            Inner::G711(_) => payload.len() as u64,
            Inner::G722(_) => g722::duration(payload.len()),
        };
        if samples > self.codec.samples_in_ms(MAX_PACKET_MS) {
            return Err(CodecError::TooLong { samples });
        }
        Ok(samples)
    }

    /// Decodes one packet.
    ///
    /// # Errors
    /// Those of [`duration`](Self::duration); the decoder stays usable after each of them.
    pub fn decode(&mut self, payload: &[u8]) -> Result<Vec<i16>, CodecError> {
        let samples = self.duration(payload)?;
        match &mut self.inner {
            Inner::Opus(decoder) => decoder.decode(payload, samples as usize),
            Inner::G711(decoder) => Ok(decoder.decode(payload)),
            Inner::G722(decoder) => Ok(decoder.decode(payload)),
        }
    }

    /// Invents at most `samples` samples to follow what was decoded last, in place of lost packets.
    /// Opus works in steps of 2.5 ms, so it may return fewer.
    pub fn conceal(&mut self, samples: u64) -> Vec<i16> {
        let samples = samples.min(self.codec.samples_in_ms(MAX_PACKET_MS)) as usize;
        match &mut self.inner {
            Inner::Opus(decoder) => decoder.conceal(samples),
            Inner::G711(decoder) => decoder.conceal(samples),
            Inner::G722(decoder) => decoder.conceal(samples),
        }
    }

    /// How many samples just before `payload` the payload itself carries again as in-band forward
    /// error correction (Opus LBRR, RFC 6716 section 2.1.7); 0 when it carries none.
    #[must_use]
    pub fn recoverable(&self, payload: &[u8]) -> u64 {
        match &self.inner {
            Inner::Opus(_) => opus::redundant_samples(payload),
            Inner::G711(_) | Inner::G722(_) => 0,
        }
    }

    /// Decodes the audio that [`recoverable`](Self::recoverable) announces. Call it after
    /// [`conceal`](Self::conceal) for what lies before, and before [`decode`](Self::decode) for
    /// the payload itself.
    ///
    /// # Errors
    /// [`CodecError::Malformed`] when the redundant data is damaged. [`CodecError::Empty`] when
    /// there is none.
    pub fn recover(&mut self, payload: &[u8]) -> Result<Vec<i16>, CodecError> {
        match (self.recoverable(payload), &mut self.inner) {
            (samples @ 1.., Inner::Opus(decoder)) => decoder.recover(payload, samples as usize),
            _ => Err(CodecError::Empty),
        }
    }

    /// Forgets what was heard: the next packet belongs to another stream.
    pub fn reset(&mut self) {
        match &mut self.inner {
            Inner::Opus(decoder) => decoder.reset(),
            Inner::G711(decoder) => decoder.reset(),
            Inner::G722(decoder) => decoder.reset(),
        }
    }
}
