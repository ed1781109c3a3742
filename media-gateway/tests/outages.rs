//! The notifications, the REST side, the SIP side or the gateway itself go away in mid-call and come back: calls under way
//! are heard again, and what nobody heard is an event. How soon is asserted in virtual time, where no other program
//! disturbs it; here it is printed.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use media_gateway::Gateway;
use media_gateway::config::Config;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::{Gap, GapReason};
use simulator::{Call, CallPlan, Codec, Cut, Simulator, Start};
use support::{AGENT, Downstream, PATIENCE, serve, tone};
use tokio::time::{Instant, sleep, timeout};

/// How long nobody starts the gateway again.
const DOWNTIME: Duration = Duration::from_secs(1);

/// How long REST is away.
const OUTAGE: Duration = Duration::from_secs(4);

struct Setup {
    simulator: Simulator,
    downstream: Downstream,
    config: String,
    folder: tempfile::TempDir,
}

impl Setup {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let simulator = support::simulator().await;
        let downstream = Downstream::default();
        let address = serve(downstream.clone()).await;
        let folder = tempfile::tempdir().unwrap();
        let state = format!("state_directory = {:?}", folder.path().join("state"));
        let config = support::config(&simulator, address, &state, "")
            .replace("poll_interval_ms = 200", "poll_interval_ms = 2000");
        Self { simulator, downstream, config, folder }
    }

    async fn gateway(&self) -> Gateway {
        let gateway = Gateway::start(Config::from_toml(&self.config).unwrap()).await.unwrap();
        timeout(PATIENCE, self.simulator.registered()).await.expect("registered");
        gateway
    }

    /// People begin to talk, and both are heard.
    async fn call(&self) -> Call {
        let before = *self.downstream.started.borrow();
        let call = self.place().await;
        self.streams(before + 2).await;
        call
    }

    async fn place(&self) -> Call {
        let plan = CallPlan {
            start: Start::AtOnce,
            codec: Codec::Pcmu,
            ..CallPlan::new(AGENT, tone(440.0, 120), tone(1100.0, 120))
        };
        self.simulator.place_call(plan).await.unwrap()
    }

    /// Waits until so many streams of audio have begun in all.
    async fn streams(&self, count: usize) {
        let mut started = self.downstream.started.subscribe();
        let enough = started.wait_for(|started| *started >= count);
        timeout(PATIENCE, enough).await.expect("heard").unwrap();
    }

    /// Waits until audio has come for a while from now on.
    async fn audio(&self) {
        let mut messages = self.downstream.messages.subscribe();
        let now = *messages.borrow();
        let enough = messages.wait_for(|messages| *messages >= now + 40);
        timeout(PATIENCE, enough).await.expect("audio").unwrap();
    }

    /// Waits until the relay has been told that these many parties were not heard for a while.
    async fn interruptions(&self, count: usize) -> Vec<Gap> {
        let told = async {
            loop {
                let gaps = self.gaps();
                if gaps.len() >= count {
                    return gaps;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, told).await.expect("the gaps are told")
    }

    fn gaps(&self) -> Vec<Gap> {
        let events = self.downstream.events.lock().unwrap();
        let gap = |event: &Event| match event {
            Event::Gap(gap) => Some(gap.clone()),
            _ => None,
        };
        events.iter().filter_map(gap).collect()
    }
}

/// Both parties of the call were not heard for this long at least.
fn assert_interrupted(call: &Call, gaps: &[Gap], at_least: Duration) {
    let parties: BTreeSet<&str> =
        gaps.iter().filter_map(|gap| gap.party.as_ref()).map(|it| it.party_id.as_str()).collect();
    assert_eq!(parties.len(), 2, "{gaps:?}");
    for gap in gaps {
        assert_eq!(gap.reason(), GapReason::SupervisionInterrupted);
        assert_eq!(gap.party.as_ref().unwrap().call_id, call.telephony_session_id());
        let missing = Duration::from_millis(gap.end_ms - gap.start_ms);
        assert!(missing >= at_least, "{gap:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_heard_while_notifications_are_lost_recovered_and_made_anew() {
    let setup = Setup::start().await;
    let gateway = setup.gateway().await;
    let controls = setup.simulator.controls();
    setup.call().await;
    // The connection is recovered; then it can't be, and is made anew.
    for is_forgotten in [false, true] {
        if is_forgotten {
            controls.set_recovery_timeout(Duration::ZERO);
        }
        controls.cut_notifications(Cut::Abrupt);
        let lost = Instant::now();
        setup.call().await;
        println!("forgotten: {is_forgotten}, heard {:?} after the loss", lost.elapsed());
    }
    setup.audio().await;
    assert_eq!(setup.gaps(), [], "calls under way lose nothing");
    gateway.shutdown().await;
    setup.simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_whose_legs_end_while_rest_is_down_are_heard_again_and_so_are_new_ones() {
    let setup = Setup::start().await;
    let gateway = setup.gateway().await;
    let call = setup.call().await;
    setup.audio().await;
    setup.simulator.controls().set_unavailable(OUTAGE);
    let back = Instant::now() + OUTAGE;
    call.drop_legs().await;
    let other = setup.place().await;
    setup.streams(6).await;
    println!("heard {:?} after the return of rest", back.elapsed());
    assert_interrupted(&call, &setup.interruptions(2).await, OUTAGE / 2);
    for call in [&call, &other] {
        call.hang_up().await;
        let report = timeout(PATIENCE, call.report()).await.unwrap().unwrap();
        assert!(report.is_heard() && !report.was_heard_twice, "{report:?}");
        assert_eq!((report.ghosts, report.was_deleted), (0, false));
    }
    gateway.shutdown().await;
    setup.simulator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sip_side_that_comes_back_finds_the_calls_still_heard_and_brings_new_ones() {
    let setup = Setup::start().await;
    let gateway = setup.gateway().await;
    let call = setup.call().await;
    let controls = setup.simulator.controls();
    controls.set_sip_reachable(false).await;
    let other = setup.place().await;
    // Media need no signalling.
    setup.audio().await;
    controls.set_sip_reachable(true).await;
    let back = Instant::now();
    setup.streams(4).await;
    println!("heard {:?} after the return of sip", back.elapsed());
    setup.audio().await;
    // The first call's legs were brought over: it was heard all the while, and ends as it should.
    assert_eq!(setup.gaps(), []);
    for call in [&call, &other] {
        call.hang_up().await;
        let report = timeout(PATIENCE, call.report()).await.unwrap().unwrap();
        assert!(report.is_heard() && !report.was_heard_twice, "{report:?}");
        assert_eq!((report.answered().count(), report.ghosts), (2, 0), "{report:?}");
    }
    gateway.shutdown().await;
    setup.simulator.shutdown().await;
}

/// A gateway in a process of its own.
struct Process(Child);

impl Process {
    fn start(folder: &Path, config: &str) -> Self {
        let path = folder.join("gateway.toml");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_media-gateway"));
        Self(command.arg("--config").arg(path).spawn().unwrap())
    }

    /// SIGKILL: nothing is said to anybody.
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_killed_joins_the_call_again_and_tells_what_it_missed() {
    let setup = Setup::start().await;
    let mut gateway = Process::start(setup.folder.path(), &setup.config);
    timeout(PATIENCE, setup.simulator.registered()).await.expect("registered");
    let call = setup.call().await;
    let journal = setup.folder.path().join("state/heard.json");
    let is_noted = || {
        let noted = std::fs::read_to_string(&journal).unwrap_or_default();
        noted.contains(call.telephony_session_id()) && noted.contains("customer")
    };
    while !is_noted() {
        setup.audio().await;
    }
    gateway.kill();
    sleep(DOWNTIME).await;
    let mut gateway = Process::start(setup.folder.path(), &setup.config);
    let back = Instant::now();
    setup.streams(4).await;
    println!("heard {:?} after the new start", back.elapsed());
    assert_interrupted(&call, &setup.interruptions(2).await, DOWNTIME);
    call.hang_up().await;
    let report = timeout(PATIENCE, call.report()).await.unwrap().unwrap();
    assert!(report.is_heard(), "{report:?}");
    assert_eq!((report.ghosts, report.was_deleted), (0, false), "{report:?}");
    gateway.kill();
    setup.simulator.shutdown().await;
}
