//! From the bytes of a datagram to an RTP packet, or the reason why not.

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

/// The header of an RTP packet (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// Who sends.
    pub ssrc: u32,
    /// What the payload is, 0 to 127.
    pub payload_type: u8,
    /// Counts the packets of the source, modulo 2^16.
    pub sequence_number: u16,
    /// When the payload was sampled, in ticks of the payload format's clock, modulo 2^32.
    pub timestamp: u32,
    /// Contributing sources named between the fixed header and the extension, 0 to 15.
    pub contributors: usize,
    /// Length of the header in bytes, with contributing sources and header extension.
    pub len: usize,
    has_padding: bool,
}

impl RtpHeader {
    /// Reads the header of a datagram. Nothing reads the header extension; its elements may be as
    /// wrong as they like.
    ///
    /// # Errors
    /// [`RtpRejected::Stun`], [`RtpRejected::Rtcp`], [`RtpRejected::NotRtp`] for what else comes
    /// to an RTP port (RFC 7983, RFC 5761), and [`RtpRejected::Truncated`].
    pub fn parse(datagram: &[u8]) -> Result<Self, RtpRejected> {
        let [first, second, ..] = *datagram else { return Err(RtpRejected::Truncated) };
        match (first, second) {
            (0..=3, _) => return Err(RtpRejected::Stun),
            (128..=191, 192..=223) => return Err(RtpRejected::Rtcp),
            (128..=191, _) => {}
            _ => return Err(RtpRejected::NotRtp),
        }
        let fixed: &[u8; FIXED_HEADER_BYTES] =
            datagram.first_chunk().ok_or(RtpRejected::Truncated)?;
        let word = |at: usize| {
            u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]])
        };
        let contributors = usize::from(first & CONTRIBUTORS_MASK);
        let mut len = FIXED_HEADER_BYTES + contributors * 4;
        if first & EXTENSION_BIT != 0 {
            let words = datagram.get(len + 2..len + 4).ok_or(RtpRejected::Truncated)?;
            len += 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
        }
        if datagram.len() < len {
            return Err(RtpRejected::Truncated);
        }
        Ok(Self {
            ssrc: word(8),
            payload_type: second & 0x7f,
            sequence_number: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: word(4),
            contributors,
            len,
            has_padding: first & PADDING_BIT != 0,
        })
    }

    /// The payload of the datagram that this is the header of, without padding.
    ///
    /// # Errors
    /// [`RtpRejected::Truncated`] when the padding is longer than what there is, and
    /// [`RtpRejected::Oversized`].
    pub fn payload<'a>(&self, datagram: &'a [u8]) -> Result<&'a [u8], RtpRejected> {
        let body = datagram.get(self.len..).ok_or(RtpRejected::Truncated)?;
        let payload = match body {
            // A padding of 0 bytes would not count the byte that says so.
            [.., 0] if self.has_padding => return Err(RtpRejected::Truncated),
            [.., padding] if self.has_padding => {
                let end = body.len().checked_sub(usize::from(*padding));
                &body[..end.ok_or(RtpRejected::Truncated)?]
            }
            [] if self.has_padding => return Err(RtpRejected::Truncated),
            _ => body,
        };
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(RtpRejected::Oversized { bytes: payload.len() });
        }
        Ok(payload)
    }
}

const FIXED_HEADER_BYTES: usize = 12;
const PADDING_BIT: u8 = 0x20;
const EXTENSION_BIT: u8 = 0x10;
const CONTRIBUTORS_MASK: u8 = 0x0f;

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

    fn payload(datagram: &[u8]) -> Result<&[u8], RtpRejected> {
        RtpHeader::parse(datagram)?.payload(datagram)
    }

    #[test]
    fn the_plain_header_is_read() {
        let datagram = with(0x80, b"audio");
        let header = RtpHeader::parse(&datagram).unwrap();
        assert_eq!(header.ssrc, 0xdead_beef);
        assert_eq!(header.payload_type, 111);
        assert_eq!(header.sequence_number, 7);
        assert_eq!(header.timestamp, 960);
        assert_eq!(header.len, 12);
        assert_eq!(header.payload(&datagram), Ok(&b"audio"[..]));
    }

    #[test]
    fn padding_sources_and_extension_are_not_payload() {
        assert_eq!(payload(&with(0xa0, b"audio\0\0\x03")), Ok(&b"audio"[..]));
        assert_eq!(payload(&with(0xa0, b"\0\0\x03")), Ok(&b""[..]));
        assert_eq!(payload(&with(0x82, b"csrccsrcaudio")), Ok(&b"audio"[..]));
        let extended = with(0x91, b"csrc\xbe\xde\0\x01\x10\xaa\0\0audio");
        assert_eq!(payload(&extended), Ok(&b"audio"[..]));
    }

    #[test]
    fn an_extension_that_lies_about_its_elements_is_harmless() {
        // One-byte form: an element of 16 bytes in an extension of 4.
        assert_eq!(payload(&with(0x90, b"\xbe\xde\0\x01\x1f\0\0\0")), Ok(&b""[..]));
        // Two-byte form: an element that ends before its length.
        assert_eq!(payload(&with(0x90, b"\x10\0\0\x01\0\0\0\x01")), Ok(&b""[..]));
        // Id 15 ends the list; the rest of the extension is still extension.
        let reserved = with(0x90, b"\xbe\xde\0\x01\xf0\x01\x02\x03audio");
        assert_eq!(payload(&reserved), Ok(&b"audio"[..]));
    }

    #[test]
    fn strangers_on_the_port_are_told_apart() {
        let reason = |datagram: &[u8]| payload(datagram).unwrap_err();
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
