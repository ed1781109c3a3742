//! One rule, one test.

use std::time::Duration;

use sidetone_proto::{CallId, Role};

use super::cloud::{AGENT, CALL, Cloud, Ear, OTHER_AGENT, OWNER};
use crate::config::Supervise;
use crate::control::consent::Policies;
use crate::control::{ControlError, LegNews, Stage};
use crate::ringcentral::{Advice, Notification};

fn both() -> Vec<(String, Role)> {
    vec![("p-1-2".to_owned(), Role::Agent), ("p-1-1".to_owned(), Role::Customer)]
}

fn mixed() -> Vec<(String, Role)> {
    vec![("session".to_owned(), Role::Mixed)]
}

fn call() -> CallId {
    CallId::new(CALL)
}

#[test]
fn both_parties_are_heard_once_the_agent_and_the_customer_have_answered() {
    let mut cloud = Cloud::new();
    cloud.set(1, None, "Answered");
    cloud.change(2, Some(AGENT), "Proceeding");
    assert_eq!((cloud.stage(), cloud.count("look")), (Stage::Ringing, 0));
    cloud.change(2, Some(AGENT), "Answered");
    assert_eq!((cloud.heard(), cloud.stage()), (both(), Stage::Listening));
    assert_eq!(cloud.count("supervise"), 2);
    let view = cloud.view();
    assert_eq!(view.agent.as_deref(), Some(AGENT));
    assert!(view.parties.iter().all(|party| party.is_heard && party.status == "Answered"));
    assert!(view.parties.iter().all(|party| party.role != Role::Mixed));
    assert!(serde_json::to_value(&view).unwrap()["stage"] == "listening");
}

#[test]
fn an_internal_caller_who_counts_as_answered_at_once_is_waited_for() {
    let mut cloud = Cloud::new();
    cloud.set(2, Some("555"), "Proceeding");
    cloud.change(1, Some(AGENT), "Answered");
    cloud.seconds(7);
    assert_eq!((cloud.stage(), cloud.heard()), (Stage::Ringing, vec![]));
    // No event tells when an extension that is not monitored picks up.
    cloud.set(2, Some("555"), "Answered");
    cloud.seconds(2);
    assert_eq!(cloud.stage(), Stage::Listening);
    assert_eq!(cloud.heard()[0], ("p-1-1".to_owned(), Role::Agent));
}

#[test]
fn a_call_between_two_monitored_agents_is_heard_once() {
    let mut cloud = Cloud::new();
    cloud.set(1, Some(AGENT), "Answered");
    cloud.change(2, Some(OTHER_AGENT), "Answered");
    cloud.change(1, Some(AGENT), "Answered");
    cloud.seconds(60);
    assert_eq!((cloud.heard().len(), cloud.count("supervise")), (2, 2));
}

#[test]
fn calls_are_found_by_presence_alone() {
    let mut cloud = Cloud::new();
    cloud.set(1, None, "Answered");
    cloud.set(2, Some(OTHER_AGENT), "Answered");
    cloud.seconds(11);
    assert_eq!(cloud.heard().len(), 2);
    cloud.sessions.clear();
    let legs = cloud.ears.len();
    cloud.seconds(20);
    // RingCentral's BYEs got lost: the legs are hung up after their grace.
    assert_eq!((legs, cloud.ears.len(), cloud.released.len()), (2, 0, 1));
    assert_eq!(cloud.board.calls(cloud.now, 0), []);
}

#[test]
fn nothing_is_asked_for_before_the_device_is_registered() {
    let mut cloud = Cloud::new();
    cloud.board.handle_registered(cloud.now, false);
    cloud.talk();
    cloud.seconds(30);
    assert_eq!((cloud.count("supervise"), cloud.count("presence")), (0, 0));
    cloud.board.handle_registered(cloud.now, true);
    cloud.act();
    assert_eq!(cloud.heard(), both());
}

