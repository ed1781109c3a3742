//! Requests within a confirmed leg.

use super::*;

#[test]
fn bye_ends_the_leg_and_is_answered_again_when_repeated() {
    let mut harness = Harness::new();
    let (leg, tag) = harness.confirmed();
    let bye = in_dialog("BYE", 2, &tag, "");
    harness.receive(&bye);
    assert_eq!(harness.statuses(), ["200"]);
    harness.ended(leg, EndReason::Bye);
    harness.receive(&bye);
    assert_eq!(harness.statuses(), ["200"]);
    harness.receive(&in_dialog("BYE", 3, &tag, ""));
    assert_eq!(harness.statuses(), ["481"]);
    harness.receive(&in_dialog("BYE", 4, "guessed", ""));
    assert_eq!(harness.statuses(), ["481"]);
}

#[test]
fn hanging_up_waits_for_the_ack_and_follows_the_route() {
    let mut harness = Harness::new();
    let leg = harness.invite();
    harness.answer(leg);
    let tag = tag_of(harness.sent().last().unwrap());
    harness.user_agent.hang_up(harness.now, leg);
    assert_eq!(harness.sent(), [] as [String; 0], "no BYE before the ACK");
    harness.receive(&in_dialog("ACK", 1, &tag, ""));
    let bye = harness.sent_one();
    assert!(bye.starts_with("BYE sip:+16508370072@10.62.192.70:5091 SIP/2.0\r\n"), "{bye}");
    assert_eq!(header(&bye, "Route"), Some("<sip:edge;lr>"));
    let from = format!("<sip:18002097562*102@192.168.12.3;ob>;tag={tag}");
    assert_eq!(header(&bye, "From"), Some(from.as_str()));
    harness.receive(&in_dialog("INVITE", 2, &tag, SDP));
    assert_eq!(harness.statuses(), ["481"], "for us the dialog is over");
    harness.events();
    harness.receive(&reply(&bye, "200 OK", "", ""));
    harness.ended(leg, EndReason::HungUp);
    assert!(harness.user_agent.is_idle());
}

#[test]
fn a_bye_that_nobody_answers_ends_the_leg_all_the_same() {
    let mut harness = Harness::new();
    let (leg, _) = harness.confirmed();
    harness.user_agent.hang_up(harness.now, leg);
    harness.user_agent.hang_up(harness.now, leg);
    harness.sent_one();
    let times: Vec<u128> = harness.pass_s(40).iter().map(|(at, _)| *at).collect();
    assert_eq!(
        times,
        [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500],
        "timer E"
    );
    harness.ended(leg, EndReason::HungUp);
}

#[test]
fn a_reinvite_is_answered_and_rejecting_it_keeps_the_leg() {
    let mut harness = Harness::new();
    let (leg, tag) = harness.confirmed();
    harness.receive(&in_dialog("INVITE", 2, &tag, "v=0\r\no=2\r\n"));
    let offer = Some(b"v=0\r\no=2\r\n".to_vec());
    assert_eq!(harness.events(), [Event::Reoffered { leg, offer }]);
    harness.sent();
    harness.receive(&in_dialog("INVITE", 3, &tag, SDP));
    let too_early = harness.sent_one();
    assert_eq!(status(&too_early), "500");
    assert!(header(&too_early, "Retry-After").unwrap().parse::<u8>().unwrap() <= 10);
    harness.receive(&in_dialog("UPDATE", 4, &tag, SDP));
    assert_eq!(harness.statuses(), ["500"]);
    harness.receive(&in_dialog("ACK", 3, &tag, "").replace("z9hG4bKACK", "z9hG4bKINVITE"));
    harness.events();
    harness.answer(leg);
    assert_eq!(harness.statuses(), ["200"]);
    harness.receive(&in_dialog("ACK", 2, &tag, ""));
    assert_eq!(harness.events(), [Event::Confirmed { leg, answer: None }]);

    harness.receive(&in_dialog("INVITE", 5, &tag, SDP));
    harness.events();
    harness.user_agent.reject(harness.now, leg, 488, "Not Acceptable Here");
    assert_eq!(harness.statuses(), ["100", "488"]);
    let ack = in_dialog("ACK", 5, &tag, "").replace("z9hG4bKACK5", "z9hG4bKINVITE5");
    harness.receive(&ack);
    assert_eq!(harness.events(), [], "the ACK of a refusal confirms nothing");
    assert_eq!(harness.pass_s(10), []);
    harness.receive(&in_dialog("INVITE", 1, &tag, SDP).replace("z9hG4bKINVITE1", "z9hG4bKold"));
    assert_eq!(harness.statuses(), ["500"], "an old CSeq");
    harness.events();
    harness.receive(&in_dialog("BYE", 6, &tag, ""));
    harness.ended(leg, EndReason::Bye);
}

