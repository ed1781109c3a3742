//! Whole calls over loopback: registration, supervision, INVITE, RTP, BYE.

mod support;

use rtp::packet::Packet;
use serde_json::{Value, json};
use simulator::{Account, CallPlan, Codec, PlaceCallError, Shape};
use std::collections::HashSet;
use support::{
    AGENT_HZ, CUSTOMER_HZ, Device, Leg, Manner, Rest, Transport, decode, plan, share_of, start,
};

/// Fails unless one voice is heard, and the other is not.
fn assert_voice(leg: &Leg, line: usize, heard: f64, absent: f64) {
    assert_pitch(&leg.packets(line), heard, absent);
}

fn assert_pitch(packets: &[Packet], heard: f64, absent: f64) {
    let (samples, rate) = decode(packets);
    let (heard, absent) = (share_of(&samples, rate, heard), share_of(&samples, rate, absent));
    assert!(heard > 0.5 && absent < 0.01, "heard {heard}, absent {absent}");
}

#[tokio::test]
async fn two_legs_carry_one_voice_each_over_both_transports_and_codecs() {
    for (transport, codec, payload_type, step) in [
        (Transport::Udp, Codec::Opus, 111, 960),
        (Transport::Udp, Codec::Pcmu, 0, 160),
        (Transport::Tcp, Codec::Opus, 111, 960),
        (Transport::Tcp, Codec::Pcmu, 0, 160),
    ] {
        let simulator = start(1).await;
        let mut device = Device::register(&simulator, transport, Manner::Answer).await;
        let rest = Rest::login(&simulator).await;
        let call = simulator.place_call(plan(Shape::TwoLegs, codec, 600)).await.unwrap();
        let [customer, agent] = rest.parties(&call).await;

        let mut legs = Vec::new();
        for party in [&agent, &customer] {
            let (status, body) = rest.supervise(&call, Some(party)).await;
            assert_eq!(status, 201, "{body}");
            let leg = device.next_leg().await;
            assert_eq!(Leg::party_in(leg.header("p-rc-api-ids")), body["id"]);
            assert_eq!(Leg::party_in(leg.header("p-rc-api-monitoring-ids")), party.as_str());
            assert_eq!(leg.header("Alert-Info"), "Auto Answer");
            assert!(leg.header("Call-Info").ends_with(";Answer-After=0"));
            legs.push(leg);
        }
        call.finished().await;

        assert_voice_and_numbering(&legs[0], AGENT_HZ, CUSTOMER_HZ, payload_type, step);
        assert_voice_and_numbering(&legs[1], CUSTOMER_HZ, AGENT_HZ, payload_type, step);
        device.sees("BYE").await;
        device.sees("BYE").await;
        for party in rest.session(&call).await["parties"].as_array().unwrap() {
            assert_eq!(party["status"]["code"], "Disconnected");
        }
        simulator.shutdown().await;
    }
}

fn assert_voice_and_numbering(leg: &Leg, heard: f64, absent: f64, payload_type: u8, step: u32) {
    let packets = leg.packets(0);
    assert_eq!(packets.len(), 30);
    for (n, packet) in packets.iter().enumerate() {
        let header = &packet.header;
        let first = &packets[0].header;
        assert_eq!(header.payload_type, payload_type);
        assert_eq!(header.marker, n == 0);
        assert_eq!(header.ssrc, first.ssrc);
        assert_eq!(header.sequence_number.wrapping_sub(first.sequence_number), n as u16);
        assert_eq!(header.timestamp.wrapping_sub(first.timestamp), n as u32 * step);
    }
    assert_pitch(&packets, heard, absent);
}

#[tokio::test]
async fn two_media_name_their_parties_in_an_order_that_means_nothing() {
    let mut orders = HashSet::new();
    for seed in 0..6 {
        let simulator = start(seed).await;
        let mut device = Device::register(&simulator, Transport::Tcp, Manner::Answer).await;
        let rest = Rest::login(&simulator).await;
        let call = simulator.place_call(plan(Shape::TwoMedia, Codec::Opus, 200)).await.unwrap();
        let [customer, agent] = rest.parties(&call).await;
        assert_eq!(rest.supervise(&call, None).await.0, 201);
        let leg = device.next_leg().await;
        assert_eq!(leg.header("p-rc-api-monitoring-ids"), "");
        call.finished().await;

        let named: Vec<String> = leg
            .invite
            .lines()
            .filter(|line| line.starts_with("i="))
            .map(|line| format!("p-{}", Leg::party_in(line)))
            .collect();
        let is_agent_first = named[0] == agent;
        let (first, second) =
            if is_agent_first { (&agent, &customer) } else { (&customer, &agent) };
        assert_eq!(named, [first.as_str(), second.as_str()]);
        let agent_line = usize::from(!is_agent_first);
        assert_voice(&leg, agent_line, AGENT_HZ, CUSTOMER_HZ);
        assert_voice(&leg, 1 - agent_line, CUSTOMER_HZ, AGENT_HZ);
        orders.insert(is_agent_first);
    }
    assert_eq!(orders.len(), 2, "six seeds gave one order only");
}

