//! A gateway that goes away in the middle of an utterance, and may come back.

use pipeline::speech::millis;
use tonic::Code;

use crate::World;
use crate::gateway::{resumed, start};
use crate::script::{Script, said, transcript, utterances, voice};

/// In the middle of the third utterance, where somebody speaks.
fn middle_of_speech(audio: &[i16]) -> usize {
    let third = &utterances(audio)[2];
    ((third.speech_start + third.speech_end) / 2) as usize
}

#[tokio::test]
async fn an_utterance_that_a_lost_connection_broke_is_captioned_whole_on_the_next() {
    let world = World::faultless().await;
    let audio = voice("agent");
    let broken = middle_of_speech(&audio);
    let said = utterances(&audio);

    let gateway = world.gateway().await;
    let mut first = gateway.start(start("p-1")).await.unwrap();
    first.say(&audio, 0, broken).await;
    let ack = first.ack_of(said[1].speech_end).await;
    assert!(ack.sample_position <= said[2].start);
    let _acks = first.fall_silent();
    // There is one worker and one way to the relay: had the broken utterance been captioned, that would come first.
    gateway.stream(start("p-2"), &voice("customer")[..16_000 * 15]).await;
    assert_eq!(world.relay.transcript("p-1"), transcript(&audio)[..2]);

    let mut second = world.gateway().await.start(resumed("p-1", ack)).await.unwrap();
    second.say(&audio, ack.sample_position as usize, audio.len()).await;
    second.end(audio.len()).await;
    second.rest().await.unwrap();
    assert_eq!(world.relay.transcript("p-1"), transcript(&audio));
}

#[tokio::test]
async fn a_connection_that_nobody_closed_gives_way_to_the_next() {
    // There is one place: the old connection must not keep it.
    let world = World::new(1, Script::new(|window| Ok(said(window)))).await;
    let audio = voice("agent");
    let broken = middle_of_speech(&audio);

    let mut first = world.gateway().await.start(start("p-1")).await.unwrap();
    first.say(&audio, 0, broken).await;
    let ack = first.ack_of(utterances(&audio)[1].speech_end).await;
    let mut second = world.gateway().await.start(resumed("p-1", ack)).await.unwrap();
    assert_eq!(first.rest().await.expect_err("taken over").code(), Code::Aborted);

    second.say(&audio, ack.sample_position as usize, audio.len()).await;
    second.end(audio.len()).await;
    second.rest().await.unwrap();
    assert_eq!(world.relay.transcript("p-1"), transcript(&audio));
}

#[tokio::test]
async fn the_last_words_of_a_gateway_that_stays_away_are_captioned() {
    let mut world = World::faultless().await;
    let audio = voice("agent");
    let broken = middle_of_speech(&audio);
    let said = utterances(&audio);
    let mut party = world.gateway().await.start(start("p-1")).await.unwrap();
    party.say(&audio, 0, broken).await;
    party.ack_of(said[1].speech_end).await;
    let _acks = party.fall_silent();

    // Nothing but time passes.
    tokio::time::pause();
    let last = world.relay.entries("p-1", 3).await.pop().unwrap().into_final();
    assert_eq!((last.segment, last.start_ms), (2, millis(said[2].speech_start)));
    assert!(last.end_ms.abs_diff(millis(broken as u64)) < 300, "{last:?}");
}

#[tokio::test]
async fn a_gateway_that_goes_away_in_silence_leaves_its_place_at_once() {
    let mut world = World::new(1, Script::new(|window| Ok(said(window)))).await;
    let audio = voice("agent");
    let said = utterances(&audio);
    world.relay.acknowledge_only("p-1", 0);
    let party = world.gateway().await.start(start("p-1")).await.unwrap();
    party.say(&audio, 0, said[0].speech_end as usize + 16_000).await;
    world.relay.entries("p-1", 1).await;
    drop(party);
    world.relay.acknowledge_all();

    // The connection that takes the seat over waits for the older one, whatever that still had to do.
    let other = voice("customer");
    world.gateway().await.stream(start("p-1"), &other[..16_000 * 5]).await;
    assert_eq!(world.relay.entries_now("p-1").remove(0).into_final().segment, 0);
}
