//! From the bytes of a datagram to an RTP packet, or the reason why not.

use bytes::{Bytes, BytesMut};
use rtp::packet::Packet;
use webrtc_util::marshal::Unmarshal;

/// The longest payload that is taken, in bytes. An Ethernet frame holds no more, and no codec here
/// needs a fifth of it.
pub const MAX_PAYLOAD_BYTES: usize = 1500;

/// Why a datagram is not part of the party's audio. Each is a drop to be counted; none is a reason
/// to end the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RtpRejected {
    /// A STUN message (RFC 7983: first byte 0 to 3).
    #[error("datagram is STUN, not RTP; hand it to the connectivity check, or drop it")]
    Stun,
    /// Neither RTP version 2 nor STUN (RFC 7983).
    #[error("datagram is not RTP version 2; drop it")]
    NotRtp,
    /// RTCP multiplexed on the RTP port (RFC 5761 section 4).
    #[error("datagram is RTCP, not RTP; hand it to the RTCP reader, or drop it")]
    Rtcp,
    /// The datagram ends before its header, its header extension or its padding does.
    #[error("RTP datagram ends before its header says; drop it")]
    Truncated,
    /// The payload is longer than [`MAX_PAYLOAD_BYTES`].
    #[error("RTP payload of {bytes} bytes is over {MAX_PAYLOAD_BYTES}; drop it")]
    Oversized {
        /// Length of the payload.
        bytes: usize,
    },
    /// The packet was received before.
    #[error("RTP packet was received before; drop it")]
    Duplicate,
    /// The packet's place has passed: it was given up as lost.
    #[error("RTP packet came after its place was given up as lost; drop it")]
    Late,
    /// [`finish`](super::RtpReceiver::finish) was called.
    #[error("RTP packet came after the stream was finished; drop it")]
    Finished,
}

/// An RTP packet of which only what the receiver needs is kept.
#[derive(Debug)]
pub(super) struct Datagram {
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    pub(super) sequence_number: u16,
    pub(super) timestamp: u32,
    pub(super) payload: Bytes,
}

impl Datagram {
    pub(super) fn parse(datagram: &[u8]) -> Result<Self, RtpRejected> {
        let [first, second, ..] = *datagram else { return Err(RtpRejected::Truncated) };
        match (first, second) {
            (0..=3, _) => return Err(RtpRejected::Stun),
            (128..=191, 192..=223) => return Err(RtpRejected::Rtcp),
            (128..=191, _) => {}
            _ => return Err(RtpRejected::NotRtp),
        }
        let mut bytes = without_extension(datagram).ok_or(RtpRejected::Truncated)?;
        let packet = Packet::unmarshal(&mut bytes).map_err(|_| RtpRejected::Truncated)?;
        if packet.payload.len() > MAX_PAYLOAD_BYTES {
            return Err(RtpRejected::Oversized { bytes: packet.payload.len() });
        }
        Ok(Self {
            ssrc: packet.header.ssrc,
            payload_type: packet.header.payload_type,
            sequence_number: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            payload: packet.payload,
        })
    }
}

const FIXED_HEADER_BYTES: usize = 12;
const EXTENSION_BIT: u8 = 0x10;

/// Copies the datagram and cuts its header extension out (RFC 3550 section 5.3.1).
///
/// Nothing here reads extensions, and the `rtp` crate panics on one whose elements run past its
/// end and takes the rest of one with a reserved id (RFC 8285 section 4.2) for payload.
fn without_extension(datagram: &[u8]) -> Option<Bytes> {
    let first = *datagram.first()?;
    if first & EXTENSION_BIT == 0 {
        return Some(Bytes::copy_from_slice(datagram));
    }
    let start = FIXED_HEADER_BYTES + usize::from(first & 0x0f) * 4;
    let words = datagram.get(start + 2..start + 4)?;
    let end = start + 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
    let payload = datagram.get(end..)?;

    let mut bytes = BytesMut::with_capacity(start + payload.len());
    bytes.extend_from_slice(&datagram[..start]);
    bytes[0] &= !EXTENSION_BIT;
    bytes.extend_from_slice(payload);
    Some(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 12] = [0x80, 0x6f, 0, 7, 0, 0, 3, 0xc0, 0xde, 0xad, 0xbe, 0xef];

    fn with(first: u8, rest: &[u8]) -> Vec<u8> {
        let mut datagram = HEADER.to_vec();
        datagram[0] = first;
        datagram.extend_from_slice(rest);
        datagram
    }

    #[test]
    fn the_plain_header_is_read() {
        let packet = Datagram::parse(&with(0x80, b"audio")).unwrap();
        assert_eq!(packet.ssrc, 0xdead_beef);
        assert_eq!(packet.payload_type, 111);
        assert_eq!(packet.sequence_number, 7);
        assert_eq!(packet.timestamp, 960);
        assert_eq!(packet.payload, &b"audio"[..]);
    }

    #[test]
    fn padding_sources_and_extension_are_not_payload() {
        let padded = Datagram::parse(&with(0xa0, b"audio\0\0\x03")).unwrap();
        assert_eq!(padded.payload, &b"audio"[..]);

        let mixed = Datagram::parse(&with(0x82, b"csrccsrcaudio")).unwrap();
        assert_eq!(mixed.payload, &b"audio"[..]);

        let extended =
            Datagram::parse(&with(0x91, b"csrc\xbe\xde\0\x01\x10\xaa\0\0audio")).unwrap();
        assert_eq!(extended.payload, &b"audio"[..]);
    }

    #[test]
    fn an_extension_that_lies_about_its_elements_is_harmless() {
        // One-byte form: an element of 16 bytes in an extension of 4.
        let overrun = Datagram::parse(&with(0x90, b"\xbe\xde\0\x01\x1f\0\0\0")).unwrap();
        assert!(overrun.payload.is_empty());
        // Two-byte form: an element that ends before its length.
        let cut = Datagram::parse(&with(0x90, b"\x10\0\0\x01\0\0\0\x01")).unwrap();
        assert!(cut.payload.is_empty());
        // Id 15 ends the list; the rest of the extension is still extension.
        let reserved =
            Datagram::parse(&with(0x90, b"\xbe\xde\0\x01\xf0\x01\x02\x03audio")).unwrap();
        assert_eq!(reserved.payload, &b"audio"[..]);
    }

    #[test]
    fn strangers_on_the_port_are_told_apart() {
        let reason = |datagram: &[u8]| Datagram::parse(datagram).unwrap_err();
        assert_eq!(reason(&[]), RtpRejected::Truncated);
        assert_eq!(reason(&[0x80]), RtpRejected::Truncated);
        assert_eq!(reason(&HEADER[..11]), RtpRejected::Truncated);
        assert_eq!(reason(&with(0x8f, b"")), RtpRejected::Truncated);
        assert_eq!(reason(&with(0x90, b"\xbe\xde\xff\xff")), RtpRejected::Truncated);
        assert_eq!(reason(&with(0xa0, b"x\xff")), RtpRejected::Truncated);
        assert_eq!(reason(&with(0xa0, b"")), RtpRejected::Truncated);
        assert_eq!(reason(b"\0\x01\0\0\x21\x12\xa4\x42"), RtpRejected::Stun);
        assert_eq!(reason(b"hello"), RtpRejected::NotRtp);
        assert_eq!(reason(b"\x80\xc8\0\x06sender report"), RtpRejected::Rtcp);
        let bytes = MAX_PAYLOAD_BYTES + 1;
        assert_eq!(reason(&with(0x80, &vec![0; bytes])), RtpRejected::Oversized { bytes });
    }
}
