//! A recogniser that fails, and a relay that refuses.

use std::collections::HashSet;
use std::sync::Mutex;

use pipeline::speech::millis;
use sidetone_proto::v1::{GapReason, PartyStart};
use transcriber::recogniser::RecogniserError;

use crate::World;
use crate::gateway::start;
use crate::relay::Entry;
use crate::script::{Script, said, transcript, utterances, voice};

/// Fails on the second utterance in a way of its own.
async fn second_fails(fail: fn() -> RecogniserError) -> World {
    let script = Script::new(move |window| match window.segment {
        1 => Err(fail()),
        _ => Ok(said(window)),
    });
    World::new(8, script).await
}

#[tokio::test]
async fn a_window_on_which_the_recogniser_panics_is_tried_again() {
    // Streams of party 2 count from 100, which tells their windows from those of party 1.
    let tried = Mutex::new(HashSet::new());
    let script = Script::new(move |window| {
        let first = tried.lock().unwrap().insert((window.segment, window.end()));
        assert!(!first || window.segment < 100, "the recogniser panics, as this test wants it to");
        Ok(said(window))
    });
    let world = World::new(8, script).await;
    let (audio, other) = (voice("agent"), voice("customer"));
    let (gateway, other_gateway) = (world.gateway().await, world.gateway().await);
    let numbered = PartyStart { next_segment: 100, ..start("p-2") };
    tokio::join!(gateway.stream(start("p-1"), &audio), other_gateway.stream(numbered, &other));
    assert_eq!(world.relay.transcript("p-1"), transcript(&audio));
    let renumbered = transcript(&other).into_iter().map(|(segment, text)| (segment + 100, text));
    assert_eq!(world.relay.transcript("p-2"), renumbered.collect::<Vec<_>>());
}

#[tokio::test]
async fn what_can_not_be_recognised_is_a_gap_and_the_call_goes_on() {
    let audio = voice("agent");
    let expected = utterances(&audio);
    for fail in [
        (|| RecogniserError::Failed("as the test wants it".to_owned())) as fn() -> RecogniserError,
        || panic!("the recogniser panics, as this test wants it to"),
    ] {
        let world = second_fails(fail).await;
        let end = world.gateway().await.stream(start("p-1"), &audio).await;
        assert_eq!(end.sample_position, audio.len() as u64);
        let entries = world.relay.entries_now("p-1");
        let (gaps, finals): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| matches!(entry, Entry::Gap(_)));
        let [gap] = gaps.try_into().expect("one gap");
        let gap = gap.into_gap();
        let span = (millis(expected[1].speech_start), millis(expected[1].speech_end));
        assert_eq!((gap.start_ms, gap.end_ms), span);
        assert_eq!(gap.reason(), GapReason::RecogniserFailed);
        let segments = finals.into_iter().map(|entry| entry.into_final().segment);
        let others = (0..expected.len() as u32).filter(|segment| *segment != 1);
        assert!(segments.eq(others));
    }
}

#[tokio::test]
async fn a_caption_that_the_relay_refuses_is_a_gap_and_the_call_goes_on() {
    let world = World::faultless().await;
    world.relay.refuse_segment(1);
    let audio = voice("agent");
    let expected = utterances(&audio);
    let end = world.gateway().await.stream(start("p-1"), &audio).await;
    assert_eq!(end.sample_position, audio.len() as u64);
    let entries = world.relay.entries_now("p-1");
    assert_eq!(entries.len(), expected.len());
    let gap = entries.into_iter().find(|entry| matches!(entry, Entry::Gap(_))).expect("a gap");
    let gap = gap.into_gap();
    let span = (millis(expected[1].speech_start), millis(expected[1].speech_end));
    assert_eq!((gap.start_ms, gap.end_ms), span);
}
