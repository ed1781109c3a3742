//! SRTP and SRTCP (RFC 3711) with the keys of the SDP, one key for each direction. Pure.
//!
//! The cipher, the rollover counter and the replay window are those of `webrtc-srtp`. It keeps state for whatever SSRC a
//! packet claims, starts a replay window at a packet that is not authentic yet, lets SRTCP packets pass that say they are
//! not encrypted, and trusts the length of what it is given; all four are taken care of here.

use bytes::Bytes;
use pipeline::rtp::RtpHeader;
use rtp::header::{Extension, Header};
use webrtc_srtp::Error;
use webrtc_srtp::context::Context;
use webrtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use webrtc_srtp::protection_profile::ProtectionProfile;

use crate::sdp::{CryptoSuite, MasterKey};

/// Packets behind the newest that are told from replays (RFC 3711 section 3.3.2 asks for at least 64). Five seconds: a
/// burst after a stall may be delivered in any order.
const REPLAY_WINDOW: usize = 256;

/// Sources of one key that are remembered. When full the one that was silent longest is forgotten; only the holder of the
/// key can bring that about.
const MAX_SOURCES: usize = 8;

/// Bytes of the E flag with the SRTCP index, and of the SRTCP tag, which all suites have (RFC 4568 section 6.2.2).
const SRTCP_INDEX_LEN: usize = 4;
const SRTCP_TAG_LEN: usize = 10;

/// Header and SSRC of an RTCP packet.
const RTCP_HEADER_LEN: usize = 8;

/// Why a packet is not taken. Each is a drop to be counted; none ends the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SrtpRejected {
    /// Not RTP or RTCP at all, or too short to carry a tag.
    #[error("datagram is not SRTP; drop it")]
    Malformed,
    /// The tag does not fit the key: forged, damaged, or from before a change of keys.
    #[error("SRTP packet is not authentic; drop it, and compare the keys if all are")]
    Forged,
    /// Received before, or too old to tell.
    #[error("SRTP packet is a replay; drop it")]
    Replayed,
}

