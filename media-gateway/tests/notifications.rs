//! The notifications of a simulated cloud: events, lost connections, recovery, and what can't be recovered.

mod support;

use std::sync::Arc;
use std::time::Duration;

use media_gateway::ringcentral::{
    Client, Credentials, EventFilters, NOTIFICATION_CAPACITY, Notification, Notifications,
    SessionEvent,
};
use simulator::{Account, Audio, CallPlan, Cut, Delivery, Fault, Simulator};
use support::{AGENT, PATIENCE};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A subscriber to a simulated cloud.
struct Bench {
    simulator: Simulator,
    client: Arc<Client>,
    notifications: Option<Notifications>,
    receiver: mpsc::Receiver<Notification>,
    shutdown: CancellationToken,
}

impl Bench {
    /// One that has subscribed.
    async fn start(filters: EventFilters) -> Self {
        let mut bench = Self::prepare(filters, |_| {}).await;
        assert_eq!(bench.next().await, Notification::Missed, "what was before is not known");
        bench
    }

    async fn prepare(filters: EventFilters, with: impl FnOnce(&Simulator)) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let simulator = support::simulator().await;
        with(&simulator);
        let account = Account::demo();
        let credentials = Credentials {
            client_id: account.client_id,
            client_secret: account.client_secret,
            jwt: account.jwt,
        };
        let client = Arc::new(Client::new(&simulator.rest_url(), credentials).unwrap());
        let (sender, receiver) = mpsc::channel(NOTIFICATION_CAPACITY);
        let shutdown = CancellationToken::new();
        let notifications =
            Some(Notifications::start(client.clone(), filters, sender, shutdown.clone()));
        Self { simulator, client, notifications, receiver, shutdown }
    }

    /// What comes next, losses of the connection left out.
    async fn next(&mut self) -> Notification {
        loop {
            let told = timeout(PATIENCE, self.receiver.recv()).await.expect("in time");
            match told.expect("still running") {
                Notification::Lost => {}
                told => return told,
            }
        }
    }

    async fn event(&mut self) -> SessionEvent {
        match self.next().await {
            Notification::Session(event) => event,
            told => panic!("an event was expected, not {told:?}"),
        }
    }

    /// Everything up to the next word that something was missed.
    async fn events_until_missed(&mut self) -> Vec<SessionEvent> {
        let mut events = Vec::new();
        while let Notification::Session(event) = self.next().await {
            events.push(event);
        }
        events
    }

    /// A call that goes on.
    async fn call(&self) -> simulator::Call {
        let silence = || Audio::from_samples(vec![0; 16_000], 16_000).unwrap();
        let plan = CallPlan::new(AGENT, silence(), silence());
        self.simulator.place_call(plan).await.unwrap()
    }

    /// Places a call, waits for its first event, and reads the session's id from it.
    async fn expect_events(&mut self) {
        let call = self.call().await;
        loop {
            if self.event().await.telephony_session_id == call.telephony_session_id() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_subscriber_hears_of_its_agents_calls() {
    let mut bench = Bench::start(EventFilters::extensions([AGENT])).await;
    let call = bench.call().await;
    let event = bench.event().await;
    assert_eq!(event.telephony_session_id, call.telephony_session_id());
    let [party] = event.parties.as_slice() else { panic!("{event:?}") };
    assert_eq!(party.extension_id(), Some(AGENT));
    bench.shutdown.cancel();
    timeout(PATIENCE, bench.notifications.take().unwrap().stopped()).await.unwrap();
}

#[tokio::test]
async fn the_accounts_subscriber_hears_of_outside_parties_too() {
    let mut bench = Bench::start(EventFilters::account()).await;
    bench.call().await;
    let mut extensions = Vec::new();
    while !(extensions.contains(&None) && extensions.contains(&Some(AGENT.to_owned()))) {
        let event = bench.event().await;
        extensions.extend(event.parties.iter().map(|it| it.extension_id().map(str::to_owned)));
    }
}

#[tokio::test]
async fn a_cut_connection_is_recovered() {
    let mut bench = Bench::start(EventFilters::extensions([AGENT])).await;
    let controls = bench.simulator.controls();
    for cut in [Cut::Abrupt, Cut::Idle, Cut::Absolute] {
        controls.cut_notifications(cut);
        // Happens while nobody listens, or just after: the event comes either way, and so does the word.
        let call = bench.call().await;
        let id = call.telephony_session_id();
        let mut events = bench.events_until_missed().await;
        while !events.iter().any(|event| event.telephony_session_id == id) {
            events.push(bench.event().await);
        }
    }
}

#[tokio::test]
async fn a_loss_is_told_before_the_way_back_is_found() {
    let mut bench = Bench::start(EventFilters::account()).await;
    let controls = bench.simulator.controls();
    controls.inject(Fault::Unavailable, 1);
    controls.cut_notifications(Cut::Abrupt);
    let mut told = Vec::new();
    while told.last() != Some(&Notification::Missed) {
        told.extend(timeout(PATIENCE, bench.receiver.recv()).await.expect("in time"));
    }
    assert_eq!(told, [Notification::Lost, Notification::Missed]);
}

#[tokio::test]
async fn what_cannot_be_recovered_is_subscribed_to_again() {
    let mut bench = Bench::prepare(EventFilters::extensions([AGENT]), |simulator| {
        simulator.controls().set_recovery_timeout(Duration::ZERO);
    })
    .await;
    assert_eq!(bench.next().await, Notification::Missed);
    bench.simulator.controls().cut_notifications(Cut::Abrupt);
    assert_eq!(bench.next().await, Notification::Missed);
    bench.expect_events().await;
}

#[tokio::test]
async fn a_session_that_the_server_forgot_is_subscribed_to_again() {
    let mut bench = Bench::start(EventFilters::account()).await;
    let controls = bench.simulator.controls();
    // The way back is barred until the session is forgotten.
    controls.inject(Fault::Unavailable, 1);
    controls.cut_notifications(Cut::Abrupt);
    while controls.subscribers() > 0 {
        tokio::task::yield_now().await;
    }
    controls.forget_notification_sessions();
    assert_eq!(bench.next().await, Notification::Missed);
    bench.expect_events().await;
}

#[tokio::test]
async fn the_end_of_the_login_is_noticed_and_mended() {
    let mut bench = Bench::start(EventFilters::account()).await;
    // Ends without a word; but the next request meets it, logs in again, and the connection moves along.
    bench.simulator.controls().end_auth_sessions();
    bench.client.presence(AGENT).await.unwrap();
    assert_eq!(bench.next().await, Notification::Missed);
    bench.expect_events().await;
}

#[tokio::test]
async fn unreliable_delivery_repeats_nothing() {
    let mut bench = Bench::start(EventFilters::account()).await;
    let delivery =
        Delivery { duplicated_percent: 100, reordered_percent: 50, ..Delivery::default() };
    bench.simulator.controls().set_delivery(delivery);
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.push(bench.call().await.telephony_session_id().to_owned());
    }
    let mut seen = std::collections::BTreeSet::new();
    while !expected.iter().all(|id| seen.iter().any(|(session, _)| session == id)) {
        let event = bench.event().await;
        let key = (event.telephony_session_id, event.sequence);
        assert!(seen.insert(key.clone()), "{key:?} came twice");
    }
}
