use pipeline::codec::Codec;

use super::*;
use crate::sdp::CryptoSuite;

const FORMAT: PayloadFormat =
    PayloadFormat { codec: Codec::Pcmu, payload_type: 0, clock_rate: 8_000 };
const SSRC: u32 = 0xdead_beef;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn remote(key: Option<MasterKey>) -> Remote {
    let (rtp, rtcp) = (address("192.0.2.1:5000"), address("192.0.2.1:5001"));
    Remote { rtp, rtcp, rtcp_mux: false, key, is_silent: false }
}

fn key(byte: u8) -> MasterKey {
    MasterKey::new(CryptoSuite::HmacSha1_80, [byte; 30])
}

fn plain(now: Instant) -> MediaSession {
    MediaSession::new(now, FORMAT, remote(None), None, 1).unwrap()
}

/// A session whose other side has key 1 and which sends with key 2.
fn secure(now: Instant) -> (MediaSession, SrtpSender) {
    let session = MediaSession::new(now, FORMAT, remote(Some(key(1))), Some(&key(2)), 1).unwrap();
    (session, SrtpSender::new(&key(1)).unwrap())
}

fn packet(number: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(number.to_be_bytes());
    packet.extend((u32::from(number) * 160).to_be_bytes());
    packet.extend(SSRC.to_be_bytes());
    packet.extend([0x55; 160]);
    packet
}

fn goodbye(ssrc: u32) -> Vec<u8> {
    let ssrc = ssrc.to_be_bytes();
    [&[0x80, 201, 0, 1], &ssrc[..], &[0x81, 203, 0, 1], &ssrc[..]].concat()
}

/// All that is due up to `until`, with the time from `start` in milliseconds.
fn sent(session: &mut MediaSession, start: Instant, until: Duration) -> Vec<(u128, Transmit)> {
    let mut sent = Vec::new();
    while session.poll_timeout() <= start + until {
        let at = session.poll_timeout();
        session.handle_timeout(at);
        while let Some(transmit) = session.poll_transmit() {
            sent.push(((at - start).as_millis(), transmit));
        }
        while session.poll_audio().is_some() {}
    }
    sent
}

#[test]
fn silence_and_reports_go_out_in_time() {
    let start = Instant::now();
    let mut session = plain(start);
    for number in 0..5 {
        let source = address("192.0.2.1:5000");
        session.handle_datagram(start, Channel::Rtp, source, &packet(number)).unwrap();
    }
    let sent = sent(&mut session, start, Duration::from_secs(60));
    let times = |channel| -> Vec<u128> {
        sent.iter().filter(|(_, it)| it.channel == channel).map(|(at, _)| *at).collect()
    };
    assert_eq!(times(Channel::Rtp), [0, 15_000, 30_000, 45_000, 60_000]);
    let reports = times(Channel::Rtcp);
    assert!((10..30).contains(&reports.len()), "{reports:?}");
    assert!(reports.windows(2).all(|pair| (2_000..6_200).contains(&(pair[1] - pair[0]))));
    for (_, transmit) in &sent {
        match transmit.channel {
            Channel::Rtp => assert_eq!(transmit.to, address("192.0.2.1:5000")),
            Channel::Rtcp => {
                assert_eq!(transmit.to, address("192.0.2.1:5001"));
                assert_eq!(transmit.datagram[8..12], SSRC.to_be_bytes());
                assert_eq!(transmit.datagram[18..20], 4_u16.to_be_bytes());
            }
        }
    }
}

#[test]
fn all_that_goes_out_is_protected() {
    let start = Instant::now();
    let (mut session, _) = secure(start);
    session.finish(start);
    let last = session.poll_transmit().unwrap();
    let mut theirs = SrtpReceiver::new(key(2));
    let opened = theirs.open_rtcp(&last.datagram).unwrap();
    assert!(RtcpSession::new(start, 1, String::new(), 0.0).handle_datagram(start, &opened).is_ok());
    let sent = sent(&mut session, start, Duration::from_secs(60));
    assert!(sent.len() > 10);
    for (_, transmit) in sent {
        match transmit.channel {
            Channel::Rtp => assert!(theirs.open_rtp(&transmit.datagram).is_ok()),
            Channel::Rtcp => assert!(theirs.open_rtcp(&transmit.datagram).is_ok()),
        }
    }
}

