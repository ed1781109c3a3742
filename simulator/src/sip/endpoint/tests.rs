use super::super::Channel;
use super::super::framing::datagram_message;
use super::super::repeat::{T1, T2, TRANSACTION_TIMEOUT};
use super::*;
use rsip::Response;
use rsip::services::DigestGenerator;
use std::time::Duration;

const UDP: Channel = Channel::Udp;
const TCP: Channel = Channel::Tcp(0);

/// A core with a registered device, and the device's side of the conversation.
struct Fixture {
    endpoint: Endpoint,
    flow: Flow,
    now: Instant,
}

impl Fixture {
    fn registered(channel: Channel) -> Self {
        let flow = Flow {
            channel,
            peer: "127.0.0.1:40000".parse().unwrap(),
            local: "127.0.0.1:5060".parse().unwrap(),
        };
        let now = Instant::now();
        let mut fixture = Self { endpoint: Endpoint::new(vec![Account::demo()], 1), flow, now };
        let challenge = fixture.exchange(&register(None));
        let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
        let accepted = fixture.exchange(&register(Some(nonce)));
        assert!(accepted.starts_with("SIP/2.0 200"), "{accepted}");
        assert!(matches!(fixture.event(), Some(Event::Registration(0, Some(_)))));
        fixture
    }

    /// A device whose leg 1 has been invited; the INVITE.
    fn invited(channel: Channel) -> (Self, String) {
        Self::invited_in(channel, Variant::default())
    }

    fn invited_in(channel: Channel, variant: Variant) -> (Self, String) {
        let mut fixture = Self::registered(channel);
        let invitation = Invitation {
            caller: "+14085550100".into(),
            headers: vec![("p-rc-api-ids", "party-id=p-1-3;session-id=s-1".into())],
            sdp: (variant != Variant::LateOffer).then(|| "v=0\r\n".into()),
            variant,
        };
        fixture.endpoint.invite(fixture.now, 1, 0, invitation);
        let invite = fixture.sent().unwrap();
        (fixture, invite)
    }

    fn answered(channel: Channel) -> (Self, String) {
        let (mut fixture, invite) = Self::invited(channel);
        fixture.receive(&response(&invite, "200 OK"));
        assert!(fixture.sent().unwrap().starts_with("ACK sip:gw@127.0.0.1:40001"));
        assert!(matches!(fixture.event(), Some(Event::Leg(1, LegEvent::Answered { .. }))));
        (fixture, invite)
    }

    fn receive(&mut self, message: &str) {
        let message = datagram_message(message.as_bytes()).unwrap();
        self.endpoint.handle_message(self.now, self.flow, message);
    }

    fn exchange(&mut self, message: &str) -> String {
        self.receive(message);
        self.sent().unwrap()
    }

    fn sent(&mut self) -> Option<String> {
        let transmit = self.endpoint.poll_transmit()?;
        assert_eq!(transmit.flow, self.flow);
        Some(String::from_utf8(transmit.message.to_vec()).unwrap())
    }

    fn event(&mut self) -> Option<Event> {
        self.endpoint.poll_event()
    }

    /// Moves to the next timeout; how long that took.
    fn wait(&mut self) -> Duration {
        let at = self.endpoint.next_timeout().unwrap();
        let waited = at - self.now;
        self.now = at;
        self.endpoint.handle_timeout(at);
        waited
    }
}

fn register(nonce: Option<&str>) -> String {
    let account = Account::demo();
    let (user, realm) = (&account.sip_user_name, &account.sip_domain);
    let authorization = nonce.map_or(String::new(), |nonce| {
        let uri = rsip::Uri::try_from(format!("sip:{realm}")).unwrap();
        let digest = DigestGenerator {
            username: &account.supervisor_device_id,
            password: &account.sip_password,
            nonce,
            uri: &uri,
            realm,
            method: &Method::Register,
            qop: None,
            algorithm: rsip::headers::auth::Algorithm::Md5,
        };
        format!(
            "Authorization: Digest algorithm=MD5, username=\"{}\", realm=\"{realm}\", \
             nonce=\"{nonce}\", uri=\"{uri}\", response=\"{}\"\r\n",
            account.supervisor_device_id,
            digest.compute()
        )
    });
    format!(
        "REGISTER sip:{realm} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:40000;branch=z9hG4bK1\r\n\
         From: <sip:{user}@{realm}>;tag=1\r\nTo: <sip:{user}@{realm}>\r\nCall-ID: r\r\n\
         CSeq: 1 REGISTER\r\nContact: <sip:{user}@127.0.0.1:40000;ob>\r\n{authorization}\r\n"
    )
}

