//! Every way in which RingCentral's SIP side has been seen to behave, played by the simulator: what the gateway makes of it.

mod support;

use std::collections::BTreeMap;

use media_gateway::Gateway;
use media_gateway::config::Config;
use sidetone_proto::v1::Role;
use simulator::{CallPlan, CallReport, Hears, LegReport, Outcome, Simulator, Variant};
use support::{AGENT, Downstream, Heard, PATIENCE, serve, voice};
use tokio::time::timeout;

const CUSTOMER_HZ: f64 = 440.0;
const AGENT_HZ: f64 = 1100.0;
/// How long the parties talk.
const TALK_SECONDS: u32 = 2;

struct Setup {
    simulator: Simulator,
    gateway: Gateway,
    downstream: Downstream,
    _folder: tempfile::TempDir,
}

/// What became of a call on both sides of the gateway.
struct Played {
    /// How long the parties talked.
    seconds: u32,
    report: CallReport,
    heard: BTreeMap<Role, Heard>,
}

impl Setup {
    /// A gateway that is registered over a transport, and supervises by `party` or by `session`.
    async fn start(transport: &str, supervise: &str) -> Self {
        Self::start_with(transport, supervise, "agents").await
    }

    async fn start_with(transport: &str, supervise: &str, notifications: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let simulator = support::simulator().await;
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, simulator.authority_pem()).unwrap();
        let mut sip = format!("transport = \"{transport}\"");
        if transport == "tls" {
            sip.push_str(&format!("\ntls_ca_file = {ca_file:?}"));
        }
        let downstream = Downstream::default();
        let address = serve(downstream.clone()).await;
        let config = support::config(&simulator, address, &sip, "").replace(
            "agents",
            &format!("supervise = \"{supervise}\"\nnotifications = \"{notifications}\"\nagents"),
        );
        let gateway = Gateway::start(Config::from_toml(&config).unwrap()).await.unwrap();
        timeout(PATIENCE, simulator.registered()).await.expect("registered");
        Self { simulator, gateway, downstream, _folder: folder }
    }

    /// Plays one call to its end on both sides.
    async fn play(self, variant: Variant) -> Played {
        self.play_until(variant, TALK_SECONDS, async {}).await
    }

    /// The same with parties that talk for some seconds, and waits for something before everything is shut down.
    async fn play_until(
        self,
        variant: Variant,
        seconds: u32,
        over: impl Future<Output = ()>,
    ) -> Played {
        let (customer, agent) = (voice(CUSTOMER_HZ, 0.9, seconds), voice(AGENT_HZ, 2.7, seconds));
        let plan = CallPlan { variant, ..CallPlan::new(AGENT, customer, agent) };
        let call = self.simulator.place_call(plan).await.unwrap();
        let report = timeout(PATIENCE, call.report()).await.expect("the call finishes").unwrap();
        timeout(PATIENCE, self.downstream.ended.notified()).await.expect("call ended");
        over.await;
        let parties = std::mem::take(&mut *self.downstream.parties.lock().unwrap());
        let role = |heard: &Heard| heard.start.party.as_ref().unwrap().role();
        let heard = parties.into_values().map(|heard| (role(&heard), heard)).collect();
        self.gateway.shutdown().await;
        self.simulator.shutdown().await;
        Played { seconds, report, heard }
    }
}

impl Played {
    /// Fails unless this role was heard whole, and with its own voice.
    fn assert_heard(&self, role: Role) {
        let (right, wrong) = match role {
            Role::Customer => (CUSTOMER_HZ, AGENT_HZ),
            _ => (AGENT_HZ, CUSTOMER_HZ),
        };
        let heard = self.heard.get(&role).unwrap_or_else(|| panic!("{role:?} was not heard"));
        assert_eq!(heard.end, Some(heard.pcm.len() as u64), "{role:?}");
        let is_loud = |window: &&[i16]| window.iter().any(|sample| sample.unsigned_abs() > 2000);
        let loud = heard.pcm.chunks(160).filter(is_loud).count() * 160;
        let seconds = loud as f64 / f64::from(heard.start.sample_rate);
        assert!((seconds - f64::from(self.seconds)).abs() < 0.2, "{role:?}: {seconds} s");
        assert!(heard.share(right) > 10.0 * heard.share(wrong), "{role:?} has the other's voice");
    }

    fn assert_both_heard(&self) {
        self.assert_heard(Role::Customer);
        self.assert_heard(Role::Agent);
        assert_eq!(self.heard.len(), 2);
        assert!(self.report.is_heard());
        assert_eq!(self.report.ghosts, 0);
    }

    /// What became of the legs, in the order of their INVITEs.
    fn outcomes(&self) -> Vec<(Hears, Outcome)> {
        self.report.legs.iter().map(|leg| (leg.hears, leg.outcome)).collect()
    }
}

const BOTH_LEGS: [(Hears, Outcome); 2] =
    [(Hears::Agent, Outcome::Answered), (Hears::Customer, Outcome::Answered)];

