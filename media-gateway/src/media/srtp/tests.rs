use proptest::prelude::*;

use super::*;

const SUITES: [CryptoSuite; 2] = [CryptoSuite::HmacSha1_80, CryptoSuite::HmacSha1_32];
const SSRC: u32 = 0xdead_beef;

fn key(suite: CryptoSuite, byte: u8) -> MasterKey {
    MasterKey::new(suite, [byte; 30])
}

fn pair(suite: CryptoSuite) -> (SrtpSender, SrtpReceiver) {
    (SrtpSender::new(&key(suite, 1)).unwrap(), SrtpReceiver::new(key(suite, 1)))
}

fn packet_of(ssrc: u32, number: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(number.to_be_bytes());
    packet.extend((u32::from(number) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0x55; 160]);
    packet
}

fn packet(number: u16) -> Vec<u8> {
    packet_of(SSRC, number)
}

/// A receiver report without blocks.
fn report(ssrc: u32) -> Vec<u8> {
    [&[0x80, 201, 0, 1], &ssrc.to_be_bytes()[..]].concat()
}

/// Packets that libsrtp protects with the master key of RFC 3711 appendix B.3 (its `srtp_validate` test).
#[test]
fn packets_are_protected_as_others_do() {
    let key = MasterKey::new(
        CryptoSuite::HmacSha1_80,
        *b"\xe1\xf9\x7a\x0d\x3e\x01\x8b\xe0\xd6\x4f\xa3\x2c\x06\xde\x41\x39\
            \x0e\xc6\x75\xad\x49\x8a\xfe\xeb\xb6\x96\x0b\x3a\xab\xe6",
    );
    let plain = [&b"\x80\x0f\x12\x34\xde\xca\xfb\xad\xca\xfe\xba\xbe"[..], &[0xab; 16]].concat();
    let protected = b"\x80\x0f\x12\x34\xde\xca\xfb\xad\xca\xfe\xba\xbe\
        \x4e\x55\xdc\x4c\xe7\x99\x78\xd8\x8c\xa4\xd2\x15\x94\x9d\x24\x02\
        \xb7\x8d\x6a\xcc\x99\xea\x17\x9b\x8d\xbb";
    assert_eq!(SrtpSender::new(&key).unwrap().protect_rtp(&plain).unwrap(), &protected[..]);
    assert_eq!(SrtpReceiver::new(key).open_rtp(protected).unwrap(), plain);
}

#[test]
fn what_is_protected_opens_again() {
    for (suite, tag_len) in SUITES.into_iter().zip([10, 4]) {
        let (mut sender, mut receiver) = pair(suite);
        for number in 0..100 {
            let protected = sender.protect_rtp(&packet(number)).unwrap();
            assert_eq!(protected.len(), packet(number).len() + tag_len);
            assert_ne!(protected[12..172], packet(number)[12..]);
            assert_eq!(receiver.open_rtp(&protected).unwrap(), packet(number));
            let protected = sender.protect_rtcp(&report(SSRC)).unwrap();
            assert_eq!(receiver.open_rtcp(&protected).unwrap(), report(SSRC));
        }
    }
}

#[test]
fn replays_are_dropped() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        let protected: Vec<_> =
            (0..600).map(|number| sender.protect_rtp(&packet(number)).unwrap()).collect();
        // Two packets change places, one is far behind.
        for number in (0..500).filter(|number| *number != 100).chain([501, 500]).chain(502..600) {
            assert!(receiver.open_rtp(&protected[number]).is_ok(), "{number}");
        }
        for (number, packet) in protected.iter().enumerate() {
            assert_eq!(receiver.open_rtp(packet), Err(SrtpRejected::Replayed), "{number}");
        }
        let control: Vec<_> = (0..3).map(|_| sender.protect_rtcp(&report(SSRC)).unwrap()).collect();
        for number in [0, 2, 1] {
            assert!(receiver.open_rtcp(&control[number]).is_ok());
            assert_eq!(receiver.open_rtcp(&control[number]), Err(SrtpRejected::Replayed));
        }
    }
}

