//! What a party says of itself that nobody is to read.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use pipeline::captions::{Caption, Hypothesis, Word};
use pipeline::redaction::{PartyRedactor, Policy};
use pipeline::speech::Window;
use sidetone_proto::v1::party_audio::Message;
use sidetone_proto::v1::{GapReason, PartyDiscard};
use transcriber::redaction::{Redact, Redaction};

use crate::World;
use crate::gateway::start;
use crate::relay::Entry;
use crate::script::{Script, said, utterances, voice};

/// A quarter of a card number in each of the first four utterances.
fn reads_a_card(window: &Window) -> Hypothesis {
    let texts: &[&str] = match window.segment {
        0 => &["it's", "4111", "1111"],
        1 => &["eleven", "eleven"],
        2 => &["one", "one"],
        3 => &["double", "one", "okay"],
        _ => &["thanks"],
    };
    let count = texts.len() as u64;
    let step = (window.speech_end - window.speech_start) / count;
    let words = texts.iter().zip(0..).map(|(text, i)| Word {
        text: (*text).to_owned(),
        start: window.speech_start + i * step,
        end: window.speech_start + (i + 1) * step,
        confidence: 1.0,
    });
    Hypothesis { words: words.collect(), ..Hypothesis::default() }
}

#[tokio::test]
async fn a_card_number_that_is_read_over_four_utterances_never_reaches_the_relay() {
    let redaction = Redaction::new(Policy::default());
    let script = Script::new(|window| Ok(reads_a_card(window)));
    let world = World::with_redaction(script, redaction).await;
    let audio = voice("agent");
    assert!(utterances(&audio).len() > 4);
    let end = world.gateway().await.stream(start("p-1"), &audio).await;
    assert_eq!(end.sample_position, audio.len() as u64);
    let texts: Vec<_> = world.relay.transcript("p-1").into_iter().map(|(_, text)| text).collect();
    let redacted =
        ["it's [card number]", "[card number]", "[card number]", "[card number] okay", "thanks"];
    assert_eq!(texts[..5], redacted);
    for caption in world.relay.partials_now() {
        assert_eq!(caption.timing, None);
        let digits = caption.text.chars().filter(char::is_ascii_digit).count();
        assert!(digits <= 4, "a partial shows {digits} digits");
        assert!(!caption.text.contains("eleven"), "{}", caption.text);
    }
}

#[tokio::test]
async fn what_waits_to_be_redacted_is_dropped_when_the_party_is_discarded() {
    let script = Script::new(|window| Ok(reads_a_card(window)));
    let mut world = World::with_redaction(script, Redaction::new(Policy::default())).await;
    let gateway = world.gateway().await;
    let audio = voice("agent");
    let into_second = utterances(&audio)[1].speech_start as usize + 8_000;
    let mut party = gateway.start(start("p-1")).await.unwrap();
    party.say(&audio, 0, into_second).await;
    party.send(Message::Discard(PartyDiscard {})).await;
    let acks = party.rest().await.unwrap();
    assert_eq!(acks.last().unwrap().sample_position, into_second as u64);
    // What was sent before this is there when this is.
    gateway.stream(start("p-2"), &audio).await;
    world.relay.entries("p-2", 1).await;
    assert_eq!(world.relay.entries_now("p-1"), []);
}

/// Fails when it is given a certain segment.
struct Fragile(PartyRedactor, AtomicU32);

impl Redact for Fragile {
    fn partial(&mut self, caption: Caption) -> Vec<Caption> {
        self.0.partial(caption)
    }

    fn closed(&mut self, now: Instant, segment: u32, last: Option<Caption>) -> Vec<Caption> {
        let trap = self.1.load(Ordering::Relaxed);
        assert!(segment != trap, "the redactor fails, as this test wants it to");
        self.0.closed(now, segment, last)
    }

    fn handle_timeout(&mut self, now: Instant, speaking: bool) -> Vec<Caption> {
        self.0.handle_timeout(now, speaking)
    }

    fn next_timeout(&self, speaking: bool) -> Option<Instant> {
        self.0.next_timeout(speaking)
    }

    fn finish(&mut self, now: Instant) -> Vec<Caption> {
        self.0.finish(now)
    }
}

#[tokio::test]
async fn what_can_not_be_redacted_is_a_gap_and_the_call_goes_on() {
    let redaction = Redaction::with(|next| {
        Box::new(Fragile(PartyRedactor::new(Policy::off(), next), AtomicU32::new(1)))
    });
    let script = Script::new(|window| Ok(said(window)));
    let world = World::with_redaction(script, redaction).await;
    let audio = voice("agent");
    let expected = utterances(&audio);
    let end = world.gateway().await.stream(start("p-1"), &audio).await;
    assert_eq!(end.sample_position, audio.len() as u64, "the gateway need not say it again");
    let (gaps, finals): (Vec<_>, Vec<_>) = world
        .relay
        .entries_now("p-1")
        .into_iter()
        .partition(|entry| matches!(entry, Entry::Gap(_)));
    let [gap] = gaps.try_into().expect("one gap");
    assert_eq!(gap.into_gap().reason(), GapReason::Withheld);
    let segments = finals.into_iter().map(|entry| entry.into_final().segment);
    assert!(segments.eq((0..expected.len() as u32).filter(|segment| *segment != 1)));
}
