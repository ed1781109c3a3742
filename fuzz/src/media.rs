//! Media: descriptions, packets, what protects them and what is in them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use media_gateway::media::{Channel, MediaSession, Remote, SrtpReceiver, SrtpSender};
use media_gateway::sdp::{CryptoSuite, Description, LocalMedia, MasterKey, SessionVersion};
use pipeline::clock::SamplePosition;
use pipeline::codec::{Codec, Decoder, MAX_PACKET_MS};
use pipeline::rtp::{PartyAudio, PayloadFormat, RtcpSession, RtpReceiver};

use super::next_datagram;

const FORMATS: [PayloadFormat; 5] = [
    PayloadFormat { codec: Codec::Opus, payload_type: 111, clock_rate: 48_000 },
    PayloadFormat { codec: Codec::Opus, payload_type: 109, clock_rate: 16_000 },
    PayloadFormat { codec: Codec::Pcmu, payload_type: 0, clock_rate: 8_000 },
    PayloadFormat { codec: Codec::Pcma, payload_type: 8, clock_rate: 8_000 },
    PayloadFormat { codec: Codec::G722, payload_type: 9, clock_rate: 8_000 },
];

/// What the other side of a media session has said: in the clear, and protected.
const OFFERS: [&str; 2] = [
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 5000 RTP/AVP 0\r\n",
    "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 5000 RTP/SAVP 0\r\n\
     a=rtcp-mux\r\n\
     a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNk\r\n",
];

/// Reads an offer and answers what can be taken of it. The answer must read back, with as many m-lines.
pub fn sdp(data: &[u8]) {
    let Ok(offer) = Description::parse(data) else { return };
    let media: Vec<Option<LocalMedia>> = offer
        .media
        .iter()
        .map(|line| {
            let crypto = line.crypto.as_ref().map(|theirs| theirs.answered_with([7; 30]));
            Some(LocalMedia { port: 10_000, format: *line.formats.first()?, crypto })
        })
        .collect();
    let session = SessionVersion { id: 1, version: 1 };
    let answer = offer.answer(session, [127, 0, 0, 1].into(), &media);
    let read = Description::parse(answer.as_bytes())
        .unwrap_or_else(|error| panic!("our answer can't be read: {error}\n{answer}"));
    assert_eq!(read.media.len(), offer.media.len(), "{answer}");
    for (line, taken) in read.media.iter().zip(&media) {
        assert_eq!(line.remote.port() != 0, taken.is_some(), "{answer}");
        assert_eq!(line.formats.first(), taken.as_ref().map(|ours| &ours.format), "{answer}");
        assert_eq!(line.crypto, taken.as_ref().and_then(|ours| ours.crypto.clone()), "{answer}");
    }
}

/// Receives datagrams as far apart as the byte before each says, in a format that the first byte picks. The party's
/// clock must never run backwards.
pub fn rtp(data: &[u8]) {
    let Some((format, mut input)) = data.split_first() else { return };
    let format = FORMATS[usize::from(*format) % FORMATS.len()];
    let mut receiver = RtpReceiver::new(format).expect("the format is one that we offer");
    let mut now = Instant::now();
    let mut told = SamplePosition::ZERO;
    while let Some((delay, datagram)) = next_datagram(&mut input) {
        now += Duration::from_millis(u64::from(delay) * 2);
        while let Some(at) = receiver.poll_timeout().filter(|at| *at <= now) {
            receiver.handle_timeout(at);
            told = hear(told, format, || receiver.poll_audio());
        }
        let _ = receiver.handle_datagram(now, datagram);
        told = hear(told, format, || receiver.poll_audio());
    }
    receiver.finish();
    hear(told, format, || receiver.poll_audio());
}

/// Decodes, conceals and recovers with a decoder that the first byte picks. What is decoded must be as long as
/// announced.
pub fn codec(data: &[u8]) {
    let Some((format, mut input)) = data.split_first() else { return };
    let codec = FORMATS[usize::from(*format) % FORMATS.len()].codec;
    let mut decoder = Decoder::new(codec).expect("memory for a decoder");
    let most = codec.samples_in_ms(MAX_PACKET_MS);
    while let Some((lost, payload)) = next_datagram(&mut input) {
        let concealed = decoder.conceal(u64::from(lost) * 10);
        assert!(concealed.len() as u64 <= most);
        let recoverable = decoder.recoverable(payload);
        if recoverable > 0
            && let Ok(pcm) = decoder.recover(payload)
        {
            assert!(pcm.len() as u64 <= recoverable);
        }
        let announced = decoder.duration(payload);
        match decoder.decode(payload) {
            Ok(pcm) => assert_eq!(Ok(pcm.len() as u64), announced),
            Err(_) => continue,
        }
        assert!(announced.is_ok_and(|samples| samples <= most));
    }
}