#[test]
fn an_invite_may_come_before_the_rest_answer() {
    let mut cloud = Cloud::new();
    cloud.invites_first = true;
    cloud.talk();
    cloud.seconds(60);
    assert_eq!((cloud.heard(), cloud.count("supervise")), (both(), 2));
}

#[test]
fn hold_is_no_end_and_unhold_no_beginning() {
    let mut cloud = Cloud::new();
    cloud.talk();
    let looks = cloud.count("look");
    cloud.change(2, Some(AGENT), "Hold");
    assert_eq!((cloud.stage(), cloud.heard()), (Stage::OnHold, both()));
    cloud.change(2, Some(AGENT), "Answered");
    assert_eq!((cloud.stage(), cloud.count("supervise")), (Stage::Listening, 2));
    assert_eq!(cloud.count("look"), looks);
}

#[test]
fn a_call_on_hold_is_asked_for_when_it_is_taken_up_again() {
    let mut cloud = Cloud::new();
    cloud.set(1, None, "Answered");
    cloud.change(2, Some(AGENT), "Hold");
    cloud.seconds(20);
    assert_eq!((cloud.stage(), cloud.count("supervise")), (Stage::OnHold, 0));
    cloud.change(2, Some(AGENT), "Answered");
    assert_eq!(cloud.heard(), both());
}

#[test]
fn a_party_whose_leg_ended_is_heard_again_while_the_call_lives() {
    let mut cloud = Cloud::new();
    cloud.talk();
    cloud.seconds(40);
    cloud.end_leg(0);
    cloud.seconds(2);
    assert_eq!(cloud.heard().len(), 2);
    assert_eq!(cloud.count("supervise"), 3);
    assert_eq!(cloud.released, []);
}

#[test]
fn a_leg_that_never_lasts_is_given_up_and_taken_up_by_hand() {
    let mut cloud = Cloud::new();
    cloud.talk();
    for _ in 0..200 {
        if !cloud.ears.is_empty() {
            cloud.end_leg(0);
        }
        cloud.seconds(10);
    }
    assert_eq!(cloud.stage(), Stage::GivenUp);
    assert!(cloud.count("supervise") < 20, "{}", cloud.count("supervise"));
    cloud.board.supervise(cloud.now, &call(), AGENT.to_owned()).unwrap();
    cloud.act();
    assert_eq!(cloud.stage(), Stage::Listening);
}

#[test]
fn a_wrong_state_is_tried_again_after_a_look() {
    let mut cloud = Cloud::new();
    cloud.refusals.extend([Advice::RetryLater, Advice::RetryLater]);
    cloud.talk();
    assert_eq!(cloud.stage(), Stage::Retrying);
    assert_eq!(cloud.view().why.as_deref(), Some("RetryLater"));
    let looks = cloud.count("look");
    cloud.seconds(4);
    assert_eq!(cloud.heard().len(), 2);
    assert!(cloud.count("look") > looks);
}

#[test]
fn a_device_that_ringcentral_does_not_see_is_registered_again() {
    let mut cloud = Cloud::new();
    cloud.refusals.push_back(Advice::Reregister);
    cloud.talk();
    cloud.seconds(3);
    assert_eq!((cloud.count("reregister"), cloud.heard().len()), (1, 2));
}

#[test]
fn a_carriers_leg_is_asked_for_without_the_agents_extension() {
    let mut cloud = Cloud::new();
    cloud.refusals.push_back(Advice::RetryWithoutAgent);
    cloud.talk();
    let named: Vec<bool> = cloud.requests.iter().map(|(_, names_agent)| *names_agent).collect();
    assert_eq!((named, cloud.heard()), (vec![true, false, true], both()));
    let mut cloud = Cloud::new();
    cloud.refusals.extend([Advice::RetryWithoutAgent; 2]);
    cloud.talk();
    cloud.seconds(300);
    assert_eq!((cloud.stage(), cloud.count("supervise")), (Stage::GivenUp, 3));
}

