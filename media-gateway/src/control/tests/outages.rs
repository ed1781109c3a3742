//! What breaks for a while, and how soon it is mended. The limit is RingCentral's usual one for these requests.

use std::time::Duration;

use super::cloud::{AGENT, Cloud, OTHER_AGENT};
use crate::config::Supervise;
use crate::control::consent::Policies;
use crate::control::{Settings, Stage};
use crate::ringcentral::{Advice, Notification, PRESENCE_BATCH};

/// Requests that RingCentral takes in a minute.
const LIMIT: usize = 50;

fn cloud_of(agents: usize, max_calls: usize) -> (Cloud, Vec<&'static str>) {
    let agents: Vec<&'static str> =
        (0..agents).map(|number| &*format!("7{number:04}").leak()).collect();
    let cloud = Cloud::of(Settings {
        agents: agents.iter().map(|agent| (*agent).to_owned()).collect(),
        supervise: Supervise::Party,
        policies: Policies::default(),
        max_calls,
        poll_interval: Duration::from_secs(2),
    });
    (cloud, agents)
}

/// A customer and an agent begin to talk. An event tells, if events come.
fn begin(cloud: &mut Cloud, call: &str, agent: &'static str, tells: bool) {
    cloud.set_in(call, 1, None, "Answered");
    cloud.set_in(call, 2, Some(agent), "Answered");
    if tells {
        let event = cloud.event_in(call, 2);
        cloud.deliver(event);
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("s-{number}")).collect()
}

fn assert_heard(cloud: &Cloud, calls: &[String]) {
    for call in calls {
        assert_eq!(cloud.heard_in(call).len(), 2, "{call}: {:?}", cloud.board.calls(cloud.now, 0));
    }
}

#[test]
fn calls_that_begin_while_rest_is_away_are_heard_ten_seconds_after_its_return() {
    for seconds in [3, 17, 60, 61, 64, 600] {
        let (mut cloud, agents) = cloud_of(20, 20);
        cloud.board.handle_notification(cloud.now, Notification::Missed);
        cloud.seconds(30);
        cloud.outage = Some(Advice::Unavailable);
        let calls = names(6);
        for (number, call) in calls.iter().enumerate() {
            begin(&mut cloud, call, agents[number], true);
        }
        cloud.seconds(seconds);
        assert!(calls.iter().all(|call| cloud.heard_in(call).is_empty()));
        cloud.outage = None;
        cloud.seconds(10);
        assert_heard(&cloud, &calls);
        assert!(cloud.busiest_minute() <= LIMIT, "{seconds}: {}", cloud.busiest_minute());
    }
}

#[test]
fn legs_that_end_while_rest_is_away_are_back_ten_seconds_after_its_return() {
    let (mut cloud, agents) = cloud_of(20, 20);
    cloud.board.handle_notification(cloud.now, Notification::Missed);
    let calls = names(6);
    for (number, call) in calls.iter().enumerate() {
        begin(&mut cloud, call, agents[number], true);
    }
    cloud.seconds(65);
    assert_heard(&cloud, &calls);
    cloud.outage = Some(Advice::Unavailable);
    while !cloud.ears.is_empty() {
        cloud.end_leg(0);
    }
    cloud.seconds(60);
    cloud.outage = None;
    cloud.seconds(10);
    assert_heard(&cloud, &calls);
    assert_eq!(cloud.released, [], "no transcript ends in between");
    assert!(cloud.busiest_minute() <= LIMIT, "{}", cloud.busiest_minute());
}

#[test]
fn calls_are_found_within_ten_seconds_while_no_notifications_come() {
    let (mut cloud, agents) = cloud_of(60, 10);
    cloud.board.handle_notification(cloud.now, Notification::Missed);
    cloud.seconds(60);
    cloud.board.handle_notification(cloud.now, Notification::Lost);
    for (number, call) in names(5).iter().enumerate() {
        begin(&mut cloud, call, agents[10 * number], false);
        cloud.seconds(10);
        assert_eq!(cloud.heard_in(call).len(), 2, "{call}");
    }
    assert!(cloud.busiest_minute() <= LIMIT, "{}", cloud.busiest_minute());
}

#[test]
fn while_notifications_come_presence_is_a_safety_net_only() {
    let (mut cloud, _) = cloud_of(20, 10);
    cloud.board.handle_notification(cloud.now, Notification::Missed);
    cloud.seconds(60);
    assert!(cloud.count("presence") <= 14, "{}", cloud.count("presence"));
}

#[test]
fn two_hundred_agents_are_looked_at_within_the_rate_limit() {
    let (mut cloud, agents) = cloud_of(200, 40);
    let calls = names(5);
    // Calls that were there before us, spread over all agents.
    for (number, call) in calls.iter().enumerate() {
        begin(&mut cloud, call, agents[number * 49], false);
    }
    cloud.seconds(5);
    assert_heard(&cloud, &calls);
    assert_eq!(cloud.count("presence"), agents.len().div_ceil(PRESENCE_BATCH) + 1);
    cloud.board.handle_notification(cloud.now, Notification::Missed);
    cloud.seconds(55);
    assert!(cloud.busiest_minute() <= LIMIT, "{}: {:?}", cloud.busiest_minute(), cloud.asked);
    // The same after every gap.
    cloud.seconds(60);
    let before = cloud.count("presence");
    begin(&mut cloud, "s-late", agents[199], false);
    cloud.board.handle_notification(cloud.now, Notification::Missed);
    cloud.seconds(5);
    assert_eq!(cloud.heard_in("s-late").len(), 2);
    assert!(cloud.count("presence") - before <= 8);
    assert!(cloud.busiest_minute() <= LIMIT, "{}", cloud.busiest_minute());
}

#[test]
fn an_agent_whose_presence_is_not_shown_hides_nobody_else() {
    let mut cloud = Cloud::new();
    cloud.hidden.push(AGENT.to_owned());
    cloud.set(1, None, "Answered");
    cloud.set(2, Some(OTHER_AGENT), "Answered");
    cloud.seconds(6);
    assert_eq!((cloud.stage(), cloud.heard().len()), (Stage::Listening, 2));
}

#[test]
fn agents_who_do_not_exist_do_not_stop_the_search() {
    let (mut cloud, agents) = cloud_of(31, 10);
    cloud.outage = Some(Advice::Gone);
    cloud.act();
    cloud.seconds(1);
    cloud.outage = None;
    begin(&mut cloud, "s-1", agents[0], false);
    cloud.seconds(6);
    assert_eq!(cloud.heard_in("s-1").len(), 2);
}
