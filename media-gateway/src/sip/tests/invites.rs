//! From the INVITE to the ACK, and everything that can come between.

use super::*;

#[test]
fn an_invite_is_answered_until_it_is_acknowledged() {
    let mut harness = Harness::new();
    let leg = harness.invite();
    let trying = harness.sent_one();
    assert_eq!(status(&trying), "100");
    harness.receive(&invite("1", SDP));
    assert_eq!(harness.sent_one(), trying, "a repeated INVITE gets the same response");
    assert_eq!(harness.events(), []);

    harness.answer(leg);
    let ok = harness.sent_one();
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
    let repeated = harness.pass_s(16);
    let times: Vec<u128> = repeated.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [500, 1500, 3500, 7500, 11_500, 15_500], "from T1 to T2");
    assert!(repeated.iter().all(|(_, text)| *text == ok));
    harness.receive(&invite("1", SDP));
    assert_eq!(harness.sent_one(), ok, "a repeated INVITE gets the answer too");

    let ack = in_dialog("ACK", 1, &tag_of(&ok), "");
    harness.receive(&ack);
    assert_eq!(harness.events(), [Event::Confirmed { leg, answer: None }]);
    harness.receive(&ack);
    assert_eq!(harness.events(), []);
    assert_eq!(harness.pass_s(60), []);
}

#[test]
fn a_leg_that_is_never_acknowledged_ends_with_a_bye() {
    for flow in [Flow::Udp(address(PEER)), Flow::Stream(StreamId::tcp(7))] {
        let mut harness = Harness::new();
        harness.user_agent.handle_stream_opened(StreamId::tcp(7), address(LOCAL));
        harness.flow = flow;
        let leg = harness.invite();
        harness.answer(leg);
        harness.sent();
        let sent = harness.pass_s(33);
        let bye = sent.iter().position(|(_, text)| text.starts_with("BYE ")).unwrap();
        assert_eq!((sent[bye].0, bye), (32_000, 10), "after ten repetitions on any transport");
        assert!(sent[bye].1.contains(" 10.0.0.5:5060;rport"), "{}", sent[bye].1);
        harness.ended(leg, EndReason::NotAcknowledged);
        harness.receive(&in_dialog("ACK", 1, "late", ""));
        assert_eq!(harness.events(), []);
    }
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
    assert_eq!(tag_of(&sent[0]), tag_of(&sent[1]));
    harness.ended(leg, EndReason::Cancelled);
    harness.receive(&cancel);
    assert_eq!(harness.sent_one(), sent[0], "the second CANCEL is a repetition");
    harness.answer(leg);
    assert_eq!(harness.sent(), [] as [String; 0], "the answer comes too late");
    assert!(!harness.pass_s(1).is_empty(), "487 is repeated over UDP");
    harness.receive(&invite("1", "").replace("INVITE", "ACK"));
    assert_eq!(harness.pass_s(60), [], "until its ACK");
    assert_eq!(harness.events(), []);
}

#[test]
fn cancel_after_the_answer_changes_nothing() {
    let mut harness = Harness::new();
    let leg = harness.invite();
    harness.answer(leg);
    let tag = tag_of(harness.sent().last().unwrap());
    harness.receive(&invite("1", "").replace("INVITE", "CANCEL"));
    let ok = harness.sent_one();
    assert_eq!((status(&ok), tag_of(&ok)), ("200", tag.clone()));
    assert_eq!(harness.events(), []);
    harness.receive(&in_dialog("ACK", 1, &tag, ""));
    assert_eq!(harness.events(), [Event::Confirmed { leg, answer: None }]);
    harness.receive(&invite("unknown", "").replace("INVITE", "CANCEL"));
    assert_eq!(harness.statuses(), ["481"]);
}

#[test]
fn an_invite_without_an_offer_gets_theirs_from_the_ack() {
    let mut harness = Harness::new();
    harness.receive(&invite("1", ""));
    let events = harness.events();
    let [Event::Invited(Invite { leg, offer: None, .. })] = events.as_slice() else {
        panic!("{events:?}")
    };
    harness.answer(*leg);
    let tag = tag_of(harness.sent().last().unwrap());
    harness.receive(&in_dialog("UPDATE", 2, &tag, SDP));
    assert_eq!(harness.statuses(), ["491"], "our offer is open");
    harness.events();
    harness.receive(&in_dialog("ACK", 1, &tag, "v=0\r\ns=theirs\r\n"));
    let answer = Some(b"v=0\r\ns=theirs\r\n".to_vec());
    assert_eq!(harness.events(), [Event::Confirmed { leg: *leg, answer }]);
}