#[test]
fn what_only_a_person_can_mend_is_asked_for_once() {
    let mut cloud = Cloud::new();
    cloud.refusals.extend([Advice::Misconfigured; 2]);
    cloud.talk();
    cloud.seconds(600);
    assert_eq!((cloud.stage(), cloud.count("supervise")), (Stage::GivenUp, 2));
    assert_eq!(cloud.view().why.as_deref(), Some("Misconfigured"));
}

#[test]
fn a_penalty_is_waited_out_whatever_happens() {
    let mut cloud = Cloud::new();
    cloud.refusals.push_back(Advice::Wait(Duration::from_secs(60)));
    cloud.talk();
    cloud.change(2, Some(AGENT), "Hold");
    let asked = cloud.requests.iter().filter(|(it, _)| it.target == cloud.requests[0].0.target);
    assert_eq!(asked.count(), 1);
    cloud.change(2, Some(AGENT), "Answered");
    cloud.seconds(120);
    assert_eq!(cloud.heard().len(), 2);
}

#[test]
fn an_outage_of_the_rest_side_is_over_ten_seconds_after_its_end() {
    let mut cloud = Cloud::new();
    cloud.outage = Some(Advice::Unavailable);
    cloud.talk();
    cloud.seconds(60);
    assert_eq!(cloud.stage(), Stage::Looking);
    assert_eq!(cloud.view().why.as_deref(), Some("Unavailable"));
    cloud.refusals.push_back(Advice::Unavailable);
    cloud.outage = None;
    cloud.seconds(10);
    assert_eq!(cloud.heard().len(), 2);
    // One probe every four seconds, whatever waits.
    let asked = cloud.count("look") + cloud.count("presence");
    assert!(asked < 25, "{:?}", cloud.asked);
}

#[test]
fn stuck_parties_of_our_own_are_deleted_and_nobody_elses() {
    let mut cloud = Cloud::new();
    for id in ["p-1-ear-ghost1", "p-1-ear-ghost2"] {
        cloud.ears.push(Ear { call: CALL.into(), id: id.into(), target: None, leg: None });
    }
    // Another supervisor, and an ordinary party of ours.
    cloud.set(7, Some(OWNER), "Disconnected");
    cloud.talk();
    cloud.seconds(10);
    assert_eq!(cloud.deleted, ["p-1-ear-ghost1", "p-1-ear-ghost2"]);
    assert_eq!(cloud.heard().len(), 2);
}

#[test]
fn an_invite_that_never_comes_is_cleaned_up_after() {
    let mut cloud = Cloud::new();
    cloud.sends_invites = false;
    cloud.talk();
    assert_eq!(cloud.stage(), Stage::Joining);
    cloud.seconds(30);
    assert_eq!(cloud.deleted.len(), 0);
    cloud.sends_invites = true;
    cloud.seconds(20);
    assert_eq!((cloud.deleted.len(), cloud.heard().len()), (2, 2));
}

#[test]
fn an_invite_that_could_not_be_answered_is_cleaned_up_after() {
    let mut cloud = Cloud::new();
    cloud.sends_invites = false;
    cloud.talk();
    let target = cloud.requests[0].0.target.clone();
    cloud.sends_invites = true;
    let why = "no codec".to_owned();
    cloud.board.handle_leg(cloud.now, LegNews::Failed { call: call(), target, why });
    cloud.seconds(5);
    assert_eq!(cloud.deleted.len(), 1);
    assert_eq!(cloud.heard(), [both()[0].clone()]);
}

#[test]
fn three_participants_are_heard_mixed_and_stay_so() {
    let mut cloud = Cloud::new();
    cloud.set(3, None, "Answered");
    cloud.talk();
    assert_eq!((cloud.heard(), cloud.view().is_mixed), (mixed(), true));
    cloud.change(3, None, "Disconnected");
    cloud.seconds(60);
    assert_eq!((cloud.heard(), cloud.count("supervise")), (mixed(), 1));
}

