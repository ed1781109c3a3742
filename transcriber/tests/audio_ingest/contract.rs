//! What a gateway must not send, and how many may.

use std::time::Duration;

use sidetone_proto::v1::party_audio::Message;
use sidetone_proto::v1::{AudioFrame, ConsentPhrases, LostAudio, PartyEnd, PartyLabel, PartyStart};
use tonic::Code;

use crate::World;
use crate::gateway::{FRAME, frame, start};
use crate::script::{Script, said};

#[tokio::test]
async fn streams_that_begin_wrongly_are_refused() {
    let world = World::faultless().await;
    let gateway = world.gateway().await;
    let label = |call: &str, party: &str| {
        Some(PartyLabel { call_id: call.to_owned(), party_id: party.to_owned(), role: 1 })
    };
    let refusals = |count, len| {
        let refused = vec!["x".repeat(len); count];
        Some(ConsentPhrases { refused, ..ConsentPhrases::default() })
    };
    for broken in [
        frame(0, &[0; FRAME]),
        Message::End(PartyEnd { sample_position: 0 }),
        Message::Start(PartyStart { party: None, ..start("p-1") }),
        Message::Start(PartyStart { party: label("", "p-1"), ..start("p-1") }),
        Message::Start(PartyStart { party: label("s-1", ""), ..start("p-1") }),
        Message::Start(PartyStart { party: label("s-1", &"p".repeat(300)), ..start("p-1") }),
        Message::Start(PartyStart { sample_rate: 44_100, ..start("p-1") }),
        Message::Start(PartyStart { sample_rate: 0, ..start("p-1") }),
        Message::Start(PartyStart { anchor_unix_ms: -1, ..start("p-1") }),
        Message::Start(PartyStart { sample_position: u64::MAX, ..start("p-1") }),
        Message::Start(PartyStart { next_segment: u32::MAX, ..start("p-1") }),
        Message::Start(PartyStart { consent_phrases: refusals(101, 1), ..start("p-1") }),
        Message::Start(PartyStart { consent_phrases: refusals(1, 501), ..start("p-1") }),
    ] {
        let refusal = gateway.open([broken.clone()]).await.err().expect("a refusal");
        assert_eq!(refusal.code(), Code::InvalidArgument, "{broken:?}: {refusal}");
        assert!(!refusal.message().is_empty());
    }
}

#[tokio::test]
async fn streams_that_go_on_wrongly_are_refused() {
    let world = World::faultless().await;
    let gateway = world.gateway().await;
    let second = FRAME as u64;
    let pcm = |bytes| AudioFrame {
        sample_position: second,
        pcm: vec![0; bytes].into(),
        for_consent_only: false,
    };
    let lost = |sample_position, samples| LostAudio { sample_position, samples, reason: 1 };
    for broken in [
        Message::Start(start("p-1")),
        frame(FRAME - 1, &[0; FRAME]),
        frame(0, &[0; FRAME]),
        Message::Frame(pcm(FRAME + 1)),
        Message::Frame(pcm(2 * 16_001)),
        Message::Frame(AudioFrame { sample_position: u64::MAX, ..pcm(2) }),
        Message::Lost(lost(0, 1)),
        Message::Lost(lost(second, u64::MAX)),
        Message::Lost(lost(u64::MAX, u64::MAX)),
        Message::End(PartyEnd { sample_position: second - 1 }),
        Message::End(PartyEnd { sample_position: u64::MAX }),
    ] {
        let mut party = gateway.start(start("p-1")).await.unwrap();
        party.send(frame(0, &[0; FRAME])).await;
        party.send(broken.clone()).await;
        let refusal = party.rest().await.expect_err("a refusal");
        assert_eq!(refusal.code(), Code::InvalidArgument, "{broken:?}: {refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_begin_is_given_up() {
    let world = World::new(1, Script::new(|window| Ok(said(window)))).await;
    let gateway = world.gateway().await;
    let answer = tokio::time::timeout(Duration::from_secs(60), gateway.say_nothing()).await;
    let refusal = answer.expect("an answer in time").expect_err("a refusal");
    assert_eq!(refusal.code(), Code::Unavailable, "{refusal}");
}

#[tokio::test]
async fn a_party_without_a_place_is_sent_elsewhere_until_another_has_left() {
    let world = World::new(1, Script::new(|window| Ok(said(window)))).await;
    let gateway = world.gateway().await;
    let mut first = gateway.start(start("p-1")).await.unwrap();
    let refusal = gateway.start(start("p-2")).await.err().expect("a refusal");
    assert_eq!(refusal.code(), Code::ResourceExhausted, "{refusal}");

    first.end(16_000).await;
    let acks = first.rest().await.unwrap();
    assert_eq!(acks.last().unwrap().sample_position, 16_000);
    let mut second = gateway.start(start("p-2")).await.unwrap();
    // A party that breaks the contract leaves its place, too.
    second.send(Message::Start(start("p-2"))).await;
    second.rest().await.expect_err("a refusal");
    gateway.start(start("p-3")).await.unwrap();
}
