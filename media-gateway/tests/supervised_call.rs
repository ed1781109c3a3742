//! Whole calls: the simulated cloud on one side, a listening transcriber and relay on the other.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use media_gateway::Gateway;
use media_gateway::config::Config;
use sidetone_proto::v1::Role;
use sidetone_proto::v1::caption_event::Event;
use simulator::{Audio, CallPlan, Codec, Shape, Simulator};
use support::{AGENT, Downstream, Heard, PATIENCE, serve, tone};

const CUSTOMER_HZ: f64 = 440.0;
const AGENT_HZ: f64 = 1100.0;

struct Setup {
    simulator: Simulator,
    gateway: Gateway,
    downstream: Downstream,
}

impl Setup {
    async fn start(transport: &str, supervise: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let simulator = support::simulator().await;
        let downstream = Downstream::default();
        let address = serve(downstream.clone()).await;
        let config =
            support::config(&simulator, address, &format!("transport = \"{transport}\""), "")
                .replace("agents", &format!("supervise = \"{supervise}\"\nagents"));
        let config = Config::from_toml(&config).unwrap();
        let gateway = Gateway::start(config).await.unwrap();
        tokio::time::timeout(PATIENCE, simulator.registered()).await.expect("registered");
        Self { simulator, gateway, downstream }
    }

    /// Plays one call to its end. Gives what each role sent, and the events.
    async fn play(&self, shape: Shape, codec: Codec) -> (BTreeMap<i32, Heard>, Vec<Event>) {
        let plan = CallPlan {
            shape,
            codec,
            ..CallPlan::new(AGENT, tone(CUSTOMER_HZ, 2), tone(AGENT_HZ, 2))
        };
        let call = self.simulator.place_call(plan).await.unwrap();
        tokio::time::timeout(PATIENCE, call.finished()).await.expect("the call finishes");
        tokio::time::timeout(PATIENCE, self.downstream.ended.notified()).await.expect("call ended");
        let parties = std::mem::take(&mut *self.downstream.parties.lock().unwrap());
        let events = std::mem::take(&mut *self.downstream.events.lock().unwrap());
        let events = support::but_consent(events);
        for heard in parties.values() {
            assert_eq!(heard.start.party.as_ref().unwrap().call_id, call.telephony_session_id());
        }
        let role = |heard: &Heard| heard.start.party.as_ref().unwrap().role;
        (parties.into_values().map(|heard| (role(&heard), heard)).collect(), events)
    }

    async fn stop(self) {
        self.gateway.shutdown().await;
        self.simulator.shutdown().await;
    }
}

fn assert_voice(heard: &Heard, frequency: f64, rate: u32) {
    assert_eq!(heard.start.sample_rate, rate);
    let seconds = heard.pcm.len() as f64 / f64::from(rate);
    assert!((1.8..3.5).contains(&seconds), "{seconds} s were heard");
    assert_eq!(heard.end, Some(heard.pcm.len() as u64));
    let (right, wrong) = (heard.share(frequency), heard.share(CUSTOMER_HZ + AGENT_HZ - frequency));
    assert!(right > 0.5 && wrong < 0.05, "{frequency} Hz: {right}, the other voice: {wrong}");
}

