//! The calls of a busy minute, of every kind and at the same time: each is heard, by the right role, and none twice.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use media_gateway::Gateway;
use media_gateway::config::Config;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::{PartyLabel, Role};
use simulator::{Account, CallKind, CallReport, Codec, Simulator, SimulatorConfig, Traffic};
use support::{AGENT, Downstream, Heard, PATIENCE, serve, tone};
use tokio::time::timeout;

const CUSTOMER_HZ: f64 = 440.0;
const AGENT_HZ: f64 = 1100.0;

/// One call of every kind at least.
const TRAFFIC: Traffic =
    Traffic { agents: 40, calls: 20, duration: Duration::from_secs(60), seed: 5 };

#[tokio::test(flavor = "multi_thread")]
async fn every_eligible_call_is_heard_once_and_by_the_right_role() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let account = Account::with_agents(TRAFFIC.agents);
    let agents: Vec<String> =
        account.agents.iter().map(|agent| agent.extension_id.clone()).collect();
    let config = SimulatorConfig { rest_listen: any, sip_listen: any, account, seed: TRAFFIC.seed };
    let simulator = Simulator::start(config).await.unwrap();
    let downstream = Downstream::default();
    let address = serve(downstream.clone()).await;
    let config = support::config(&simulator, address, "", "")
        .replace(&format!("[\"{AGENT}\"]"), &format!("{agents:?}"));
    let gateway = Gateway::start(Config::from_toml(&config).unwrap()).await.unwrap();
    timeout(PATIENCE, simulator.registered()).await.expect("registered");

    let voices = [tone(CUSTOMER_HZ, 60), tone(AGENT_HZ, 60)];
    let report = simulator
        .run(&TRAFFIC, Codec::Pcmu, [&voices[0], &voices[1]])
        .await
        .expect("the traffic fits the account");
    gateway.shutdown().await;
    simulator.shutdown().await;

    for call in &report.calls {
        println!("{} {:?}", call.kind, call.legs);
    }
    assert!(report.is_good(), "{:#?}", report.kinds);
    assert_eq!(report.kinds.len(), CallKind::ALL.len(), "{:?}", report.kinds.keys());
    let mut streams: BTreeMap<String, Vec<Heard>> = BTreeMap::new();
    for heard in std::mem::take(&mut *downstream.parties.lock().unwrap()).into_values() {
        streams.entry(label(&heard).call_id.clone()).or_default().push(heard);
    }
    let events = std::mem::take(&mut *downstream.events.lock().unwrap());
    for call in &report.calls {
        let streams = streams.remove(&call.telephony_session_id).unwrap_or_default();
        assert_roles(call, &streams);
        assert_life(call, &events);
    }
    assert!(streams.is_empty(), "calls that nobody placed were heard: {:?}", streams.keys());
}

fn label(heard: &Heard) -> &PartyLabel {
    heard.start.party.as_ref().expect("every stream says whose it is")
}

/// Each voice is found under its role, and under no other.
fn assert_roles(call: &CallReport, streams: &[Heard]) {
    let mut roles = Vec::new();
    for heard in streams {
        let (customer, agent) = (heard.share(CUSTOMER_HZ), heard.share(AGENT_HZ));
        let role = label(heard).role();
        let is_right = match role {
            Role::Customer => customer > 0.3 && agent < 0.05,
            Role::Agent => agent > 0.3 && customer < 0.05,
            Role::Mixed => customer + agent > 0.3,
            _ => false,
        };
        assert!(is_right, "{}: {role:?} says customer {customer:.2}, agent {agent:.2}", call.kind);
        roles.push(role);
    }
    let is_heard = roles.contains(&Role::Mixed)
        || (roles.contains(&Role::Customer) && roles.contains(&Role::Agent));
    assert_eq!(is_heard, call.is_eligible, "{}: {roles:?}", call.kind);
    let is_plain = matches!(
        call.kind,
        CallKind::Inbound
            | CallKind::Queue
            | CallKind::Outbound
            | CallKind::Internal
            | CallKind::Hold
    );
    if is_plain {
        assert_eq!((streams.len(), call.answered().count()), (2, 2), "{}: {roles:?}", call.kind);
    }
}

/// A call that was listened to begins once and ends once.
fn assert_life(call: &CallReport, events: &[Event]) {
    let id = &call.telephony_session_id;
    let started = |event: &&Event| matches!(event, Event::CallStarted(it) if it.call_id == *id);
    let ended = |event: &&Event| matches!(event, Event::CallEnded(it) if it.call_id == *id);
    let lives = (events.iter().filter(started).count(), events.iter().filter(ended).count());
    let times = usize::from(call.is_eligible);
    assert_eq!(lives, (times, times), "{}: {:?}", call.kind, call.legs);
}
