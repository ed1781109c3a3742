//! The registration.

use super::super::RegistrationFailure;
use super::*;

#[test]
fn the_device_registers_with_digest_and_refreshes_at_half_time() {
    let mut harness = Harness::new();
    let flow = Flow::Udp(address(PEER));
    harness.user_agent.register(harness.now, flow, address(LOCAL));
    let first = harness.sent().remove(0);
    assert!(first.starts_with("REGISTER sip:sip.ringcentral.com SIP/2.0\r\n"), "{first}");
    assert!(!first.contains("Authorization"), "{first}");
    harness.receive(&reply(&first, "100 Trying", "", ""));
    let challenge =
        "Www-Authenticate: Digest realm=\"sip.ringcentral.com\", nonce=\"Zm9vYmFyMTIzNDU2\"\r\n";
    harness.receive(&reply(&first, "401 Unauthorized", challenge, ""));
    let second = harness.sent().remove(0);
    assert!(second.contains("response=\"7f869cb6fbc33df427eaf8350fa30deb\""), "{second}");
    assert!(second.contains("CSeq: 2 REGISTER"), "{second}");
    let contacts = "Contact: <sip:other@10.9.9.9>;expires=3000, \
                    <sip:18002097562*102@10.0.0.5:5060;transport=UDP;ob>;expires=182;q=0\r\n";
    harness.receive(&reply(&second, "200 OK", contacts, ""));
    assert_eq!(harness.events(), [Event::Registered { expires: Duration::from_secs(182) }]);
    assert_eq!(harness.user_agent.registered_flow(), Some(flow));

    let refresh = harness.pass(Duration::from_secs(91));
    assert_eq!(refresh.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [91_000]);
    assert!(refresh[0].1.contains("Authorization: Digest"), "{refresh:?}");
    harness.receive(&reply(&refresh[0].1, "200 OK", contacts, ""));
    harness.events();
    assert!(harness.user_agent.unregister(harness.now));
    let last = harness.sent().remove(0);
    assert!(last.contains("Expires: 0\r\n"), "{last}");
    harness.receive(&reply(&last, "200 OK", "", ""));
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
