use proptest::prelude::*;

use std::net::IpAddr;

use pipeline::codec::Codec;

use super::*;

const HEAD: &str = "v=0\r\no=- 1234567890 987654321 IN IP4 199.255.120.176\r\ns=SmcSip\r\n\
    c=IN IP4 199.255.120.176\r\nt=0 0\r\n";

const ONE_LINE: &str = "m=audio 42898 RTP/AVP 111 9 0 18 96 8 109 101\r\na=rtpmap:111 OPUS/48000/2\r\n\
    a=fmtp:111 useinbandfec=1;usedtx=0\r\na=rtcp-fb:111 ccm tmmbr\r\na=rtpmap:9 g722/8000\r\n\
    a=rtpmap:0 pcmu/8000\r\na=rtpmap:18 g729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:96 ilbc/8000\r\n\
    a=fmtp:96 mode=20\r\na=rtpmap:8 pcma/8000\r\na=rtpmap:109 OPUS/16000\r\na=fmtp:109 useinbandfec=1\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n";

const TWO_LINES: &str = "m=audio 50400 RTP/AVP 111 9 0 18 96 8 109 101\r\n\
    i=Y3MxNzE4NDE5MDMzNTAwMzA5NjJAMTAuNjIuMjUuMTEx party-id=cs171841903350030962-7\r\n\
    a=rtpmap:111 OPUS/48000/2\r\na=fmtp:111 useinbandfec=1\r\na=rtcp-fb:111 ccm tmmbr\r\n\
    m=audio 50402 RTP/AVP 111 9 0 18 96 8 109 101\r\n\
    i=Y3MxNzE4NDE5MDMzNTAwMzA5NjJAMTAuNjIuMjUuMTEx party-id=cs171841903350030962-8\r\n\
    a=rtpmap:111 OPUS/48000/2\r\na=fmtp:111 useinbandfec=1\r\na=rtcp-fb:111 ccm tmmbr\r\na=sendrecv\r\n";

const SESSION: SessionVersion = SessionVersion { id: 7, version: 1 };

fn parse(media: &str) -> Description {
    Description::parse(format!("{HEAD}{media}").as_bytes()).unwrap()
}

fn payload_types(media: &Media) -> Vec<(u8, Codec, u32)> {
    media.formats.iter().map(|f| (f.payload_type, f.codec, f.clock_rate)).collect()
}

#[test]
fn the_offer_of_an_ordinary_leg() {
    let offer = parse(ONE_LINE);
    let [media] = offer.media.as_slice() else { panic!("{offer:?}") };
    assert_eq!(media.remote, "199.255.120.176:42898".parse().unwrap());
    assert_eq!(
        payload_types(media),
        [
            (111, Codec::Opus, 48_000),
            (9, Codec::G722, 8_000),
            (0, Codec::Pcmu, 8_000),
            (8, Codec::Pcma, 8_000),
            (109, Codec::Opus, 16_000)
        ]
    );
    assert_eq!(media.telephone_events, [(101, 8_000)]);
    assert_eq!(media.party_id, None);
    assert_eq!(media.remote_rtcp, "199.255.120.176:42899".parse().unwrap());
}

#[test]
fn the_offer_with_two_lines_and_party_ids() {
    for text in [
        TWO_LINES.to_owned(),
        TWO_LINES.replace("\r\n", "\n"),
        TWO_LINES.replace("i=", "c=IN IP4 199.255.120.176\r\ni="),
        TWO_LINES.replace("a=rtpmap", "c=IN IP4 199.255.120.176\r\na=rtpmap"),
        TWO_LINES.to_lowercase().replace("rtp/avp", "RTP/AVP").replace("in ip4", "IN IP4"),
    ] {
        let offer = parse(&text);
        let ids: Vec<_> = offer.media.iter().map(|media| media.party_id.as_deref()).collect();
        assert_eq!(ids, [Some("cs171841903350030962-7"), Some("cs171841903350030962-8")], "{text}");
        let ports: Vec<_> = offer.media.iter().map(|media| media.remote.port()).collect();
        assert_eq!(ports, [50400, 50402]);
        assert_eq!(offer.media[1].formats[0].payload_type, 111);
    }
}

