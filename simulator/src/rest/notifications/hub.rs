//! The notification sessions: who is subscribed to what, and what is kept for those whose connection is lost. Pure: time
//! and randomness are inputs.

use super::frames::{self, Filter, Request};
use crate::rest::tokens::SessionNumber;
use crate::switchboard::SessionChange;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Events kept of a session, for its recovery; when full, the oldest is lost.
pub(super) const RECOVERY_BUFFER: usize = 100;
/// How long a session can be recovered, unless set otherwise.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(180);
/// Sessions at once, lost connections included; when full, the one lost first is forgotten.
const MAX_SESSIONS: usize = 50;
/// How long an event is held back that others are to overtake.
const HOLD_BACK: Duration = Duration::from_millis(300);
/// Events held back; when full, no more are.
const MAX_HELD: usize = 1000;

/// How unreliably events are delivered, each in percent of the events, 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Delivered twice.
    pub duplicated_percent: u8,
    /// Delivered 300 ms late, after others.
    pub reordered_percent: u8,
    /// Not delivered at all, and not kept for a recovery.
    pub dropped_percent: u8,
}

/// The number of a notification session.
pub(super) type HubId = u64;

/// A frame for a connection.
pub(super) type Delivered = (HubId, String);

/// Every notification session.
pub(in crate::rest) struct Hub {
    sessions: BTreeMap<HubId, Session>,
    next_id: HubId,
    rng: StdRng,
    account_id: String,
    recovery_timeout: Duration,
    delivery: Delivery,
    /// In order of their time.
    held: VecDeque<(Instant, HubId, String)>,
    events: u64,
}

struct Session {
    /// What its recovery tokens begin with.
    secret: String,
    sequence: u64,
    auth: SessionNumber,
    filters: Vec<Filter>,
    subscription: String,
    /// The newest events, with the sequence that each had.
    sent: VecDeque<(u64, String)>,
    lost_at: Option<Instant>,
}

impl Hub {
    pub(in crate::rest) fn new(account_id: &str, seed: u64) -> Self {
        Self {
            sessions: BTreeMap::new(),
            next_id: 1,
            rng: StdRng::seed_from_u64(seed),
            account_id: account_id.to_owned(),
            recovery_timeout: RECOVERY_TIMEOUT,
            delivery: Delivery::default(),
            held: VecDeque::new(),
            events: 0,
        }
    }

    pub(in crate::rest) fn set_delivery(&mut self, delivery: Delivery) {
        self.delivery = delivery;
    }

    pub(in crate::rest) fn set_recovery_timeout(&mut self, timeout: Duration) {
        self.recovery_timeout = timeout;
    }

    /// Forgets every session whose connection is lost: none of them can be recovered.
    pub(in crate::rest) fn forget_lost(&mut self) {
        self.sessions.retain(|_, session| session.lost_at.is_none());
    }

    /// Sessions that are subscribed and connected.
    pub(in crate::rest) fn subscribers(&self) -> usize {
        let is_there =
            |session: &&Session| session.lost_at.is_none() && !session.filters.is_empty();
        self.sessions.values().filter(is_there).count()
    }

    /// A connection is there: the session that it has, and its first frames. A connection that presents the token of a
    /// session takes it over.
    pub(super) fn connect(
        &mut self,
        auth: SessionNumber,
        wsc: Option<&str>,
        now: Instant,
    ) -> (HubId, Vec<String>) {
        let timeout = self.recovery_timeout;
        self.sessions.retain(|_, session| session.lost_at.is_none_or(|lost| now < lost + timeout));
        let recovered = wsc.and_then(|wsc| wsc.rsplit_once('.')).and_then(|(secret, sequence)| {
            let sequence: u64 = sequence.parse().ok()?;
            let mut sessions = self.sessions.iter_mut();
            let (id, session) = sessions.find(|(_, session)| session.secret == secret)?;
            session.lost_at = None;
            session.auth = auth;
            let missed = session.sent.iter().filter(|(sent, _)| *sent > sequence);
            Some((*id, missed.map(|(_, frame)| frame.clone()).collect::<Vec<_>>()))
        });
        let state = wsc.map(|_| if recovered.is_some() { "Successful" } else { "Failed" });
        let (id, missed) = match recovered {
            Some(recovered) => recovered,
            None => (self.open(auth), vec![]),
        };
        let Some(session) = self.sessions.get_mut(&id) else { return (id, vec![]) };
        let wsc = session.next_wsc();
        let details = frames::connection_details(
            &uuid(&mut self.rng),
            &wsc,
            state,
            self.recovery_timeout,
            RECOVERY_BUFFER,
        );
        (id, std::iter::once(details).chain(missed).collect())
    }