#[test]
fn legs_stay_when_a_third_joins_until_one_of_them_ends() {
    let mut cloud = Cloud::new();
    cloud.talk();
    cloud.change(3, None, "Answered");
    cloud.seconds(60);
    assert_eq!((cloud.heard(), cloud.stage()), (both(), Stage::Listening));
    cloud.end_leg(0);
    cloud.seconds(3);
    assert_eq!(cloud.heard(), mixed());
}

#[test]
fn supervision_by_session_asks_for_one_leg() {
    let mut cloud = Cloud::with(Supervise::Session, Policies::default());
    cloud.talk();
    assert_eq!(cloud.heard(), mixed());
}

#[test]
fn legs_with_the_same_audio_are_replaced_by_a_mixed_one() {
    let mut cloud = Cloud::new();
    cloud.talk();
    cloud.board.handle_leg(cloud.now, LegNews::SameAudio { call: call() });
    cloud.seconds(3);
    assert_eq!(cloud.heard(), mixed());
}

#[test]
fn a_transfer_to_another_monitored_agent_goes_on_with_the_customers_leg() {
    let mut cloud = Cloud::new();
    cloud.talk();
    cloud.seconds(60);
    cloud.change(3, Some(OTHER_AGENT), "Proceeding");
    cloud.change(2, Some(AGENT), "Disconnected");
    assert_eq!(cloud.stage(), Stage::Ringing);
    cloud.seconds(6);
    assert_eq!(cloud.heard(), [both()[1].clone()]);
    cloud.change(3, Some(OTHER_AGENT), "Answered");
    cloud.seconds(1);
    let now = [both()[1].clone(), ("p-1-3".to_owned(), Role::Agent)];
    assert_eq!((cloud.heard(), cloud.released.len()), (now.to_vec(), 0));
    assert_eq!(cloud.view().agent.as_deref(), Some(OTHER_AGENT));
}

#[test]
fn an_agent_who_leaves_for_good_takes_us_along() {
    let mut cloud = Cloud::new();
    cloud.talk();
    cloud.set(3, Some("555"), "Answered");
    cloud.change(2, Some(AGENT), "Disconnected");
    cloud.seconds(6);
    assert_eq!((cloud.stage(), cloud.heard()), (Stage::AgentAbsent, vec![]));
    cloud.seconds(60);
    assert_eq!(cloud.board.calls(cloud.now, 0), []);
    assert_eq!(cloud.released, [call()]);
    // Back after all.
    cloud.change(2, Some(AGENT), "Answered");
    cloud.seconds(1);
    assert_eq!(cloud.heard(), mixed());
}

#[test]
fn a_parked_call_is_taken_up_by_whoever_picks_it_up() {
    let mut cloud = Cloud::new();
    cloud.talk();
    cloud.set(1, None, "Parked");
    cloud.change(2, Some(AGENT), "Disconnected");
    cloud.seconds(20);
    assert_eq!((cloud.stage(), cloud.heard()), (Stage::AgentAbsent, vec![]));
    cloud.set(1, None, "Answered");
    cloud.change(4, Some(OTHER_AGENT), "Answered");
    cloud.seconds(1);
    assert_eq!(cloud.heard().len(), 2);
}

#[test]
fn a_party_that_is_gone_is_followed_to_the_other_call() {
    let mut cloud = Cloud::new();
    cloud.talk();
    // The transferred customer is on a call of the other agent, of which no event has told.
    cloud.set_in("s-2", 1, None, "Answered");
    cloud.set_in("s-2", 2, Some(OTHER_AGENT), "Answered");
    cloud.set(1, None, "Gone");
    cloud.sessions.get_mut(CALL).unwrap()[0].peer = Some("s-2");
    let event = cloud.event(1);
    cloud.deliver(event);
    assert_eq!(cloud.heard_in("s-2").len(), 2);
    cloud.change(2, Some(AGENT), "Disconnected");
    cloud.seconds(10);
    assert_eq!(cloud.released, [call()]);
    assert_eq!(cloud.heard_in("s-2").len(), 2);
}