/// A packet of ours that could not be protected: the cipher was used up, or the packet is not RTP.
#[derive(Debug, thiserror::Error)]
#[error("cannot protect an outgoing packet ({0}); end the stream")]
pub struct SrtpError(#[source] Error);

/// Opens what the other side sends.
pub struct SrtpReceiver {
    key: MasterKey,
    rtp: Sources,
    rtcp: Sources,
}

/// Protects what we send.
pub struct SrtpSender {
    context: Context,
}

impl SrtpReceiver {
    /// Opens packets that are protected with the other side's key.
    pub fn new(key: MasterKey) -> Self {
        Self { key, rtp: Sources::default(), rtcp: Sources::default() }
    }

    /// The key that packets are expected to have.
    pub fn key(&self) -> &MasterKey {
        &self.key
    }

    /// Gives the RTP packet in a datagram.
    ///
    /// # Errors
    /// Why the datagram was dropped.
    pub fn open_rtp(&mut self, datagram: &[u8]) -> Result<Bytes, SrtpRejected> {
        let header = RtpHeader::parse(datagram).map_err(|_| SrtpRejected::Malformed)?;
        let tag_len = profile(&self.key).rtp_auth_tag_len();
        let packet = WithoutMki::new(datagram, self.key.mki_len(), tag_len)?;
        let packet = packet.bytes();
        if packet.len() < header.len + tag_len {
            return Err(SrtpRejected::Malformed);
        }
        let theirs = header_of(&header);
        self.rtp.open(&self.key, header.ssrc, Some(header.sequence_number), |context| {
            context.decrypt_rtp_with_header(packet, &theirs)
        })
    }

    /// Gives the compound RTCP packet in a datagram.
    ///
    /// # Errors
    /// Why the datagram was dropped.
    pub fn open_rtcp(&mut self, datagram: &[u8]) -> Result<Bytes, SrtpRejected> {
        let packet = WithoutMki::new(datagram, self.key.mki_len(), SRTCP_TAG_LEN)?;
        let packet = packet.bytes();
        let index_at = packet.len().checked_sub(SRTCP_INDEX_LEN + SRTCP_TAG_LEN);
        let index_at =
            index_at.filter(|at| *at >= RTCP_HEADER_LEN).ok_or(SrtpRejected::Malformed)?;
        let is_encrypted = packet[index_at] & 0x80 != 0;
        if !is_encrypted {
            // Nobody here agreed to UNENCRYPTED_SRTCP.
            return Err(SrtpRejected::Forged);
        }
        let ssrc = u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        self.rtcp.open(&self.key, ssrc, None, |context| context.decrypt_rtcp(packet))
    }
}

impl SrtpSender {
    /// Protects packets with our key.
    ///
    /// # Errors
    /// When the cipher cannot be set up.
    pub fn new(key: &MasterKey) -> Result<Self, SrtpError> {
        Ok(Self { context: context(key).map_err(SrtpError)? })
    }

    /// Protects an RTP packet.
    ///
    /// # Errors
    /// When the key has protected as many packets as it may, or the packet is not RTP.
    pub fn protect_rtp(&mut self, packet: &[u8]) -> Result<Bytes, SrtpError> {
        self.context.encrypt_rtp(packet).map_err(SrtpError)
    }

    /// Protects a compound RTCP packet.
    ///
    /// # Errors
    /// When the packet is not RTCP.
    pub fn protect_rtcp(&mut self, packet: &[u8]) -> Result<Bytes, SrtpError> {
        self.context.encrypt_rtcp(packet).map_err(SrtpError)
    }
}

/// The contexts of those who hold the key, by SSRC: the last is the one that was heard last.
#[derive(Default)]
struct Sources(Vec<(u32, Context)>);

impl Sources {
    /// `sequence_number` is that of RTP.
    fn open(
        &mut self,
        key: &MasterKey,
        ssrc: u32,
        sequence_number: Option<u16>,
        decrypt: impl Fn(&mut Context) -> Result<Bytes, Error>,
    ) -> Result<Bytes, SrtpRejected> {
        if let Some(index) = self.0.iter().rposition(|(known, _)| *known == ssrc) {
            let opened = decrypt(&mut self.0[index].1).map_err(rejected)?;
            if index + 1 < self.0.len() {
                let heard = self.0.remove(index);
                self.0.push(heard);
            }
            return Ok(opened);
        }
        // Only who proves to hold the key is remembered.
        let mut fresh = context(key).map_err(rejected)?;
        let opened = match (decrypt(&mut fresh), sequence_number) {
            (Err(Error::RtpFailedToVerifyAuthTag), Some(number)) if number < LOW_NUMBERS => {
                fresh = context(key).map_err(rejected)?;
                roll_over(&mut fresh, ssrc).map_err(rejected)?;
                decrypt(&mut fresh).map_err(rejected)?
            }
            (opened, _) => opened.map_err(rejected)?,
        };
        if self.0.len() == MAX_SOURCES {
            self.0.remove(0);
        }
        self.0.push((ssrc, fresh));
        Ok(opened)
    }
}

/// A first packet with a number below this may follow some that were lost before the sender's counter rolled over.
const LOW_NUMBERS: u16 = 1 << 10;

/// Takes a new context past the first rollover, as if it had seen the last number before it.
fn roll_over(context: &mut Context, ssrc: u32) -> Result<(), Error> {
    let last = Header { version: 2, sequence_number: u16::MAX, ssrc, ..Header::default() };
    context.encrypt_rtp_with_header(&[0x80, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0], &last)?;
    Ok(())
}

fn context(key: &MasterKey) -> Result<Context, Error> {
    let (rtp, rtcp) =
        (srtp_replay_protection(REPLAY_WINDOW), srtcp_replay_protection(REPLAY_WINDOW));
    Context::new(key.key(), key.salt(), profile(key), Some(rtp), Some(rtcp))
}

fn profile(key: &MasterKey) -> ProtectionProfile {
    match key.suite() {
        CryptoSuite::HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        CryptoSuite::HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
    }
}

fn rejected(error: Error) -> SrtpRejected {
    match error {
        Error::SrtpSsrcDuplicated(..) | Error::SrtcpSsrcDuplicated(..) => SrtpRejected::Replayed,
        Error::RtpFailedToVerifyAuthTag | Error::RtcpFailedToVerifyAuthTag => SrtpRejected::Forged,
        _ => SrtpRejected::Malformed,
    }
}

/// The header as the cipher wants it: number, SSRC, and a length. The tag is over the bytes themselves.
fn header_of(header: &RtpHeader) -> Header {
    let before_extension = 12 + 4 * header.contributors;
    let extension = header.len.checked_sub(before_extension + 4);
    Header {
        version: 2,
        sequence_number: header.sequence_number,
        ssrc: header.ssrc,
        csrc: vec![0; header.contributors],
        extension: extension.is_some(),
        extensions: extension
            .map(|len| Extension { id: 0, payload: Bytes::from(vec![0; len]) })
            .into_iter()
            .collect(),
        ..Header::default()
    }
}

/// A packet with the key index cut out, which stands before the tag and is not part of what the tag covers.
enum WithoutMki<'a> {
    AsIs(&'a [u8]),
    Cut(Vec<u8>),
}

impl<'a> WithoutMki<'a> {
    fn new(datagram: &'a [u8], mki_len: usize, tag_len: usize) -> Result<Self, SrtpRejected> {
        if mki_len == 0 {
            return Ok(Self::AsIs(datagram));
        }
        let tag_at = datagram.len().checked_sub(tag_len).ok_or(SrtpRejected::Malformed)?;
        let mki_at = tag_at.checked_sub(mki_len).ok_or(SrtpRejected::Malformed)?;
        Ok(Self::Cut([&datagram[..mki_at], &datagram[tag_at..]].concat()))
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::AsIs(bytes) => bytes,
            Self::Cut(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests;