fn header_line<'a>(message: &'a str, name: &str) -> &'a str {
    message.lines().find(|line| line.starts_with(name)).unwrap()
}

/// The device's response to a request of ours.
fn response(request: &str, status: &str) -> String {
    let tag = if status.starts_with("100") { "" } else { ";tag=device" };
    let to = header_line(request, "To:");
    let to = if to.contains("tag=") { to.to_owned() } else { format!("{to}{tag}") };
    format!(
        "SIP/2.0 {status}\r\n{}\r\n{}\r\n{to}\r\n{}\r\n{}\r\n\
         Contact: <sip:gw@127.0.0.1:40001>\r\n\r\n",
        header_line(request, "Via:"),
        header_line(request, "From:"),
        header_line(request, "Call-ID:"),
        header_line(request, "CSeq:"),
    )
}

/// A request of the device within the dialog of our INVITE.
fn request_in_dialog(invite: &str, method: &str) -> String {
    format!(
        "{method} sip:cloud SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:40000;branch=z9hG4bK9\r\n\
         From: {};tag=device\r\nTo: {}\r\n{}\r\nCSeq: 1 {method}\r\n\r\n",
        header_line(invite, "To:").trim_start_matches("To: "),
        header_line(invite, "From:").trim_start_matches("From: "),
        header_line(invite, "Call-ID:"),
    )
}

fn is(response: &str, status: u16) {
    assert_eq!(Response::try_from(response).unwrap().status_code.code(), status, "{response}");
}

#[test]
fn the_invite_goes_to_the_contact_with_ringcentrals_headers() {
    let (_, invite) = Fixture::invited(TCP);
    let user = Account::demo().sip_user_name;
    assert!(invite.starts_with(&format!("INVITE sip:{user}@127.0.0.1:40000;ob SIP/2.0\r\n")));
    for line in [
        "p-rc-api-ids: party-id=p-1-3;session-id=s-1\r\n",
        "Session-Expires: 14400;refresher=uac\r\n",
        "Via: SIP/2.0/TCP 127.0.0.1:5060;branch=z9hG4bK",
        "Content-Type: application/sdp\r\n",
        "Content-Length: 5\r\n\r\nv=0\r\n",
    ] {
        assert!(invite.contains(line), "{line:?} not in {invite}");
    }
}

#[test]
fn over_udp_the_invite_is_repeated_at_doubling_intervals_then_given_up() {
    let (mut fixture, invite) = Fixture::invited(UDP);
    let start = fixture.now;
    let mut repeats = 0;
    while fixture.event().is_none() {
        fixture.wait();
        while let Some(message) = fixture.sent() {
            assert_eq!(message, invite);
            repeats += 1;
            assert_eq!(fixture.now - start, T1 * ((1 << repeats) - 1));
        }
        if fixture.now - start >= TRANSACTION_TIMEOUT {
            break;
        }
    }
    assert_eq!(repeats, 6);
    let failed = Event::Leg(1, LegEvent::Failed(LegFailure::NoResponse));
    assert_eq!(fixture.event(), Some(failed));
}

#[test]
fn over_tcp_nothing_is_repeated() {
    let (mut fixture, _) = Fixture::invited(TCP);
    assert_eq!(fixture.wait(), TRANSACTION_TIMEOUT);
    assert_eq!(fixture.sent(), None);
}

#[test]
fn a_provisional_response_stops_the_repeats() {
    let (mut fixture, invite) = Fixture::invited(UDP);
    fixture.receive(&response(&invite, "100 Trying"));
    // What is left to wait for is the end of the registration.
    assert!(fixture.wait() > TRANSACTION_TIMEOUT);
    assert_eq!(fixture.sent(), None);
}