#[test]
fn the_counter_rolls_over_whatever_is_lost_around_it() {
    for lost in [0..0, 65_535..65_536, 65_536..65_537, 65_000..66_000, 65_530..90_000] {
        let (mut sender, mut receiver) = pair(CryptoSuite::HmacSha1_80);
        let mut late = None;
        // Twice around.
        for index in 60_000_u32..140_000 {
            let plain = packet(index as u16);
            let protected = sender.protect_rtp(&plain).unwrap();
            if lost.contains(&index) {
                continue;
            }
            if index == 65_520 || index == 131_070 {
                // Comes after the rollover.
                late = Some((plain, protected));
                continue;
            }
            assert_eq!(receiver.open_rtp(&protected), Ok(plain.into()), "{index} without {lost:?}");
            if let Some((plain, protected)) = late.take_if(|_| index == 65_540 || index == 131_075)
            {
                assert_eq!(receiver.open_rtp(&protected), Ok(plain.into()), "late at {index}");
            }
        }
    }
}

#[test]
fn a_stream_may_begin_just_before_the_counter_rolls_over() {
    let (mut sender, mut receiver) = pair(CryptoSuite::HmacSha1_80);
    for number in 65_530..=65_535 {
        sender.protect_rtp(&packet(number)).unwrap();
    }
    // Those were lost.
    for number in 0..1000 {
        let protected = sender.protect_rtp(&packet(number)).unwrap();
        assert_eq!(receiver.open_rtp(&protected).unwrap(), packet(number));
        assert_eq!(receiver.open_rtp(&protected), Err(SrtpRejected::Replayed));
    }
}

#[test]
fn what_is_not_authentic_is_dropped_and_leaves_no_trace() {
    for suite in SUITES {
        let (mut sender, mut receiver) = pair(suite);
        let mut stranger = SrtpSender::new(&key(suite, 2)).unwrap();
        // A stranger with the SSRC of the sender, before it and far ahead of it.
        for number in [9000, 40_000] {
            let forged = stranger.protect_rtp(&packet(number)).unwrap();
            assert_eq!(receiver.open_rtp(&forged), Err(SrtpRejected::Forged));
        }
        for _ in 0..100 {
            let forged = stranger.protect_rtcp(&report(SSRC)).unwrap();
            assert_eq!(receiver.open_rtcp(&forged), Err(SrtpRejected::Forged));
        }
        for ssrc in 0..1000 {
            let forged = stranger.protect_rtp(&packet_of(ssrc, 1)).unwrap();
            assert_eq!(receiver.open_rtp(&forged), Err(SrtpRejected::Forged));
        }
        assert!(receiver.rtp.0.is_empty() && receiver.rtcp.0.is_empty());
        for number in 0..3 {
            let protected = sender.protect_rtp(&packet(number)).unwrap();
            for at in 0..protected.len() {
                let mut damaged = protected.to_vec();
                damaged[at] ^= 0x10;
                assert!(receiver.open_rtp(&damaged).is_err(), "byte {at}");
            }
            assert!(receiver.open_rtp(&protected).is_ok());
            let control = sender.protect_rtcp(&report(SSRC)).unwrap();
            assert!(receiver.open_rtcp(&control).is_ok());
        }
    }
}

#[test]
fn control_packets_that_say_they_are_not_encrypted_are_not_believed() {
    let (mut sender, mut receiver) = pair(CryptoSuite::HmacSha1_80);
    let mut goodbye = [&[0x81, 203, 0, 1], &SSRC.to_be_bytes()[..]].concat();
    goodbye.extend([0, 0, 0, 1]);
    goodbye.extend([0; SRTCP_TAG_LEN]);
    assert_eq!(receiver.open_rtcp(&goodbye), Err(SrtpRejected::Forged));
    let control = sender.protect_rtcp(&report(SSRC)).unwrap();
    assert!(receiver.open_rtcp(&control).is_ok());
}