#[test]
fn of_protected_media_the_key_tells_who_sends() {
    let now = Instant::now();
    let (mut session, mut sender) = secure(now);
    let (sdp, moved) = (address("192.0.2.1:5000"), address("198.51.100.9:7000"));
    let first = sender.protect_rtp(&packet(0)).unwrap();
    assert_eq!(session.handle_datagram(now, Channel::Rtp, sdp, &first), Ok(()));
    // Plain, replayed and forged packets are dropped, from the right address too.
    let mut forger = SrtpSender::new(&key(9)).unwrap();
    for (datagram, reason) in [
        (Bytes::from(packet(1)), SrtpRejected::Forged),
        (first, SrtpRejected::Replayed),
        (forger.protect_rtp(&packet(1)).unwrap(), SrtpRejected::Forged),
        (Bytes::from_static(&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]), SrtpRejected::Malformed),
    ] {
        for source in [sdp, moved] {
            let taken = session.handle_datagram(now, Channel::Rtp, source, &datagram);
            assert_eq!(taken, Err(MediaRejected::Srtp(reason)));
        }
    }
    // The media server moves without a word: the key says that it is the same.
    let second = sender.protect_rtp(&packet(1)).unwrap();
    assert_eq!(session.handle_datagram(now, Channel::Rtp, moved, &second), Ok(()));
    session.handle_timeout(now);
    assert_eq!(session.poll_transmit().unwrap().to, moved);
    assert_eq!(session.stats().decoded, 2);
    assert_eq!(session.rejected()["srtp_forged"], 4);
}

#[test]
fn a_new_key_is_a_new_beginning_and_the_same_key_is_not() {
    let now = Instant::now();
    let (mut session, mut sender) = secure(now);
    let source = address("192.0.2.1:5000");
    let first = sender.protect_rtp(&packet(0)).unwrap();
    session.handle_datagram(now, Channel::Rtp, source, &first).unwrap();
    session.retarget(now, remote(Some(key(1))));
    let replay = session.handle_datagram(now, Channel::Rtp, source, &first);
    assert_eq!(replay, Err(MediaRejected::Srtp(SrtpRejected::Replayed)));
    session.retarget(now, remote(Some(key(3))));
    let old = sender.protect_rtp(&packet(1)).unwrap();
    let refused = session.handle_datagram(now, Channel::Rtp, source, &old);
    assert_eq!(refused, Err(MediaRejected::Srtp(SrtpRejected::Forged)));
    let new = SrtpSender::new(&key(3)).unwrap().protect_rtp(&packet(1)).unwrap();
    assert_eq!(session.handle_datagram(now, Channel::Rtp, source, &new), Ok(()));
}

#[test]
fn keys_come_in_pairs() {
    let now = Instant::now();
    let one_sided = MediaSession::new(now, FORMAT, remote(None), Some(&key(1)), 1);
    assert!(matches!(one_sided, Err(MediaError::ProtectionChanged)));
    let one_sided = MediaSession::new(now, FORMAT, remote(Some(key(1))), None, 1);
    assert!(matches!(one_sided, Err(MediaError::ProtectionChanged)));
}

#[test]
fn an_injector_is_not_heard() {
    let now = Instant::now();
    let mut session = plain(now);
    let (sdp, injector) = (address("192.0.2.1:5000"), address("203.0.113.66:5000"));
    for number in 0..50 {
        session.handle_datagram(now, Channel::Rtp, sdp, &packet(number)).unwrap();
        let taken = session.handle_datagram(now, Channel::Rtp, injector, &packet(number + 1));
        assert_eq!(taken, Err(MediaRejected::Source(SourceRejected::Foreign)));
        // Nor is its goodbye believed, by whichever port it comes.
        for channel in [Channel::Rtp, Channel::Rtcp] {
            let taken = session.handle_datagram(now, channel, injector, &goodbye(SSRC));
            assert_eq!(taken, Err(MediaRejected::Source(SourceRejected::Foreign)));
        }
    }
    assert_eq!(session.stats().decoded, 50);
    assert_eq!(session.rejected()["foreign_source"], 150);
}

#[test]
fn a_flood_of_strangers_does_not_drown_the_party() {
    let start = Instant::now();
    let (mut session, mut sender) = secure(start);
    let (sdp, stranger) = (address("192.0.2.1:5000"), address("203.0.113.66:5000"));
    for number in 0..100 {
        let now = start + Duration::from_millis(20 * u64::from(number));
        for _ in 0..100 {
            let _ = session.handle_datagram(now, Channel::Rtp, stranger, &packet(number));
        }
        let protected = sender.protect_rtp(&packet(number)).unwrap();
        assert_eq!(session.handle_datagram(now, Channel::Rtp, sdp, &protected), Ok(()));
    }
    assert!(session.rejected()["flood"] > 9_000);
    assert_eq!(session.stats().decoded, 100);
}

