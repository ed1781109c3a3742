//! What is acknowledged is stored: a gateway forgets audio on nothing but that.

use pipeline::speech::millis;
use sidetone_proto::v1::{GapReason, LostAudio, PartyAudio};
use transcriber::party::UNSTORED_CAPACITY;

use crate::World;
use crate::gateway::{FRAME, frame, start};
use crate::relay::Entry;
use crate::script::{transcript, utterances, voice};

#[tokio::test]
async fn every_utterance_becomes_a_final_with_its_label_and_times() {
    let world = World::faultless().await;
    let gateway = world.gateway().await;
    let audio = voice("agent");
    let end = gateway.stream(start("p-1"), &audio).await;
    assert_eq!(end.sample_position, audio.len() as u64);

    let said = utterances(&audio);
    assert_eq!(end.next_segment, said.len() as u32);
    assert_eq!(world.relay.transcript("p-1"), transcript(&audio));
    for (entry, window) in world.relay.entries_now("p-1").into_iter().zip(said) {
        let caption = entry.into_final();
        assert_eq!(caption.party, start("p-1").party);
        assert_eq!(caption.anchor_unix_ms, start("p-1").anchor_unix_ms);
        let span = (millis(window.speech_start), millis(window.speech_end));
        assert_eq!((caption.start_ms, caption.end_ms), span);
        assert_eq!((caption.words[0].start_ms, caption.words[0].end_ms), span);
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_before_the_relay_has_it() {
    let mut world = World::faultless().await;
    world.relay.acknowledge_only("p-1", 0);
    let gateway = world.gateway().await;
    let audio = &voice("agent")[..16_000 * 40];
    let said = utterances(audio);
    assert!(said.len() >= 3 && said.len() < UNSTORED_CAPACITY);

    let mut party = gateway.start(start("p-1")).await.unwrap();
    party.say(audio, 0, audio.len()).await;
    party.end(audio.len()).await;
    world.relay.entries("p-1", said.len()).await;
    // Every final is at the relay by now, and none is stored.
    for (stored, window) in said.iter().enumerate() {
        let mut acks = Vec::new();
        if stored > 0 {
            acks.push(party.ack_of(said[stored - 1].speech_end).await);
        }
        // Whatever was said on this connection before is here when another party has had its answers.
        gateway.stream(start("p-2"), &[0; 16_000]).await;
        acks.extend(party.acks_now().await);
        for ack in acks {
            assert!(
                ack.sample_position <= window.speech_start,
                "{ack:?} passes segment {}",
                window.segment
            );
            assert!(
                ack.next_segment <= window.segment,
                "{ack:?} passes segment {}",
                window.segment
            );
        }
        world.relay.acknowledge_only("p-1", stored + 1);
    }
    let rest = party.rest().await.unwrap();
    assert_eq!(rest.last().unwrap().sample_position, audio.len() as u64);
    assert_eq!(rest.last().unwrap().next_segment, said.len() as u32);
}

#[tokio::test]
async fn audio_waits_in_the_gateway_when_the_relay_stores_nothing() {
    let mut world = World::faultless().await;
    world.relay.acknowledge_only("p-1", 0);
    let gateway = world.gateway().await;
    let audio = voice("agent").repeat(3);
    let said = transcript(&audio);
    assert!(said.len() > UNSTORED_CAPACITY + 4);

    let mut party = gateway.start(start("p-1")).await.unwrap();
    let sender = party.sender();
    let frames = audio.clone();
    let sending = tokio::spawn(async move {
        for (number, samples) in frames.chunks(FRAME).enumerate() {
            let message = PartyAudio { message: Some(frame(number * FRAME, samples)) };
            sender.send(message).await.expect("the transcriber goes on reading");
        }
    });
    // The last one owed may be an utterance that is still going on.
    world.relay.entries("p-1", UNSTORED_CAPACITY - 1).await;
    // There is one worker and one way to the relay: had more of the first party been taken, it would be ahead of this.
    let other = voice("customer");
    world.gateway().await.stream(start("p-2"), &other).await;
    assert_eq!(world.relay.transcript("p-2"), transcript(&other));
    assert!(world.relay.entries_now("p-1").len() <= UNSTORED_CAPACITY);
    assert!(!sending.is_finished());

    world.relay.acknowledge_all();
    sending.await.unwrap();
    party.end(audio.len()).await;
    let acks = party.rest().await.unwrap();
    assert!(acks.is_sorted_by_key(|ack| (ack.sample_position, ack.next_segment)));
    assert_eq!(acks.last().unwrap().sample_position, audio.len() as u64);
    assert_eq!(world.relay.transcript("p-1"), said);
}

#[tokio::test]
async fn a_resumed_stream_numbers_on() {
    let world = World::faultless().await;
    let gateway = world.gateway().await;
    let audio = voice("agent");
    let third = &utterances(&audio)[2];
    let from = third.start as usize;
    let resumed = sidetone_proto::v1::PartyStart {
        sample_position: third.start,
        next_segment: 2,
        ..start("p-1")
    };
    let mut party = gateway.start(resumed).await.unwrap();
    party.say(&audio, from, audio.len()).await;
    party.end(audio.len()).await;
    party.rest().await.unwrap();
    assert_eq!(world.relay.transcript("p-1"), transcript(&audio)[2..]);
}

#[tokio::test]
async fn lost_audio_becomes_a_gap_and_moves_no_time() {
    let world = World::faultless().await;
    let gateway = world.gateway().await;
    let audio = voice("agent");
    let said = utterances(&audio);
    // The second utterance is lost, with the silence around it.
    let (from, to) = (said[0].end() as usize, said[2].start as usize);
    let mut party = gateway.start(start("p-1")).await.unwrap();
    party.say(&audio, 0, from).await;
    let reason = GapReason::TranscriberUnavailable.into();
    let samples = (to - from) as u64;
    party.lose(LostAudio { sample_position: from as u64, samples, reason }).await;
    party.lose(LostAudio { sample_position: to as u64, samples: 0, reason }).await;
    party.say(&audio, to, said[2].end() as usize + 16_000).await;
    party.end(said[2].end() as usize + 16_000).await;
    party.rest().await.unwrap();

    let mut entries = world.relay.entries_now("p-1");
    entries.sort_by_key(|entry| match entry {
        Entry::Final(caption) => caption.start_ms,
        Entry::Gap(gap) => gap.start_ms,
    });
    let [first, gap, third] = entries.try_into().expect("three entries");
    assert_eq!(first.into_final().segment, 0);
    let gap = gap.into_gap();
    assert_eq!(gap.party, start("p-1").party);
    assert_eq!((gap.start_ms, gap.end_ms), (millis(from as u64), millis(to as u64)));
    assert_eq!(gap.reason, reason);
    let third = third.into_final();
    assert_eq!(third.segment, 1);
    assert!(third.start_ms.abs_diff(millis(said[2].speech_start)) < 50, "{third:?}");
}
