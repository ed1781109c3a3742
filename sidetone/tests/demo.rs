//! `sidetone demo --once --json` captions the bundled call: every shape, both codecs.

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

use sidetone::demo::{Score, Tally};
use sidetone_proto::Role;
use simulator::demo_transcript;
use web_relay::event::{Caption, Event};

/// Word error rates of this call in percent, from the model's card, at 16 kHz and over G.711.
const CARD_WIDEBAND: f64 = 3.8;
const CARD_NARROWBAND: f64 = 2.3;

/// What streaming, a codec and the way there may add, in points.
const ALLOWANCE: f64 = 3.0;

#[test]
fn two_legs_label_each_party() {
    each_codec("two-legs", check_labelled);
}

#[test]
fn two_media_label_each_party() {
    each_codec("two-media", check_labelled);
}

#[test]
fn a_mixed_leg_says_mixed() {
    each_codec("mixed", |events| {
        assert_eq!(roles(events), BTreeSet::from(["mixed"]));
    });
}

/// Plays the call with both codecs at once, for it takes its time.
fn each_codec(shape: &str, check: fn(&[Event])) {
    let calls = ["opus", "pcmu"].map(|codec| (codec, demo(shape, codec)));
    for (codec, call) in calls {
        let events = events(call.wait_with_output().unwrap());
        check_life(&events);
        check(&events);
        let card = if codec == "opus" { CARD_WIDEBAND } else { CARD_NARROWBAND };
        let words = Score::of(&events).words;
        assert!(words.percent() <= card + ALLOWANCE, "{shape} {codec}: {words:?}");
    }
}

fn demo(shape: &str, codec: &str) -> std::process::Child {
    Command::new(env!("CARGO_BIN_EXE_sidetone"))
        .args(["demo", "--once", "--json", "--shape", shape, "--codec", codec])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn events(output: Output) -> Vec<Event> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{stderr}", output.status);
    let stdout = String::from_utf8(output.stdout).unwrap();
    stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn check_life(events: &[Event]) {
    assert!(matches!(events.first(), Some(Event::CallStarted(_))), "{:?}", events.first());
    assert!(matches!(events.last(), Some(Event::CallEnded(_))), "{:?}", events.last());
    assert!(!events.iter().any(|event| matches!(event, Event::Gap(_))));
    let partials = events.iter().filter(|event| matches!(event, Event::Partial(_))).count();
    assert!(partials >= finals(events).count(), "only {partials} partials");
    for caption in finals(events) {
        assert!(caption.start_ms < caption.end_ms);
        assert_eq!(caption.text.split_whitespace().count(), caption.words.len());
        assert!(caption.words.is_sorted_by_key(|word| word.start_ms));
    }
}

/// A party's finals are its own words, and not the other's.
fn check_labelled(events: &[Event]) {
    assert_eq!(roles(events), BTreeSet::from(["agent", "customer"]));
    for role in [Role::Agent, Role::Customer] {
        let heard: Vec<_> =
            finals(events).filter(|c| c.role == role).map(|c| c.text.as_str()).collect();
        let heard = heard.join(" ");
        let said = |by_role: bool| {
            let turns = demo_transcript().into_iter();
            let turns = turns.filter(|turn| (turn.speaker == role.as_str()) == by_role);
            turns.map(|turn| turn.text).collect::<Vec<_>>().join(" ")
        };
        assert!(Tally::count(&said(true), &heard).percent() < 15.0, "{role}");
        assert!(Tally::count(&said(false), &heard).percent() > 60.0, "{role}");
    }
}

fn roles(events: &[Event]) -> BTreeSet<&'static str> {
    finals(events).map(|caption| caption.role.as_str()).collect()
}

fn finals(events: &[Event]) -> impl Iterator<Item = &Caption> {
    events.iter().filter_map(Event::as_final)
}
