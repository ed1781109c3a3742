//! SRTP (RFC 3711) with the keys of the SDP.

use crate::sdp::MasterKey;
use bytes::Bytes;
use webrtc_srtp::Error;
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

/// Replays within so many packets are not counted.
const REPLAY_WINDOW: usize = 64;
/// The shortest RTP packet.
const MIN_RTP_BYTES: usize = 12;

/// Protects what goes out, and opens what comes in; without keys both pass as they are.
pub(crate) struct Protection {
    keys: Option<Keys>,
}

struct Keys {
    ours: Context,
    theirs: Context,
}

impl Protection {
    /// The two directions' keys: of what we send, and of what they send.
    ///
    /// # Errors
    /// Those of the cipher, for keys of a wrong length.
    pub(crate) fn new(keys: Option<(MasterKey, MasterKey)>) -> Result<Self, Error> {
        let context = |key: &MasterKey, is_theirs: bool| {
            let replay = webrtc_srtp::option::srtp_replay_protection(REPLAY_WINDOW);
            let profile = ProtectionProfile::Aes128CmHmacSha1_80;
            Context::new(key.key(), key.salt(), profile, is_theirs.then_some(replay), None)
        };
        let keys = keys.map(|(ours, theirs)| -> Result<Keys, Error> {
            Ok(Keys { ours: context(&ours, false)?, theirs: context(&theirs, true)? })
        });
        Ok(Self { keys: keys.transpose()? })
    }

    /// The packet as it goes out.
    ///
    /// # Errors
    /// When it is no RTP, or the key is used up.
    pub(crate) fn protect(&mut self, packet: Bytes) -> Result<Bytes, Error> {
        match &mut self.keys {
            Some(keys) => keys.ours.encrypt_rtp(&packet),
            None => Ok(packet),
        }
    }

    /// Whether a datagram is an RTP packet of the other side.
    pub(crate) fn is_authentic(&mut self, datagram: &[u8]) -> bool {
        let is_rtp = datagram.len() >= MIN_RTP_BYTES
            && datagram[0] >> 6 == 2
            && !(192..224).contains(&datagram[1]);
        is_rtp
            && match &mut self.keys {
                Some(keys) => keys.theirs.decrypt_rtp(datagram).is_ok(),
                None => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_holder_of_the_key_opens_a_packet_and_only_once() {
        let [ours, theirs] = [1, 2].map(|n| MasterKey::new([n; 30]));
        let mut here = Protection::new(Some((ours, theirs))).unwrap();
        let mut there = Protection::new(Some((theirs, ours))).unwrap();
        let packet = Bytes::from_static(b"\x80\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03payload");
        let protected = here.protect(packet.clone()).unwrap();
        assert_eq!(protected.len(), packet.len() + 10);
        assert!(there.is_authentic(&protected));
        assert!(!there.is_authentic(&protected));
        assert!(!there.is_authentic(&packet));
        assert!(!there.is_authentic(b"hello"));
        assert!(Protection::new(None).unwrap().is_authentic(&packet));
    }
}
