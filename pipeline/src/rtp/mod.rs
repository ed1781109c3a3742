//! RTP reception: the datagrams of one party in, its audio on its own clock out; and the RTCP
//! that goes with it.

mod arrival;
mod candidate;
mod datagram;
mod receiver;
mod reception;
mod reorder;
mod rtcp;
mod source;
mod stats;
mod telephone_event;
mod timeline;

pub use datagram::{MAX_PAYLOAD_BYTES, RtpHeader, RtpRejected};
pub use receiver::RtpReceiver;
pub use reception::Reception;
pub use rtcp::{RtcpRejected, RtcpSession};
pub use stats::RtpStats;
pub use timeline::OUTPUT_CAPACITY;

use crate::clock::SamplePosition;
use crate::codec::Codec;

/// The one payload format that was negotiated for a party (SDP `rtpmap`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PayloadFormat {
    /// What the payload is encoded with.
    pub codec: Codec,
    /// The RTP payload type, 0 to 127.
    pub payload_type: u8,
    /// Ticks per second of the RTP timestamp: 48000 for standard Opus (RFC 7587), 16000 for
    /// RingCentral's, 8000 for G.711 and, although it samples at 16000, for G.722.
    pub clock_rate: u32,
}

/// What became of a stretch of a party's clock. Stretches come in order and never overlap. What
/// lies between two of them was silence that the party did not send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartyAudio {
    /// Audio: received, recovered, concealed, or silence by the clock.
    Frame {
        /// Position of the first sample.
        position: SamplePosition,
        /// 16-bit mono samples at the codec's sample rate; at most 120 ms.
        pcm: Vec<i16>,
    },
    /// Audio that was sent and is not known.
    Lost {
        /// Position of the first lost sample.
        position: SamplePosition,
        /// How many samples are lost, at least 1.
        samples: u64,
    },
}

impl PartyAudio {
    /// Position of the first sample.
    #[must_use]
    pub fn position(&self) -> SamplePosition {
        match self {
            Self::Frame { position, .. } | Self::Lost { position, .. } => *position,
        }
    }

    /// How many samples of the party's clock this covers.
    #[must_use]
    pub fn samples(&self) -> u64 {
        match self {
            Self::Frame { pcm, .. } => pcm.len() as u64,
            Self::Lost { samples, .. } => *samples,
        }
    }

    /// Position one past the last sample.
    #[must_use]
    pub fn end(&self) -> SamplePosition {
        self.position().plus(self.samples())
    }
}