#[test]
fn ringcentrals_own_opus() {
    let offer = parse(
        "m=audio 1000 RTP/AVP 109 101\na=rtpmap:109 OPUS/16000\na=rtpmap:101 Telephone-Event/8000\n",
    );
    assert_eq!(payload_types(&offer.media[0]), [(109, Codec::Opus, 16_000)]);
    let answer = offer.answer(SESSION, local(), &[accept(&offer.media[0], 40000)]);
    assert!(answer.contains("a=rtpmap:109 OPUS/16000\r\n"), "{answer}");
    assert!(answer.contains("m=audio 40000 RTP/AVP 109 101\r\n"), "{answer}");
}

#[test]
fn an_answer_has_each_line_in_order() {
    let offer = parse(&format!("m=video 9 RTP/AVP 31\r\n{TWO_LINES}"));
    assert_eq!(offer.media[0].unfit, Some(Unfit::NotAudio("video".into())));
    let ours = |port| accept(&offer.media[1], port);
    let answer = offer.answer(SESSION, local(), &[None, ours(30000), ours(30002)]);
    let lines: Vec<&str> = answer.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        lines,
        ["m=video 0 RTP/AVP 31", "m=audio 30000 RTP/AVP 111", "m=audio 30002 RTP/AVP 111"]
    );
    let read_back = Description::parse(answer.as_bytes()).unwrap();
    assert_eq!(read_back.media[1].remote, "192.0.2.9:30000".parse().unwrap());
    assert_eq!(payload_types(&read_back.media[2]), [(111, Codec::Opus, 48_000)]);
}

#[test]
fn directions_are_answered_in_reverse() {
    for (theirs, ours) in [
        ("sendonly", "recvonly"),
        ("recvonly", "sendonly"),
        ("inactive", "inactive"),
        ("sendrecv", "sendrecv"),
    ] {
        let offer = parse(&ONE_LINE.replace("sendrecv", theirs));
        let answer = offer.answer(SESSION, local(), &[accept(&offer.media[0], 1234)]);
        assert!(answer.contains(&format!("a={ours}\r\n")), "{theirs}: {answer}");
    }
}

#[test]
fn lines_that_cannot_be_taken_say_why() {
    let unfit = |media: &str| parse(media).media[0].unfit.clone();
    assert_eq!(unfit(ONE_LINE), None);
    assert_eq!(unfit(&ONE_LINE.replace("RTP/AVP", "RTP/SAVP")), Some(Unfit::NoCrypto));
    assert_eq!(
        unfit(&ONE_LINE.replace("RTP/AVP", "RTP/AVPF")),
        Some(Unfit::Profile("RTP/AVPF".into()))
    );
    assert_eq!(unfit("m=audio 0 RTP/AVP 0\r\n"), Some(Unfit::Disabled));
    assert_eq!(unfit("m=audio 9 RTP/AVP 18 96\r\n"), Some(Unfit::NoCodec("18 96".into())));
    assert_eq!(unfit("m=image 9 udptl t38\r\n"), Some(Unfit::NotAudio("image".into())));
    assert_eq!(
        unfit("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=fingerprint:sha-256 00\r\n"),
        Some(Unfit::Profile("UDP/TLS/RTP/SAVPF".into()))
    );
    assert_eq!(
        unfit("m=audio 9 RTP/AVP 0\r\nc=IN IP4 media.example.com\r\n"),
        Some(Unfit::NoAddress)
    );
}

