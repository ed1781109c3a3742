//! Session timers (RFC 4028) and our own requests within legs.

use super::*;

/// An INVITE of a peer that leaves the refreshing to us, and whether it serves UPDATE.
fn unrefreshed(allow: &str) -> String {
    let lines =
        format!("Allow: {allow}\r\nSupported: timer\r\nSession-Expires: 600;refresher=uas\r\n");
    invite("1", SDP)
        .replace("Supported: replaces, timer\r\nSession-Expires: 14400;refresher=uac\r\n", &lines)
}

const ALLOW: &str = "INVITE, ACK, BYE, UPDATE";
const ALLOW_LESS: &str = "INVITE, ACK, BYE";

#[test]
fn a_leg_that_the_other_side_stops_refreshing_ends() {
    let mut harness = Harness::new();
    let (leg, tag) = harness.confirmed();
    assert_eq!(harness.pass_s(14_000), []);
    let timer = "Supported: timer\r\nSession-Expires: 14400;refresher=uac\r\nContent-Length";
    harness.receive(&in_dialog("UPDATE", 2, &tag, "").replace("Content-Length", timer));
    assert_eq!(harness.statuses(), ["200"]);
    assert_eq!(harness.pass_s(14_367), [], "refreshed by UPDATE");
    harness.receive(&in_dialog("INVITE", 3, &tag, SDP).replace("Content-Length", timer));
    harness.events();
    harness.answer(leg);
    harness.receive(&in_dialog("ACK", 3, &tag, ""));
    harness.events();
    harness.sent();
    let sent = harness.pass_s(14_368);
    assert_eq!(starts(&sent), [(14_368_000, "BYE")], "not refreshed any more");
    harness.ended(leg, EndReason::SessionExpired);
    assert!(harness.user_agent.is_idle());
}

#[test]
fn we_refresh_by_update_at_half_time() {
    let mut harness = Harness::new();
    let (_, _) = harness.confirmed_by(&unrefreshed(ALLOW));
    for _ in 0..3 {
        let sent = harness.pass_s(300);
        assert_eq!(starts(&sent), [(300_000, "UPDATE")]);
        let update = &sent[0].1;
        assert_eq!(header(update, "Session-Expires"), Some("600;refresher=uac"));
        assert_eq!(header(update, "Supported"), Some("timer"));
        assert_eq!(header(update, "Route"), Some("<sip:edge;lr>"));
        assert_eq!(
            header(update, "Contact"),
            Some("<sip:18002097562*102@10.0.0.5:5060;transport=UDP;ob>")
        );
        assert!(update.ends_with("Content-Length: 0\r\n\r\n"), "{update}");
        harness.receive(&reply(update, "200 OK", "Session-Expires: 600;refresher=uac\r\n", ""));
    }
    let sent = harness.pass_s(300);
    let handed_over = "Session-Expires: 900;refresher=uas\r\n";
    harness.receive(&reply(&sent[0].1, "200 OK", handed_over, ""));
    assert_eq!(harness.events(), []);
    let sent = harness.pass_s(868);
    assert_eq!(starts(&sent), [(868_000, "BYE")], "the refreshing was theirs now");
}

#[test]
fn a_peer_without_session_timers_is_refreshed_too() {
    let mut harness = Harness::new();
    let plain =
        invite("1", SDP).replace(", timer\r\nSession-Expires: 14400;refresher=uac\r\n", "\r\n");
    let leg = harness.invited(&plain);
    harness.answer(leg);
    let ok = harness.sent().pop().unwrap();
    assert_eq!(header(&ok, "Session-Expires"), Some("1800;refresher=uas"));
    assert_eq!(header(&ok, "Require"), None);
    harness.receive(&in_dialog("ACK", 1, &tag_of(&ok), ""));
    harness.events();
    for answer in ["200 OK", "488 Not Acceptable Here"] {
        let sent = harness.pass_s(900);
        assert_eq!(starts(&sent), [(900_000, "INVITE")], "a sign of life after {answer}");
        harness.receive(&reply(&sent[0].1, answer, "", ""));
        assert!(harness.sent_one().starts_with("ACK "));
    }
    harness.events();
    let sent = harness.pass_s(900 + 32);
    let bye = sent.iter().find(|(_, text)| text.starts_with("BYE ")).unwrap();
    assert_eq!(bye.0, 932_000, "nobody answered");
    harness.ended(leg, EndReason::Unreachable);
}

