//! The example recogniser in Python captions the demo call, and is killed in the middle of it. `make test-backends` starts
//! it, and names it by `RECOGNISER` (its address) and `RECOGNISER_PID`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use sidetone::demo::Tally;
use simulator::{Turn, demo_transcript};
use web_relay::event::{Caption, Event};

/// Share of a party's words that may be wrong, in percent: PocketSphinx mishears one in five or so. A lost or repeated
/// utterance is more.
const ERRORS_PERCENT: f64 = 35.0;

#[test]
#[ignore = "needs the example recogniser: make test-backends"]
fn it_captions_a_call_and_when_it_is_killed_in_mid_utterance_no_word_is_lost() {
    let address = std::env::var("RECOGNISER").expect("RECOGNISER");
    let pid = std::env::var("RECOGNISER_PID").expect("RECOGNISER_PID").parse().unwrap();
    let pid = Pid::from_raw(pid).unwrap();

    let mut command = Command::new(env!("CARGO_BIN_EXE_sidetone"));
    command.args(["demo", "--once", "--json", "--backends", "grpc,whisper", "--grpc", &address]);
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut events: Vec<Event> = Vec::new();
    let mut killed_after = None;
    for line in BufReader::new(process.stdout.take().unwrap()).lines() {
        let event: Event = serde_json::from_str(&line.unwrap()).unwrap();
        let finals = finals(&events).count();
        let is_mid = matches!(&event, Event::Partial(caption) if caption.revision >= 2);
        if killed_after.is_none() && finals >= 6 && is_mid {
            kill_process(pid, Signal::KILL).unwrap();
            killed_after = Some(events.len());
        }
        events.push(event);
    }
    assert!(process.wait().unwrap().success());

    let killed_after = killed_after.expect("captions come while it lives");
    let told = events.iter().position(is_fallback).expect("the viewers are told");
    assert!(told >= killed_after, "it did well until it was killed");
    assert!(!events.iter().any(|event| matches!(event, Event::Gap(_))), "a gap");
    for speaker in ["agent", "customer"] {
        let mut heard: Vec<_> =
            finals(&events).filter(|caption| caption.role.as_str() == speaker).collect();
        heard.sort_by_key(|caption| caption.start_ms);
        for pair in heard.windows(2) {
            assert!(pair[0].end_ms <= pair[1].start_ms, "{pair:?}");
        }
        let turns = demo_transcript();
        let said: Vec<_> = turns.iter().filter(|turn| turn.speaker == speaker).collect();
        for turn in &said {
            let covered: u64 = heard.iter().map(|caption| overlap_ms(caption, turn)).sum();
            assert!(10 * covered >= 8 * (turn.end_ms - turn.start_ms), "{turn:?}");
        }
        let said = said.iter().map(|turn| turn.text.as_str()).collect::<Vec<_>>().join(" ");
        let heard = heard.iter().map(|it| it.text.as_str()).collect::<Vec<_>>().join(" ");
        let words = Tally::count(&said, &heard);
        println!("{speaker}: {:.1} % of the words are wrong\n{heard}", words.percent());
        assert!(words.percent() <= ERRORS_PERCENT, "{speaker}: {words:?}");
    }
}

fn finals(events: &[Event]) -> impl Iterator<Item = &Caption> {
    events.iter().filter_map(Event::as_final)
}

fn is_fallback(event: &Event) -> bool {
    matches!(event, Event::Recognition(recognition) if recognition.is_fallback)
}

fn overlap_ms(caption: &Caption, turn: &Turn) -> u64 {
    caption.end_ms.min(turn.end_ms).saturating_sub(caption.start_ms.max(turn.start_ms))
}