#[test]
fn bodies_that_make_no_sense_are_errors() {
    let many = "m=audio 9 RTP/AVP 0\r\n".repeat(9);
    for (body, error) in [
        ("", SdpError::Version),
        ("\r\n\r\n", SdpError::Version),
        ("v=1\r\nm=audio 9 RTP/AVP 0\r\n", SdpError::Version),
        ("m=audio 9 RTP/AVP 0\r\n", SdpError::Version),
        ("INVITE sip:x SIP/2.0\r\n", SdpError::Version),
        (HEAD, SdpError::NoMedia),
        (&HEAD[..HEAD.len() - 20], SdpError::NoMedia),
        (format!("{HEAD}{many}").as_str(), SdpError::TooManyMedia),
        ("v=0\r\nnonsense\r\n", SdpError::Line(2)),
        ("v=0\r\n=x\r\n", SdpError::Line(2)),
        ("v=0\r\nab=x\r\n", SdpError::Line(2)),
        ("v=0\r\nM=audio 9 RTP/AVP 0\r\n", SdpError::Line(2)),
        ("v=0\r\n\0\r\nm=audio 9 RTP/AVP 0\r\n", SdpError::Line(2)),
        ("v=0\r\ns=-\r\nm=\r\n", SdpError::Line(3)),
        ("v=0\r\ns=-\r\nm=audio\r\n", SdpError::Line(3)),
        ("v=0\r\ns=-\r\nm=audio 9 RTP/AVP\r\n", SdpError::Line(3)),
        ("v=0\r\ns=-\r\nm=audio -1 RTP/AVP 0\r\n", SdpError::Line(3)),
        ("v=0\r\ns=-\r\nm=audio 65536 RTP/AVP 0\r\n", SdpError::Line(3)),
        ("v=0\r\ns=-\r\nm=audio nine RTP/AVP 0\r\n", SdpError::Line(3)),
    ] {
        assert_eq!(Description::parse(body.as_bytes()), Err(error), "{body:?}");
    }
    assert_eq!(Description::parse(b"v=0\r\ns=\xff\xfe\r\n"), Err(SdpError::NotText));
}

#[test]
fn details_that_make_no_sense_are_passed_over() {
    let odd = "m=audio 4000/2 RTP/AVP 0 x 300 77 8\r\na=rtpmap\r\na=rtpmap:\r\na=rtpmap:0\r\n\
        a=rtpmap:77 opus\r\na=rtpmap:8 PCMA/eight\r\na=rtpmap:999 opus/48000/2\r\na=crypto:\r\n\
        a=rtcp:\r\na=fmtp:0\r\na=ptime:-5\r\na=:\r\na=\r\nb=AS:x\r\nk=prompt\r\ny=unknown\r\n";
    let media = parse(odd).media.remove(0);
    assert_eq!(media.unfit, None);
    assert_eq!(payload_types(&media), [(0, Codec::Pcmu, 8_000), (8, Codec::Pcma, 8_000)]);
    assert_eq!(media.remote_rtcp.port(), 4001);
}

/// The offer of a real call over TLS, with keys.
const SECURE: &str = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 \
    inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n\
    a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj\r\n";

fn secure(lines: &str) -> String {
    let mut text = String::new();
    for section in lines.split_inclusive("a=sendrecv\r\n") {
        text.push_str(&section.replace("RTP/AVP", "RTP/SAVP"));
        text.push_str(SECURE);
    }
    text
}

fn local() -> IpAddr {
    "192.0.2.9".parse().unwrap()
}

fn accept(theirs: &Media, port: u16) -> Option<LocalMedia> {
    let crypto = theirs.crypto.as_ref().map(|line| line.answered_with([port as u8; 30]));
    theirs.formats.first().map(|&format| LocalMedia { port, format, crypto })
}