    /// A connection is gone; its session waits to be recovered.
    pub(super) fn lose(&mut self, id: HubId, now: Instant) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.lost_at = Some(now);
        }
    }

    /// Takes a text frame; the frames that answer it.
    pub(super) fn handle_text(&mut self, id: HubId, text: &str) -> Vec<String> {
        let Some(session) = self.sessions.get_mut(&id) else { return vec![] };
        match Request::read(text) {
            Some(Request::Heartbeat(frame)) => vec![frame],
            Some(Request::Subscribe { message_id, filters: Some(filters) }) => {
                session.subscription = uuid(&mut self.rng);
                session.filters = filters;
                let wsc = session.next_wsc();
                let (id, filters) = (&session.subscription, &session.filters);
                vec![frames::subscribed(&message_id, &wsc, id, filters)]
            }
            Some(Request::Subscribe { message_id, filters: None }) => {
                let problem = ("SUB-508", "At least one event filter is not valid");
                vec![frames::refused(&message_id, 400, problem)]
            }
            Some(Request::Other { message_id }) => {
                let problem = ("CMN-102", "Resource for parameter [uri] is not found");
                vec![frames::refused(&message_id, 404, problem)]
            }
            None => {
                vec![frames::error(400, ("WSG-400", "The message can't be read"))]
            }
        }
    }

    /// Tells the subscribers of a change. Those whose auth session has ended get nothing, and no word about it.
    pub(super) fn publish(
        &mut self,
        change: &SessionChange,
        is_live: impl Fn(SessionNumber) -> bool,
        timestamp: &str,
        now: Instant,
    ) -> Vec<Delivered> {
        let mut delivered = Vec::new();
        self.events += 1;
        let event_id = (u64::from(self.rng.random::<u32>()) << 24) + self.events;
        for (id, session) in &mut self.sessions {
            let extension = change.extension_id.as_deref();
            let is_wanted = session.filters.iter().any(|filter| filter.takes(extension));
            if !is_wanted || !is_live(session.auth) {
                continue;
            }
            let mut strikes = |percent: u8| self.rng.random_range(0..100) < percent;
            let [is_dropped, is_reordered, is_duplicated] = [
                self.delivery.dropped_percent,
                self.delivery.reordered_percent,
                self.delivery.duplicated_percent,
            ]
            .map(&mut strikes);
            if is_dropped {
                continue;
            }
            let wsc = session.next_wsc();
            let path = match extension {
                Some(extension) => format!("/extension/{extension}"),
                None => String::new(),
            };
            let body = json!({
                "uuid": event_id.to_string(),
                "event": format!("/restapi/v1.0/account/{}{path}/telephony/sessions", self.account_id),
                "timestamp": timestamp,
                "subscriptionId": session.subscription,
                "ownerId": extension.unwrap_or(&self.account_id),
                "body": change.body,
            });
            let frame = frames::event(event_id, &wsc, &body);
            if session.sent.len() == RECOVERY_BUFFER {
                session.sent.pop_front();
            }
            session.sent.push_back((session.sequence, frame.clone()));
            if session.lost_at.is_some() {
                continue;
            }
            if is_duplicated {
                delivered.push((*id, frame.clone()));
            }
            if is_reordered && self.held.len() < MAX_HELD {
                self.held.push_back((now + HOLD_BACK, *id, frame));
            } else {
                delivered.push((*id, frame));
            }
        }
        delivered
    }

    /// When a frame that is held back is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.held.front().map(|(due, ..)| *due)
    }

    /// The frames that were held back until now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Delivered> {
        let count = self.held.iter().take_while(|(due, ..)| *due <= now).count();
        self.held.drain(..count).map(|(_, id, frame)| (id, frame)).collect()
    }

    fn open(&mut self, auth: SessionNumber) -> HubId {
        if self.sessions.len() >= MAX_SESSIONS {
            let lost = self.sessions.iter().filter_map(|(id, it)| Some((it.lost_at?, *id))).min();
            if let Some((_, oldest)) = lost {
                self.sessions.remove(&oldest);
            }
        }
        let session = Session {
            secret: format!("{:032x}", self.rng.random::<u128>()),
            sequence: 0,
            auth,
            filters: vec![],
            subscription: String::new(),
            sent: VecDeque::new(),
            lost_at: None,
        };
        let id = self.next_id;
        self.next_id += 1;
        self.sessions.insert(id, session);
        id
    }
}

