//! Session descriptions: reading RingCentral's offers and writing our answers (RFC 4566, RFC 3264).
//!
//! The reader takes every m-line by itself: one that makes no sense to this gateway is refused with port 0, and the
//! others are answered.

mod crypto;
mod reader;
mod writer;

pub use crypto::{CryptoLine, CryptoSuite, MasterKey};
pub use writer::{offer, offered_formats, reoffer};

use std::net::{IpAddr, SocketAddr};

use pipeline::rtp::PayloadFormat;

/// More m-lines than any supervised call has; an offer with more is refused.
const MAX_MEDIA: usize = 8;

/// A description that came from the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The m-lines in order.
    pub media: Vec<Media>,
}

/// One m-line of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Where their RTP comes from and goes to. The address is unspecified when they hold the old way (`c=0.0.0.0`).
    pub remote: SocketAddr,
    /// Where their RTCP comes from and goes to: `a=rtcp` (RFC 3605), the RTP port with `a=rtcp-mux`, else the next port.
    pub remote_rtcp: SocketAddr,
    /// They can do RTP and RTCP on one port (RFC 5761).
    pub rtcp_mux: bool,
    /// What they can send and this gateway can decode, in their order. Empty exactly when `unfit` says why.
    pub formats: Vec<PayloadFormat>,
    /// The first `a=crypto` line that can be used. Present exactly when the profile is RTP/SAVP and the line is fit.
    pub crypto: Option<CryptoLine>,
    /// The RingCentral party id in the `i=` line.
    pub party_id: Option<String>,
    /// Which way media flow, seen from them.
    pub direction: Direction,
    /// Why this m-line can't be taken.
    pub unfit: Option<Unfit>,
    /// DTMF (RFC 4733): payload types and clock rates.
    telephone_events: Vec<(u8, u32)>,
    kind: String,
    protocol: String,
    payload_types: Vec<String>,
}

/// RFC 3264 section 5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways: the default.
    SendRecv,
    /// They send.
    SendOnly,
    /// They receive.
    RecvOnly,
    /// Nobody sends.
    Inactive,
}

/// Why an m-line is refused with port 0.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Video, fax, text.
    #[error("{0} is not audio")]
    NotAudio(String),
    /// They refuse it themselves: port 0.
    #[error("it is disabled")]
    Disabled,
    /// Another profile.
    #[error("the profile {0} is neither RTP/AVP nor RTP/SAVP")]
    Profile(String),
    /// RTP/SAVP without an `a=crypto` line that can be used.
    #[error("none of its a=crypto lines is AES_CM_128_HMAC_SHA1_80 or _32 with one inline key")]
    NoCrypto,
    /// No codec in common.
    #[error("none of its codecs ({0}) is Opus, G.722, PCMU or PCMA")]
    NoCodec(String),
    /// No `c=` line, or a host name in it.
    #[error("it names no IP address to talk to")]
    NoAddress,
}

/// A body that is no session description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Not UTF-8.
    #[error("not a session description: the body is not text")]
    NotText,
    /// Does not start with `v=0`.
    #[error("not a session description: the first line is not v=0")]
    Version,
    /// A line is not `<letter>=<value>`, or an m-line lacks a part. Counted from 1.
    #[error("not a session description: line {0} is malformed")]
    Line(usize),
    /// No m-line at all.
    #[error("the session description has no m= line")]
    NoMedia,
    /// More m-lines than [`MAX_MEDIA`].
    #[error("the session description has more than {MAX_MEDIA} m= lines")]
    TooManyMedia,
}

/// What an m-line of ours says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalMedia {
    /// The RTP port; RTCP is one above.
    pub port: u16,
    /// What will be received.
    pub format: PayloadFormat,
    /// What our packets are protected with: RTP/SAVP.
    pub crypto: Option<CryptoLine>,
}

/// Numbers of the `o=` line: constant id, version counted up with each change (RFC 3264 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionVersion {
    /// Unique per leg.
    pub id: u64,
    /// Counts the descriptions sent within the leg.
    pub version: u64,
}

impl Description {
    /// Reads a body.
    ///
    /// # Errors
    /// [`SdpError`] when the body as a whole makes no sense. An m-line that can't be taken is no error: it says so in
    /// [`Media::unfit`].
    pub fn parse(body: &[u8]) -> Result<Self, SdpError> {
        Ok(Self { media: reader::read(body)? })
    }

    /// Writes the answer: one m-line for each of theirs in order, `None` refuses it.
    pub fn answer(
        &self,
        session: SessionVersion,
        local: IpAddr,
        media: &[Option<LocalMedia>],
    ) -> String {
        writer::answer(self, session, local, media)
    }
}

impl Media {
    /// The payload type of the keys that are pressed, beside audio of a format; `None` if they send none.
    pub fn telephone_events_beside(&self, format: PayloadFormat) -> Option<u8> {
        self.telephone_event_beside(format).map(|(payload_type, _)| payload_type)
    }

    /// Whether audio will come: they send, and say where from.
    pub fn sends(&self) -> bool {
        matches!(self.direction, Direction::SendRecv | Direction::SendOnly)
            && !self.remote.ip().is_unspecified()
    }
}

impl Direction {
    /// The same, seen from the other side.
    pub fn reversed(self) -> Self {
        match self {
            Direction::SendRecv => Direction::SendRecv,
            Direction::SendOnly => Direction::RecvOnly,
            Direction::RecvOnly => Direction::SendOnly,
            Direction::Inactive => Direction::Inactive,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

#[cfg(test)]
mod tests;