/// Checks what RFC 3264 section 6 and RFC 4568 section 5.1.2 ask of an answer.
fn check_answer(offer: &Description, answer: &str) {
    let read = Description::parse(answer.as_bytes()).unwrap();
    assert!(answer.lines().all(|line| line.as_bytes()[1] == b'='));
    assert_eq!(answer.matches('\n').count(), answer.matches("\r\n").count());
    let order: Vec<u8> = answer
        .lines()
        .map(|line| line.as_bytes()[0])
        .take_while(|&letter| letter != b'm')
        .collect();
    assert_eq!(order, b"vosct");
    assert_eq!(read.media.len(), offer.media.len());
    for (theirs, ours) in offer.media.iter().zip(&read.media) {
        assert_eq!(ours.kind, theirs.kind);
        assert_eq!(ours.protocol, theirs.protocol);
        assert!(ours.payload_types.iter().all(|number| theirs.payload_types.contains(number)));
        if theirs.unfit.is_some() {
            assert_eq!(ours.remote.port(), 0);
            continue;
        }
        assert_eq!(ours.unfit, None);
        assert_eq!(ours.formats, theirs.formats[..1]);
        assert_eq!(ours.direction, theirs.direction.reversed());
        assert_eq!(ours.telephone_events.len(), theirs.telephone_events.len().min(1));
        assert_eq!(ours.rtcp_mux, theirs.rtcp_mux);
        let tag = |media: &Media| media.crypto.as_ref().map(|line| (line.tag, line.key.suite()));
        assert_eq!(tag(ours), tag(theirs));
        assert!(ours.crypto.is_none() || ours.crypto != theirs.crypto);
    }
}

/// Every form of offer that RingCentral is known or likely to send, and what a hold or a WebRTC gateway adds.
#[test]
fn the_answer_to_every_known_offer_is_valid() {
    let old_hold = HEAD.replace("c=IN IP4 199.255.120.176", "c=IN IP4 0.0.0.0");
    let v6 = HEAD.replace("IP4 199.255.120.176", "IP6 2001:db8::5");
    let bundled = format!(
        "a=group:BUNDLE 0 1\r\na=msid-semantic: WMS *\r\na=ice-lite\r\n{}a=mid:0\r\na=ice-ufrag:F7gI\r\n\
         a=ice-pwd:x9cml/YzichV2+XlhiMu8g\r\na=candidate:1 1 UDP 2130706431 199.255.120.176 42898 typ host\r\n\
         a=rtcp-mux\r\na=rtcp-rsize\r\na=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n\
         a=ssrc:314159 cname:x\r\nm=video 0 RTP/AVPF 96\r\na=mid:1\r\n",
        secure(ONE_LINE)
    );
    for (head, lines) in [
        (HEAD, ONE_LINE.to_owned()),
        (HEAD, secure(ONE_LINE)),
        (HEAD, secure(ONE_LINE).replace("VubGVz\r\n", "VubGVz|2^31|1:1\r\n")),
        (HEAD, secure(ONE_LINE).replace(SECURE, SECURE.split_inclusive("\r\n").last().unwrap())),
        (
            HEAD,
            secure(ONE_LINE).replace(
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80",
                "a=crypto:1 AES_256_CM_HMAC_SHA1_80",
            ),
        ),
        (HEAD, TWO_LINES.to_owned()),
        (HEAD, secure(&TWO_LINES.replace("m=audio 50402", "a=sendrecv\r\nm=audio 50402"))),
        (HEAD, TWO_LINES.replace("m=audio 50402", "m=audio 0")),
        (HEAD, ONE_LINE.replace("111 9 0", "9 0 111")),
        (
            HEAD,
            ONE_LINE
                .replace("m=audio 42898 RTP/AVP 111 9 0 18 96 8 109", "m=audio 42898 RTP/AVP 109"),
        ),
        (HEAD, ONE_LINE.replace("sendrecv", "sendonly")),
        (HEAD, secure(ONE_LINE).replace("sendrecv", "inactive")),
        (old_hold.as_str(), ONE_LINE.to_owned()),
        (v6.as_str(), secure(ONE_LINE)),
        (HEAD, bundled),
        (HEAD, format!("m=image 4000 udptl t38\r\n{ONE_LINE}m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n")),
        (
            HEAD,
            ONE_LINE
                .replace("a=rtpmap:101", "a=rtpmap:102 telephone-event/48000\r\na=rtpmap:101")
                .replace("109 101", "109 102 101"),
        ),
    ] {
        let text = format!("{head}{lines}");
        let offer = Description::parse(text.as_bytes()).unwrap();
        assert!(offer.media.iter().any(|media| media.unfit.is_none()), "{text}");
        let ours: Vec<_> = (30_000_u16..)
            .step_by(2)
            .zip(&offer.media)
            .map(|(port, theirs)| accept(theirs, port))
            .collect();
        check_answer(&offer, &offer.answer(SESSION, local(), &ours));
    }
}

