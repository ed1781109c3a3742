use rand::SeedableRng;

use super::super::StreamId;
use super::super::failover::Setback;
use super::super::framing::parse_datagram;
use super::super::message::Message;
use super::*;

const MD5: &str = "Digest realm=\"r\", nonce=\"n1\"";

struct Harness {
    registration: Registration,
    random: StdRng,
    out: VecDeque<Transmit>,
    now: Instant,
}

impl Harness {
    /// A registration whose first REGISTER is under way over TLS.
    fn new() -> Self {
        let account = Account {
            domain: "sip.example".into(),
            user_name: "1*2".into(),
            authorization_id: "802".into(),
            password: "secret".into(),
            instance: Uuid::from_u128(7),
        };
        let mut harness = Self {
            registration: Registration::new(account, "call".into(), "tag".into()),
            random: StdRng::seed_from_u64(3),
            out: VecDeque::new(),
            now: Instant::now(),
        };
        let local = ([10, 0, 0, 5], 40_000).into();
        let Harness { registration, random, out, now } = &mut harness;
        registration.start(*now, Flow::Stream(StreamId::tls(1)), local, random, out);
        harness
    }

    fn sent(&mut self) -> String {
        let transmit = self.out.pop_front().expect("something is sent");
        assert!(self.out.is_empty(), "one message at a time");
        String::from_utf8(transmit.bytes.to_vec()).unwrap()
    }

    fn answer(&mut self, request: &str, status: &str, extra: &str) -> Option<Outcome> {
        let copied: Vec<&str> = request
            .lines()
            .filter(|line| {
                ["Via", "From", "To:", "Call-ID", "CSeq"].iter().any(|it| line.starts_with(it))
            })
            .collect();
        let text = format!("SIP/2.0 {status}\r\n{}\r\n{extra}\r\n", copied.join("\r\n"));
        let Ok(Some(Message::Response(response))) = parse_datagram(text.as_bytes()) else {
            panic!("no response: {text}")
        };
        let Harness { registration, random, out, now } = self;
        registration.handle_response(*now, &response, random, out)
    }

    fn challenge(&mut self, request: &str, code: u16, lines: &str) -> String {
        assert_eq!(self.answer(request, &format!("{code} Challenge"), lines), None);
        self.sent()
    }

    /// Goes on to the next timeout.
    fn step(&mut self) -> Option<Outcome> {
        self.now = self.registration.poll_timeout().expect("something is due");
        let Harness { registration, random, out, now } = self;
        registration.handle_timeout(*now, random, out)
    }

    /// Goes on until something but a keep-alive is sent. Answers the keep-alives.
    fn next_register(&mut self) -> String {
        loop {
            assert_eq!(self.step(), None);
            let sent = self.sent();
            if sent != "\r\n\r\n" {
                return sent;
            }
            self.registration.handle_received(Flow::Stream(StreamId::tls(1)), true);
        }
    }
}

/// The value of a header of a request.
fn value<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = request.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn failure(outcome: Option<Outcome>) -> RegistrationFailure {
    match outcome {
        Some(Outcome::Failed(failure)) => failure,
        other => panic!("expected a failure, got {other:?}"),
    }
}

#[test]
fn over_tls_the_contact_says_so_and_names_the_instance() {
    let register = Harness::new().sent();
    assert_eq!(
        value(&register, "Contact"),
        Some(
            "<sip:1*2@10.0.0.5:40000;transport=TLS;ob>;reg-id=1;\
             +sip.instance=\"<urn:uuid:00000000-0000-0000-0000-000000000007>\""
        )
    );
    assert!(value(&register, "Via").unwrap().starts_with("SIP/2.0/TLS 10.0.0.5:40000;"));
    assert_eq!(value(&register, "Authorization"), None);
}

#[test]
fn the_refresh_comes_at_half_of_the_grant_and_counts_the_nonce_in_hex() {
    let mut harness = Harness::new();
    let first = harness.sent();
    let mut register = harness.challenge(
        &first,
        401,
        "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\r\n",
    );
    for granted in [182, 60, 10, 7, 3, 60, 60, 60, 60] {
        // As Kamailio writes it: our URI is not the last one in angle brackets.
        let contact = format!(
            "Contact: <sip:other@192.0.2.9>;expires=3000;+sip.instance=\"<urn:uuid:9>\", \
             <sip:1*2@10.0.0.5:40000;transport=TLS;ob>;expires={granted};+sip.instance=\"<urn:uuid:7>\"\r\n"
        );
        let expected = Some(Outcome::Registered(Duration::from_secs(granted)));
        assert_eq!(harness.answer(&register, "200 OK", &contact), expected);
        let registered = harness.now;
        register = harness.next_register();
        let waited = harness.now - registered;
        assert_eq!(waited, Duration::from_secs(granted) / 2);
    }
    let authorization = value(&register, "Authorization").unwrap();
    assert!(authorization.contains("nc=0000000a"), "{authorization}");
    let again = harness.challenge(
        &register,
        401,
        "WWW-Authenticate: Digest realm=\"r\", nonce=\"new\", qop=\"auth\"\r\n",
    );
    let authorization = value(&again, "Authorization").unwrap();
    assert!(
        authorization.contains("nonce=\"new\"") && authorization.contains("nc=00000001"),
        "a refresh may be challenged anew: {authorization}"
    );
}

