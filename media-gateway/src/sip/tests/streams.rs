//! Messages over connections: as many in a read as there are, or one in many reads.

use super::*;

#[test]
fn any_cut_of_a_stream_gives_the_same_leg() {
    let mut reference = Harness::new();
    let (_, tag) = reference.confirmed();
    let whole = [
        "\r\n\r\n".to_owned(),
        invite("1", SDP).replace("Content-Length", "l").replace("Call-ID", "call-id"),
        in_dialog("OPTIONS", 7, "guessed", ""),
        in_dialog("ACK", 1, &tag, ""),
        "\r\n".to_owned(),
        in_dialog("UPDATE", 2, &tag, ""),
        in_dialog("BYE", 3, &tag, ""),
    ]
    .concat();
    for len in [1, 2, 3, 7, 100, whole.len()] {
        let mut harness = Harness::new();
        let stream = StreamId::tcp(1);
        harness.user_agent.handle_stream_opened(stream, address(LOCAL));
        let (mut events, mut statuses) = (Vec::new(), Vec::new());
        for bytes in whole.as_bytes().chunks(len) {
            harness.user_agent.handle_stream_bytes(harness.now, stream, bytes);
            for event in harness.events() {
                if let Event::Invited(invite) = &event {
                    assert_eq!(invite.offer.as_deref(), Some(SDP.as_bytes()));
                    harness.answer(invite.leg);
                }
                events.push(event);
            }
            statuses.extend(harness.statuses());
        }
        let leg = LegId(0);
        let [Event::Invited(_), Event::Refused { .. }, rest @ ..] = events.as_slice() else {
            panic!("{events:?}")
        };
        if len == whole.len() {
            // The answer can only follow the whole read: the ACK in it acknowledges nothing yet.
            assert_eq!(statuses, ["100", "481", "500", "200", "487"]);
            assert_eq!(rest.last(), Some(&Event::Ended { leg, reason: EndReason::Bye }));
        } else {
            assert_eq!(statuses, ["100", "200", "481", "200", "200"], "in pieces of {len}");
            let confirmed = Event::Confirmed { leg, answer: None };
            assert_eq!(rest, [confirmed, Event::Ended { leg, reason: EndReason::Bye }]);
        }
    }
}

#[test]
fn a_stream_that_is_no_sip_is_closed_and_the_rest_of_it_ignored() {
    let mut harness = Harness::new();
    let stream = StreamId::tcp(1);
    harness.user_agent.handle_stream_opened(stream, address(LOCAL));
    let junk = format!("GET / HTTP/1.1\r\n\r\n{}", invite("1", SDP));
    harness.user_agent.handle_stream_bytes(harness.now, stream, junk.as_bytes());
    harness.user_agent.handle_stream_bytes(harness.now, stream, invite("1", SDP).as_bytes());
    let events = harness.events();
    assert!(matches!(events.as_slice(), [Event::StreamCorrupt { .. }]), "{events:?}");
    assert!(harness.user_agent.is_idle());
}