#[test]
fn the_answer_to_a_secure_offer_written_out() {
    let offer = parse(&secure(ONE_LINE));
    let mut ours = accept(&offer.media[0], 40_000).unwrap();
    ours.format = offer.media[0].formats[2];
    ours.crypto = offer.media[0].crypto.as_ref().map(|line| line.answered_with([0xff; 30]));
    let answer = offer.answer(SESSION, local(), &[Some(ours)]);
    assert_eq!(
        answer,
        "v=0\r\no=- 7 1 IN IP4 192.0.2.9\r\ns=sidetone\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
         m=audio 40000 RTP/SAVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
         a=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n\
         a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:////////////////////////////////////////\r\n"
    );
}

#[test]
fn where_rtcp_goes() {
    let rtcp = |attributes: &str| {
        let media = parse(&format!("m=audio 4000 RTP/AVP 0\r\n{attributes}")).media.remove(0);
        media.remote_rtcp.to_string()
    };
    assert_eq!(rtcp(""), "199.255.120.176:4001");
    assert_eq!(rtcp("a=rtcp:5001\r\n"), "199.255.120.176:5001");
    assert_eq!(rtcp("a=rtcp:5001 IN IP4 192.0.2.1\r\n"), "192.0.2.1:5001");
    assert_eq!(rtcp("a=rtcp-mux\r\na=rtcp:5001\r\n"), "199.255.120.176:4000");
}

#[test]
fn who_holds_does_not_send() {
    assert!(parse(ONE_LINE).media[0].sends());
    assert!(parse(&ONE_LINE.replace("sendrecv", "sendonly")).media[0].sends());
    assert!(!parse(&ONE_LINE.replace("sendrecv", "inactive")).media[0].sends());
    assert!(!parse(&format!("{ONE_LINE}c=IN IP4 0.0.0.0\r\n")).media[0].sends());
    // A direction for the whole session counts where the line has none.
    let text = format!("{HEAD}a=inactive\r\n{TWO_LINES}");
    let two = Description::parse(text.as_bytes()).unwrap();
    assert_eq!(two.media[0].direction, Direction::Inactive);
    assert_eq!(two.media[1].direction, Direction::SendRecv);
}

#[test]
fn our_offers_read_back() {
    let plain = offer(SESSION, local(), 40000, None);
    let read = Description::parse(plain.as_bytes()).unwrap().media.remove(0);
    assert_eq!(read.formats, offered_formats());
    assert_eq!(read.telephone_events, [(101, 8_000)]);
    assert_eq!(read.crypto, None);

    let crypto = CryptoLine::offered([5; 30]);
    let secure = offer(SESSION, local(), 40000, Some(&crypto));
    let read = Description::parse(secure.as_bytes()).unwrap().media.remove(0);
    assert_eq!(read.protocol, "RTP/SAVP");
    assert_eq!(read.crypto.as_ref(), Some(&crypto));

    let format = offered_formats()[1];
    let running = LocalMedia { port: 40000, format, crypto: Some(crypto) };
    let again = reoffer(SESSION, local(), &[None, Some(running)]);
    let read = Description::parse(again.as_bytes()).unwrap();
    assert_eq!(read.media[0].unfit, Some(Unfit::Disabled));
    assert_eq!(read.media[1].formats, [format]);
    assert_eq!(read.media[1].protocol, "RTP/SAVP");
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Description::parse(&bytes);
    }

    #[test]
    fn any_lines_are_survived(lines in "([a-z]=[ -~]{0,40}\r?\n){0,15}") {
        let _ = Description::parse(lines.as_bytes());
        if let Ok(offer) = Description::parse(format!("{HEAD}{ONE_LINE}{lines}").as_bytes()) {
            let ours: Vec<_> = offer.media.iter().map(|media| accept(media, 4000)).collect();
            check_answer(&offer, &offer.answer(SESSION, local(), &ours));
        }
    }
}
