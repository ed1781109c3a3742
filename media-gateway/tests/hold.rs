//! A call that is put on hold and taken off it: what is said before and after is heard, the music is not, and whoever looks
//! at the call is told.

mod support;

use media_gateway::Gateway;
use media_gateway::config::Config;
use sidetone_proto::v1::Status;
use sidetone_proto::v1::caption_event::Event;
use simulator::{CallKind, CallPlan, Codec, Simulator, Variant};
use support::{AGENT, Downstream, Heard, PATIENCE, serve, voice};
use tokio::time::timeout;

/// How long the parties talk. A call that is held is held for a sixth of it, after a third.
const TALK_SECONDS: u32 = 12;
const BEFORE_MS: u64 = 4_000;
const HOLD_MS: u64 = 2_000;

/// How exactly times are told: the news of a hold, and the voice's way to where it is measured.
const TOLERANCE_MS: u64 = 300;

/// Plays a call of a kind. Gives what each party said, and what was told of the call.
async fn play(
    simulator: &Simulator,
    downstream: &Downstream,
    plan: CallPlan,
) -> (Vec<Heard>, Vec<Status>) {
    let call = simulator.place_call(plan).await.unwrap();
    timeout(PATIENCE, call.report()).await.expect("the call finishes").unwrap();
    timeout(PATIENCE, downstream.ended.notified()).await.expect("call ended");
    let parties = std::mem::take(&mut *downstream.parties.lock().unwrap());
    let events = std::mem::take(&mut *downstream.events.lock().unwrap());
    let told = events.into_iter().filter_map(|event| match event {
        Event::Status(status) => Some(status),
        Event::Gap(gap) => panic!("a hold is no gap: {gap:?}"),
        _ => None,
    });
    (parties.into_values().collect(), told.collect())
}

async fn start(transport: &str) -> (Simulator, Gateway, Downstream) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let simulator = support::simulator().await;
    let downstream = Downstream::default();
    let address = serve(downstream.clone()).await;
    let sip = format!("transport = \"{transport}\"");
    let config = support::config(&simulator, address, &sip, "");
    let gateway = Gateway::start(Config::from_toml(&config).unwrap()).await.unwrap();
    timeout(PATIENCE, simulator.registered()).await.expect("registered");
    (simulator, gateway, downstream)
}

fn plan() -> CallPlan {
    let (customer, agent) = (voice(440.0, 0.9, TALK_SECONDS), voice(1100.0, 2.7, TALK_SECONDS));
    CallPlan::new(AGENT, customer, agent)
}

fn is_near(is: u64, should: u64) -> bool {
    is.abs_diff(should) <= TOLERANCE_MS
}

/// The call went on hold once, everybody in it, and came back.
fn assert_told(told: &[Status], party_ids: &[String]) {
    let whole: Vec<bool> = told.iter().map(|status| status.is_on_hold).collect();
    let changes: Vec<bool> = whole.iter().copied().fold(Vec::new(), |mut changes, is_on_hold| {
        if changes.last() != Some(&is_on_hold) {
            changes.push(is_on_hold);
        }
        changes
    });
    assert!(matches!(changes[..], [true, false] | [false, true, false]), "{told:?}");
    let held = told.iter().find(|status| status.is_on_hold).unwrap();
    assert_eq!(held.parties_on_hold, party_ids, "{told:?}");
    assert!(told.last().unwrap().parties_on_hold.is_empty(), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ringcentral_puts_a_call_on_hold_and_its_music_is_not_transcribed() {
    let (simulator, gateway, downstream) = start("tcp").await;
    for codec in [Codec::Opus, Codec::Pcmu] {
        let plan = CallPlan { kind: CallKind::Hold, codec, ..plan() };
        let (parties, told) = play(&simulator, &downstream, plan).await;
        assert_eq!(parties.len(), 2);
        for heard in &parties {
            let loud = heard.loud();
            let [(_, before), (after, end)] = loud[..] else {
                panic!("{codec:?}: the voice comes twice, and no music between: {loud:?}")
            };
            assert!(is_near(before, BEFORE_MS), "{codec:?}: {loud:?}");
            assert!(is_near(after, BEFORE_MS + HOLD_MS), "{codec:?}: {loud:?}");
            let whole = u64::from(TALK_SECONDS) * 1000 + HOLD_MS;
            assert!(is_near(end, whole), "{codec:?}: {loud:?}");
            assert_eq!(heard.lost, 0, "{codec:?}");
        }
        let mut ids: Vec<String> =
            parties.iter().map(|heard| heard.start.party.clone().unwrap().party_id).collect();
        ids.sort();
        assert_told(&told, &ids);
    }
    gateway.shutdown().await;
    simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_far_side_holds_by_reinvite_and_resumes() {
    let (simulator, gateway, downstream) = start("udp").await;
    let plan = CallPlan { variant: Variant::HoldAndRefresh, codec: Codec::Pcmu, ..plan() };
    let (parties, told) = play(&simulator, &downstream, plan).await;
    assert_eq!(parties.len(), 2);
    for heard in &parties {
        let loud = heard.loud();
        let [(_, before), (after, end)] = loud[..] else { panic!("{loud:?}") };
        assert!(is_near(after - before, HOLD_MS), "{loud:?}");
        assert!(is_near(end, u64::from(TALK_SECONDS) * 1000 + HOLD_MS), "{loud:?}");
        assert_eq!(heard.lost, 0);
    }
    let mut ids: Vec<String> =
        parties.iter().map(|heard| heard.start.party.clone().unwrap().party_id).collect();
    ids.sort();
    assert_told(&told, &ids);
    gateway.shutdown().await;
    simulator.shutdown().await;
}
