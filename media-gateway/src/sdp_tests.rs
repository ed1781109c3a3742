use proptest::prelude::*;

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
            (0, Codec::Pcmu, 8_000),
            (8, Codec::Pcma, 8_000),
            (109, Codec::Opus, 16_000)
        ]
    );
    assert_eq!(media.telephone_event, Some(101));
    assert_eq!(media.party_id, None);
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
    let ours = LocalMedia { port: 40000, format: offer.media[0].formats[0] };
    let answer = offer.answer(SESSION, "10.0.0.1".parse().unwrap(), &[Some(ours)]);
    assert!(answer.contains("a=rtpmap:109 OPUS/16000\r\n"), "{answer}");
    assert!(answer.contains("m=audio 40000 RTP/AVP 109 101\r\n"), "{answer}");
}

#[test]
fn an_answer_has_each_line_in_order() {
    let offer = parse(&format!("m=video 9 RTP/AVP 31\r\n{TWO_LINES}"));
    assert_eq!(offer.media[0].unfit, Some(Unfit::NotAudio("video".into())));
    let ours = |port| Some(LocalMedia { port, format: offer.media[1].formats[0] });
    let local = "192.0.2.9".parse().unwrap();
    let answer = offer.answer(SESSION, local, &[None, ours(30000), ours(30002)]);
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
        let local = Some(LocalMedia { port: 1234, format: offer.media[0].formats[0] });
        let answer = offer.answer(SESSION, "10.0.0.1".parse().unwrap(), &[local]);
        assert!(answer.contains(&format!("a={ours}\r\n")), "{theirs}: {answer}");
    }
}

#[test]
fn lines_that_cannot_be_taken_say_why() {
    let unfit = |media: &str| parse(media).media[0].unfit.clone();
    assert_eq!(unfit(ONE_LINE), None);
    assert_eq!(
        unfit(&ONE_LINE.replace("RTP/AVP", "RTP/SAVP")),
        Some(Unfit::Secure("RTP/SAVP".into()))
    );
    assert_eq!(
        unfit(&ONE_LINE.replace("RTP/AVP", "RTP/AVPF")),
        Some(Unfit::Profile("RTP/AVPF".into()))
    );
    assert_eq!(unfit("m=audio 0 RTP/AVP 0\r\n"), Some(Unfit::Disabled));
    assert_eq!(unfit("m=audio 9 RTP/AVP 18 9\r\n"), Some(Unfit::NoCodec("18 9".into())));
    assert_eq!(
        unfit("m=audio 9 RTP/AVP 0\r\nc=IN IP4 media.example.com\r\n"),
        Some(Unfit::NoAddress)
    );
}

#[test]
fn hostile_bodies_are_errors() {
    assert!(matches!(Description::parse(b""), Err(SdpError::Syntax(_))));
    assert!(matches!(Description::parse(b"\xff\xfe"), Err(SdpError::Syntax(_))));
    assert_eq!(Description::parse(HEAD.as_bytes()), Err(SdpError::NoMedia));
    let many = "m=audio 9 RTP/AVP 0\r\n".repeat(9);
    assert_eq!(
        Description::parse(format!("{HEAD}{many}").as_bytes()),
        Err(SdpError::TooManyMedia(9))
    );
    let truncated = &HEAD[..HEAD.len() - 20];
    assert!(Description::parse(truncated.as_bytes()).is_err());
}

#[test]
fn our_offer_reads_back() {
    let text = offer(SESSION, "10.0.0.1".parse().unwrap(), 40000);
    let read = Description::parse(text.as_bytes()).unwrap();
    assert_eq!(read.media[0].formats, offered_formats());
    assert_eq!(read.media[0].telephone_event, Some(101));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Description::parse(&bytes);
    }

    #[test]
    fn any_lines_are_survived(lines in "([a-z]=[ -~]{0,40}\r?\n){0,15}") {
        let _ = Description::parse(lines.as_bytes());
        let _ = Description::parse(format!("{HEAD}{ONE_LINE}{lines}").as_bytes());
    }
}
