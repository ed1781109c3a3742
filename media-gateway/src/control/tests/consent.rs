//! What a call does about consent, and what the relay is told of it.

use sidetone_proto::CallId;
use sidetone_proto::v1::{ConsentSource as By, ConsentState as Told};

use super::cloud::{AGENT, CALL, Cloud};
use crate::config::Supervise;
use crate::control::consent::{Policies, Policy, Source, State};
use crate::control::{ControlError, LegNews, Stage};

fn call() -> CallId {
    CallId::new(CALL)
}

#[test]
fn audio_is_kept_back_until_somebody_consents() {
    let policies = Policies { policy: Policy::Required, ..Policies::default() };
    let mut cloud = Cloud::with(Supervise::Party, policies);
    cloud.talk();
    assert!(cloud.requests.iter().all(|(request, _)| request.is_withheld));
    assert!(cloud.withheld.iter().all(|withheld| *withheld), "{:?}", cloud.withheld);
    assert!(cloud.view().is_withheld);
    cloud.board.consent(cloud.now, &call(), State::Announced).unwrap();
    cloud.act();
    assert_eq!((cloud.withheld.last(), cloud.view().is_withheld), (Some(&false), false));
    cloud.board.consent(cloud.now, &call(), State::Refused).unwrap();
    cloud.act();
    assert_eq!((cloud.stage(), cloud.heard()), (Stage::ConsentRefused, vec![]));
    assert_eq!(cloud.view().consent, State::Refused);
    cloud.board.supervise(cloud.now, &call(), AGENT.to_owned()).unwrap();
    cloud.seconds(60);
    assert_eq!((cloud.heard(), cloud.count("supervise")), (vec![], 2));
}

#[test]
fn without_a_policy_nothing_is_kept_back() {
    let mut cloud = Cloud::new();
    cloud.talk();
    assert!(cloud.requests.iter().all(|(request, _)| !request.is_withheld));
    assert_eq!(cloud.withheld, Vec::<bool>::new());
}

#[test]
fn the_relay_is_told_of_consent_and_of_every_change_once() {
    let policies = Policies { policy: Policy::Required, ..Policies::default() };
    let mut cloud = Cloud::with(Supervise::Party, policies);
    cloud.talk();
    cloud.act();
    let told = |cloud: &Cloud| -> Vec<(Told, By)> {
        cloud.notices.iter().map(|notice| (notice.state, notice.source)).collect()
    };
    assert_eq!(told(&cloud), [(Told::Awaited, By::Policy)]);
    for _ in 0..2 {
        let (state, source) = (State::Granted, Source::Key);
        cloud.board.handle_leg(cloud.now, LegNews::Consent { call: call(), state, source });
        cloud.act();
    }
    assert_eq!(told(&cloud)[1..], [(Told::Granted, By::Key)]);
    assert_eq!((cloud.view().consent, cloud.view().consent_source), (State::Granted, Source::Key));
    let (state, source) = (State::Refused, Source::Phrase);
    cloud.board.handle_leg(cloud.now, LegNews::Consent { call: call(), state, source });
    cloud.act();
    assert_eq!(told(&cloud)[2..], [(Told::Refused, By::Phrase)]);
    assert_eq!((cloud.stage(), cloud.heard()), (Stage::ConsentRefused, vec![]));
}

#[test]
fn of_a_call_that_was_never_joined_only_a_refusal_is_told() {
    let mut cloud = Cloud::new();
    cloud.sends_invites = false;
    cloud.talk();
    cloud.act();
    cloud.board.consent(cloud.now, &call(), State::Announced).unwrap();
    cloud.act();
    assert_eq!(cloud.notices, []);
    cloud.board.consent(cloud.now, &call(), State::Refused).unwrap();
    cloud.act();
    assert_eq!(cloud.notices.len(), 1);
}

#[test]
fn a_refusal_counts_when_the_call_is_over() {
    let mut cloud = Cloud::new();
    let (now, over) = (cloud.now, CallId::new("s-over"));
    let unknown = ControlError::UnknownCall(over.clone());
    assert_eq!(cloud.board.consent(now, &over, State::Granted), Err(unknown));
    assert_eq!(cloud.board.consent(now, &over, State::Refused), Ok(()));
    cloud.act();
    assert_eq!(cloud.notices.len(), 1);
}
