//! Legs follow the registration to another connection.

use super::*;

/// A confirmed leg over the registered connection 1, which is then lost.
fn stranded() -> (Harness, LegId, String) {
    let mut harness = Harness::new();
    harness.register_over(1);
    let (leg, tag) = harness.confirmed();
    harness.user_agent.handle_stream_closed(StreamId::tcp(1));
    assert!(matches!(harness.events().as_slice(), [Event::RegistrationFailed(_)]));
    (harness, leg, tag)
}

#[test]
fn a_reinvite_moves_the_leg_to_the_new_connection() {
    let (mut harness, leg, tag) = stranded();
    assert_eq!(harness.pass_s(30), [], "nothing can be done without a registration");
    harness.register_over(2);
    harness.user_agent.handle_timeout(harness.now);
    let sent = harness.sent_with_flows();
    let [(flow, reinvite)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(*flow, Flow::Stream(StreamId::tcp(2)));
    assert!(reinvite.starts_with("INVITE sip:+16508370072@10.62.192.70:5091 SIP/2.0\r\n"));
    assert!(reinvite.ends_with(&format!("\r\n\r\n{SDP}")), "with the SDP as it was: {reinvite}");
    assert_eq!(header(reinvite, "Session-Expires"), Some("14400;refresher=uas"));
    let timer = "Session-Expires: 14400;refresher=uas\r\n";
    harness.receive(&reply(reinvite, "200 OK", timer, SDP));
    let sent = harness.sent_with_flows();
    assert!(matches!(sent.as_slice(), [(flow2, ack)] if flow2 == flow && ack.starts_with("ACK ")));
    assert_eq!(harness.events(), [Event::Confirmed { leg, answer: Some(SDP.into()) }]);
    harness.receive(&in_dialog("BYE", 2, &tag, ""));
    harness.ended(leg, EndReason::Bye);
}

#[test]
fn a_leg_that_cannot_be_moved_is_given_up_after_five_minutes() {
    let (mut harness, leg, _) = stranded();
    harness.register_over(2);
    let mut attempts = Vec::new();
    for second in 0..400 {
        for (_, text) in harness.pass_s(1) {
            if text.starts_with("INVITE ") {
                attempts.push(second);
                harness.receive(&reply(&text, "503 Service Unavailable", "", ""));
            }
        }
    }
    assert_eq!(attempts[..8], [0, 1, 3, 7, 15, 31, 61, 91], "back-off from 1 s to 30 s");
    assert!(attempts.last().is_some_and(|last| (270..300).contains(last)), "{attempts:?}");
    harness.ended(leg, EndReason::Unreachable);
}

#[test]
fn a_leg_that_the_other_side_has_forgotten_ends_at_once() {
    let (mut harness, leg, _) = stranded();
    harness.register_over(2);
    let reinvite = harness.pass_s(0).remove(0).1;
    harness.receive(&reply(&reinvite, "481 Call Does Not Exist", "", ""));
    harness.ended(leg, EndReason::Unreachable);
}

#[test]
fn silence_after_a_move_is_not_the_end() {
    let (mut harness, leg, _) = stranded();
    harness.register_over(2);
    let sent = harness.pass_s(34);
    assert_eq!(starts(&sent), [(0, "INVITE"), (33_000, "INVITE")]);
    assert_eq!(harness.events(), []);
    // The second connection is lost too, and what was under way with it.
    harness.user_agent.handle_stream_closed(StreamId::tcp(2));
    harness.events();
    harness.register_over(3);
    let reinvite = harness.pass_s(0).remove(0).1;
    harness.receive(&reply(&reinvite, "200 OK", "", ""));
    harness.events();
    assert_eq!(harness.user_agent.flow_of(leg), Some(Flow::Stream(StreamId::tcp(3))));
}

#[test]
fn the_peer_may_find_the_leg_first() {
    let (mut harness, leg, tag) = stranded();
    harness.register_over(2);
    harness.receive(&in_dialog("UPDATE", 2, &tag, ""));
    assert_eq!(harness.statuses(), ["200"]);
    assert_eq!(harness.pass_s(300), [], "the leg is where it belongs");
    assert_eq!(harness.user_agent.flow_of(leg), Some(Flow::Stream(StreamId::tcp(2))));
}

#[test]
fn only_legs_of_the_registration_move_and_only_when_it_does() {
    let mut harness = Harness::new();
    let (stranger, _) = harness.confirmed();
    harness.register_over(1);
    let ours = harness.invited(&invite("2", SDP).replace("198dd3", "ours"));
    harness.answer(ours);
    harness.sent();
    let tag = harness.user_agent.legs[&ours].dialog.local_tag.clone();
    harness.receive(&in_dialog("ACK", 1, &tag, "").replace("198dd3", "ours"));
    harness.events();
    // The registration is refreshed on its flow.
    let register = harness.pass_s(1800).remove(0).1;
    assert!(register.starts_with("REGISTER "), "{register}");
    harness.receive(&reply(&register, "200 OK", "Expires: 3600\r\n", ""));
    harness.events();
    assert_eq!(harness.pass_s(10), []);
    harness.user_agent.handle_stream_closed(StreamId::tcp(1));
    harness.events();
    harness.register_over(2);
    let sent = harness.pass_s(1);
    assert_eq!(starts(&sent), [(0, "INVITE")]);
    assert_eq!(header(&sent[0].1, "Call-ID"), Some("ours"));
    assert_eq!(harness.user_agent.flow_of(stranger), Some(Flow::Udp(address(PEER))));
}
