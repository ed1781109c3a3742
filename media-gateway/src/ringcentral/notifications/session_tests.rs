//! The notification protocol in virtual time.

use proptest::prelude::*;
use rand::SeedableRng;
use serde_json::Value;

use super::*;
use crate::ringcentral::SessionEvent;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A session, its clock, and what it has told.
struct Bench {
    session: Session,
    now: Instant,
    told: Vec<Notification>,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        let filters = vec!["/restapi/v1.0/account/~/telephony/sessions".to_owned()];
        let session = Session::new(filters, StdRng::seed_from_u64(1), now);
        Self { session, now, told: Vec::new() }
    }

    /// One that is subscribed.
    fn subscribed() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.pass(Duration::ZERO), [Seen::Connect(None)]);
        bench.session.handle_connected(bench.now);
        assert_eq!(bench.outputs(), [], "nothing may be sent before the first frame");
        bench.subscribe("wsc-1");
        assert_eq!(bench.told, [Notification::Missed]);
        bench.told.clear();
        bench
    }

    fn subscribe(&mut self, wsc: &str) {
        let outputs = self.text(&details(wsc, ""));
        let [Seen::Send(request)] = outputs.as_slice() else { panic!("{outputs:?}") };
        let request: Value = serde_json::from_str(request).unwrap();
        assert_eq!(request[0]["path"], "/restapi/v1.0/subscription");
        assert_eq!(request[1]["eventFilters"], serde_json::json!(self.session.filters));
        let id = request[0]["messageId"].as_str().unwrap();
        assert_eq!(self.text(&answer(id, 200, "")), []);
    }

    /// Lets time pass up to the first thing that happens.
    fn pass(&mut self, limit: Duration) -> Vec<Seen> {
        let end = self.now + limit;
        while self.session.poll_timeout() <= end {
            self.now = self.session.poll_timeout().max(self.now);
            self.session.handle_timeout(self.now);
            let outputs = self.outputs();
            if !outputs.is_empty() {
                return outputs;
            }
        }
        self.now = end;
        Vec::new()
    }

    fn text(&mut self, text: &str) -> Vec<Seen> {
        self.session.handle_text(text, self.now);
        self.outputs()
    }

    fn close(&mut self) -> Vec<Seen> {
        self.session.handle_closed(self.now);
        self.outputs()
    }

    fn outputs(&mut self) -> Vec<Seen> {
        let mut seen = Vec::new();
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect { wsc } => seen.push(Seen::Connect(wsc)),
                Output::Disconnect => seen.push(Seen::Disconnect),
                Output::Send(text) => seen.push(Seen::Send(text)),
                Output::Notify(notification) => self.told.push(notification),
            }
        }
        seen
    }
}

/// What a socket would see.
#[derive(Debug, PartialEq)]
enum Seen {
    Connect(Option<String>),
    Disconnect,
    Send(String),
}

fn details(wsc: &str, more: &str) -> String {
    format!(
        r#"[{{"type":"ConnectionDetails","messageId":"m","status":200,"wsc":{{"token":"{wsc}","sequence":1}}}},
           {{"recoveryBufferSize":100,"recoveryTimeout":180,"absoluteTimeout":86400{more}}}]"#
    )
}

fn answer(id: &str, status: u16, code: &str) -> String {
    format!(
        r#"[{{"type":"ClientRequest","messageId":"{id}","status":{status}}},{{"errorCode":"{code}","message":"no"}}]"#
    )
}

fn error(status: u16, code: &str) -> String {
    format!(r#"[{{"type":"Error","status":{status}}},{{"errorCode":"{code}","message":"no"}}]"#)
}

fn event(uuid: &str, sequence: u64, wsc: u64) -> String {
    format!(
        r#"[{{"type":"ServerNotification","messageId":"2","status":200,"wsc":{{"token":"wsc-{wsc}","sequence":{wsc}}}}},
            {{"uuid":"{uuid}","event":"/restapi/v1.0/account/1/extension/2/telephony/sessions","body":
            {{"telephonySessionId":"s-1","sequence":{sequence},"parties":[]}}}}]"#
    )
}

fn told(sequence: u64) -> Notification {
    let telephony_session_id = "s-1".to_owned();
    Notification::Session(SessionEvent { telephony_session_id, sequence, ..Default::default() })
}