#[test]
fn we_refresh_by_reinvite_where_update_is_not_allowed() {
    let mut harness = Harness::new();
    let (leg, _) = harness.confirmed_by(&unrefreshed(ALLOW_LESS));
    let sent = harness.pass_s(331);
    let times: Vec<u128> = sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [300_000, 300_500, 301_500, 303_500, 307_500, 315_500], "timer A");
    let reinvite = &sent[0].1;
    assert!(reinvite.starts_with("INVITE sip:+16508370072@10.62.192.70:5091 SIP/2.0\r\n"));
    assert!(reinvite.ends_with(&format!("\r\n\r\n{SDP}")), "our last SDP: {reinvite}");
    harness.receive(&reply(reinvite, "100 Trying", "", ""));
    assert_eq!(harness.sent(), [] as [String; 0]);
    let lines = "Contact: <sip:new@10.0.0.9>\r\nContent-Type: application/sdp\r\n";
    let ok = reply(reinvite, "200 OK", lines, "v=0\r\ns=theirs\r\n");
    harness.receive(&ok);
    let ack = harness.sent_one();
    assert!(ack.starts_with("ACK sip:new@10.0.0.9 SIP/2.0\r\n"), "{ack}");
    assert_eq!(header(&ack, "CSeq"), Some("1 ACK"));
    assert_eq!(header(&ack, "Route"), Some("<sip:edge;lr>"));
    assert_ne!(header(&ack, "Via"), header(reinvite, "Via"), "a transaction of its own");
    let answer = Some(b"v=0\r\ns=theirs\r\n".to_vec());
    assert_eq!(harness.events(), [Event::Confirmed { leg, answer }]);
    harness.receive(&ok);
    assert_eq!(harness.sent_one(), ack, "a repeated 200 gets its ACK again");
    assert_eq!(harness.events(), []);
}

#[test]
fn a_refused_refresh_is_tried_in_another_way() {
    let mut harness = Harness::new();
    harness.confirmed_by(&unrefreshed(ALLOW));
    let update = harness.pass_s(300).remove(0).1;
    harness.receive(&reply(&update, "422 Session Interval Too Small", "Min-SE: 1200\r\n", ""));
    let longer = harness.pass_s(0).remove(0).1;
    assert_eq!(header(&longer, "Session-Expires"), Some("1200;refresher=uac"));
    assert_eq!(header(&longer, "Min-SE"), Some("1200"));
    assert_eq!(header(&longer, "CSeq"), Some("2 UPDATE"));
    harness.receive(&reply(&longer, "405 Method Not Allowed", "", ""));
    let reinvite = harness.pass_s(0).remove(0).1;
    assert_eq!(header(&reinvite, "CSeq"), Some("3 INVITE"));
    harness.receive(&reply(&reinvite, "491 Request Pending", "", ""));
    let ack = harness.sent_one();
    assert_eq!(header(&ack, "CSeq"), Some("3 ACK"));
    assert_eq!(header(&ack, "Via"), header(&reinvite, "Via"), "in the INVITE's transaction");
    harness.receive(&reply(&reinvite, "491 Request Pending", "", ""));
    assert_eq!(harness.sent_one(), ack);
    let sent = harness.pass_s(2);
    assert_eq!(header(&sent[0].1, "CSeq"), Some("4 INVITE"), "again within two seconds");
    harness.receive(&reply(&sent[0].1, "503 Service Unavailable", "", ""));
    harness.sent_one();
    let sent = harness.pass_s(10);
    assert_eq!(header(&sent[0].1, "CSeq"), Some("5 INVITE"), "and later");
}

#[test]
fn a_leg_whose_refresh_fails_for_good_ends() {
    for (status, reason) in [
        ("481 Call Does Not Exist", EndReason::Unreachable),
        ("408 Request Timeout", EndReason::Unreachable),
    ] {
        let mut harness = Harness::new();
        let (leg, _) = harness.confirmed_by(&unrefreshed(ALLOW));
        let update = harness.pass_s(300).remove(0).1;
        harness.receive(&reply(&update, status, "", ""));
        assert!(harness.sent_one().starts_with("BYE "), "{status}");
        harness.ended(leg, reason);
    }
    let mut harness = Harness::new();
    let (leg, _) = harness.confirmed_by(&unrefreshed(ALLOW));
    let mut now = 0;
    while harness.events().is_empty() {
        for (_, text) in harness.pass_s(1) {
            if text.starts_with("UPDATE ") {
                harness.receive(&reply(&text, "503 Service Unavailable", "", ""));
            }
        }
        now += 1;
    }
    assert_eq!(now, 568, "a proxy's refusals do not refresh the session");
    assert!(harness.user_agent.flow_of(leg).is_none());
}

#[test]
fn both_sides_asking_at_once_is_glare() {
    let mut harness = Harness::new();
    let (leg, tag) = harness.confirmed_by(&unrefreshed(ALLOW_LESS));
    let ours = harness.pass_s(300).remove(0).1;
    harness.receive(&in_dialog("INVITE", 2, &tag, SDP));
    assert_eq!(harness.statuses(), ["491"]);
    harness.receive(&in_dialog("UPDATE", 3, &tag, SDP));
    assert_eq!(harness.statuses(), ["491"]);
    harness.events();
    harness.receive(&in_dialog("UPDATE", 4, &tag, ""));
    assert_eq!(harness.statuses(), ["200"], "without an offer nothing collides");
    harness.receive(&reply(&ours, "200 OK", "", ""));
    assert!(harness.sent_one().starts_with("ACK "));
    harness.receive(&in_dialog("INVITE", 5, &tag, SDP));
    assert_eq!(harness.statuses(), ["100"]);
    harness.events();
    harness.user_agent.hang_up(harness.now, leg);
    let sent = harness.sent();
    assert!(sent[0].starts_with("SIP/2.0 487") && sent[1].starts_with("BYE "), "{sent:?}");
}
