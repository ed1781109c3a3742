//! Who is asked when a recogniser fails or is late: decided on a clock of the test's.

use std::time::Duration;

use pipeline::captions::{Hypothesis, Word};
use pipeline::speech::{Window, samples};
use proptest::prelude::*;
use tokio::time::Instant;
use transcriber::backends::{BackendId, Chain, Lane, Step};
use transcriber::queue::Purpose;
use transcriber::recogniser::RecogniserError;

const PATIENCE: Duration = Duration::from_secs(2);

/// A party, the backends, and the time.
struct Party {
    now: Instant,
    chain: Chain,
    lane: Lane,
}

/// What came out, briefly.
#[derive(Debug, PartialEq, Eq)]
enum Did {
    Asked(BackendId, Purpose, u32),
    Ended(BackendId, u32),
    CalledOff(BackendId, u32),
    /// `None`: nobody could.
    Answered(u32, Option<String>),
    Failed(BackendId, bool),
    Recovered(BackendId),
}

use Did::{Answered, Asked, CalledOff, Ended, Failed, Recovered};
use Purpose::{Draft, Partial};

impl Party {
    fn new<const N: usize>(are_local: [bool; N]) -> Self {
        let now = Instant::now();
        Self { now, chain: Chain::new(are_local, now), lane: Lane::new(PATIENCE) }
    }

    fn did(&mut self) -> Vec<Did> {
        let brief = |step| match step {
            Step::Ask(backend, purpose, window) => Asked(backend, purpose, window.segment),
            Step::End(backend, segment) => Ended(backend, segment),
            Step::CallOff(backend, segment) => CalledOff(backend, segment),
            Step::Answer(it) => Answered(it.window.segment, it.hypothesis.map(|it| it.text())),
            Step::Failed(backend, _, is_news) => Failed(backend, is_news),
            Step::Recovered(backend) => Recovered(backend),
        };
        std::iter::from_fn(|| self.lane.poll_step()).map(brief).collect()
    }

    fn hear(&mut self, segment: u32) -> Option<BackendId> {
        self.lane.hear(&mut self.chain, self.now, segment)
    }

    fn request(&mut self, purpose: Purpose, window: Window) -> Vec<Did> {
        self.lane.request(&mut self.chain, self.now, purpose, window);
        self.did()
    }

    fn end(&mut self, segment: u32) -> Vec<Did> {
        self.lane.ended(self.now, segment);
        self.did()
    }

    fn answer(&mut self, backend: BackendId, purpose: Purpose, window: Window) -> Vec<Did> {
        let text = format!("by {backend}");
        let words = vec![Word { text, start: 0, end: 0, confidence: 1.0 }];
        let hypothesis = Hypothesis { words, ..Hypothesis::default() };
        self.lane.answered(&mut self.chain, backend, purpose, window, hypothesis);
        self.did()
    }

    fn fail(&mut self, backend: BackendId, segment: u32) -> Vec<Did> {
        let error = RecogniserError::Unavailable("as the test wants it".to_owned());
        self.lane.broken(&mut self.chain, self.now, backend, segment, error);
        self.did()
    }

    /// Lets time pass, with every timeout that falls into it.
    fn wait(&mut self, duration: Duration) -> Vec<Did> {
        let end = self.now + duration;
        let mut did = Vec::new();
        while let Some(due) = self.lane.poll_timeout().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.lane.handle_timeout(&mut self.chain, self.now);
            did.extend(self.did());
        }
        self.now = end;
        did
    }

    /// A whole utterance with a backend that does as it must.
    fn utterance(&mut self, segment: u32, backend: BackendId) {
        assert_eq!(self.hear(segment), Some(backend));
        self.request(Draft, window(segment, 1_000));
        self.end(segment);
        self.answer(backend, Draft, window(segment, 1_000));
    }
}

fn window(segment: u32, speech_end_ms: u64) -> Window {
    Window {
        segment,
        start: 0,
        speech_start: 0,
        speech_end: samples(speech_end_ms),
        clarity: 1.0,
        audio: vec![0.0; samples(speech_end_ms + 200) as usize].into(),
    }
}

fn by(backend: BackendId) -> Option<String> {
    Some(format!("by {backend}"))
}

#[test]
fn while_the_first_works_nobody_else_is_asked() {
    let mut party = Party::new([false, true]);
    assert_eq!(party.hear(0), Some(0));
    assert_eq!(party.request(Partial, window(0, 500)), [Asked(0, Partial, 0)]);
    assert_eq!(party.answer(0, Partial, window(0, 500)), [Answered(0, by(0))]);
    assert_eq!(party.request(Draft, window(0, 1_000)), [Asked(0, Draft, 0)]);
    assert_eq!(party.end(0), [Ended(0, 0)]);
    assert_eq!(party.answer(0, Draft, window(0, 1_000)), [Answered(0, by(0)), CalledOff(0, 0)]);
    assert_eq!(party.wait(Duration::from_secs(60)), []);
    assert_eq!(party.chain.serving(), 0);
}