fn assert_life(events: &[Event], parties: usize) {
    match events {
        [Event::CallStarted(started), Event::CallEnded(ended)] => {
            assert_eq!(started.parties.len(), parties);
            assert_eq!(started.call_id, ended.call_id);
            assert!(started.started_unix_ms <= ended.ended_unix_ms);
        }
        other => panic!("unexpected events {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_party_is_heard_on_its_own_leg_over_tcp() {
    let setup = Setup::start("tcp", "party").await;
    for (codec, rate) in [(Codec::Opus, 16_000), (Codec::Pcmu, 8_000)] {
        let (heard, events) = setup.play(Shape::TwoLegs, codec).await;
        assert_voice(&heard[&Role::Agent.into()], AGENT_HZ, rate);
        assert_voice(&heard[&Role::Customer.into()], CUSTOMER_HZ, rate);
        assert_life(&events, 2);
    }
    assert_eq!(setup.gateway.refusals(), BTreeMap::new());
    setup.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_media_lines_and_mixed_legs_over_udp() {
    let setup = Setup::start("udp", "session").await;
    let (heard, events) = setup.play(Shape::TwoMedia, Codec::Opus).await;
    assert_voice(&heard[&Role::Agent.into()], AGENT_HZ, 16_000);
    assert_voice(&heard[&Role::Customer.into()], CUSTOMER_HZ, 16_000);
    assert_life(&events, 2);

    let (heard, events) = setup.play(Shape::Mixed, Codec::Pcmu).await;
    let mixed = &heard[&Role::Mixed.into()];
    assert!(mixed.share(AGENT_HZ) > 0.2 && mixed.share(CUSTOMER_HZ) > 0.2);
    assert_eq!(heard.len(), 1);
    assert_life(&events, 1);
    setup.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_ends_the_legs_of_a_running_call() {
    let setup = Setup::start("tcp", "party").await;
    let plan = CallPlan {
        codec: Codec::Pcmu,
        ..CallPlan::new(
            AGENT,
            Audio::silence(Duration::from_secs(600)),
            Audio::silence(Duration::from_secs(600)),
        )
    };
    setup.simulator.place_call(plan).await.unwrap();
    let mut started = setup.downstream.started.subscribe();
    let both = started.wait_for(|count| *count == 2);
    tokio::time::timeout(PATIENCE, both).await.expect("both parties are heard").unwrap();
    let Setup { simulator, gateway, downstream } = setup;
    gateway.shutdown().await;
    assert!(downstream.parties.lock().unwrap().values().all(|heard| heard.end.is_some()));
    let events = downstream.events.lock().unwrap().clone();
    assert_life(&support::but_consent(events), 2);
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_at_once_are_heard_whole() {
    const CALLS: usize = 5;
    let setup = Setup::start("udp", "party").await;
    let mut load = setup.simulator.load(AGENT, Codec::Pcmu, &tone(CUSTOMER_HZ, 2)).unwrap();
    for _ in 0..CALLS {
        load.add_call().unwrap();
    }
    let mut started = setup.downstream.started.subscribe();
    let all = started.wait_for(|count| *count == 2 * CALLS);
    tokio::time::timeout(PATIENCE, all).await.expect("all parties are heard").unwrap();
    assert_eq!(load.streams(), 2 * CALLS as u64);
    load.mute();
    let mut heard_out = setup.downstream.heard_out.subscribe();
    let packets = load.finish().await;
    let all = heard_out.wait_for(|count| *count == 2 * CALLS);
    tokio::time::timeout(PATIENCE, all).await.expect("all parties are heard out").unwrap();
    let parties = std::mem::take(&mut *setup.downstream.parties.lock().unwrap());
    let samples: usize = parties.values().map(|heard| heard.pcm.len()).sum();
    // One packet of each may have been under way when its leg ended.
    let missing = packets as usize - samples / 160;
    assert!(missing <= 2 * CALLS, "{missing} of {packets} packets are missing");
    for heard in parties.values() {
        assert_eq!(heard.end, Some(heard.pcm.len() as u64));
    }
    setup.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_answers_but_no_leg() {
    let setup = Setup::start("tcp", "party").await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(setup.gateway.sip_address()).await.unwrap();
    let request = |method: &str, extra: &str| {
        format!(
            "{method} sip:x@y SIP/2.0\r\nVia: SIP/2.0/UDP h;rport;branch=z9hG4bK{method}\r\n\
             From: <sip:a@b>;tag=1\r\nTo: <sip:x@y>\r\nCall-ID: c-{method}\r\nCSeq: 7 {method}\r\n\
             Contact: <sip:a@b>\r\n{extra}Content-Length: 0\r\n\r\n"
        )
    };
    socket.send(b"\xff\x00 not sip").await.unwrap();
    for (request, status) in [
        (request("OPTIONS", ""), "SIP/2.0 200"),
        (request("INVITE", "Alert-Info: Auto Answer\r\n"), "SIP/2.0 403"),
    ] {
        socket.send(request.as_bytes()).await.unwrap();
        let mut buffer = [0; 2048];
        let answer = loop {
            let len =
                tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.unwrap().unwrap();
            let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
            if !text.starts_with("SIP/2.0 100") {
                break text;
            }
        };
        assert!(answer.starts_with(status), "{answer}");
    }
    assert_eq!(setup.gateway.refusals().get("forbidden"), Some(&1));
    assert_eq!(setup.gateway.refusals().get("not_sip"), Some(&1));
    setup.stop().await;
}

#[tokio::test]
async fn a_port_in_use_says_what_to_do() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let taken = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let config = Config::from_toml(&format!(
        "[ringcentral]\nserver = \"http://127.0.0.1:9\"\nclient_id = \"a\"\nclient_secret = \"b\"\n\
         jwt = \"c\"\nsupervisor_device_id = \"1\"\nagents = [\"2\"]\n[sip]\nlisten = \"{address}\"\n\
         [uplink]\ntranscriber = \"http://127.0.0.1:9\"\nrelay = \"http://127.0.0.1:9\"\n"
    ))
    .unwrap();
    let error = Gateway::start(config).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("[sip] listen"), "{error}");
}
