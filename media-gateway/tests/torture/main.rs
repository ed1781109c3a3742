//! RFC 4475 and RFC 5118: messages that were made to break parsers, put to a user agent over UDP and TCP.

mod expected;
mod fixture;

use std::net::SocketAddr;
use std::time::Instant;

use expected::{Case, Effect, RFC4475, RFC5118};
use media_gateway::sip::framing::parse_datagram;
use media_gateway::sip::message::{HeaderValues, Message, Request, Response, parameter};
use media_gateway::sip::{Account, Event, Refusal, StreamId, Transmit, UserAgent, UserAgentConfig};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Messages that do something else than expected, with the transport. The list can only shrink: a message that is not
/// on it must do as expected, and one that is on it must not.
const KNOWN_DEVIATIONS: &[(&str, Transport)] = &[];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

#[test]
fn all_of_rfc_4475_is_answered_as_expected() {
    assert_eq!(RFC4475.len(), 49);
    check("rfc4475", RFC4475);
}

#[test]
fn all_of_rfc_5118_is_answered_as_expected() {
    assert_eq!(RFC5118.len(), 12);
    check("rfc5118", RFC5118);
}

#[test]
fn responses_are_read_whatever_they_say() {
    let messages = fixture::all("rfc4475");
    for (name, code) in [("unreason", 200), ("noreason", 100), ("scalarlg", 503), ("bcast", 200)] {
        let (_, bytes) = messages.iter().find(|(known, _)| known == name).unwrap();
        match parse_datagram(bytes) {
            Ok(Some(Message::Response(response))) => assert_eq!(response.code, code, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn binary_bodies_arrive_to_the_byte() {
    let (_, bytes) =
        fixture::all("rfc4475").into_iter().find(|(name, _)| name == "mpart01").unwrap();
    let message = request(&bytes).unwrap();
    assert_eq!(message.body.len(), 553);
    assert!(bytes.ends_with(&message.body) && message.body.contains(&0));
}

fn check(folder: &str, cases: &[Case]) {
    let messages = fixture::all(folder);
    let mut named: Vec<&str> = cases.iter().map(|case| case.name).collect();
    named.sort_unstable();
    let there: Vec<&str> = messages.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(named, there, "every message has its expectation");

    let mut surprises = Vec::new();
    for case in cases {
        let (_, message) = messages.iter().find(|(name, _)| name == case.name).unwrap();
        let whole = over_tcp(case.name, message, message.len());
        assert_eq!(whole, over_tcp(case.name, message, 1), "{}, byte by byte", case.name);
        for (transport, expected, seen) in [
            (Transport::Udp, case.over_udp, over_udp(case.name, message)),
            (Transport::Tcp, case.over_tcp, whole),
        ] {
            let deviates = seen != expected;
            if deviates != KNOWN_DEVIATIONS.contains(&(case.name, transport)) {
                let Case { name, section, about, .. } = case;
                surprises.push(format!(
                    "{name} ({section}: {about}) over {transport:?}: expected {expected:?}, saw {seen:?}"
                ));
            }
        }
    }
    assert!(surprises.is_empty(), "not as KNOWN_DEVIATIONS has it:\n{}", surprises.join("\n"));
}

fn over_udp(name: &str, message: &[u8]) -> Vec<Effect> {
    let mut user_agent = user_agent();
    let (local, peer) = (address("10.0.0.5:5060"), address("192.0.2.10:5090"));
    user_agent.handle_datagram(Instant::now(), local, peer, message);
    effects(name, message, user_agent)
}

fn over_tcp(name: &str, message: &[u8], read_len: usize) -> Vec<Effect> {
    let mut user_agent = user_agent();
    let (now, stream) = (Instant::now(), StreamId::tcp(1));
    user_agent.handle_stream_opened(stream, address("10.0.0.5:5060"));
    for read in message.chunks(read_len) {
        user_agent.handle_stream_bytes(now, stream, read);
    }
    effects(name, message, user_agent)
}

fn user_agent() -> UserAgent {
    let account = Account {
        domain: "sip.example.com".into(),
        user_name: "18002097562*102".into(),
        authorization_id: "802512345678".into(),
        password: "password".into(),
        instance: Default::default(),
    };
    UserAgent::new(UserAgentConfig { account, max_legs: 4 }, StdRng::seed_from_u64(1))
}

/// What the user agent has done: what it sent first, then what it tells its shell.
fn effects(name: &str, message: &[u8], mut user_agent: UserAgent) -> Vec<Effect> {
    let sent = std::iter::from_fn(|| user_agent.poll_transmit());
    let mut effects: Vec<Effect> =
        sent.map(|transmit| effect_of(name, message, &transmit)).collect();
    let mut invites = 0;
    while let Some(event) = user_agent.poll_event() {
        match event {
            Event::Invited(_) => invites += 1,
            Event::Refused { reason: Refusal::NotSip, .. } => effects.push(Effect::Dropped),
            Event::StreamCorrupt { .. } => effects.push(Effect::Closed),
            _ => {}
        }
    }
    let proceeding = effects.iter().filter(|effect| **effect == Effect::Invites).count();
    assert_eq!(proceeding, invites, "{name}: 100 goes with the question to the shell");
    effects
}

/// What a response amounts to, once it has been found sound.
fn effect_of(name: &str, message: &[u8], transmit: &Transmit) -> Effect {
    let response = match parse_datagram(&transmit.bytes) {
        Ok(Some(Message::Response(response))) => response,
        other => panic!("{name}: not a response: {other:?}"),
    };
    let first =
        request(message).filter(|first| first.value("Call-ID") == response.value("Call-ID"));
    if let Some(request) = first {
        assert_echoes(name, &request, &response);
    }
    let explanation = match response.code {
        405 | 501 => Some(("Allow", media_gateway::sip::message::ALLOW)),
        406 | 415 => Some(("Accept", "application/sdp")),
        420 => Some(("Unsupported", "nothingSupportsThis, nothingSupportsThisEither")),
        _ => None,
    };
    if let Some((header, value)) = explanation {
        assert_eq!(response.value(header), Some(value), "{name}");
    }
    match response.code {
        100 => Effect::Invites,
        code => Effect::Answered(code),
    }
}

/// RFC 3261 section 8.2.6.2. What the request has twice and must have once is there once.
fn assert_echoes(name: &str, request: &Request, response: &Response) {
    assert_eq!(request.values("Via").count(), response.values("Via").count(), "{name}");
    for header in ["From", "Call-ID", "CSeq"] {
        let echoed: Vec<&str> = response.values(header).collect();
        assert_eq!(
            echoed,
            request.value(header).into_iter().collect::<Vec<_>>(),
            "{name}: {header}"
        );
    }
    if let (Some(asked), Some(echoed)) = (request.value("To"), response.value("To")) {
        let needs_tag = response.code > 100 && parameter(asked, "tag").is_none();
        let ours = echoed.strip_prefix(asked).map(|ours| ours.starts_with(";tag="));
        assert_eq!(ours, Some(needs_tag), "{name}: {echoed}");
    }
}

fn request(message: &[u8]) -> Option<Request> {
    match parse_datagram(message) {
        Ok(Some(Message::Request(request))) => Some(request),
        _ => None,
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