#[test]
fn the_end_of_a_call_leaves_nothing_behind() {
    let mut cloud = Cloud::new();
    cloud.talk();
    cloud.seconds(31);
    let late = cloud.event(2);
    cloud.set(1, None, "Disconnected");
    cloud.change(2, Some(AGENT), "Disconnected");
    assert_eq!(cloud.stage(), Stage::Ended);
    cloud.end_leg(0);
    cloud.end_leg(0);
    cloud.seconds(2);
    assert_eq!(cloud.released, [call()]);
    assert_eq!(cloud.board.calls(cloud.now, 0), []);
    cloud.deliver(late);
    assert_eq!(cloud.board.calls(cloud.now, 0), []);
    assert_eq!(cloud.count("hang up"), 0);
}

#[test]
fn a_bye_on_every_leg_leads_to_a_look() {
    let mut cloud = Cloud::new();
    cloud.talk();
    cloud.sessions.clear();
    cloud.end_leg(0);
    cloud.end_leg(0);
    cloud.seconds(1);
    assert_eq!((cloud.released.len(), cloud.count("supervise")), (1, 2));
}

#[test]
fn silence_leads_to_a_look() {
    let mut cloud = Cloud::new();
    cloud.talk();
    cloud.sessions.clear();
    cloud.board.handle_leg(cloud.now, LegNews::Silent { call: call() });
    cloud.act();
    assert_eq!(cloud.stage(), Stage::Ended);
}

#[test]
fn a_supervisor_whom_the_session_does_not_list_is_reported() {
    let mut cloud = Cloud::new();
    cloud.talk();
    cloud.seconds(6);
    assert_eq!(cloud.view().why, None);
    for ear in &mut cloud.ears {
        ear.call = "elsewhere".into();
    }
    cloud.board.handle_notification(cloud.now, Notification::Missed);
    cloud.act();
    assert_eq!(cloud.view().why.as_deref(), Some("the session does not list the supervisor"));
}

#[test]
fn a_call_is_stopped_and_taken_up_by_hand() {
    let mut cloud = Cloud::new();
    cloud.talk();
    cloud.board.stop(cloud.now, &call()).unwrap();
    cloud.act();
    assert_eq!((cloud.stage(), cloud.heard()), (Stage::Stopped, vec![]));
    cloud.change(2, Some(AGENT), "Hold");
    cloud.change(2, Some(AGENT), "Answered");
    cloud.seconds(300);
    assert_eq!((cloud.stage(), cloud.count("supervise")), (Stage::Stopped, 2));
    assert_eq!(cloud.released, [call()]);
    cloud.board.supervise(cloud.now, &call(), AGENT.to_owned()).unwrap();
    cloud.seconds(1);
    assert_eq!(cloud.heard(), both());
    let unknown = CallId::new("s-9");
    let error = Err(ControlError::UnknownCall(unknown.clone()));
    assert_eq!(cloud.board.stop(cloud.now, &unknown), error);
}

#[test]
fn any_call_of_any_agent_can_be_asked_for_by_hand() {
    let mut cloud = Cloud::new();
    cloud.set(1, None, "Answered");
    cloud.change(2, Some("555"), "Answered");
    cloud.seconds(30);
    assert_eq!(cloud.board.calls(cloud.now, 0), []);
    cloud.board.supervise(cloud.now, &call(), "555".to_owned()).unwrap();
    cloud.act();
    assert_eq!(cloud.heard(), both());
    assert_eq!(cloud.requests[0].0.agent, "555");
}

#[test]
fn calls_are_bounded() {
    let mut cloud = Cloud::new();
    for number in 0..40 {
        let call = format!("s-{number}");
        cloud.set_in(&call, 2, Some(AGENT), "Proceeding");
        let event = cloud.event_in(&call, 2);
        cloud.deliver(event);
    }
    assert_eq!(cloud.board.calls(cloud.now, 0).len(), 16);
    let more = CallId::new("s-more");
    let error = Err(ControlError::TooManyCalls);
    assert_eq!(cloud.board.supervise(cloud.now, &more, AGENT.to_owned()), error);
}
