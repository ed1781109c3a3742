//! Where the corpus starts: one small input for each thing that a target can meet.

use super::fixture;

/// A target, the name of a seed, and its bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// The seeds of all targets.
pub fn all() -> Vec<Seed> {
    let sip = [messages(), streams(), calls()];
    let media = [descriptions(), packets(), reports(), protected(), sockets(), payloads()];
    [sip.concat(), media.concat()].concat()
}

/// Every torture message.
fn messages() -> Vec<Seed> {
    let torture = ["rfc4475", "rfc5118"].into_iter().flat_map(fixture::all);
    torture.map(|(name, bytes)| ("sip_message", name, bytes)).collect()
}

/// Torture messages one behind the other. The first byte says in which pieces they come.
fn streams() -> Vec<Seed> {
    let stream = |name: &str, piece_len: u8, parts: &[&[u8]]| {
        ("sip_stream", name.to_owned(), [&[piece_len], parts.concat().as_slice()].concat())
    };
    let [invite, options, register, response] =
        ["esc01", "semiuri", "dblreq", "unreason"].map(torture);
    vec![
        stream("several-in-one-read", 255, &[&options, &register, &response]),
        stream("byte-by-byte", 1, &[&invite, &options]),
        stream("keep-alives-between", 3, &[b"\r\n\r\n", &options, b"\r\n\r\n\r\n", &response]),
        stream("lone-line-feeds", 7, &[&without_returns(&options), &without_returns(&invite)]),
        stream("unreadable-status-between", 100, &[&torture("bigcode"), &options]),
        stream("negative-length", 50, &[&options, &torture("ncl"), &options]),
        stream("two-lengths", 50, &[&torture("mcl01"), &options]),
        stream("body-to-come", 200, &[&torture("clerr")]),
        stream("not-sip", 10, &[b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"]),
    ]
}

/// What a caller does. The first byte is 0 for UDP and 1 for TCP, NULs separate reads, and `{tag}` is our tag.
fn calls() -> Vec<Seed> {
    let over_tcp = |name: &str, parts: &[&[u8]]| {
        ("sip_user_agent", name.to_owned(), [b"\x01", parts.concat().as_slice()].concat())
    };
    let invite = torture("esc01");
    let as_method = |method: &str| {
        String::from_utf8(invite.clone()).unwrap().replace("INVITE", method).into_bytes()
    };
    let [cancel, ack, bye, update] = ["CANCEL", "ACK", "BYE", "UPDATE"].map(as_method);
    vec![
        over_tcp("call", &[&invite]),
        over_tcp("call-and-cancel", &[&invite, &cancel]),
        over_tcp("call-repeated-and-acknowledged", &[&invite, &invite, &ack]),
        over_tcp("update-and-bye-of-no-call", &[&update, &bye]),
        over_tcp(
            "whole-call",
            &[&invite, b"\0", &within("ACK", 1), &within("UPDATE", 2), &within("BYE", 3)],
        ),
        over_tcp(
            "moved-call",
            &[&invite, b"\0", &within("ACK", 1), &within("INVITE", 2), &within("ACK", 2)],
        ),
        over_tcp("two-calls", &[&invite, &torture("baddate"), &torture("ipv6-in-sdp")]),
        over_tcp("late-offer", &[&without_body(&invite)]),
        over_tcp("refused", &[&torture("bext01"), &torture("invut"), &torture("insuf")]),
        over_tcp("responses", &[&torture("unreason"), &torture("scalarlg")]),
        ("sip_user_agent", "call-over-udp".into(), [b"\0", invite.as_slice()].concat()),
        (
            "sip_user_agent",
            "truncated-over-udp".into(),
            [b"\0", torture("clerr").as_slice()].concat(),
        ),
    ]
}

/// A request within the dialog of `esc01`.
fn within(method: &str, number: u32) -> Vec<u8> {
    format!(
        "{method} sip:a@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{method}{number}\r\n\
         From: <sip:I%20have%20spaces@example.net>;tag=938\r\nTo: sip:%75se%72@example.com;tag={{tag}}\r\n\
         i: esc01.239409asdfakjkn23onasd0-3234\r\nCSeq: {} {method}\r\nm: <sip:b@h>\r\n\
         k: timer\r\nx: 90\r\nl: 0\r\n\r\n",
        234_233 + number,
    )
    .into_bytes()
}

/// Offers of the shapes that RingCentral sends, and others.
fn descriptions() -> Vec<Seed> {
    const HEAD: &str = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n";
    const C: &str = "c=IN IP4 192.0.2.1\r\n";
    let offer = |name: &str, text: String| ("sdp", name.to_owned(), text.into_bytes());
    let one = "m=audio 42898 RTP/AVP 111 9 0 18 8 109 13 101\r\na=rtpmap:111 OPUS/48000/2\r\n\
        a=fmtp:111 useinbandfec=1;usedtx=0\r\na=rtpmap:9 g722/8000\r\na=rtpmap:0 pcmu/8000\r\n\
        a=rtpmap:109 OPUS/16000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n";
    let party = |port: u16, id: &str| {
        format!(
            "m=audio {port} RTP/AVP 111 0\r\ni=Y3Mx party-id={id}\r\n{C}a=rtpmap:111 OPUS/48000/2\r\n"
        )
    };
    let secure = "m=audio 5000 RTP/SAVP 0\r\n\
        a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNk|2^31|1:1\r\n\
        a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNk\r\na=rtcp-mux\r\n";
    vec![
        offer("one-line", format!("{HEAD}{C}{one}")),
        offer("line-feeds", format!("{HEAD}{C}{one}").replace('\r', "")),
        offer(
            "two-parties",
            format!("{HEAD}{}{}a=inactive\r\n", party(50400, "p-1"), party(50402, "p-2")),
        ),
        offer("held-the-old-way", format!("{HEAD}c=IN IP4 0.0.0.0\r\n{one}")),
        offer(
            "sendonly-v6",
            format!("{HEAD}c=IN IP6 2001:db8::1\r\na=sendonly\r\nm=audio 6000 RTP/AVP 8\r\n"),
        ),
        offer("secure", format!("{HEAD}{C}{secure}")),
        offer("audio-and-video", body(&torture("esc01"))),
        offer("mixed-families", body(&torture("mult-ip-in-sdp"))),
        offer("no-codec", body(&torture("ipv6-in-sdp"))),
        offer("disabled", format!("{HEAD}{C}m=audio 0 RTP/AVP 0\r\nm=image 0 udptl t38\r\n")),
    ]
}

/// Datagrams on a media port, each behind its length and the pause before it in steps of 2 ms. The first byte picks the
/// format.
fn packets() -> Vec<Seed> {
    let seed = |name: &str, format: u8, datagrams: &[(u8, Vec<u8>)]| {
        let records = datagrams.iter().flat_map(|(pause, datagram)| record(*pause, datagram));
        ("rtp", name.to_owned(), [format].into_iter().chain(records).collect())
    };
    let pcmu = |number: u16| rtp(0, number, u32::from(number) * 160, 1, &[0xd5; 160]);
    let opus = |number: u16| rtp(111, number, u32::from(number) * 960, 1, b"\xf8\xff\xfe");
    let stranger = |number: u16| rtp(0, number, u32::from(number) * 160, 2, &[0x7f; 80]);
    let with_first = |first: u8, rest: &[u8]| {
        let mut datagram = rtp(0, 1, 160, 1, rest);
        datagram[0] = first;
        datagram
    };
    vec![
        seed("in-order", 2, &[1, 2, 3, 4].map(|n| (10, pcmu(n)))),
        seed("out-of-order", 2, &[1, 3, 2, 2, 5, 4].map(|n| (10, pcmu(n)))),
        seed("hole", 0, &[1, 2, 5, 6].map(|n| (10, opus(n)))),
        seed("wrap", 0, &[65534, 65535, 0, 1].map(|n| (10, opus(n)))),
        seed("silence-between", 2, &[(10, pcmu(1)), (255, pcmu(2)), (255, pcmu(40))]),
        seed(
            "another-source",
            2,
            &[1, 2, 3, 4, 5, 6].map(|n| (110, if n < 2 { pcmu(n) } else { stranger(n) })),
        ),
        seed(
            "telephone-event",
            2,
            &[(10, pcmu(1)), (10, rtp(101, 2, 160, 1, b"\x05\x0a\x01\x40")), (10, pcmu(3))],
        ),
        seed(
            "padding-and-extension",
            2,
            &[
                (10, with_first(0xa0, b"audio\0\0\x03")),
                (10, with_first(0x91, b"csrc\xbe\xde\0\x01\x10\xaa\0\0audio")),
                (10, with_first(0x90, b"\xbe\xde\xff\xff")),
            ],
        ),
        seed(
            "strangers",
            0,
            &[
                (10, stun()),
                (10, receiver_report()),
                (10, b"\x16\xfe\xfd\0".to_vec()),
                (10, vec![]),
            ],
        ),
    ]
}

/// RTCP datagrams, each behind its length and the pause before it in steps of 40 ms.
fn reports() -> Vec<Seed> {
    let seed = |name: &str, datagrams: &[(u8, Vec<u8>)]| {
        let records = datagrams.iter().flat_map(|(pause, datagram)| record(*pause, datagram));
        ("rtcp", name.to_owned(), records.collect())
    };
    let goodbye = b"\x81\xcb\0\x01\0\0\0\x01".to_vec();
    let names = b"\x81\xca\0\x03\0\0\0\x01\x01\x02me\0\0\0\0".to_vec();
    let feedback = b"\x81\xce\0\x02\0\0\0\x01\0\0\0\x02".to_vec();
    vec![
        seed("sender-report", &[(125, sender_report()), (125, sender_report())]),
        seed("compound", &[(10, [receiver_report(), names.clone(), goodbye.clone()].concat())]),
        seed("feedback", &[(10, [sender_report(), feedback].concat())]),
        seed("goodbye-first", &[(10, goodbye.clone())]),
        seed(
            "goodbye-longer-than-it-says",
            &[(10, [receiver_report(), b"\x9f\xcb\0\0".to_vec()].concat())],
        ),
        seed(
            "truncated",
            &[(10, sender_report()[..20].to_vec()), (10, b"\x80\xc8\xff\xff".to_vec())],
        ),
    ]
}

/// What is behind the length and a byte: RTP (0) or RTCP (1) that nobody protected, or payload that is protected first,
/// with a quarter of the byte's packets lost before it. The first byte picks the suite.
fn protected() -> Vec<Seed> {
    let seed = |name: &str, suite: u8, datagrams: &[(u8, Vec<u8>)]| {
        let records = datagrams.iter().flat_map(|(kind, datagram)| record(*kind, datagram));
        ("srtp", name.to_owned(), [suite].into_iter().chain(records).collect())
    };
    let plain = rtp(0, 1, 160, 1, &[0xd5; 40]);
    vec![
        seed(
            "long-tags",
            0,
            &[(2, b"one".to_vec()), (6, b"two".to_vec()), (254, b"three".to_vec())],
        ),
        seed("short-tags", 1, &[(2, b"one".to_vec()), (2, Vec::new()), (2, vec![0; 160])]),
        seed(
            "not-protected",
            0,
            &[(0, plain.clone()), (1, [sender_report(), vec![0x80; 14]].concat())],
        ),
        seed("too-short", 1, &[(0, plain[..12].to_vec()), (1, vec![0x80; 13]), (0, Vec::new())]),
        seed(
            "extended",
            0,
            &[(0, [b"\x90\0\0\x01timessrc\xbe\xde\xff\xff".as_slice(), &[0; 20]].concat())],
        ),
    ]
}

/// What comes to the sockets of a media session, each behind its length and a byte: the lowest bit is the socket, the
/// next two who sends it, the rest the pause before it in steps of 8 ms. The first byte picks the offer.
fn sockets() -> Vec<Seed> {
    let seed = |name: &str, offer: u8, datagrams: &[(u8, Vec<u8>)]| {
        let records = datagrams.iter().flat_map(|(how, datagram)| record(*how, datagram));
        ("media_session", name.to_owned(), [offer].into_iter().chain(records).collect())
    };
    const RIGHT: u8 = 0x10;
    const OTHER_PORT: u8 = 0x14;
    const STRANGER: u8 = 0x16;
    let pcmu = |number: u16| rtp(0, number, u32::from(number) * 160, 1, &[0xd5; 160]);
    vec![
        seed("as-described", 0, &[1, 2, 3, 4].map(|n| (RIGHT, pcmu(n)))),
        seed("from-another-port", 0, &[1, 2, 3, 4, 5].map(|n| (OTHER_PORT, pcmu(n)))),
        seed(
            "injected",
            0,
            &[1, 2, 3, 4, 5, 6].map(|n| (if n % 2 == 0 { RIGHT } else { STRANGER }, pcmu(n))),
        ),
        seed("stun", 0, &[(RIGHT, stun()), (STRANGER, stun()), (RIGHT | 1, stun())]),
        seed(
            "rtcp",
            0,
            &[
                (RIGHT | 1, sender_report()),
                (RIGHT, receiver_report()),
                (STRANGER | 1, receiver_report()),
            ],
        ),
        seed(
            "junk",
            0,
            &[
                (RIGHT, Vec::new()),
                (RIGHT, b"\x16\xfe\xfd\0".to_vec()),
                (RIGHT | 1, b"\r\n".to_vec()),
            ],
        ),
        seed(
            "in-the-clear-though-protected",
            1,
            &[(RIGHT, pcmu(1)), (RIGHT, stun()), (RIGHT, sender_report())],
        ),
    ]
}

/// Payloads, each behind its length and, in steps of 10 samples, what is concealed before it. The first byte picks the
/// codec.
fn payloads() -> Vec<Seed> {
    let seed = |name: &str, format: u8, payloads: &[(u8, &[u8])]| {
        let records = payloads.iter().flat_map(|(concealed, payload)| record(*concealed, payload));
        ("codec", name.to_owned(), [format].into_iter().chain(records).collect())
    };
    vec![
        seed("pcmu", 2, &[(0, &[0xd5; 160]), (16, &[0x00; 160])]),
        seed("pcma", 3, &[(0, &[0x55; 80]), (255, &[0x2a; 240])]),
        seed("opus-silence", 0, &[(0, b"\xf8\xff\xfe"), (32, b"\xf8\xff\xfe")]),
        seed(
            "opus-silk-with-redundancy",
            0,
            &[(0, b"\x48\x83\x1c\xa2\x77\x10"), (32, b"\x48\xc3\x1c\xa2\x77\x10")],
        ),
        seed("opus-hybrid", 0, &[(0, b"\x78\x07\xc9\x79\xc8\xc9\x57\xc0\xa2\x12\x24")]),
        seed("opus-dtx", 0, &[(0, b"\x08"), (255, b"\x0b")]),
        seed(
            "opus-two-frames",
            0,
            &[(0, b"\xf9\xff\xfe\xff\xfe"), (0, b"\xfa\x02\xff\xfe\xff\xfe")],
        ),
        seed(
            "opus-many-frames",
            0,
            &[(0, b"\xfb\x06\xff\xff\xff\xff\xff\xff"), (0, b"\xfb\x7f"), (0, b"\xfb\xc2\x02\x01")],
        ),
        seed("opus-padding", 0, &[(0, b"\xfb\x41\x02\xff\xfe\0\0"), (0, b"\xfb\x41\xff\xff\xff")]),
        seed("g722", 4, &[(0, &[0xfa; 160]), (255, &[0x00; 240])]),
        seed("empty", 0, &[(1, b"")]),
    ]
}

fn torture(name: &str) -> Vec<u8> {
    let mut all = ["rfc4475", "rfc5118"].into_iter().flat_map(fixture::all);
    all.find(|(known, _)| known == name).unwrap_or_else(|| panic!("no message {name}")).1
}

fn without_returns(message: &[u8]) -> Vec<u8> {
    // The body is counted as it stands.
    let (head, body) = message.split_at(head_len(message));
    [head.iter().copied().filter(|byte| *byte != b'\r').collect(), body.to_vec()].concat()
}

fn without_body(message: &[u8]) -> Vec<u8> {
    let head = std::str::from_utf8(&message[..head_len(message)]).unwrap();
    head.replace("Content-Length: 150", "Content-Length: 0").into_bytes()
}

fn body(message: &[u8]) -> String {
    String::from_utf8(message[head_len(message)..].to_vec()).unwrap()
}

fn head_len(message: &[u8]) -> usize {
    message.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4
}

fn record(extra: u8, bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap(), extra], bytes].concat()
}

fn rtp(payload_type: u8, number: u16, timestamp: u32, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let (number, timestamp) = (number.to_be_bytes(), timestamp.to_be_bytes());
    [&[0x80, payload_type], &number[..], &timestamp, &ssrc.to_be_bytes(), payload].concat()
}

/// A binding request with one attribute (RFC 8489).
fn stun() -> Vec<u8> {
    b"\0\x01\0\x08\x21\x12\xa4\x42transaction1\x80\x22\0\x04test".to_vec()
}

/// A receiver report with one block (RFC 3550 section 6.4.2).
fn receiver_report() -> Vec<u8> {
    [&b"\x81\xc9\0\x07"[..], &[0, 0, 0, 1], &[0; 24]].concat()
}

/// A sender report without blocks (RFC 3550 section 6.4.1).
fn sender_report() -> Vec<u8> {
    [&b"\x80\xc8\0\x06"[..], &[0, 0, 0, 1], &[0x11; 20]].concat()
}
