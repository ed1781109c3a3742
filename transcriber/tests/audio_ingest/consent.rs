//! What is heard about consent, and that nothing else becomes of audio that nobody has consented to.

use pipeline::captions::{Hypothesis, Word};
use sidetone_proto::v1::party_audio::Message;
use sidetone_proto::v1::{ConsentPhrases, ConsentState, PartyDiscard, PartyStart};

use crate::World;
use crate::gateway::{FRAME, Party, start, withheld};
use crate::script::{Script, utterances, voice};

fn listening(party: &str) -> PartyStart {
    let phrases = ConsentPhrases {
        announced: vec!["this call is recorded".to_owned()],
        granted: vec!["you can record".to_owned()],
        refused: vec!["do not record".to_owned()],
    };
    PartyStart { consent_phrases: Some(phrases), ..start(party) }
}

/// A recogniser that hears one text in every utterance from some segment on, and nothing that matters before.
fn says(text: &'static str, from: u32) -> Script {
    Script::new(move |window| {
        let text = if window.segment >= from { text } else { "hello there" };
        let words = text.split(' ').map(|word| Word {
            text: word.to_owned(),
            start: window.speech_start,
            end: window.speech_end,
            confidence: 1.0,
        });
        Ok(Hypothesis { words: words.collect(), ..Hypothesis::default() })
    })
}

/// A few utterances, and where the second one begins.
fn speech() -> (Vec<i16>, usize) {
    let mut audio = voice("agent");
    audio.truncate(16_000 * 40);
    audio.truncate(audio.len() / FRAME * FRAME);
    let all = utterances(&audio);
    assert!(all.len() >= 3, "{} utterances", all.len());
    let pause = (all[0].speech_end + all[1].speech_start) / 2;
    let boundary = usize::try_from(pause).unwrap() / FRAME * FRAME;
    (audio, boundary)
}

async fn say_withheld(party: &Party, audio: &[i16], to: usize) {
    for at in (0..to).step_by(FRAME) {
        party.send(withheld(at, &audio[at..at + FRAME])).await;
    }
}

#[tokio::test]
async fn a_phrase_is_told_no_later_than_the_audio_that_it_was_said_in_is_acknowledged() {
    let world = World::new(8, says("well you can record this", 1)).await;
    let (audio, boundary) = speech();
    let mut party = world.gateway().await.start(listening("p-1")).await.unwrap();
    party.say(&audio, 0, audio.len()).await;
    party.end(audio.len()).await;
    let acks = party.rest().await.unwrap();
    let heard = acks.iter().position(|ack| ack.heard_consent() == ConsentState::Granted).unwrap();
    assert!(acks[..heard].iter().all(|ack| ack.heard_consent() == ConsentState::Unspecified));
    assert!(acks[heard..].iter().all(|ack| ack.heard_consent() == ConsentState::Granted));
    // What was acknowledged before does not reach beyond the second utterance.
    let second = utterances(&audio)[1].speech_end;
    assert!(acks[..heard].iter().all(|ack| ack.sample_position <= second), "{boundary}");
    assert!(world.relay.transcript("p-1").len() >= 3, "captions are published all the same");
}

#[tokio::test]
async fn audio_for_consent_only_is_listened_to_and_never_published() {
    let world = World::new(8, says("this call is recorded", 0)).await;
    let (audio, _) = speech();
    let mut party = world.gateway().await.start(listening("p-1")).await.unwrap();
    say_withheld(&party, &audio, audio.len()).await;
    party.end(audio.len()).await;
    let acks = party.rest().await.unwrap();
    let last = acks.last().unwrap();
    assert_eq!(last.heard_consent(), ConsentState::Announced);
    assert_eq!(last.sample_position, audio.len() as u64);
    assert_eq!(world.relay.entries_now("p-1"), []);
}

#[tokio::test]
async fn captions_begin_exactly_where_consent_does_also_on_another_connection() {
    let mut world = World::faultless().await;
    let (audio, _) = speech();
    // In the middle of the second utterance: it is cut there.
    let second = &utterances(&audio)[1];
    let middle = usize::try_from((second.speech_start + second.speech_end) / 2).unwrap();
    let boundary = middle / FRAME * FRAME;
    let first = world.gateway().await.start(listening("p-1")).await.unwrap();
    say_withheld(&first, &audio, boundary).await;
    drop(first);

    let mut party = world.gateway().await.start(listening("p-1")).await.unwrap();
    say_withheld(&party, &audio, boundary).await;
    party.say(&audio, boundary, audio.len()).await;
    party.end(audio.len()).await;
    party.rest().await.unwrap();
    let entries = world.relay.entries("p-1", 2).await;
    let starts: Vec<u64> = entries.into_iter().map(|it| it.into_final().start_ms).collect();
    let begin_ms = boundary as u64 / 16;
    assert!(starts.iter().all(|start| *start >= begin_ms), "{starts:?}, consent at {begin_ms}");
    assert!(starts.len() >= 2, "{starts:?}");
}

#[tokio::test]
async fn what_is_discarded_is_not_published_and_counts_as_acknowledged() {
    let world = World::faultless().await;
    let (audio, boundary) = speech();
    world.relay.acknowledge_only("p-1", 0);
    let mut party = world.gateway().await.start(start("p-1")).await.unwrap();
    // The first utterance is over and under way to the relay, which does not take it; the second is being said.
    let into_second = utterances(&audio)[1].speech_start + 8_000;
    let into_second = usize::try_from(into_second).unwrap() / FRAME * FRAME;
    party.say(&audio, 0, into_second).await;
    party.send(Message::Discard(PartyDiscard {})).await;
    let acks = party.rest().await.unwrap();
    assert_eq!(acks.last().unwrap().sample_position, into_second as u64);
    world.relay.acknowledge_all();
    let published = world.relay.entries_now("p-1");
    let later = published.into_iter().map(|it| it.into_final().start_ms);
    assert!(later.into_iter().all(|start| start < boundary as u64 / 16));
}