#[test]
fn reports_and_goodbyes_come_by_either_port() {
    let now = Instant::now();
    for (channel, source) in [
        (Channel::Rtp, address("192.0.2.1:5000")),
        (Channel::Rtcp, address("192.0.2.1:5001")),
        (Channel::Rtcp, address("192.0.2.1:61000")),
    ] {
        let mut session = plain(now);
        let sdp = address("192.0.2.1:5000");
        session.handle_datagram(now, Channel::Rtp, sdp, &packet(0)).unwrap();
        assert_eq!(session.handle_datagram(now, channel, source, &goodbye(SSRC)), Ok(()));
        // The next source is heard at once.
        let mut next = packet(900);
        next[11] = 7;
        session.handle_datagram(now, Channel::Rtp, sdp, &next).unwrap();
        assert_eq!((session.stats().decoded, session.stats().source_changes), (2, 1));
        let junk = session.handle_datagram(now, Channel::Rtcp, source, b"hello");
        assert_eq!(junk, Err(MediaRejected::Rtcp(RtcpRejected::NotRtcp)));
    }
}

#[test]
fn with_mux_reports_go_where_the_media_go() {
    let start = Instant::now();
    let remote = Remote { rtcp_mux: true, ..remote(None) };
    let mut session = MediaSession::new(start, FORMAT, remote, None, 1).unwrap();
    for (_, transmit) in sent(&mut session, start, Duration::from_secs(20)) {
        assert_eq!((transmit.channel, transmit.to), (Channel::Rtp, address("192.0.2.1:5000")));
    }
}

#[test]
fn nothing_is_sent_to_who_holds_in_the_old_way_and_nobody_new_is_learnt() {
    let start = Instant::now();
    let mut session = plain(start);
    let sdp = address("192.0.2.1:5000");
    session.handle_datagram(start, Channel::Rtp, sdp, &packet(0)).unwrap();
    let held =
        Remote { rtp: address("0.0.0.0:5000"), rtcp: address("0.0.0.0:5001"), ..remote(None) };
    session.retarget(start, held);
    assert_eq!(sent(&mut session, start, Duration::from_secs(40)), []);
    let now = start + Duration::from_secs(41);
    for number in 1..20 {
        let stranger = address("203.0.113.66:5000");
        let taken = session.handle_datagram(now, Channel::Rtp, stranger, &packet(number));
        assert_eq!(taken, Err(MediaRejected::Source(SourceRejected::Foreign)));
    }
    assert_eq!(session.handle_datagram(now, Channel::Rtp, sdp, &packet(1)), Ok(()));
    session.retarget(now, remote(None));
    session.handle_timeout(now);
    assert_eq!(session.poll_transmit().unwrap().to, sdp);
}

#[test]
fn reasons_and_keys_say_nothing_secret() {
    let now = Instant::now();
    let shown = format!("{:?}", remote(Some(key(0xab))));
    assert!(!shown.contains("171"), "{shown}");
    let mut session = plain(now);
    // A telephone-event is time passing, and its digit is nowhere.
    let mut digit = packet(0);
    digit.truncate(16);
    digit[1] = 101;
    digit[12..].copy_from_slice(&[5, 0x0a, 0, 160]);
    session.handle_datagram(now, Channel::Rtp, address("192.0.2.1:5000"), &digit).unwrap();
    assert_eq!((session.stats().not_audio, session.stats().decoded), (1, 0));
}

#[test]
fn on_hold_silence_is_what_was_announced_and_the_voice_comes_back_in_its_place() {
    let start = Instant::now();
    let ms = |ms| start + Duration::from_millis(ms);
    let source = address("192.0.2.1:5000");
    let mut session = plain(start);
    for number in 0..5 {
        let at = ms(20 * u64::from(number));
        session.handle_datagram(at, Channel::Rtp, source, &packet(number)).unwrap();
    }
    while session.poll_audio().is_some() {}
    session.retarget(ms(100), Remote { is_silent: true, ..remote(None) });
    let heard = |session: &mut MediaSession, until| {
        let mut heard = Vec::new();
        while session.poll_timeout() <= until {
            session.handle_timeout(session.poll_timeout());
            while let Some(audio) = session.poll_audio() {
                assert!(matches!(audio, PartyAudio::Frame { .. }), "a hold is no gap");
                heard.push((audio.position().0, audio.end().0));
            }
        }
        heard
    };
    let silence = heard(&mut session, ms(1000));
    assert_eq!((silence[0].0, silence.last().unwrap().1), (800, 7200));
    heard(&mut session, ms(40_000));
    session.retarget(ms(40_000), remote(None));
    session.handle_datagram(ms(40_000), Channel::Rtp, source, &packet(5)).unwrap();
    let audio = session.poll_audio().unwrap();
    assert_eq!(audio.position().0, 40_000 * 8);
    assert_eq!(session.stats().lost_samples, 0);
}