impl Session {
    /// The recovery token of the next frame, and its sequence.
    fn next_wsc(&mut self) -> (String, u64) {
        self.sequence += 1;
        (format!("{}.{}", self.secret, self.sequence), self.sequence)
    }
}

fn uuid(rng: &mut StdRng) -> String {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const ACCOUNT_FILTER: &str = "/restapi/v1.0/account/~/telephony/sessions";

    struct Bench {
        hub: Hub,
        now: Instant,
        changes: u64,
    }

    impl Bench {
        fn new() -> Self {
            Self { hub: Hub::new("809646000", 1), now: Instant::now(), changes: 0 }
        }

        fn subscriber(&mut self, filter: &str) -> HubId {
            let (id, _) = self.hub.connect(1, None, self.now);
            let answer = &self.hub.handle_text(id, &subscription(filter))[0];
            assert!(answer.contains(r#""status":"Active""#), "{answer}");
            id
        }

        fn publish(&mut self, extension: Option<&str>) -> Vec<Delivered> {
            self.changes += 1;
            let change = SessionChange {
                telephony_session_id: "s-1".into(),
                sequence: self.changes,
                extension_id: extension.map(str::to_owned),
                body: json!({"telephonySessionId": "s-1", "sequence": self.changes}),
            };
            self.hub.publish(&change, |auth| auth == 1, "", self.now)
        }
    }

    fn subscription(filter: &str) -> String {
        json!([
            {"type": "ClientRequest", "messageId": "m-1", "method": "POST",
             "path": "/restapi/v1.0/subscription"},
            {"eventFilters": [filter], "deliveryMode": {"transportType": "WebSocket"}},
        ])
        .to_string()
    }

    fn head(frame: &str) -> Value {
        serde_json::from_str::<Value>(frame).unwrap()[0].take()
    }

    fn body(frame: &str) -> Value {
        serde_json::from_str::<Value>(frame).unwrap()[1].take()
    }

    #[test]
    fn a_subscriber_hears_what_it_asked_for() {
        let mut bench = Bench::new();
        let everything = bench.subscriber(ACCOUNT_FILTER);
        let one = bench.subscriber("/restapi/v1.0/account/~/extension/622/telephony/sessions");
        let heard =
            |delivered: Vec<Delivered>| delivered.into_iter().map(|it| it.0).collect::<Vec<_>>();
        assert_eq!(heard(bench.publish(Some("622"))), [everything, one]);
        assert_eq!(heard(bench.publish(Some("623"))), [everything]);
        assert_eq!(heard(bench.publish(None)), [everything]);
    }

    #[test]
    fn a_bad_filter_is_refused() {
        let mut bench = Bench::new();
        let (id, _) = bench.hub.connect(1, None, bench.now);
        for filter in ["", "/restapi/v1.0/account/~/extension//telephony/sessions", "/x"] {
            let answer = bench.hub.handle_text(id, &subscription(filter));
            assert_eq!(body(&answer[0])["errorCode"], "SUB-508", "{filter}");
            assert_eq!(head(&answer[0])["messageId"], "m-1");
        }
        assert_eq!(bench.publish(None), []);
    }

    #[test]
    fn a_recovered_session_gets_what_it_missed() {
        let mut bench = Bench::new();
        let id = bench.subscriber(ACCOUNT_FILTER);
        let first = bench.publish(None).remove(0).1;
        let wsc = head(&first)["wsc"]["token"].as_str().unwrap().to_owned();
        bench.hub.lose(id, bench.now);
        for _ in 0..RECOVERY_BUFFER + 7 {
            assert_eq!(bench.publish(None), []);
        }
        bench.now += RECOVERY_TIMEOUT - Duration::from_secs(1);
        let (recovered, frames) = bench.hub.connect(1, Some(&wsc), bench.now);
        assert_eq!(recovered, id);
        assert_eq!(body(&frames[0])["recoveryState"], "Successful");
        assert_eq!(frames.len(), 1 + RECOVERY_BUFFER, "the newest of them");
        assert_eq!(body(&frames[1])["body"]["sequence"], 9);
        assert_eq!(bench.publish(None).len(), 1, "the subscription lives on");
    }

    #[test]
    fn too_late_or_with_a_wrong_token_nothing_is_recovered() {
        let mut bench = Bench::new();
        let id = bench.subscriber(ACCOUNT_FILTER);
        let frame = bench.publish(None).remove(0).1;
        let wsc = head(&frame)["wsc"]["token"].as_str().unwrap().to_owned();
        bench.hub.lose(id, bench.now);
        for token in ["", "x", "x.1"] {
            let (other, frames) = bench.hub.connect(1, Some(token), bench.now);
            assert_eq!(body(&frames[0])["recoveryState"], "Failed", "{token}");
            assert_ne!(other, id);
        }
        bench.now += RECOVERY_TIMEOUT;
        let (_, frames) = bench.hub.connect(1, Some(&wsc), bench.now);
        assert_eq!(body(&frames[0])["recoveryState"], "Failed");
        assert_eq!(bench.publish(None), [], "a new session has no subscription");
    }

    #[test]
    fn the_end_of_the_auth_session_ends_events_without_a_word() {
        let mut bench = Bench::new();
        let (id, _) = bench.hub.connect(2, None, bench.now);
        bench.hub.handle_text(id, &subscription(ACCOUNT_FILTER));
        assert_eq!(bench.publish(None), []);
    }

    #[test]
    fn delivery_can_be_made_unreliable() {
        let mut bench = Bench::new();
        bench.subscriber(ACCOUNT_FILTER);
        bench.hub.set_delivery(Delivery { duplicated_percent: 100, ..Delivery::default() });
        let twice = bench.publish(None);
        assert_eq!(twice.len(), 2);
        assert_eq!(twice[0], twice[1]);
        bench.hub.set_delivery(Delivery { dropped_percent: 100, ..Delivery::default() });
        assert_eq!(bench.publish(None), []);
        bench.hub.set_delivery(Delivery { reordered_percent: 100, ..Delivery::default() });
        assert_eq!(bench.publish(None), []);
        let due = bench.hub.next_due().unwrap();
        assert_eq!(bench.hub.take_due(bench.now), []);
        assert_eq!(bench.hub.take_due(due).len(), 1);
        assert_eq!(bench.hub.next_due(), None);
    }

    #[test]
    fn a_heartbeat_is_echoed_and_nonsense_refused() {
        let mut bench = Bench::new();
        let (id, _) = bench.hub.connect(1, None, bench.now);
        let answer = bench.hub.handle_text(id, r#"[{"type":"Heartbeat","messageId":"7"}]"#);
        assert_eq!(head(&answer[0]), json!({"type": "Heartbeat", "messageId": "7"}));
        for text in ["", "[]", "{}", "[1]", r#"[{"type":"ClientRequest"}]"#] {
            let answer = bench.hub.handle_text(id, text);
            assert!(
                head(&answer[0])["status"].as_u64().is_some_and(|status| status >= 400),
                "{text}"
            );
        }
    }
}