#[test]
fn a_repeated_200_gets_the_same_ack_again() {
    let (mut fixture, invite) = Fixture::invited(UDP);
    let ack = fixture.exchange(&response(&invite, "200 OK"));
    assert!(ack.contains(";tag=device"), "{ack}");
    assert_eq!(fixture.exchange(&response(&invite, "200 OK")), ack);
    assert!(fixture.event().is_some());
    assert_eq!(fixture.event(), None);
}

#[test]
fn hanging_up_sends_bye_until_it_is_answered() {
    let (mut fixture, _) = Fixture::answered(UDP);
    fixture.endpoint.hang_up(fixture.now, 1);
    let bye = fixture.sent().unwrap();
    assert!(bye.starts_with("BYE sip:gw@127.0.0.1:40001 SIP/2.0\r\n"), "{bye}");
    let mut waits = vec![];
    for _ in 0..5 {
        waits.push(fixture.wait());
        assert_eq!(fixture.sent().as_ref(), Some(&bye));
    }
    assert_eq!(waits, [T1, T1 * 2, T1 * 4, T2, T2]);
    fixture.receive(&response(&bye, "200 OK"));
    assert_eq!(fixture.event(), Some(Event::Leg(1, LegEvent::Ended)));
    fixture.wait();
    assert_eq!(fixture.sent(), None);
}

#[test]
fn a_bye_without_answer_ends_the_leg_in_the_end() {
    let (mut fixture, _) = Fixture::answered(TCP);
    fixture.endpoint.hang_up(fixture.now, 1);
    assert_eq!(fixture.wait(), TRANSACTION_TIMEOUT);
    assert_eq!(fixture.event(), Some(Event::Leg(1, LegEvent::Ended)));
}

#[test]
fn the_device_may_hang_up_and_repeat_itself() {
    let (mut fixture, invite) = Fixture::answered(UDP);
    let bye = request_in_dialog(&invite, "BYE");
    is(&fixture.exchange(&bye), 200);
    assert_eq!(fixture.event(), Some(Event::Leg(1, LegEvent::Ended)));
    is(&fixture.exchange(&bye), 200);
    assert_eq!(fixture.event(), None);
}

#[test]
fn requests_outside_of_any_dialog_are_answered_by_kind() {
    let (mut fixture, invite) = Fixture::answered(TCP);
    for (method, inside, outside) in
        [("OPTIONS", 200, 200), ("UPDATE", 200, 481), ("INVITE", 200, 481), ("BYE", 200, 481)]
    {
        let request = request_in_dialog(&invite, method);
        is(&fixture.exchange(&request.replace("Call-ID: ", "Call-ID: x")), outside);
        is(&fixture.exchange(&request), inside);
    }
    // The supervisor's device only listens.
    let call = request_in_dialog(&invite, "INVITE").replace("Call-ID: ", "Call-ID: y");
    let to = header_line(&call, "To:").to_owned();
    is(&fixture.exchange(&call.replace(&to, "To: <sip:somebody@cloud>")), 403);
}

#[test]
fn an_unanswered_leg_is_cancelled_once_the_device_has_reacted() {
    let (mut fixture, invite) = Fixture::invited(UDP);
    fixture.endpoint.hang_up(fixture.now, 1);
    assert_eq!(fixture.sent(), None);
    let cancel = fixture.exchange(&response(&invite, "100 Trying"));
    assert!(cancel.starts_with("CANCEL "), "{cancel}");
    assert_eq!(header_line(&cancel, "Via:"), header_line(&invite, "Via:"));
    fixture.receive(&response(&cancel, "200 OK"));
    let ack = fixture.exchange(&response(&invite, "487 Request Terminated"));
    assert!(ack.starts_with("ACK "), "{ack}");
    let failed = Event::Leg(1, LegEvent::Failed(LegFailure::Cancelled));
    assert_eq!(fixture.event(), Some(failed));
}