#[test]
fn events_are_told_once() {
    let mut bench = Bench::subscribed();
    for text in [event("a", 1, 2), event("b", 3, 3), event("a", 1, 2), event("c", 2, 4)] {
        assert_eq!(bench.text(&text), []);
    }
    assert_eq!(bench.told, [told(1), told(3), told(2)]);
}

#[test]
fn a_lost_connection_is_recovered_with_the_newest_token() {
    let mut bench = Bench::subscribed();
    for text in [event("a", 1, 7), event("b", 2, 5)] {
        bench.text(&text);
    }
    bench.told.clear();
    assert_eq!(bench.close(), [Seen::Disconnect]);
    assert_eq!(bench.pass(SECOND), [Seen::Connect(Some("wsc-7".into()))]);
    bench.session.handle_connected(bench.now);
    let recovered = details("wsc-9", r#","recoveryState":"Successful""#);
    assert_eq!(bench.text(&recovered), [], "the subscription lives on");
    assert_eq!(bench.told, [Notification::Lost, Notification::Missed]);
    // An event of before the loss may be delivered once more.
    bench.text(&event("b", 2, 10));
    bench.text(&event("c", 3, 11));
    assert_eq!(bench.told[2..], [told(3)]);
}

#[test]
fn a_failed_recovery_subscribes_again() {
    let mut bench = Bench::subscribed();
    bench.close();
    assert_eq!(bench.pass(SECOND), [Seen::Connect(Some("wsc-1".into()))]);
    bench.session.handle_connected(bench.now);
    bench.subscribe("wsc-2");
    assert_eq!(bench.told, [Notification::Lost, Notification::Missed]);
}

#[test]
fn a_refused_recovery_is_not_tried_again() {
    let mut bench = Bench::subscribed();
    bench.close();
    assert_eq!(bench.pass(SECOND), [Seen::Connect(Some("wsc-1".into()))]);
    bench.session.handle_connected(bench.now);
    assert_eq!(bench.text(&error(500, "WSG-999")), [Seen::Disconnect]);
    assert_eq!(bench.pass(10 * SECOND), [Seen::Connect(None)]);
}

#[test]
fn beyond_the_recovery_timeout_a_connection_starts_afresh() {
    let mut bench = Bench::subscribed();
    bench.close();
    bench.told.clear();
    let lost = bench.now;
    loop {
        let outputs = bench.pass(HOUR);
        let [Seen::Connect(wsc)] = outputs.as_slice() else { panic!("{outputs:?}") };
        assert_eq!(wsc.is_some(), bench.now < lost + 180 * SECOND);
        if wsc.is_none() {
            break;
        }
        bench.session.handle_failure(Failure::Transient, bench.now);
        assert_eq!(bench.outputs(), [Seen::Disconnect]);
    }
    // Meanwhile the reader is sent to look for itself now and then.
    let looks = bench.told.iter().filter(|told| **told == Notification::Missed).count();
    assert!((2..=5).contains(&looks), "{:?}", bench.told);
    assert_eq!(bench.told.last(), Some(&Notification::Lost), "no events come all the while");
    bench.told.clear();
    bench.session.handle_connected(bench.now);
    bench.subscribe("wsc-2");
    assert_eq!(bench.told, [Notification::Missed]);
}

#[test]
fn attempts_back_off_and_spread() {
    let mut bench = Bench::new();
    let mut pauses = Vec::new();
    for _ in 0..10 {
        let before = bench.now;
        assert!(matches!(bench.pass(HOUR).as_slice(), [Seen::Connect(None)]));
        pauses.push(bench.now - before);
        bench.session.handle_failure(Failure::Transient, bench.now);
        bench.outputs();
    }
    assert_eq!(pauses[..2], [Duration::ZERO; 2]);
    for (pause, seconds) in pauses[2..].iter().zip([2, 4, 8, 16, 32, 60, 60, 60]) {
        let share = pause.as_secs_f64() / f64::from(seconds);
        assert!((0.8..1.2).contains(&share), "{pauses:?}");
    }
}

#[test]
fn a_rate_limit_is_waited_for() {
    let mut bench = Bench::new();
    bench.pass(SECOND);
    bench.session.handle_failure(Failure::Wait(45 * SECOND), bench.now);
    bench.outputs();
    assert_eq!(bench.pass(44 * SECOND), []);
    assert_eq!(bench.pass(SECOND), [Seen::Connect(None)]);
}

#[test]
fn a_missing_permission_is_not_retried_blindly() {
    for refusal in [error(403, "CMN-408"), error(400, "SUB-508")] {
        let mut bench = Bench::new();
        bench.pass(SECOND);
        bench.session.handle_connected(bench.now);
        assert_eq!(bench.text(&refusal), [Seen::Disconnect]);
        assert_eq!(bench.pass(299 * SECOND), []);
        assert_eq!(bench.pass(2 * SECOND), [Seen::Connect(None)]);
    }
}

#[test]
fn a_refused_subscription_is_told_from_a_limited_one() {
    for (status, code, pause) in [(403, "CMN-408", 300), (400, "SUB-505", 60), (429, "", 60)] {
        let mut bench = Bench::new();
        bench.pass(SECOND);
        bench.session.handle_connected(bench.now);
        let outputs = bench.text(&details("wsc", ""));
        let [Seen::Send(request)] = outputs.as_slice() else { panic!("{outputs:?}") };
        let request: Value = serde_json::from_str(request).unwrap();
        let id = request[0]["messageId"].as_str().unwrap();
        assert_eq!(bench.text(&answer("another", status, code)), []);
        assert_eq!(bench.text(&answer(id, status, code)), [Seen::Disconnect]);
        assert_eq!(bench.pass((pause - 1) * SECOND), [], "{code}");
        assert_eq!(bench.pass(2 * SECOND), [Seen::Connect(None)], "{code}");
    }
}

#[test]
fn silence_is_asked_for_a_sign_of_life() {
    let mut bench = Bench::subscribed();
    for _ in 0..3 {
        let outputs = bench.pass(HEARTBEAT_AFTER);
        let [Seen::Send(heartbeat)] = outputs.as_slice() else { panic!("{outputs:?}") };
        assert!(heartbeat.contains(r#""type":"Heartbeat""#));
        assert_eq!(bench.pass(9 * SECOND), []);
        bench.text(heartbeat);
    }
    bench.now += 20 * SECOND;
    bench.session.handle_activity(bench.now);
    assert_eq!(bench.pass(29 * SECOND), [], "a ping is a sign of life");
    assert!(matches!(bench.pass(SECOND).as_slice(), [Seen::Send(_)]));
    assert_eq!(bench.pass(HEARTBEAT_TIMEOUT), [Seen::Disconnect]);
}

#[test]
fn a_connection_is_replaced_before_the_server_ends_it() {
    let mut bench = Bench::subscribed();
    let start = bench.now;
    let outputs = loop {
        let outputs = bench.pass(HOUR);
        match outputs.as_slice() {
            [Seen::Send(heartbeat)] => drop(bench.text(&heartbeat.clone())),
            _ => break outputs,
        }
    };
    assert_eq!(outputs, [Seen::Disconnect]);
    assert_eq!(bench.now - start, 24 * HOUR - RENEW_BEFORE_END);
    assert_eq!(bench.pass(Duration::ZERO), [Seen::Connect(Some("wsc-1".into()))]);
}

#[test]
fn the_servers_own_ends_and_a_new_login_reconnect_at_once() {
    for code in ["WSG-902", "WSG-903"] {
        let mut bench = Bench::subscribed();
        assert_eq!(bench.text(&error(400, code)), [Seen::Disconnect]);
        assert_eq!(bench.pass(Duration::ZERO), [Seen::Connect(Some("wsc-1".into()))]);
    }
    let mut bench = Bench::subscribed();
    bench.session.handle_new_login(bench.now);
    assert_eq!(bench.outputs(), [Seen::Disconnect]);
    assert_eq!(bench.pass(Duration::ZERO), [Seen::Connect(Some("wsc-1".into()))]);
    // Not yet subscribed: a recovery would bring back a session that hears nothing.
    bench.session.handle_connected(bench.now);
    assert!(matches!(bench.text(&details("wsc-2", "")).as_slice(), [Seen::Send(_)]));
    bench.session.handle_new_login(bench.now);
    assert_eq!(bench.outputs(), [Seen::Disconnect]);
    assert_eq!(bench.pass(Duration::ZERO), [Seen::Connect(None)]);
}

#[test]
fn a_step_that_takes_too_long_starts_over() {
    let mut bench = Bench::new();
    bench.pass(SECOND);
    assert_eq!(bench.pass(STEP_TIMEOUT), [Seen::Disconnect], "connecting");
    bench.pass(SECOND);
    bench.session.handle_connected(bench.now);
    assert_eq!(bench.pass(STEP_TIMEOUT), [Seen::Disconnect], "the first frame");
    bench.pass(10 * SECOND);
    bench.session.handle_connected(bench.now);
    assert!(matches!(bench.text(&details("wsc", "")).as_slice(), [Seen::Send(_)]));
    assert_eq!(bench.pass(STEP_TIMEOUT), [Seen::Disconnect], "the answer");
}

#[test]
fn a_frame_in_several_parts_is_skipped() {
    let mut bench = Bench::subscribed();
    assert_eq!(bench.text("[{\"type\":\"ClientRequest\"},--Boundary_1\r\n{}]"), []);
    bench.text(&event("a", 1, 2));
    assert_eq!(bench.told, [told(1)]);
}

#[derive(Clone, Debug)]
enum Input {
    Text(String),
    Connected,
    Closed,
    Activity,
    NewLogin,
    Fail(bool),
    /// The answer to the last request, whatever it was.
    Answer(u16),
    Pass(u32),
}

fn inputs() -> impl Strategy<Value = Input> {
    let text = prop_oneof![
        ".*",
        r#"\[\{"type":"(ConnectionDetails|Error|ClientRequest|ServerNotification|Heartbeat)"\}(,\{\})?\]"#,
        (any::<u64>(), any::<u64>()).prop_map(|(wait, life)| details(
            "wsc",
            &format!(
                r#","recoveryTimeout":{wait},"absoluteTimeout":{life},"recoveryState":"Successful""#
            )
        )),
        (any::<u16>(), "(WSG-902|CMN-408|SUB-505)?")
            .prop_map(|(status, code)| error(status, &code)),
        ("[a-f]{0,3}", any::<u64>(), any::<u64>()).prop_map(|(id, n, wsc)| event(&id, n, wsc)),
    ];
    prop_oneof![
        4 => text.prop_map(Input::Text),
        2 => Just(Input::Connected),
        1 => Just(Input::Closed),
        1 => Just(Input::Activity),
        1 => Just(Input::NewLogin),
        1 => any::<bool>().prop_map(Input::Fail),
        2 => any::<u16>().prop_map(Input::Answer),
        3 => (0u32..200_000).prop_map(Input::Pass),
    ]
}

proptest! {
    /// Whatever comes, nothing panics, nothing piles up, and there is always a next deadline that leads on.
    #[test]
    fn no_input_harms(inputs in prop::collection::vec(inputs(), 0..200)) {
        let mut bench = Bench::new();
        let mut last_id = String::new();
        for input in inputs {
            match input {
                Input::Text(text) => bench.session.handle_text(&text, bench.now),
                Input::Connected => bench.session.handle_connected(bench.now),
                Input::Closed => bench.session.handle_closed(bench.now),
                Input::Activity => bench.session.handle_activity(bench.now),
                Input::NewLogin => bench.session.handle_new_login(bench.now),
                Input::Fail(true) => bench.session.handle_failure(Failure::Forbidden, bench.now),
                Input::Fail(false) => bench.session.handle_failure(Failure::Transient, bench.now),
                Input::Answer(status) => {
                    let text = answer(&last_id, status, "");
                    bench.session.handle_text(&text, bench.now);
                }
                Input::Pass(milliseconds) => {
                    bench.now += Duration::from_millis(u64::from(milliseconds));
                    bench.session.handle_timeout(bench.now);
                }
            }
            prop_assert!(bench.session.outputs.len() <= 3);
            for output in bench.outputs() {
                if let Seen::Send(text) = output {
                    let sent: Value = serde_json::from_str(&text).unwrap();
                    last_id = sent[0]["messageId"].as_str().unwrap().to_owned();
                }
            }
            prop_assert!(bench.session.seen.len() <= super::Seen::CAPACITY);
            prop_assert!(bench.session.poll_timeout() <= bench.now + 24 * HOUR);
        }
        // From wherever this has led, a server that behaves is subscribed to.
        for _ in 0..50 {
            for output in bench.pass(HOUR) {
                if let Seen::Connect(_) = output {
                    bench.session.handle_connected(bench.now);
                    bench.subscribe("wsc");
                    bench.told.clear();
                    bench.text(&event("quite new", 1, 2));
                    prop_assert_eq!(&bench.told, &[told(1)]);
                    return Ok(());
                }
            }
        }
        prop_assert!(false, "never connects");
    }
}