/// Reads RTCP datagrams. Our report, whatever was read before it, must read back.
pub fn rtcp(mut data: &[u8]) {
    let mut now = Instant::now();
    let mut session = RtcpSession::new(now, 1, "fuzz".to_owned(), 0.5);
    while let Some((delay, datagram)) = next_datagram(&mut data) {
        now += Duration::from_millis(u64::from(delay) * 40);
        let _ = session.handle_datagram(now, datagram);
        if session.poll_timeout() <= now {
            assert_reads_as_rtcp(now, &session.report(now, None, 0.5));
        }
    }
    assert_reads_as_rtcp(now, &session.goodbye(now, None));
}

/// Opens datagrams that nobody protected, and packets of payloads that were: those open once, and to what they were.
pub fn srtp(data: &[u8]) {
    let Some((suite, mut input)) = data.split_first() else { return };
    let suites = [CryptoSuite::HmacSha1_80, CryptoSuite::HmacSha1_32];
    let key = MasterKey::new(suites[usize::from(suite % 2)], [7; 30]);
    let mut sender = SrtpSender::new(&key).expect("a fresh key");
    let mut receiver = SrtpReceiver::new(key);
    let mut number = 0u16;
    while let Some((kind, datagram)) = next_datagram(&mut input) {
        match kind % 4 {
            0 => drop(receiver.open_rtp(datagram)),
            1 => drop(receiver.open_rtcp(datagram)),
            // Up to 63 packets get lost on the way.
            _ => {
                number = number.wrapping_add(1 + u16::from(kind / 4));
                let header = [&[0x80, 0], &number.to_be_bytes()[..], b"timessrc"].concat();
                let packet = [&header, datagram].concat();
                let protected = sender.protect_rtp(&packet).expect("well formed");
                assert_eq!(receiver.open_rtp(&protected).as_deref(), Ok(packet.as_slice()));
                assert!(receiver.open_rtp(&protected).is_err(), "a replay");
            }
        }
    }
}

/// Sends a media session whatever may come to its sockets, from the right address and from others. It must stay in
/// time, say little, and take no STUN for audio.
pub fn media_session(data: &[u8]) {
    let Some((offer, mut input)) = data.split_first() else { return };
    let offer = Description::parse(OFFERS[usize::from(offer % 2)].as_bytes()).expect("an offer");
    let theirs = &offer.media[0];
    let key = theirs.crypto.as_ref().map(|line| line.answered_with([7; 30]).key);
    let mut now = Instant::now();
    let format = FORMATS[2];
    let mut session = MediaSession::new(now, format, Remote::of(theirs), key.as_ref(), 7)
        .expect("the offer is fit");
    let mut told = SamplePosition::ZERO;
    while let Some((how, datagram)) = next_datagram(&mut input) {
        now += Duration::from_millis(u64::from(how >> 3) * 8);
        while session.poll_timeout() <= now {
            session.handle_timeout(now);
            told = hear(told, format, || session.poll_audio());
            while session.poll_transmit().is_some() {}
        }
        let channel = if how & 1 == 0 { Channel::Rtp } else { Channel::Rtcp };
        let source = match (how >> 1) & 3 {
            0 | 1 => theirs.remote,
            2 => SocketAddr::new(theirs.remote.ip(), 7000),
            _ => SocketAddr::from(([198, 51, 100, 1], 5000)),
        };
        let taken = session.handle_datagram(now, channel, source, datagram);
        let is_stun = datagram.first().is_some_and(|first| *first < 4);
        assert!(!(is_stun && taken.is_ok()), "STUN is neither RTP nor RTCP");
        assert!(session.poll_transmit().is_none(), "nothing is sent because something came");
        told = hear(told, format, || session.poll_audio());
    }
    session.finish(now);
    hear(told, format, || session.poll_audio());
}

/// Takes the audio that is ready. Gives how far it reaches.
fn hear(
    mut told: SamplePosition,
    format: PayloadFormat,
    mut poll_audio: impl FnMut() -> Option<PartyAudio>,
) -> SamplePosition {
    while let Some(audio) = poll_audio() {
        assert!(audio.position() >= told, "{audio:?} comes before {told}");
        assert!(audio.samples() > 0, "{audio:?} is nothing");
        if let PartyAudio::Frame { pcm, .. } = &audio {
            assert!(pcm.len() as u64 <= format.codec.samples_in_ms(MAX_PACKET_MS));
        }
        told = audio.end();
    }
    told
}

fn assert_reads_as_rtcp(now: Instant, datagram: &[u8]) {
    let mut other_side = RtcpSession::new(now, 2, "other".to_owned(), 0.5);
    assert!(
        other_side.handle_datagram(now, datagram).is_ok(),
        "our RTCP can't be read: {datagram:?}"
    );
}