#[test]
fn a_wrong_password_is_not_tried_twice_but_a_stale_nonce_is() {
    let mut harness = Harness::new();
    let first = harness.sent();
    let second = harness.challenge(&first, 401, &format!("WWW-Authenticate: {MD5}\r\n"));
    let stale = format!("WWW-Authenticate: {MD5}, stale=TRUE\r\n");
    let third = harness.challenge(&second, 401, &stale);
    let outcome = harness.answer(&third, "401 No", &format!("WWW-Authenticate: {MD5}\r\n"));
    let failure = failure(outcome);
    assert_eq!(failure, RegistrationFailure::Credentials(401));
    assert_eq!(failure.setback(), Setback::Account);
    assert_eq!(harness.registration.poll_timeout(), None, "nothing goes on by itself");
}

#[test]
fn a_registrar_whose_nonces_are_always_stale_is_given_up() {
    let mut harness = Harness::new();
    let mut register = harness.sent();
    let stale = format!("WWW-Authenticate: {MD5}, stale=true\r\n");
    for _ in 0..MAX_CHALLENGES {
        register = harness.challenge(&register, 401, &stale);
    }
    let outcome = harness.answer(&register, "401 No", &stale);
    assert_eq!(failure(outcome), RegistrationFailure::Credentials(401));
}

#[test]
fn a_proxy_and_the_registrar_may_both_challenge() {
    let mut harness = Harness::new();
    let first = harness.sent();
    let second = harness.challenge(&first, 407, &format!("Proxy-Authenticate: {MD5}\r\n"));
    assert!(
        value(&second, "Proxy-Authorization").is_some()
            && value(&second, "Authorization").is_none()
    );
    let offers = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=MD5\r\n\
                  WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256\r\n";
    let third = harness.challenge(&second, 401, offers);
    assert!(value(&third, "Proxy-Authorization").is_some());
    assert!(value(&third, "Authorization").unwrap().contains("algorithm=SHA-256"));
    assert!(matches!(harness.answer(&third, "200 OK", ""), Some(Outcome::Registered(_))));
}

#[test]
fn too_brief_an_interval_is_asked_for_longer_once() {
    let mut harness = Harness::new();
    let first = harness.sent();
    let second = harness.challenge(&first, 423, "Min-Expires: 7200\r\n");
    assert_eq!(value(&second, "Expires"), Some("7200"));
    let outcome = harness.answer(&second, "423 Interval Too Brief", "Min-Expires: 7200\r\n");
    let expected = RegistrationFailure::Status { code: 423, retry_after: None };
    assert_eq!(failure(outcome), expected);
}

#[test]
fn refusals_say_what_to_check() {
    for (status, part, setback) in [
        ("403 Forbidden", "state_directory", Setback::Account),
        ("404 Not Found", "user_name", Setback::Account),
        ("603 Too Many Contacts", "one to two minutes", Setback::Account),
        ("500 Oops", "500", Setback::Proxy { retry_after: None }),
        ("503 Busy", "503", Setback::Proxy { retry_after: Some(Duration::from_secs(18)) }),
    ] {
        let mut harness = Harness::new();
        let register = harness.sent();
        let extra =
            if status.starts_with("503") { "Retry-After: 18;duration=9 (later)\r\n" } else { "" };
        let failure = failure(harness.answer(&register, status, extra));
        assert!(failure.to_string().contains(part), "{failure}");
        assert_eq!(failure.setback(), setback, "{status}");
    }
}

#[test]
fn a_registrar_that_stops_answering_pings_is_found_dead() {
    let mut harness = Harness::new();
    let register = harness.sent();
    let granted = "Expires: 3600\r\nFlow-Timer: 20\r\n";
    assert!(harness.answer(&register, "200 OK", granted).is_some());
    let registered = harness.now;
    assert_eq!(harness.step(), None);
    assert_eq!(harness.sent(), "\r\n\r\n");
    let outcome = harness.step();
    assert_eq!(failure(outcome), RegistrationFailure::FlowDead);
    assert!(harness.now - registered <= Duration::from_secs(30));
}

#[test]
fn unregistering_answers_a_challenge_and_counts_as_done_if_the_connection_breaks() {
    for breaks in [false, true] {
        let mut harness = Harness::new();
        let register = harness.sent();
        assert!(harness.answer(&register, "200 OK", "Expires: 60\r\n").is_some());
        let Harness { registration, random, out, now } = &mut harness;
        assert!(registration.stop(*now, random, out));
        let last = harness.sent();
        assert_eq!(value(&last, "Expires"), Some("0"));
        let outcome = if breaks {
            harness.registration.handle_closed(Flow::Stream(StreamId::tls(1)))
        } else {
            let last = harness.challenge(&last, 401, &format!("WWW-Authenticate: {MD5}\r\n"));
            assert_eq!(value(&last, "Expires"), Some("0"));
            harness.answer(&last, "200 OK", "")
        };
        assert_eq!(outcome, Some(Outcome::Unregistered));
        assert_eq!(harness.registration.flow(), None);
        let Harness { registration, random, out, now } = &mut harness;
        assert!(!registration.stop(*now, random, out), "nothing is left to forget");
    }
}

#[test]
fn a_register_under_way_is_taken_back() {
    let mut harness = Harness::new();
    let register = harness.sent();
    let Harness { registration, random, out, now } = &mut harness;
    assert!(registration.stop(*now, random, out));
    let last = harness.sent();
    assert_eq!(harness.answer(&register, "200 OK", "Expires: 60\r\n"), None, "too late");
    assert_eq!(value(&last, "Expires"), Some("0"));
    assert_eq!(harness.answer(&last, "200 OK", ""), Some(Outcome::Unregistered));
}
