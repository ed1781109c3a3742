//! Whose audio is kept from the transcriber, and since when.

use sidetone_proto::{CallId, PartyId};

use super::cloud::{AGENT, CALL, Cloud};
use crate::control::{Hold, LegNews};
use crate::sip::LegId;

/// Everyone is on hold, or these parties are; since an event, or since nobody knows when.
fn hold(is_everyone: bool, parties: &[&str], is_known: bool) -> (Hold, Option<i64>) {
    let parties = parties.iter().map(|id| PartyId::new(*id)).collect();
    (Hold { is_everyone, parties }, is_known.then_some(7_500))
}

#[test]
fn what_is_heard_on_hold_is_told_to_be_so() {
    let mut cloud = Cloud::new();
    cloud.talk();
    assert_eq!(cloud.holds, []);
    cloud.change(2, Some(AGENT), "Hold");
    cloud.change(2, Some(AGENT), "Hold");
    assert_eq!(cloud.holds, [hold(true, &[], true)]);
    cloud.change(2, Some(AGENT), "Answered");
    assert_eq!(cloud.holds[1..], [hold(false, &[], true)]);
    // No event tells, but a look does.
    cloud.set(1, None, "Hold");
    cloud.seconds(120);
    assert_eq!(cloud.holds[2..], [hold(true, &[], false)]);
}

#[test]
fn of_three_who_talk_the_one_on_hold_is_named_and_one_who_is_parked() {
    let mut cloud = Cloud::new();
    cloud.talk();
    cloud.change(3, None, "Answered");
    cloud.change(3, None, "Hold");
    assert_eq!(cloud.holds, [hold(false, &["p-1-3"], true)]);
    cloud.change(3, None, "Disconnected");
    assert_eq!(cloud.holds[1..], [hold(false, &[], true)]);
    cloud.change(2, Some(AGENT), "Disconnected");
    cloud.change(1, None, "Parked");
    assert_eq!(cloud.holds[2..], [hold(false, &["p-1-1"], true)]);
}

#[test]
fn a_leg_that_comes_up_on_hold_is_told_so() {
    let mut cloud = Cloud::new();
    cloud.sends_invites = false;
    cloud.talk();
    cloud.change(2, Some(AGENT), "Hold");
    let target = cloud.requests[0].0.target.clone();
    let up = LegNews::Up { call: CallId::new(CALL), target, leg: LegId(99), supervisor: None };
    cloud.board.handle_leg(cloud.now, up);
    cloud.act();
    assert_eq!(cloud.holds, [hold(true, &[], true), hold(true, &[], false)]);
}