#[test]
fn a_reinvite_can_be_taken_back_or_ask_for_our_offer() {
    let mut harness = Harness::new();
    let (leg, tag) = harness.confirmed();
    harness.receive(&in_dialog("INVITE", 2, &tag, SDP));
    harness.sent();
    harness.receive(&in_dialog("CANCEL", 2, &tag, "").replace("z9hG4bKCANCEL", "z9hG4bKINVITE"));
    assert_eq!(harness.statuses(), ["200", "487"]);
    assert_eq!(harness.events(), [Event::Reoffered { leg, offer: Some(SDP.into()) }]);
    harness.receive(&in_dialog("ACK", 2, &tag, "").replace("z9hG4bKACK", "z9hG4bKINVITE"));

    harness.receive(&in_dialog("INVITE", 3, &tag, ""));
    assert_eq!(harness.events(), [Event::Reoffered { leg, offer: None }]);
    harness.answer(leg);
    harness.receive(&in_dialog("ACK", 3, &tag, "v=0\r\ns=moved\r\n"));
    let answer = Some(b"v=0\r\ns=moved\r\n".to_vec());
    assert_eq!(harness.events(), [Event::Confirmed { leg, answer }]);
}

#[test]
fn a_reinvite_that_overtakes_the_ack_stands_for_it() {
    let mut harness = Harness::new();
    let leg = harness.invite();
    harness.answer(leg);
    let tag = tag_of(harness.sent().last().unwrap());
    harness.receive(&in_dialog("INVITE", 2, &tag, SDP));
    let offer = Some(SDP.into());
    let confirmed = Event::Confirmed { leg, answer: None };
    assert_eq!(harness.events(), [confirmed, Event::Reoffered { leg, offer }]);
    harness.receive(&in_dialog("ACK", 1, &tag, ""));
    assert_eq!(harness.events(), []);
}

#[test]
fn an_update_without_sdp_is_answered_at_once() {
    let mut harness = Harness::new();
    let (leg, tag) = harness.confirmed();
    let timer = "Supported: timer\r\nSession-Expires: 600;refresher=uac\r\nContent-Length";
    harness.receive(&in_dialog("UPDATE", 2, &tag, "").replace("Content-Length", timer));
    let ok = harness.sent_one();
    assert!(ok.starts_with("SIP/2.0 200 OK\r\n") && ok.ends_with("\r\n\r\n"), "{ok}");
    assert_eq!(header(&ok, "Session-Expires"), Some("600;refresher=uac"));
    assert_eq!(header(&ok, "Require"), Some("timer"));
    assert_eq!(header(&ok, "Content-Length"), Some("0"));
    assert_eq!(harness.events(), []);
    harness.user_agent.hang_up(harness.now, leg);
    let bye = harness.sent_one();
    assert!(bye.starts_with("BYE sip:moved@10.62.192.71 SIP/2.0\r\n"), "the target moved: {bye}");

    let short = "Supported: timer\r\nSession-Expires: 10\r\nContent-Length";
    let mut harness = Harness::new();
    let (_, tag) = harness.confirmed();
    harness.receive(&in_dialog("UPDATE", 2, &tag, "").replace("Content-Length", short));
    assert_eq!(harness.statuses(), ["422"]);
}

#[test]
fn an_update_with_sdp_is_answered_like_a_reinvite() {
    let mut harness = Harness::new();
    let (leg, tag) = harness.confirmed();
    harness.receive(&in_dialog("UPDATE", 2, &tag, SDP));
    assert_eq!(harness.events(), [Event::Reoffered { leg, offer: Some(SDP.into()) }]);
    assert_eq!(harness.sent(), [] as [String; 0], "no 100 for what is not an INVITE");
    harness.answer(leg);
    let ok = harness.sent_one();
    assert!(ok.ends_with(&format!("\r\n\r\n{SDP}")), "{ok}");
    assert_eq!(harness.pass_s(60), [], "its 200 is not repeated by itself");
    let update = in_dialog("UPDATE", 3, &tag, SDP);
    harness.receive(&update);
    harness.events();
    harness.receive(&in_dialog("BYE", 4, &tag, ""));
    assert_eq!(harness.statuses(), ["200", "487"], "BYE ends what still waits");
    harness.ended(leg, EndReason::Bye);
}