/// Plays a variant in which both parties are to be heard on a leg of their own.
async fn both_are_heard(variant: Variant, transport: &str) -> Played {
    let played = Setup::start(transport, "party").await.play(variant).await;
    played.assert_both_heard();
    assert_eq!(played.outcomes(), BOTH_LEGS);
    played
}

/// Plays a variant in which one leg carries a line for each party.
async fn both_are_heard_on_one_leg(variant: Variant, transport: &str) {
    let played = Setup::start(transport, "session").await.play(variant).await;
    played.assert_both_heard();
    assert_eq!(played.outcomes(), [(Hears::Everyone, Outcome::Answered)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_before_the_answer_to_its_request() {
    both_are_heard(Variant::InviteBeforeReply, "tls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_after_the_answer_to_its_request() {
    both_are_heard(Variant::InviteAfterReply, "tls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_in_another_order_with_spaces() {
    both_are_heard(Variant::ReorderedIds, "tls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_media_lines_in_the_clear() {
    both_are_heard_on_one_leg(Variant::TwoMedia, "tcp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_media_lines_with_a_key_for_each() {
    both_are_heard_on_one_leg(Variant::TwoMediaSrtp, "tls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_without_an_offer_in_the_clear_and_with_keys() {
    both_are_heard(Variant::LateOffer, "tcp").await;
    both_are_heard(Variant::LateOffer, "tls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_spelled_differently() {
    both_are_heard(Variant::OddHeaders, "tcp").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_and_resume_by_reinvite_and_a_refresh_by_update() {
    both_are_heard(Variant::HoldAndRefresh, "tls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_that_is_taken_back() {
    let played = Setup::start("tls", "party").await.play(Variant::Cancelled).await;
    let first = &played.report.legs[0];
    assert_eq!(first.outcome, Outcome::Cancelled);
    assert_eq!((first.packets_sent, first.packets_received), (0, 0));
    // The other one is answered as if nothing had been.
    played.assert_heard(Role::Customer);
    assert_eq!(played.report.ghosts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_acks() {
    both_are_heard(Variant::LostAck, "udp").await;
    both_are_heard(Variant::LostAck, "tls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_across_segments() {
    both_are_heard(Variant::Segmented, "tcp").await;
    both_are_heard(Variant::Segmented, "tls").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_ssrc_and_a_wrapped_sequence_number() {
    both_are_heard(Variant::SsrcChange, "tcp").await;
    both_are_heard(Variant::SsrcChange, "tls").await;
}

/// The gateway registers over another connection, and takes its legs there with re-INVITEs. RTP was not cut, and no
/// sample is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_closed_in_mid_call() {
    for transport in ["tcp", "tls"] {
        let setup = Setup::start(transport, "party").await;
        let played = setup.play_until(Variant::ConnectionDrop, 12, async {}).await;
        played.assert_both_heard();
        assert_eq!(played.outcomes(), BOTH_LEGS);
        for heard in played.heard.values() {
            let loud = heard.loud();
            let [(from, to)] = loud[..] else {
                panic!("{transport}: the voice broke off: {loud:?}")
            };
            assert!(
                (to - from).abs_diff(u64::from(played.seconds) * 1000) <= 60,
                "{transport}: {loud:?}"
            );
            assert_eq!(heard.lost, 0, "{transport}");
        }
        assert_eq!(played.report.legs.iter().map(|leg| leg.moves).collect::<Vec<_>>(), [1, 1]);
    }
}

/// The connection stays cut until after the call, so that no BYE comes: what RingCentral says of the session ends the
/// legs, whether it tells or is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_bye_that_gets_lost_with_the_connection() {
    for (transport, notifications) in [("tcp", "agents"), ("tls", "off")] {
        let setup = Setup::start_with(transport, "party", notifications).await;
        let control = setup.gateway.control();
        let played = setup.play_until(Variant::LostBye, TALK_SECONDS, async move {
            let is_over = async {
                while !control.calls().await.unwrap().is_empty() {
                    tokio::task::yield_now().await;
                }
            };
            timeout(PATIENCE, is_over).await.expect("nothing is left of the call");
        });
        let played = played.await;
        played.assert_both_heard();
        assert_eq!(played.outcomes(), BOTH_LEGS, "{transport}");
        assert!(played.report.legs.iter().all(|leg| leg.moves == 0), "{transport}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_call_is_left_alone() {
    let played = Setup::start("tls", "party").await.play(Variant::OrdinaryCall).await;
    played.assert_both_heard();
    let (ordinary, supervised): (Vec<&LegReport>, Vec<&LegReport>) =
        played.report.legs.iter().partition(|leg| leg.hears == Hears::Nobody);
    assert_eq!(supervised.len(), 2);
    // It rings until the caller gives up.
    assert_eq!(ordinary.len(), 1);
    assert_eq!(ordinary[0].outcome, Outcome::Cancelled);
    assert_eq!(ordinary[0].packets_received, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_party_is_removed_and_the_call_heard() {
    let played = Setup::start("tls", "party").await.play(Variant::StuckParty).await;
    played.assert_both_heard();
    // The other party is heard while the stuck one is seen to.
    let outcomes = played.outcomes();
    assert!(outcomes.len() == 2 && BOTH_LEGS.iter().all(|leg| outcomes.contains(leg)));
}