#[tokio::test]
async fn the_conversation_starts_without_a_leg_that_nobody_asks_for() {
    let simulator = start(1).await;
    let mut device = Device::register(&simulator, Transport::Udp, Manner::Answer).await;
    let rest = Rest::login(&simulator).await;
    let call = simulator.place_call(plan(Shape::TwoLegs, Codec::Pcmu, 200)).await.unwrap();
    let [customer, _] = rest.parties(&call).await;
    rest.supervise(&call, Some(&customer)).await;
    let leg = device.next_leg().await;
    call.finished().await;
    assert_voice(&leg, 0, CUSTOMER_HZ, AGENT_HZ);
}

#[tokio::test]
async fn a_mixed_leg_carries_both_voices() {
    let simulator = start(1).await;
    let mut device = Device::register(&simulator, Transport::Udp, Manner::Answer).await;
    let rest = Rest::login(&simulator).await;
    let call = simulator.place_call(plan(Shape::Mixed, Codec::Pcmu, 400)).await.unwrap();
    assert_eq!(rest.supervise(&call, None).await.0, 201);
    let leg = device.next_leg().await;
    call.finished().await;
    let (samples, rate) = decode(&leg.packets(0));
    for frequency in [CUSTOMER_HZ, AGENT_HZ] {
        let share = share_of(&samples, rate, frequency);
        assert!((0.4..0.6).contains(&share), "{frequency} Hz: {share}");
    }
}

#[tokio::test]
async fn the_planned_share_of_packets_is_missing() {
    let simulator = start(1).await;
    let mut device = Device::register(&simulator, Transport::Tcp, Manner::Answer).await;
    let rest = Rest::login(&simulator).await;
    let lossy = CallPlan { loss_percent: 30.0, ..plan(Shape::Mixed, Codec::Opus, 2_000) };
    let call = simulator.place_call(lossy).await.unwrap();
    rest.supervise(&call, None).await;
    let leg = device.next_leg().await;
    call.finished().await;
    let packets = leg.packets(0);
    // 100 packets were sent: 30 are expected to be lost, with a deviation of 4.6.
    assert!((52..88).contains(&packets.len()), "{} of 100 arrived", packets.len());
    let numbers = packets.windows(2).map(|pair| {
        let [a, b] = [0, 1].map(|n| pair[n].header.sequence_number);
        b.wrapping_sub(a)
    });
    assert!(numbers.max().unwrap() > 1, "the losses left no gap");
}

#[tokio::test]
async fn a_refused_media_line_stays_silent() {
    let simulator = start(1).await;
    let mut device = Device::register(&simulator, Transport::Tcp, Manner::RefuseFirstLine).await;
    let rest = Rest::login(&simulator).await;
    let call = simulator.place_call(plan(Shape::TwoMedia, Codec::Opus, 200)).await.unwrap();
    rest.supervise(&call, None).await;
    let leg = device.next_leg().await;
    call.finished().await;
    assert_eq!(leg.packets(0).len(), 0);
    assert_eq!(leg.packets(1).len(), 10);
}

#[tokio::test]
async fn a_party_can_be_supervised_again_once_the_device_has_hung_up() {
    let simulator = start(1).await;
    let mut device = Device::register(&simulator, Transport::Udp, Manner::Answer).await;
    let rest = Rest::login(&simulator).await;
    let call = simulator.place_call(plan(Shape::TwoLegs, Codec::Opus, 600)).await.unwrap();
    let [customer, agent] = rest.parties(&call).await;
    rest.supervise(&call, Some(&agent)).await;
    let first = device.next_leg().await;
    let (status, body) = rest.supervise(&call, Some(&agent)).await;
    assert_eq!((status, &body["errors"][0]["errorCode"]), (409, &json!("TAS-409")));

    device.sees("ACK").await;
    device.hang_up(&first);
    device.sees("SIP/2.0 200").await;
    // The party is gone as soon as the call's task has heard of the BYE.
    while rest.session(&call).await["parties"].as_array().unwrap().len() > 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(rest.supervise(&call, Some(&agent)).await.0, 201);
    let second = device.next_leg().await;
    assert_eq!(rest.supervise(&call, Some(&customer)).await.0, 201);
    device.next_leg().await;
    call.finished().await;
    assert_eq!(second.packets(0).len(), 30);
}

