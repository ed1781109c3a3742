//! Consent by keys and by phrases, with a gateway between the simulated cloud and a listening transcriber and relay.

mod support;

use std::time::Duration;

use media_gateway::Gateway;
use media_gateway::config::Config;
use media_gateway::control::consent::{Source, State};
use media_gateway::control::{CallView, Stage};
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::{ConsentSource, ConsentState, Role};
use simulator::{Call, CallPlan, Codec, KeyPress, Shape, Simulator};
use support::{AGENT, Downstream, PATIENCE, serve, tone};
use tokio::time::timeout;

const KEYS: &str = "granted_key = \"1\"\nrefused_key = \"9\"\n";
const PHRASES: &str = "granted_phrases = { customer = [\"you can record\"] }\n\
                       refused_phrases = { anyone = [\"do not record\"] }\n";
const REQUIRED: &str = "policy = \"required\"\n";

struct Setup {
    simulator: Simulator,
    gateway: Gateway,
    downstream: Downstream,
}

impl Setup {
    async fn start(consent: &[&str], transport: &str, supervise: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let simulator = support::simulator().await;
        let downstream = Downstream::default();
        let address = serve(downstream.clone()).await;
        let ca_file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca_file.path(), simulator.authority_pem()).unwrap();
        let sip = match transport {
            "tls" => format!("transport = \"tls\"\ntls_ca_file = {:?}", ca_file.path()),
            other => format!("transport = \"{other}\""),
        };
        let consent = format!("[consent]\n{}", consent.concat());
        let config = support::config(&simulator, address, &sip, &consent)
            .replace("agents", &format!("supervise = \"{supervise}\"\nagents"));
        let gateway = Gateway::start(Config::from_toml(&config).unwrap()).await.unwrap();
        timeout(PATIENCE, simulator.registered()).await.expect("registered");
        Self { simulator, gateway, downstream }
    }

    async fn call(&self, keys: &[KeyPress], shape: Shape, codec: Codec) -> Call {
        let plan = CallPlan {
            keys: keys.to_vec(),
            shape,
            codec,
            ..CallPlan::new(AGENT, tone(440.0, 60), tone(1100.0, 60))
        };
        self.simulator.place_call(plan).await.unwrap()
    }

    /// Waits until the call is as it should be.
    async fn until(&self, what: &str, is_so: impl Fn(&CallView) -> bool) -> CallView {
        let look = async {
            loop {
                let calls = self.gateway.control().calls().await.unwrap();
                if let Some(view) = calls.into_iter().find(|view| is_so(view)) {
                    return view;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("never: {what}"))
    }

    /// Waits until the relay was told of this.
    async fn told(&self, state: ConsentState, source: ConsentSource) {
        let mut published = self.downstream.published.subscribe();
        let is_told = || {
            let consents = self.downstream.consents();
            consents.iter().any(|it| (it.state(), it.source()) == (state, source))
        };
        let told = published.wait_for(|_| is_told());
        timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("never told {state:?}")).unwrap();
    }

    /// Waits until a role's audio has come to this.
    async fn heard(&self, what: &str, is_so: impl Fn(&support::Heard) -> bool, role: Role) {
        let mut messages = self.downstream.messages.subscribe();
        let heard = messages.wait_for(|_| {
            let parties = self.downstream.parties.lock().unwrap();
            parties.values().any(|heard| {
                heard.start.party.as_ref().is_some_and(|it| it.role() == role) && is_so(heard)
            })
        });
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("never: {what}")).unwrap();
    }

    async fn stop(self) {
        self.gateway.shutdown().await;
        self.simulator.shutdown().await;
    }
}