#[test]
fn the_sources_of_one_key_are_few() {
    let (mut sender, mut receiver) = pair(CryptoSuite::HmacSha1_80);
    for ssrc in 0..50 {
        let protected = sender.protect_rtp(&packet_of(ssrc, 7)).unwrap();
        assert!(receiver.open_rtp(&protected).is_ok());
        // Number 0 talks all the time, and is never forgotten.
        let protected = sender.protect_rtp(&packet_of(0, 8 + ssrc as u16)).unwrap();
        assert!(receiver.open_rtp(&protected).is_ok());
        assert_eq!(receiver.open_rtp(&protected), Err(SrtpRejected::Replayed));
    }
    assert_eq!(receiver.rtp.0.len(), MAX_SOURCES);
}

#[test]
fn header_extensions_and_contributors_are_no_part_of_what_is_encrypted() {
    let (mut sender, mut receiver) = pair(CryptoSuite::HmacSha1_80);
    for (first, rest) in [
        (0x82, &b"csrccsrcaudio"[..]),
        (0x91, &b"csrc\xbe\xde\0\x01\x10\xaa\0\0audio"[..]),
        (0x90, &b"\x10\0\0\x02\x01\x02ab\0\0\0\0audio"[..]),
        (0x90, &b"\x12\x34\0\0audio"[..]),
    ] {
        let mut plain = packet(first as u16 + rest.len() as u16);
        plain.truncate(12);
        plain[0] = first;
        plain.extend(rest);
        let protected = sender.protect_rtp(&plain).unwrap();
        assert_eq!(receiver.open_rtp(&protected).unwrap(), plain);
    }
    // An extension whose elements run past its end.
    let mut lies = packet(900);
    lies[0] = 0x90;
    lies[12..20].copy_from_slice(b"\xbe\xde\0\x01\x1f\0\0\0");
    assert_eq!(receiver.open_rtp(&lies), Err(SrtpRejected::Forged));
}

#[test]
fn the_index_of_the_key_is_cut_out() {
    let text = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}|2^31|1:4", "A".repeat(40));
    let sdp = format!("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 9 RTP/SAVP 0\r\na=crypto:{text}\r\n");
    let media = crate::sdp::Description::parse(sdp.as_bytes()).unwrap().media.remove(0);
    let mut receiver = SrtpReceiver::new(media.crypto.unwrap().key);
    let mut sender = SrtpSender::new(&key(CryptoSuite::HmacSha1_80, 0)).unwrap();
    let with_index = |protected: &[u8]| {
        let tag_at = protected.len() - 10;
        [&protected[..tag_at], &[0, 0, 0, 1], &protected[tag_at..]].concat()
    };
    let protected = sender.protect_rtp(&packet(1)).unwrap();
    assert_eq!(receiver.open_rtp(&with_index(&protected)).unwrap(), packet(1));
    let protected = sender.protect_rtcp(&report(SSRC)).unwrap();
    assert_eq!(receiver.open_rtcp(&with_index(&protected)).unwrap(), report(SSRC));
    assert_eq!(receiver.open_rtcp(&[0x80, 201, 0, 1]), Err(SrtpRejected::Malformed));
}

proptest! {
    #[test]
    fn anything_at_all_is_survived(
        datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..40),
        first in prop::sample::select(vec![0x80_u8, 0x90, 0x8f, 0x9f, 0xbf]),
    ) {
        for suite in SUITES {
            let (mut sender, mut receiver) = pair(suite);
            for datagram in &datagrams {
                let mut datagram = datagram.clone();
                if let Some(byte) = datagram.first_mut().filter(|byte| **byte < 200) {
                    *byte = first;
                }
                prop_assert!(receiver.open_rtp(&datagram).is_err());
                prop_assert!(receiver.open_rtcp(&datagram).is_err());
            }
            let protected = sender.protect_rtp(&packet(5)).unwrap();
            prop_assert!(receiver.open_rtp(&protected).is_ok());
        }
    }
}
