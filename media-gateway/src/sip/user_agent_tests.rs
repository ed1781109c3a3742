use rand::SeedableRng;

use super::*;

const PEER: &str = "192.0.2.10:5090";
const LOCAL: &str = "10.0.0.5:5060";
const SDP: &str = "v=0\r\n";

struct Harness {
    user_agent: UserAgent,
    now: Instant,
}

impl Harness {
    fn new() -> Self {
        let account = Account {
            domain: "sip.ringcentral.com".into(),
            user_name: "18002097562*102".into(),
            authorization_id: "802512345678".into(),
            password: "password".into(),
            instance: uuid::Uuid::from_u128(1),
        };
        let config = UserAgentConfig { account, max_legs: 2 };
        let user_agent = UserAgent::new(config, StdRng::seed_from_u64(1));
        Self { user_agent, now: Instant::now() }
    }

    fn receive(&mut self, text: &str) {
        self.user_agent.handle_datagram(self.now, address(LOCAL), address(PEER), text.as_bytes());
    }

    fn sent(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.user_agent.poll_transmit())
            .map(|transmit| String::from_utf8(transmit.bytes.to_vec()).unwrap())
            .collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.user_agent.poll_event()).collect()
    }

    /// Lets virtual time pass, serving every timeout; gives what was sent, with the milliseconds it was sent at.
    fn pass(&mut self, duration: Duration) -> Vec<(u128, String)> {
        let (start, end) = (self.now, self.now + duration);
        let mut sent = Vec::new();
        while let Some(at) = self.user_agent.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.user_agent.handle_timeout(self.now);
            let elapsed = (self.now - start).as_millis();
            sent.extend(self.sent().into_iter().map(|text| (elapsed, text)));
        }
        self.now = end;
        sent
    }

    fn invite(&mut self) -> LegId {
        self.receive(&invite("1", SDP));
        match self.events().as_slice() {
            [Event::Invited(invite)] => invite.leg,
            other => panic!("expected an invite, got {other:?}"),
        }
    }

    /// A confirmed leg, and our tag on it.
    fn confirmed(&mut self) -> (LegId, String) {
        let leg = self.invite();
        self.user_agent.answer(self.now, leg, address(LOCAL), SDP);
        let tag = tag_of(self.sent().last().unwrap());
        self.receive(&in_dialog("ACK", 1, &tag, ""));
        assert_eq!(self.events(), [Event::Confirmed { leg, answer: None }]);
        (leg, tag)
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn invite(branch: &str, body: &str) -> String {
    format!(
        "INVITE sip:18002097562*102@192.168.42.15:62931;transport=UDP;ob SIP/2.0\r\n\
         Via: SIP/2.0/UDP 10.62.192.70:5091;branch=z9hG4bK{branch}\r\n\
         Record-Route: <sip:edge;lr>\r\nFrom: <sip:+16508370072@10.62.192.70>;tag=remote\r\n\
         To: <sip:18002097562*102@192.168.12.3;ob>\r\nContact: <sip:+16508370072@10.62.192.70:5091>\r\n\
         Call-ID: 198dd3\r\nCSeq: 1 INVITE\r\n\
         p-rc-api-ids: party-id=cs1-6;session-id=Y3Mx\r\nSupported: replaces, timer\r\n\
         Session-Expires: 14400;refresher=uac\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn in_dialog(method: &str, cseq: u32, tag: &str, body: &str) -> String {
    format!(
        "{method} sip:x@10.0.0.5:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 10.62.192.70:5091;branch=z9hG4bK{method}{cseq}\r\n\
         From: <sip:+16508370072@10.62.192.70>;tag=remote\r\nTo: <sip:18002097562*102@x>;tag={tag}\r\n\
         Contact: <sip:moved@10.62.192.71>\r\n\
         Call-ID: 198dd3\r\nCSeq: {cseq} {method}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn tag_of(response: &str) -> String {
    let to = response.lines().find(|line| line.starts_with("To:")).unwrap();
    to.split_once(";tag=").unwrap().1.to_owned()
}

fn status(message: &str) -> &str {
    &message.lines().next().unwrap()[8..11]
}

#[test]
fn an_invite_is_answered_until_it_is_acknowledged() {
    let mut harness = Harness::new();
    let leg = harness.invite();
    let sent = harness.sent();
    assert_eq!(sent.iter().map(|text| status(text)).collect::<Vec<_>>(), ["100"]);
    harness.receive(&invite("1", SDP));
    assert_eq!(harness.sent(), sent, "a repeated INVITE gets the same response");
    assert_eq!(harness.events(), []);

    harness.user_agent.answer(harness.now, leg, address(LOCAL), SDP);
    let answer = harness.sent();
    let [ok] = answer.as_slice() else { panic!("{answer:?}") };
    for part in [
        "SIP/2.0 200 OK\r\n",
        "Record-Route: <sip:edge;lr>\r\n",
        "Contact: <sip:18002097562*102@10.0.0.5:5060;transport=UDP;ob>\r\n",
        "Session-Expires: 14400;refresher=uac\r\n",
        "Require: timer\r\n",
        "Content-Type: application/sdp\r\n",
    ] {
        assert!(ok.contains(part), "{part} in {ok}");
    }
    let repeated = harness.pass(Duration::from_secs(8));
    let times: Vec<u128> = repeated.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [500, 1500, 3500, 7500]);
    assert!(repeated.iter().all(|(_, text)| text == ok));

    harness.receive(&in_dialog("ACK", 1, &tag_of(ok), ""));
    assert_eq!(harness.events(), [Event::Confirmed { leg, answer: None }]);
    assert_eq!(harness.pass(Duration::from_secs(60)), []);
}

#[test]
fn a_leg_that_is_never_acknowledged_ends_with_a_bye() {
    let mut harness = Harness::new();
    let leg = harness.invite();
    harness.user_agent.answer(harness.now, leg, address(LOCAL), SDP);
    let sent = harness.pass(Duration::from_secs(33));
    assert!(sent.iter().any(|(at, text)| *at == 32_000 && text.starts_with("BYE ")), "{sent:?}");
    let ended = Event::Ended { leg, reason: EndReason::NotAcknowledged };
    assert_eq!(harness.events(), [ended]);
}

#[test]
fn cancel_before_the_answer_ends_the_leg() {
    let mut harness = Harness::new();
    let leg = harness.invite();
    harness.sent();
    let cancel = invite("1", "").replace("INVITE", "CANCEL");
    harness.receive(&cancel);
    let sent = harness.sent();
    assert_eq!(sent.iter().map(|text| status(text)).collect::<Vec<_>>(), ["200", "487"]);
    assert!(sent[0].contains("1 CANCEL") && sent[1].contains("1 INVITE"), "{sent:?}");
    assert_eq!(harness.events(), [Event::Ended { leg, reason: EndReason::Cancelled }]);
    assert!(!harness.pass(Duration::from_secs(1)).is_empty(), "487 is repeated over UDP");
    harness.receive(&invite("1", "").replace("INVITE", "ACK"));
    assert_eq!(harness.pass(Duration::from_secs(60)), [], "until its ACK");
}

#[test]
fn cancel_after_the_answer_changes_nothing() {
    let mut harness = Harness::new();
    let leg = harness.invite();
    harness.user_agent.answer(harness.now, leg, address(LOCAL), SDP);
    harness.sent();
    harness.receive(&invite("1", "").replace("INVITE", "CANCEL"));
    let sent = harness.sent();
    assert_eq!(sent.iter().map(|text| status(text)).collect::<Vec<_>>(), ["200"]);
    assert_eq!(harness.events(), []);
    harness.receive(&invite("unknown", "").replace("INVITE", "CANCEL"));
    assert_eq!(status(&harness.sent()[0]), "481");
}

#[test]
fn bye_ends_the_leg_and_is_answered_again_when_repeated() {
    let mut harness = Harness::new();
    let (leg, tag) = harness.confirmed();
    let bye = in_dialog("BYE", 2, &tag, "");
    harness.receive(&bye);
    assert_eq!(status(&harness.sent()[0]), "200");
    assert_eq!(harness.events(), [Event::Ended { leg, reason: EndReason::Bye }]);
    harness.receive(&bye);
    assert_eq!(status(&harness.sent()[0]), "200");
    harness.receive(&in_dialog("BYE", 3, &tag, ""));
    assert_eq!(status(&harness.sent()[0]), "481");
    harness.receive(&in_dialog("BYE", 4, "guessed", ""));
    assert_eq!(status(&harness.sent()[0]), "481");
}

#[test]
fn hanging_up_waits_for_the_ack_and_follows_the_route() {
    let mut harness = Harness::new();
    let leg = harness.invite();
    harness.user_agent.answer(harness.now, leg, address(LOCAL), SDP);
    let tag = tag_of(harness.sent().last().unwrap());
    harness.user_agent.hang_up(harness.now, leg, address(LOCAL));
    assert_eq!(harness.sent(), [] as [String; 0], "no BYE before the ACK");
    harness.receive(&in_dialog("ACK", 1, &tag, ""));
    let sent = harness.sent();
    let [bye] = sent.as_slice() else { panic!("{sent:?}") };
    assert!(bye.starts_with("BYE sip:+16508370072@10.62.192.70:5091 SIP/2.0\r\n"), "{bye}");
    assert!(bye.contains("Route: <sip:edge;lr>\r\n"), "{bye}");
    assert!(
        bye.contains(&format!("From: <sip:18002097562*102@192.168.12.3;ob>;tag={tag}\r\n")),
        "{bye}"
    );
    let via = bye.lines().find(|line| line.starts_with("Via")).unwrap();
    harness.receive(&format!(
        "SIP/2.0 200 OK\r\n{via}\r\nFrom: <sip:a>;tag={tag}\r\nTo: <sip:b>;tag=remote\r\n\
         Call-ID: 198dd3\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
    ));
    assert_eq!(harness.events(), [Event::Ended { leg, reason: EndReason::HungUp }]);
    assert!(harness.user_agent.is_idle());
}

#[test]
fn a_reinvite_is_answered_and_rejecting_it_keeps_the_leg() {
    let mut harness = Harness::new();
    let (leg, tag) = harness.confirmed();
    harness.receive(&in_dialog("INVITE", 2, &tag, "v=0\r\no=2\r\n"));
    let offer = Some(b"v=0\r\no=2\r\n".to_vec());
    assert_eq!(harness.events(), [Event::Reoffered { leg, offer }]);
    harness.receive(&in_dialog("INVITE", 3, &tag, SDP));
    assert_eq!(harness.sent().iter().map(|t| status(t)).collect::<Vec<_>>(), ["100", "491"]);
    harness.events();
    harness.user_agent.answer(harness.now, leg, address(LOCAL), SDP);
    assert_eq!(status(&harness.sent()[0]), "200");
    harness.receive(&in_dialog("ACK", 2, &tag, ""));
    assert_eq!(harness.events(), [Event::Confirmed { leg, answer: None }]);

    harness.receive(&in_dialog("INVITE", 4, &tag, SDP));
    harness.events();
    harness.user_agent.reject(harness.now, leg, 488, "Not Acceptable Here");
    assert_eq!(harness.sent().iter().map(|t| status(t)).collect::<Vec<_>>(), ["100", "488"]);
    harness.receive(&in_dialog("ACK", 4, &tag, ""));
    harness.events();
    harness.receive(&in_dialog("INVITE", 1, &tag, SDP).replace("z9hG4bKINVITE1", "z9hG4bKold"));
    assert_eq!(status(&harness.sent()[0]), "500", "an old CSeq");
    harness.events();
    harness.receive(&in_dialog("UPDATE", 5, &tag, ""));
    assert_eq!(status(&harness.sent()[0]), "200", "a session refresh without a body");
    harness.receive(&in_dialog("BYE", 6, &tag, ""));
    assert_eq!(harness.events(), [Event::Ended { leg, reason: EndReason::Bye }]);
}

#[test]
fn an_invite_without_an_offer_gets_theirs_from_the_ack() {
    let mut harness = Harness::new();
    harness.receive(&invite("1", ""));
    let events = harness.events();
    let [Event::Invited(Invite { leg, offer: None, .. })] = events.as_slice() else {
        panic!("{events:?}")
    };
    harness.user_agent.answer(harness.now, *leg, address(LOCAL), SDP);
    let tag = tag_of(harness.sent().last().unwrap());
    harness.receive(&in_dialog("ACK", 1, &tag, "v=0\r\ns=theirs\r\n"));
    let answer = Some(b"v=0\r\ns=theirs\r\n".to_vec());
    assert_eq!(harness.events(), [Event::Confirmed { leg: *leg, answer }]);
}

#[test]
fn other_requests_get_their_responses() {
    let mut harness = Harness::new();
    let outside = |method: &str, extra: &str| {
        format!(
            "{method} sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{method}{}\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:x@y>\r\nCall-ID: c\r\nCSeq: 7 {method}\r\n{extra}\r\n",
            extra.len()
        )
    };
    for (request, code) in [
        (outside("OPTIONS", ""), "200"),
        (outside("NOTIFY", ""), "200"),
        (outside("MESSAGE", ""), "200"),
        (outside("INFO", ""), "481"),
        (outside("UPDATE", ""), "481"),
        (outside("BYE", ""), "481"),
        (outside("SUBSCRIBE", ""), "405"),
        (outside("FLY", ""), "501"),
        (outside("OPTIONS", "bad line\r\n"), "400"),
        (outside("INVITE", "Require: 100rel\r\nContact: <sip:a@b>\r\n"), "420"),
        (outside("INVITE", ""), "400"),
        (invite("x", SDP).replace("198dd3", "one"), "100"),
        (invite("y", SDP).replace("198dd3", "two"), "100"),
        (invite("z", SDP).replace("198dd3", "three"), "486"),
    ] {
        harness.receive(&request);
        let sent = harness.sent();
        assert_eq!(sent.first().map(|text| status(text)), Some(code), "{request}");
    }
}

#[test]
fn the_device_registers_with_digest_and_refreshes_at_half_time() {
    let mut harness = Harness::new();
    let flow = Flow::Udp(address(PEER));
    harness.user_agent.register(harness.now, flow, address(LOCAL));
    let first = harness.sent().remove(0);
    assert!(first.starts_with("REGISTER sip:sip.ringcentral.com SIP/2.0\r\n"), "{first}");
    assert!(!first.contains("Authorization"), "{first}");
    let reply = |request: &str, status: &str, extra: &str| {
        let copied: Vec<&str> = request
            .lines()
            .filter(|line| {
                ["Via", "From", "To", "Call-ID", "CSeq"].iter().any(|it| line.starts_with(it))
            })
            .collect();
        format!("SIP/2.0 {status}\r\n{}\r\n{extra}Content-Length: 0\r\n\r\n", copied.join("\r\n"))
    };
    harness.receive(&reply(&first, "100 Trying", ""));
    let challenge =
        "Www-Authenticate: Digest realm=\"sip.ringcentral.com\", nonce=\"Zm9vYmFyMTIzNDU2\"\r\n";
    harness.receive(&reply(&first, "401 Unauthorized", challenge));
    let second = harness.sent().remove(0);
    assert!(second.contains("response=\"7f869cb6fbc33df427eaf8350fa30deb\""), "{second}");
    assert!(second.contains("CSeq: 2 REGISTER"), "{second}");
    let contacts = "Contact: <sip:other@10.9.9.9>;expires=3000, \
                    <sip:18002097562*102@10.0.0.5:5060;transport=UDP;ob>;expires=182;q=0\r\n";
    harness.receive(&reply(&second, "200 OK", contacts));
    assert_eq!(harness.events(), [Event::Registered { expires: Duration::from_secs(182) }]);
    assert_eq!(harness.user_agent.registered_flow(), Some(flow));

    let mut refresh = harness.pass(Duration::from_secs(91));
    refresh.retain(|(_, text)| text != "\r\n\r\n");
    assert_eq!(refresh.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [91_000]);
    assert!(refresh[0].1.contains("Authorization: Digest"), "{refresh:?}");
    harness.receive(&reply(&refresh[0].1, "200 OK", contacts));
    harness.events();
    assert!(harness.user_agent.unregister(harness.now));
    let last = harness.sent().remove(0);
    assert!(last.contains("Expires: 0\r\n"), "{last}");
    harness.receive(&reply(&last, "200 OK", ""));
    assert_eq!(harness.events(), [Event::Unregistered]);
}

#[test]
fn a_registrar_that_refuses_or_keeps_silent_is_a_failure() {
    let mut harness = Harness::new();
    let flow = Flow::Udp(address(PEER));
    harness.user_agent.register(harness.now, flow, address(LOCAL));
    harness.sent();
    let sent = harness.pass(Duration::from_secs(11));
    let times: Vec<u128> = sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [500, 1500, 3500, 7500]);
    let timeout = Event::RegistrationFailed(RegistrationFailure::Timeout);
    assert_eq!(harness.events(), [timeout]);

    let stream = StreamId::tcp(3);
    harness.user_agent.handle_stream_opened(stream, address(LOCAL));
    harness.user_agent.register(harness.now, Flow::Stream(stream), address(LOCAL));
    harness.sent();
    harness.user_agent.handle_stream_closed(stream);
    let closed = Event::RegistrationFailed(RegistrationFailure::FlowClosed);
    assert_eq!(harness.events(), [closed]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(
        chunks in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..300), 0..5),
        cut in 0usize..600,
        flip in 0usize..600,
    ) {
        let mut harness = Harness::new();
        let stream = StreamId::tcp(1);
        harness.user_agent.handle_stream_opened(stream, address(LOCAL));
        for chunk in &chunks {
            harness.user_agent.handle_datagram(harness.now, address(LOCAL), address(PEER), chunk);
            harness.user_agent.handle_stream_bytes(harness.now, stream, chunk);
        }
        let mut mutated = invite("1", SDP).into_bytes();
        mutated.truncate(cut.max(1));
        let at = flip % mutated.len();
        mutated[at] ^= 0x15;
        harness.user_agent.handle_datagram(harness.now, address(LOCAL), address(PEER), &mutated);
        harness.pass(Duration::from_secs(40));
    }
}
