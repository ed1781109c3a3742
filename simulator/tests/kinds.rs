//! Calls of several kinds over loopback: who is heard, and what their reports say.

mod support;

use reqwest::Method;
use serde_json::Value;
use simulator::{Account, CallKind, CallPlan, Codec, Hears, Outcome, Shape, Start};
use std::time::Duration;
use support::{Device, Manner, Rest, Transport, plan, start};

fn of_kind(kind: CallKind, milliseconds: u32) -> CallPlan {
    CallPlan { kind, ..plan(Shape::TwoLegs, Codec::Pcmu, milliseconds) }
}

#[tokio::test]
async fn a_call_that_nobody_answers_ends_by_itself_and_cannot_be_listened_to() {
    let simulator = start(1).await;
    let _device = Device::register(&simulator, Transport::Tcp, Manner::Answer).await;
    let rest = Rest::login(&simulator).await;
    let plan =
        CallPlan { ringing: Duration::from_millis(200), ..of_kind(CallKind::EarlyHangUp, 60_000) };
    let call = simulator.place_call(plan).await.unwrap();
    let (status, body) = rest.supervise(&call, None).await;
    assert_eq!((status, &body["errorCode"]), (400, &Value::from("TAS-102")));
    let report = call.report().await.unwrap();
    assert!(!report.is_eligible && report.legs.is_empty(), "{report:?}");
    for party in rest.session(&call).await["parties"].as_array().unwrap() {
        assert_eq!(party["status"]["reason"], "Cancelled");
    }
}

#[tokio::test]
async fn a_talk_goes_on_without_a_listener_and_longer_by_its_hold() {
    let simulator = start(1).await;
    let started = tokio::time::Instant::now();
    let plan = CallPlan { start: Start::AtOnce, ..of_kind(CallKind::Hold, 600) };
    let call = simulator.place_call(plan).await.unwrap();
    let report = call.report().await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(700), "{:?}", started.elapsed());
    assert!(report.is_eligible && !report.is_heard());
}

#[tokio::test]
async fn with_a_transfer_the_legs_of_the_agent_end() {
    let simulator = start(1).await;
    let mut device = Device::register(&simulator, Transport::Tcp, Manner::Answer).await;
    let rest = Rest::login(&simulator).await;
    let call = simulator.place_call(of_kind(CallKind::BlindTransfer, 600)).await.unwrap();
    let [customer, agent] = rest.parties(&call).await;
    for party in [&agent, &customer] {
        assert_eq!(rest.supervise(&call, Some(party)).await.0, 201);
        device.next_leg().await;
    }
    device.sees("BYE").await;
    device.sees("BYE").await;
    let parties = rest.session(&call).await["parties"].clone();
    let colleague = &Account::demo().agents[1].extension_id;
    assert_eq!(parties[2]["extensionId"], colleague.as_str());
    assert_eq!(parties[1]["status"]["reason"], "BlindTransfer");

    let report = call.report().await.unwrap();
    let legs: Vec<_> = report.legs.iter().map(|leg| (leg.hears, leg.outcome)).collect();
    let answered = Outcome::Answered;
    assert_eq!(legs, [(Hears::Agent, answered), (Hears::Customer, answered)]);
    // Half of the 30 packets were sent before the transfer.
    assert!(report.legs.iter().all(|leg| (10..20).contains(&leg.packets_sent)), "{report:?}");
}

#[tokio::test]
async fn deleting_the_session_drops_the_call_and_the_report_says_so() {
    let simulator = start(1).await;
    let rest = Rest::login(&simulator).await;
    let call = simulator.place_call(of_kind(CallKind::Inbound, 60_000)).await.unwrap();
    let path = format!("/telephony/sessions/{}", call.telephony_session_id());
    assert_eq!(rest.request(Method::DELETE, &path, &Value::Null).await.0, 204);
    assert!(call.report().await.unwrap().was_deleted);
    assert_eq!(rest.session(&call).await["parties"][0]["status"]["code"], "Disconnected");
}