fn press(key: char, is_agents: bool, milliseconds: u64) -> KeyPress {
    KeyPress { at: Duration::from_millis(milliseconds), is_agents, key }
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_waits_for_the_customers_key_in_the_clear_and_encrypted() {
    for (transport, codec) in [("tcp", Codec::Pcmu), ("tls", Codec::Opus)] {
        let setup = Setup::start(&[REQUIRED, KEYS], transport, "party").await;
        // Neither the agent's key nor another one counts.
        let keys = [press('1', true, 200), press('5', false, 500), press('1', false, 1500)];
        let _call = setup.call(&keys, Shape::TwoLegs, codec).await;
        setup.told(ConsentState::Awaited, ConsentSource::Policy).await;
        let view = setup.until("granted", |view| view.consent == State::Granted).await;
        assert_eq!((view.consent_source, view.is_withheld), (Source::Key, false));
        setup.told(ConsentState::Granted, ConsentSource::Key).await;
        for role in [Role::Agent, Role::Customer] {
            setup.heard("captions begin", |heard| heard.for_captions > 3, role).await;
        }
        let parties = setup.downstream.parties.lock().unwrap().clone();
        for heard in parties.values() {
            assert_eq!(heard.for_consent_only, 0, "nobody listens for phrases");
            // Sample 0 is the first that was forwarded or, with the clock of the stream, at least a second in.
            let silent = heard.pcm.iter().take_while(|sample| **sample == 0).count();
            let waited = silent as f64 / f64::from(heard.start.sample_rate);
            assert!(waited >= 1.0 || heard.start.sample_position > 0, "{waited} s");
        }
        setup.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusing_key_discards_what_is_under_way_and_leaves_the_call() {
    let setup = Setup::start(&[KEYS], "tcp", "party").await;
    setup.downstream.withholds_acks.send_replace(true);
    let _call = setup.call(&[press('9', true, 1000)], Shape::TwoLegs, Codec::Pcmu).await;
    setup.told(ConsentState::NotRequired, ConsentSource::Policy).await;
    setup.told(ConsentState::Refused, ConsentSource::Key).await;
    for role in [Role::Agent, Role::Customer] {
        setup.heard("it is discarded", |heard| heard.is_discarded, role).await;
    }
    let view = setup.until("refused", |view| view.stage == Stage::ConsentRefused).await;
    assert_eq!((view.consent, view.consent_source), (State::Refused, Source::Key));
    setup.downstream.withholds_acks.send_replace(false);
    timeout(PATIENCE, setup.downstream.ended.notified()).await.expect("the transcript ends");
    let events = setup.downstream.events.lock().unwrap().clone();
    assert!(!events.iter().any(|event| matches!(event, Event::Gap(_))), "{events:?}");
    setup.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_mixed_leg_nobody_agrees_by_a_key_but_anyone_objects() {
    let setup = Setup::start(&[REQUIRED, KEYS], "tcp", "session").await;
    let keys = [press('1', false, 500), press('9', false, 3000)];
    let _call = setup.call(&keys, Shape::Mixed, Codec::Pcmu).await;
    setup.told(ConsentState::Refused, ConsentSource::Key).await;
    let told: Vec<_> = setup.downstream.consents().iter().map(|it| it.state()).collect();
    assert_eq!(told, [ConsentState::Awaited, ConsentState::Refused]);
    setup.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phrase_is_listened_for_in_audio_that_is_for_nothing_else() {
    let setup = Setup::start(&[REQUIRED, PHRASES], "tcp", "party").await;
    let _call = setup.call(&[], Shape::TwoLegs, Codec::Pcmu).await;
    let only_for_consent =
        |heard: &support::Heard| heard.for_consent_only > 5 && heard.for_captions == 0;
    for role in [Role::Agent, Role::Customer] {
        setup.heard("it is listened to", only_for_consent, role).await;
    }
    let phrases = |role: Role| {
        let parties = setup.downstream.parties.lock().unwrap();
        let own = |heard: &&support::Heard| {
            heard.start.party.as_ref().is_some_and(|it| it.role() == role)
        };
        let start = parties.values().find(own).unwrap().start.clone();
        start.consent_phrases.unwrap()
    };
    assert_eq!(phrases(Role::Customer).granted, ["you can record"]);
    assert_eq!(phrases(Role::Agent).granted, [""; 0]);
    assert_eq!(phrases(Role::Agent).refused, ["do not record"]);

    setup.downstream.hears.send_replace(Some((Role::Customer, ConsentState::Granted)));
    setup.told(ConsentState::Granted, ConsentSource::Phrase).await;
    for role in [Role::Agent, Role::Customer] {
        setup.heard("captions begin", |heard| heard.for_captions > 3, role).await;
    }
    setup.downstream.hears.send_replace(Some((Role::Agent, ConsentState::Refused)));
    setup.told(ConsentState::Refused, ConsentSource::Phrase).await;
    for role in [Role::Agent, Role::Customer] {
        setup.heard("it is discarded", |heard| heard.is_discarded, role).await;
    }
    setup.until("refused", |view| view.stage == Stage::ConsentRefused).await;
    setup.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_is_heard_when_the_call_is_over_still_counts() {
    let setup = Setup::start(&[PHRASES], "tcp", "party").await;
    // The last acknowledgement, with what was said last, comes after everybody has hung up.
    setup.downstream.withholds_acks.send_replace(true);
    let call = setup.call(&[], Shape::TwoLegs, Codec::Pcmu).await;
    for role in [Role::Agent, Role::Customer] {
        setup.heard("it is heard", |heard| heard.for_captions > 3, role).await;
    }
    call.hang_up().await;
    let mut heard_out = setup.downstream.heard_out.subscribe();
    timeout(PATIENCE, heard_out.wait_for(|count| *count == 2)).await.expect("both end").unwrap();
    setup.downstream.hears.send_replace(Some((Role::Customer, ConsentState::Refused)));
    setup.downstream.withholds_acks.send_replace(false);
    setup.told(ConsentState::Refused, ConsentSource::Phrase).await;
    setup.stop().await;
}