#[test]
fn the_next_takes_over_in_mid_utterance() {
    let mut party = Party::new([false, true]);
    party.hear(0);
    party.request(Partial, window(0, 500));
    assert_eq!(party.fail(0, 0), [Failed(0, true), CalledOff(0, 0)]);
    assert_eq!(party.chain.serving(), 1);
    // It is given the utterance from its beginning: so much is in every window.
    assert_eq!(party.request(Partial, window(0, 900)), [Asked(1, Partial, 0)]);
    assert_eq!(party.request(Draft, window(0, 1_000)), [Asked(1, Draft, 0)]);
    party.end(0);
    assert_eq!(party.answer(1, Draft, window(0, 1_000)), [Answered(0, by(1)), CalledOff(1, 0)]);
}

#[test]
fn a_draft_that_the_first_fails_on_goes_to_the_next() {
    let mut party = Party::new([false, true]);
    party.request(Draft, window(0, 1_000));
    party.end(0);
    assert_eq!(
        party.fail(0, 0),
        [Failed(0, true), CalledOff(0, 0), Asked(1, Draft, 0), Ended(1, 0)]
    );
    // What the first says now is too late.
    party.answer(1, Draft, window(0, 1_000));
    assert_eq!(party.answer(0, Draft, window(0, 1_000)), [Recovered(0)]);
}

#[test]
fn who_is_late_loses_the_utterance() {
    let mut party = Party::new([false, true]);
    party.request(Draft, window(0, 1_000));
    assert_eq!(party.wait(Duration::from_secs(60)), [], "nothing is owed before the end");
    party.end(0);
    let just_before = PATIENCE - Duration::from_millis(1);
    assert_eq!(party.wait(just_before), []);
    assert_eq!(
        party.wait(Duration::from_millis(1)),
        [Failed(0, true), CalledOff(0, 0), Asked(1, Draft, 0), Ended(1, 0)]
    );
    // The last one has all the time that it takes.
    assert_eq!(party.wait(Duration::from_secs(60)), []);
    assert_eq!(party.answer(1, Draft, window(0, 1_000)), [Answered(0, by(1)), CalledOff(1, 0)]);
}

#[test]
fn the_first_is_tried_again_later_with_one_utterance() {
    let mut party = Party::new([false, true]);
    party.hear(0);
    party.fail(0, 0);
    party.utterance(0, 1);
    party.utterance(1, 1);
    party.wait(Duration::from_secs(1));
    assert_eq!(party.hear(2), Some(0), "its trial");
    party.utterance(3, 1);
    assert_eq!(party.request(Draft, window(2, 1_000)), [Asked(0, Draft, 2)]);
    party.end(2);
    let recovered = [Recovered(0), Answered(2, by(0)), CalledOff(0, 2)];
    assert_eq!(party.answer(0, Draft, window(2, 1_000)), recovered);
    party.utterance(4, 0);
    assert_eq!(party.chain.serving(), 0);
}

#[test]
fn a_trial_that_fails_costs_no_word() {
    let mut party = Party::new([false, true]);
    party.hear(0);
    party.fail(0, 0);
    party.wait(Duration::from_secs(1));
    party.request(Draft, window(1, 1_000));
    party.end(1);
    let moved = [Failed(0, false), CalledOff(0, 1), Asked(1, Draft, 1), Ended(1, 1)];
    assert_eq!(party.fail(0, 1), moved);
    party.wait(Duration::from_millis(1_900));
    party.utterance(2, 1);
    party.wait(Duration::from_millis(100));
    assert_eq!(party.hear(3), Some(0), "after twice the pause");
}

#[test]
fn with_nobody_else_an_utterance_waits_for_its_backend() {
    let mut party = Party::new([false]);
    party.request(Draft, window(0, 1_000));
    party.end(0);
    assert_eq!(party.fail(0, 0), [Failed(0, true), CalledOff(0, 0)]);
    assert_eq!(party.wait(Duration::from_millis(900)), []);
    assert_eq!(party.wait(Duration::from_millis(200)), [Asked(0, Draft, 0), Ended(0, 0)]);
    assert_eq!(party.answer(0, Draft, window(0, 1_000))[0], Recovered(0));
}

