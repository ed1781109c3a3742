//! The calls of a contact centre against the control plane, in virtual time: ten minutes in a fraction of a second, with
//! everything going wrong that may go wrong on the way, from a seed.

mod chaos;
mod theatre;

use std::time::Duration;

use chaos::Chaos;
use sidetone_proto::Role;
use simulator::{CallKind, Hears, Traffic};
use theatre::{Played, play};

fn traffic(seed: u64) -> Traffic {
    Traffic { agents: 20, calls: 50, duration: Duration::from_secs(600), seed }
}

/// What has to be true whatever happened.
fn check(played: &Played, what: &str) {
    for call in &played.calls {
        let about = format!("{what}: {} {:?}", call.kind, call);
        let is_heard = !call.heard.is_zero();
        assert_eq!(
            is_heard, call.is_eligible,
            "heard though nobody talked, or not at all: {about}"
        );
        assert!(!call.was_heard_twice, "heard twice: {about}");
        assert_eq!(call.ghosts, 0, "a supervisor's party is left behind: {about}");
        for (party, hears) in &call.legs {
            let role = played.roles.get(party).unwrap_or_else(|| panic!("{party} of {about}"));
            // Between two agents either may count as the agent, as long as the other one does not.
            let is_right = match (hears, role) {
                (Hears::Everyone, Role::Mixed) => true,
                (Hears::Agent, Role::Agent) | (Hears::Customer, Role::Customer) => true,
                (Hears::Agent | Hears::Customer, Role::Agent | Role::Customer) => {
                    call.kind == CallKind::Internal
                }
                _ => false,
            };
            assert!(is_right, "{hears:?} is called {role:?}: {about}");
        }
        let is_released = played.released.contains(&call.telephony_session_id);
        assert!(is_released || !call.is_eligible, "the transcript does not end: {about}");
    }
    assert_eq!(played.followed, 0, "{what}: calls are followed that are over");
    assert_eq!(played.legs, 0, "{what}: legs are left");
}

/// The share of the time in which people talked that somebody listened, of all calls together.
fn share_heard(played: &Played) -> f64 {
    let sum = |of: fn(&simulator::RehearsedCall) -> Duration| -> Duration {
        played.calls.iter().filter(|call| call.is_eligible).map(of).sum()
    };
    sum(|call| call.heard).as_secs_f64() / sum(|call| call.talked).as_secs_f64()
}

#[test]
fn on_a_good_day_every_call_is_heard_from_its_beginning() {
    for seed in 0..20 {
        let played = play(&traffic(seed), Chaos::none());
        check(&played, &format!("seed {seed}"));
        let share = share_heard(&played);
        assert!(share > 0.95, "seed {seed}: {share:.3} heard");
        // One leg for each voice, and one more of each after a transfer or a pick-up.
        for call in played.calls.iter().filter(|call| call.is_eligible) {
            let is_plain = matches!(
                call.kind,
                CallKind::Inbound | CallKind::Queue | CallKind::Outbound | CallKind::Internal
            );
            assert!(!is_plain || call.legs.len() == 2, "seed {seed}: {call:?}");
        }
    }
}

#[test]
fn whatever_happens_to_events_answers_and_invites_every_call_is_heard_once() {
    for seed in 0..60 {
        let played = play(&traffic(seed), Chaos::seeded(seed));
        check(&played, &format!("seed {seed}"));
        let share = share_heard(&played);
        assert!(share > 0.7, "seed {seed}: {share:.3} heard");
    }
}

#[test]
fn a_seed_plays_the_same_every_time() {
    let [one, other] = [0, 0].map(|_| play(&traffic(11), Chaos::seeded(11)));
    assert_eq!(one, other);
    assert_ne!(one, play(&traffic(11), Chaos::seeded(12)));
}