#[test]
fn an_answer_that_crosses_a_cancel_is_acknowledged_and_hung_up() {
    let (mut fixture, invite) = Fixture::invited(TCP);
    fixture.receive(&response(&invite, "180 Ringing"));
    fixture.endpoint.hang_up(fixture.now, 1);
    assert!(fixture.sent().unwrap().starts_with("CANCEL "));
    fixture.receive(&response(&invite, "200 OK"));
    assert!(fixture.sent().unwrap().starts_with("ACK "));
    let bye = fixture.sent().unwrap();
    fixture.receive(&response(&bye, "200 OK"));
    assert!(matches!(fixture.event(), Some(Event::Leg(1, LegEvent::Answered { .. }))));
    assert_eq!(fixture.event(), Some(Event::Leg(1, LegEvent::Ended)));
}

#[test]
fn a_refusal_is_acknowledged_every_time() {
    let (mut fixture, invite) = Fixture::invited(UDP);
    let refusal = response(&invite, "486 Busy Here");
    let ack = fixture.exchange(&refusal);
    assert!(ack.starts_with("ACK "), "{ack}");
    assert_eq!(header_line(&ack, "Via:"), header_line(&invite, "Via:"));
    let failed = Event::Leg(1, LegEvent::Failed(LegFailure::Rejected(486)));
    assert_eq!(fixture.event(), Some(failed));
    assert_eq!(fixture.exchange(&refusal), ack);
}

#[test]
fn the_offer_of_a_device_is_answered_in_the_ack() {
    let (mut fixture, invite) = Fixture::invited_in(TCP, Variant::LateOffer);
    assert!(invite.ends_with("Content-Length: 0\r\n\r\n") && !invite.contains("Content-Type"));
    fixture.receive(&response(&invite, "200 OK"));
    assert_eq!(fixture.sent(), None);
    let offered = Event::Leg(1, LegEvent::Offered { sdp: vec![] });
    assert_eq!(fixture.event(), Some(offered));
    fixture.endpoint.acknowledge(1, "v=0\r\n".into());
    let ack = fixture.sent().unwrap();
    assert!(ack.starts_with("ACK ") && ack.ends_with("\r\n\r\nv=0\r\n"), "{ack}");
    assert_eq!(fixture.exchange(&response(&invite, "200 OK")), ack);
}

#[test]
fn a_leg_that_waits_for_our_answer_can_be_hung_up() {
    let (mut fixture, invite) = Fixture::invited_in(TCP, Variant::LateOffer);
    fixture.receive(&response(&invite, "200 OK"));
    fixture.endpoint.hang_up(fixture.now, 1);
    assert!(fixture.sent().unwrap().starts_with("ACK "));
    assert!(fixture.sent().unwrap().starts_with("BYE "));
}

#[test]
fn lost_acks_are_sent_once_the_device_has_repeated_itself() {
    let (mut fixture, invite) = Fixture::invited_in(UDP, Variant::LostAck);
    for _ in 0..2 {
        fixture.receive(&response(&invite, "200 OK"));
        assert_eq!(fixture.sent(), None);
    }
    assert!(fixture.exchange(&response(&invite, "200 OK")).starts_with("ACK "));
}

#[test]
fn an_invite_is_taken_back_once_the_device_has_reacted() {
    let (mut fixture, invite) = Fixture::invited_in(TCP, Variant::Cancelled);
    let cancel = fixture.exchange(&response(&invite, "100 Trying"));
    assert!(cancel.starts_with("CANCEL "), "{cancel}");
}