#[test]
fn a_backend_that_stays_away_is_given_up() {
    let mut party = Party::new([false, false]);
    party.request(Draft, window(0, 1_000));
    party.end(0);
    let mut did = party.fail(0, 0);
    for _ in 0..60 {
        let last = did.iter().rev().find_map(|did| match did {
            Asked(backend, ..) => Some(*backend),
            _ => None,
        });
        if let Some(backend) = last {
            did = party.fail(backend, 0);
        }
        did.extend(party.wait(Duration::from_millis(500)));
        if did.contains(&Answered(0, None)) {
            return;
        }
    }
    panic!("it is waited for without end");
}

#[test]
fn what_a_recogniser_of_this_process_fails_on_is_given_up_at_once() {
    let mut party = Party::new([true]);
    party.request(Draft, window(0, 1_000));
    party.end(0);
    assert_eq!(party.fail(0, 0), [Failed(0, false), CalledOff(0, 0), Answered(0, None)]);
    party.utterance(1, 0);
}

#[test]
fn a_draft_that_speech_went_on_after_is_no_answer() {
    let mut party = Party::new([true]);
    party.request(Draft, window(0, 1_000));
    party.request(Draft, window(0, 2_000));
    party.end(0);
    assert_eq!(party.answer(0, Draft, window(0, 1_000)), [Answered(0, by(0))]);
    let last = [Answered(0, by(0)), CalledOff(0, 0)];
    assert_eq!(party.answer(0, Draft, window(0, 2_000)), last);
}

/// What may happen to a party.
#[derive(Clone, Debug)]
enum Event {
    Speak,
    Pause,
    End,
    Answer(BackendId),
    Fail(BackendId),
    Wait(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Speak),
        Just(Event::Pause),
        Just(Event::End),
        (0..3_usize).prop_map(Event::Answer),
        (0..3_usize).prop_map(Event::Fail),
        (0..5_000_u64).prop_map(Event::Wait),
    ]
}

proptest! {
    /// Whatever backends do, every utterance that was drafted is answered about its last draft in the end, and backends
    /// are asked about nothing that is answered.
    #[test]
    fn every_utterance_is_answered(events in prop::collection::vec(event(), 0..80)) {
        let mut party = Party::new([false, false, true]);
        let (mut segment, mut spoken, mut drafted) = (0, 500, None);
        let mut owed: Vec<(u32, u64)> = Vec::new();
        let settle = |party: &mut Party, owed: &mut Vec<(u32, u64)>| {
            while let Some(step) = party.lane.poll_step() {
                match step {
                    Step::Answer(it) if it.purpose == Draft => {
                        owed.retain(|(segment, end)| {
                            (*segment, *end) != (it.window.segment, it.window.speech_end)
                        });
                    }
                    Step::Ask(_, Draft, window) => {
                        let is_owed = owed.contains(&(window.segment, window.speech_end));
                        prop_assert!(is_owed, "{} is not owed", window.segment);
                    }
                    _ => {}
                }
            }
            Ok(())
        };
        for event in events {
            match event {
                Event::Speak => {
                    spoken += 500;
                    party.lane.request(&mut party.chain, party.now, Partial, window(segment, spoken));
                }
                Event::Pause => {
                    owed.retain(|(of, _)| *of != segment);
                    owed.push((segment, samples(spoken)));
                    drafted = Some(spoken);
                    party.lane.request(&mut party.chain, party.now, Draft, window(segment, spoken));
                }
                Event::End => {
                    if drafted == Some(spoken) {
                        party.lane.ended(party.now, segment);
                        (segment, spoken, drafted) = (segment + 1, 500, None);
                    }
                }
                Event::Answer(backend) => {
                    if let Some((segment, end)) = owed.first().copied() {
                        let window = window(segment, end / 16);
                        let hypothesis = Hypothesis::default();
                        party.lane.answered(&mut party.chain, backend, Draft, window, hypothesis);
                    }
                }
                Event::Fail(backend) => {
                    let of = owed.first().map_or(segment, |(segment, _)| *segment);
                    let error = RecogniserError::Failed(String::new());
                    party.lane.broken(&mut party.chain, party.now, backend, of, error);
                }
                Event::Wait(ms) => {
                    party.now += Duration::from_millis(ms);
                    party.lane.handle_timeout(&mut party.chain, party.now);
                }
            }
            settle(&mut party, &mut owed)?;
        }
        party.lane.ended(party.now, segment);
        // Nobody answers any more, and each fails when it is asked.
        for _ in 0..200 {
            party.now += Duration::from_millis(500);
            party.lane.handle_timeout(&mut party.chain, party.now);
            settle(&mut party, &mut owed)?;
            for (segment, _) in owed.clone() {
                for backend in 0..3 {
                    let error = RecogniserError::Failed(String::new());
                    party.lane.broken(&mut party.chain, party.now, backend, segment, error);
                    settle(&mut party, &mut owed)?;
                }
            }
        }
        prop_assert!(owed.is_empty(), "{owed:?}");
    }
}