#[test]
fn an_invite_may_wait_long_but_not_for_ever() {
    let mut harness = Harness::new();
    let leg = harness.invite();
    harness.pass_s(100);
    // A flood of other requests must not push it out.
    for number in 0..5000 {
        harness.receive(&outside("OPTIONS", &format!("o{number}"), ""));
    }
    harness.sent();
    harness.receive(&invite("1", SDP));
    assert_eq!(harness.statuses(), ["100"]);
    let sent = harness.pass_s(80);
    let refused: Vec<_> = sent.iter().filter(|(_, text)| status(text) == "480").collect();
    assert_eq!(refused.first().map(|(at, _)| *at), Some(80_000));
    harness.ended(leg, EndReason::NotAnswered);
}

#[test]
fn an_invite_that_comes_on_two_ways_opens_one_leg() {
    let mut harness = Harness::new();
    harness.invite();
    harness.sent();
    harness.receive(&invite("2", SDP));
    assert_eq!(harness.statuses(), ["482"]);
    let flow = harness.flow;
    assert_eq!(harness.events(), [Event::Refused { reason: Refusal::Merged, flow }]);
}

#[test]
fn legs_in_parallel_do_not_meet() {
    let mut harness = Harness::new();
    let other = |text: &str| text.replace("198dd3", "other").replace("z9hG4bK", "z9hG4bKother");
    let first = harness.invite();
    let second = harness.invited(&other(&invite("1", SDP)));
    harness.sent();
    harness.answer(second);
    let second_tag = tag_of(&harness.sent_one());
    harness.answer(first);
    let first_tag = tag_of(&harness.sent_one());
    assert_ne!(first_tag, second_tag);
    harness.receive(&other(&in_dialog("ACK", 1, &second_tag, "")));
    assert_eq!(harness.events(), [Event::Confirmed { leg: second, answer: None }]);
    harness.receive(&in_dialog("ACK", 1, &second_tag, ""));
    assert_eq!(harness.events(), [], "one leg's tag does not open another's dialog");
    harness.receive(&in_dialog("ACK", 1, &first_tag, ""));
    assert_eq!(harness.events(), [Event::Confirmed { leg: first, answer: None }]);
    harness.receive(&other(&in_dialog("BYE", 2, &second_tag, "")));
    harness.ended(second, EndReason::Bye);
    assert_eq!(harness.statuses(), ["200"]);
    harness.receive(&in_dialog("UPDATE", 2, &first_tag, ""));
    assert_eq!(harness.statuses(), ["200"], "the first leg lives on");
}

#[test]
fn other_requests_get_their_responses() {
    let mut harness = Harness::new();
    let contact = "Contact: <sip:a@b>\r\n";
    for (request, code) in [
        (outside("OPTIONS", "1", ""), "200"),
        (outside("NOTIFY", "2", ""), "200"),
        (outside("MESSAGE", "3", ""), "200"),
        (outside("INFO", "4", ""), "481"),
        (outside("UPDATE", "5", ""), "481"),
        (outside("BYE", "6", ""), "481"),
        (outside("SUBSCRIBE", "7", ""), "405"),
        (outside("FLY", "8", ""), "501"),
        (outside("OPTIONS", "9", "bad line\r\n"), "400"),
        (outside("OPTIONS", "10", "Require: nothing\r\n"), "420"),
        (outside("INVITE", "11", &format!("Require: 100rel\r\n{contact}")), "420"),
        (outside("INVITE", "12", &format!("k: timer\r\nx: 60\r\n{contact}")), "422"),
        (outside("INVITE", "13", ""), "400"),
        (in_dialog("INVITE", 2, "guessed", SDP), "481"),
        (in_dialog("UPDATE", 2, "guessed", SDP), "481"),
        (in_dialog("OPTIONS", 2, "guessed", ""), "481"),
        (invite("x", SDP).replace("198dd3", "one"), "100"),
        (invite("y", SDP).replace("198dd3", "two"), "100"),
        (invite("z", SDP).replace("198dd3", "three"), "486"),
    ] {
        harness.receive(&request);
        let sent = harness.sent();
        assert_eq!(sent.first().map(|text| status(text)), Some(code), "{request}");
        if code == "422" {
            assert_eq!(header(&sent[0], "Min-SE"), Some("90"));
        }
    }
}

fn outside(method: &str, branch: &str, extra: &str) -> String {
    format!(
        "{method} sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{branch}\r\n\
         From: <sip:a@b>;tag=1\r\nTo: <sip:x@y>\r\nCall-ID: c\r\nCSeq: 7 {method}\r\n{extra}\r\n"
    )
}