#[test]
fn a_leg_that_is_up_is_renegotiated_and_refreshed_one_after_the_other() {
    let (mut fixture, _) = Fixture::answered(UDP);
    fixture.endpoint.reoffer(fixture.now, 1, "v=1\r\n".into());
    let reinvite = fixture.sent().unwrap();
    assert!(reinvite.starts_with("INVITE sip:gw@127.0.0.1:40001"), "{reinvite}");
    assert!(reinvite.ends_with("\r\n\r\nv=1\r\n") && reinvite.contains(";tag=device"));
    // Not while it is under way.
    fixture.endpoint.refresh(fixture.now, 1);
    assert_eq!(fixture.sent(), None);
    assert_eq!(fixture.wait(), T1);
    assert_eq!(fixture.sent().as_ref(), Some(&reinvite));
    let ack = fixture.exchange(&response(&reinvite, "200 OK"));
    assert!(ack.starts_with("ACK "), "{ack}");
    let number = |message: &str, method: &str| -> u32 {
        let line = header_line(message, "CSeq:").to_owned();
        line.trim_start_matches("CSeq: ").trim_end_matches(method).trim().parse().unwrap()
    };
    assert_eq!(number(&ack, "ACK"), number(&reinvite, "INVITE"));

    fixture.endpoint.refresh(fixture.now, 1);
    let update = fixture.sent().unwrap();
    assert!(update.starts_with("UPDATE ") && update.ends_with("Content-Length: 0\r\n\r\n"));
    assert_eq!(number(&update, "UPDATE"), number(&reinvite, "INVITE") + 1);
    fixture.receive(&response(&update, "200 OK"));
    assert_eq!(fixture.sent(), None);
    fixture.endpoint.hang_up(fixture.now, 1);
    assert_eq!(number(&fixture.sent().unwrap(), "BYE"), number(&update, "UPDATE") + 1);
}

#[test]
fn a_refused_renegotiation_changes_nothing() {
    let (mut fixture, _) = Fixture::answered(TCP);
    fixture.endpoint.reoffer(fixture.now, 1, "v=1\r\n".into());
    let reinvite = fixture.sent().unwrap();
    let ack = fixture.exchange(&response(&reinvite, "488 Not Acceptable Here"));
    assert_eq!(header_line(&ack, "Via:"), header_line(&reinvite, "Via:"));
    assert_eq!(fixture.event(), None);
}

#[test]
fn a_leg_outlives_its_connection_and_a_reinvite_brings_it_to_the_next_one() {
    let (mut fixture, invite) = Fixture::answered(TCP);
    fixture.endpoint.handle_flow_closed(fixture.now, fixture.flow);
    assert_eq!(fixture.event(), Some(Event::Registration(0, None)));
    assert_eq!(fixture.event(), None);

    fixture.flow.channel = Channel::Tcp(1);
    let challenge = fixture.exchange(&register(None));
    let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    is(&fixture.exchange(&register(Some(nonce))), 200);
    is(&fixture.exchange(&request_in_dialog(&invite, "UPDATE")), 481);
    let moved = request_in_dialog(&invite, "INVITE");
    let moved = moved.replace("CSeq", "Contact: <sip:gw@127.0.0.1:40009>\r\nCSeq");
    let ok = fixture.exchange(&moved);
    is(&ok, 200);
    assert!(ok.ends_with("Content-Length: 5\r\n\r\nv=0\r\n"), "{ok}");
    is(&fixture.exchange(&request_in_dialog(&invite, "UPDATE")), 200);
    fixture.endpoint.hang_up(fixture.now, 1);
    assert!(fixture.sent().unwrap().starts_with("BYE sip:gw@127.0.0.1:40009 "));
}

#[test]
fn a_leg_that_was_not_brought_back_ends_over_the_registration() {
    let (mut fixture, _) = Fixture::answered(TCP);
    fixture.endpoint.handle_flow_closed(fixture.now, fixture.flow);
    fixture.event();
    fixture.flow.channel = Channel::Tcp(1);
    let challenge = fixture.exchange(&register(None));
    let nonce = challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap();
    is(&fixture.exchange(&register(Some(nonce))), 200);
    fixture.endpoint.hang_up(fixture.now, 1);
    assert!(fixture.sent().unwrap().starts_with("BYE "));
}

#[test]
fn without_a_registration_a_leg_fails_at_once() {
    let mut endpoint = Endpoint::new(vec![Account::demo()], 1);
    let variant = Variant::default();
    let invitation = Invitation { caller: "+1".into(), headers: vec![], sdp: None, variant };
    endpoint.invite(Instant::now(), 1, 0, invitation);
    let failed = Event::Leg(1, LegEvent::Failed(LegFailure::NotRegistered));
    assert_eq!(endpoint.poll_event(), Some(failed));
}

#[test]
fn an_expired_registration_is_announced() {
    let mut fixture = Fixture::registered(UDP);
    assert_eq!(fixture.wait(), Duration::from_secs(182));
    assert_eq!(fixture.event(), Some(Event::Registration(0, None)));
}