#[tokio::test]
async fn a_refused_leg_blocks_its_party_until_it_is_deleted() {
    let simulator = start(1).await;
    let mut device = Device::register(&simulator, Transport::Tcp, Manner::Busy).await;
    let rest = Rest::login(&simulator).await;
    let call = simulator.place_call(plan(Shape::TwoLegs, Codec::Opus, 200)).await.unwrap();
    let [customer, agent] = rest.parties(&call).await;
    let (_, body) = rest.supervise(&call, Some(&agent)).await;
    device.sees("ACK").await;
    let ghost = body["id"].as_str().unwrap();
    assert_eq!(rest.supervise(&call, Some(&agent)).await.0, 409);
    let path = format!("/telephony/sessions/{}/parties/{ghost}", call.telephony_session_id());
    assert_eq!(rest.get(&path).await.1["status"]["code"], "Proceeding");
    assert_eq!(rest.delete_party(&call, &customer).await, 400);
    assert_eq!(rest.delete_party(&call, ghost).await, 204);
    assert_eq!(rest.delete_party(&call, ghost).await, 404);
    assert_eq!(rest.supervise(&call, Some(&agent)).await.0, 201);
    call.hang_up().await;
    call.finished().await;
}

#[tokio::test]
async fn deleting_a_ringing_supervisor_cancels_its_invite() {
    let simulator = start(1).await;
    let mut device = Device::register(&simulator, Transport::Udp, Manner::Ring).await;
    let rest = Rest::login(&simulator).await;
    let call = simulator.place_call(plan(Shape::Mixed, Codec::Opus, 200)).await.unwrap();
    let (_, body) = rest.supervise(&call, None).await;
    device.sees("INVITE").await;
    assert_eq!(rest.delete_party(&call, body["id"].as_str().unwrap()).await, 204);
    device.sees("CANCEL").await;
    device.sees("ACK").await;
    assert_eq!(rest.supervise(&call, None).await.0, 201);
    call.hang_up().await;
    call.finished().await;
}

#[tokio::test]
async fn a_shutdown_hangs_up_and_the_call_is_over() {
    let simulator = start(1).await;
    let mut device = Device::register(&simulator, Transport::Tcp, Manner::Answer).await;
    let rest = Rest::login(&simulator).await;
    let call = simulator.place_call(plan(Shape::Mixed, Codec::Opus, 60_000)).await.unwrap();
    rest.supervise(&call, None).await;
    device.next_leg().await;
    device.sees("ACK").await;
    drop(rest);
    simulator.shutdown().await;
    device.sees("BYE").await;
    call.finished().await;
}

#[tokio::test]
async fn impossible_plans_are_refused() {
    let simulator = start(1).await;
    for percent in [-1.0, 100.5, f32::NAN] {
        let bad = CallPlan { loss_percent: percent, ..plan(Shape::Mixed, Codec::Opus, 20) };
        let error = simulator.place_call(bad).await.unwrap_err();
        assert!(matches!(error, PlaceCallError::LossOutOfRange { .. }), "{percent}");
    }
    let unknown =
        CallPlan { agent_extension_id: "1".into(), ..plan(Shape::Mixed, Codec::Opus, 20) };
    let error = simulator.place_call(unknown).await.unwrap_err();
    assert_eq!(error, PlaceCallError::UnknownAgent { extension_id: "1".into() });
}

#[tokio::test]
async fn presence_shows_the_call_with_numeric_extension_ids() {
    let simulator = start(1).await;
    let rest = Rest::login(&simulator).await;
    let agent = &Account::demo().agents[0].extension_id;
    let path = format!("/extension/{agent}/presence?detailedTelephonyState=true&sipData=true");
    let (_, idle) = rest.get(&path).await;
    assert_eq!(idle["telephonyStatus"], "NoCall");
    assert_eq!(idle["activeCalls"], Value::Null);
    let call = simulator.place_call(plan(Shape::Mixed, Codec::Opus, 20)).await.unwrap();
    let (_, busy) = rest.get(&path).await;
    assert_eq!(busy["telephonyStatus"], "CallConnected");
    assert_eq!(busy["extension"]["id"], json!(62_226_587_016_u64));
    let [_, agent_party] = rest.parties(&call).await;
    assert_eq!(busy["activeCalls"][0]["telephonySessionId"], call.telephony_session_id());
    assert_eq!(busy["activeCalls"][0]["partyId"], agent_party);
    call.hang_up().await;
    call.finished().await;
    assert_eq!(rest.get(&path).await.1["telephonyStatus"], "NoCall");
}
