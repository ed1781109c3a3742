//! Whatever a recogniser answers (nothing, nonsense, times in disorder, loops, failures), and whenever it does (at once,
//! late, in any order, never): captions keep their promises.

use std::collections::HashMap;

use pipeline::captions::{Caption, CaptionAssembler, Hypothesis, Word};
use pipeline::speech::{Window, samples};
use proptest::prelude::*;
use proptest::sample::select;

/// What happens next.
#[derive(Clone, Debug)]
enum Act {
    /// The party goes on speaking, and a partial is asked for.
    Speak,
    /// It pauses, and a draft is asked for.
    Pause,
    /// It has paused, and the utterance ends.
    End,
    /// One of the windows that were asked about is answered; `None` by a failure.
    Answer(prop::sample::Index, Option<Hypothesis>),
    /// One of the partials is never answered.
    Drop(prop::sample::Index),
}

fn words() -> impl Strategy<Value = Vec<Word>> {
    let text = prop_oneof![
        8 => select(&["may", "I", "help", "you", "Helen.", "no"][..]).prop_map(str::to_owned),
        1 => ".{0,6}",
    ];
    let time = prop_oneof![4 => 0..2_000_000_u64, 1 => any::<u64>()];
    let confidence = prop_oneof![4 => 0.0..=1.0_f32, 1 => any::<f32>()];
    let word = (text, time.clone(), time, confidence)
        .prop_map(|(text, start, end, confidence)| Word { text, start, end, confidence });
    prop_oneof![
        6 => prop::collection::vec(word.clone(), 0..8),
        1 => (word, 4..40_usize).prop_map(|(word, times)| vec![word; times]),
    ]
}

fn hypothesis() -> impl Strategy<Value = Hypothesis> {
    let doubt = prop_oneof![4 => Just((0.0, -0.2)), 1 => (any::<f32>(), any::<f32>())];
    (words(), doubt).prop_map(|(words, (no_speech_probability, average_log_probability))| {
        Hypothesis { words, no_speech_probability, average_log_probability }
    })
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Speak),
        2 => Just(Act::Pause),
        2 => Just(Act::End),
        6 => (any::<prop::sample::Index>(), prop::option::weighted(0.9, hypothesis()))
            .prop_map(|(which, what)| Act::Answer(which, what)),
        1 => any::<prop::sample::Index>().prop_map(Act::Drop),
    ]
}

/// A party that speaks and pauses as the acts say, and what was asked about it.
#[derive(Default)]
struct Party {
    captions: CaptionAssembler,
    segment: u32,
    start_ms: u64,
    spoken_ms: u64,
    drafted_ms: Option<u64>,
    asked: Vec<(bool, Window)>,
    shown: Vec<Caption>,
}

impl Party {
    fn act(&mut self, act: Act) {
        match act {
            Act::Speak => {
                self.spoken_ms += 480;
                self.drafted_ms = None;
                self.asked.push((false, self.window(0)));
            }
            Act::Pause if self.spoken_ms > 0 && self.drafted_ms.is_none() => self.pause(),
            Act::End if self.spoken_ms > 0 => {
                if self.drafted_ms.is_none() {
                    self.pause();
                }
                let last = self.captions.ended(self.segment);
                self.shown.extend(last);
                self.start_ms += self.spoken_ms + 500;
                self.segment += 1;
                (self.spoken_ms, self.drafted_ms) = (0, None);
            }
            Act::Answer(which, hypothesis) if !self.asked.is_empty() => {
                let (is_draft, window) = self.asked.remove(which.index(self.asked.len()));
                let caption = match (is_draft, hypothesis) {
                    (true, Some(hypothesis)) => self.captions.draft_recognised(window, hypothesis),
                    (true, None) => self.captions.draft_failed(window),
                    (false, Some(hypothesis)) => {
                        self.captions.partial_recognised(&window, &hypothesis)
                    }
                    (false, None) => None,
                };
                self.shown.extend(caption);
            }
            Act::Drop(which) if !self.asked.is_empty() => {
                let which = which.index(self.asked.len());
                if !self.asked[which].0 {
                    self.asked.remove(which);
                }
            }
            Act::Pause | Act::End | Act::Answer(..) | Act::Drop(_) => {}
        }
    }

    fn pause(&mut self) {
        let window = self.window(224);
        self.drafted_ms = Some(self.spoken_ms);
        self.captions.draft_requested(&window);
        self.asked.push((true, window));
    }

    fn window(&self, silence_ms: u64) -> Window {
        let length = samples(self.spoken_ms + silence_ms) as usize;
        Window {
            segment: self.segment,
            start: samples(self.start_ms),
            speech_start: samples(self.start_ms),
            speech_end: samples(self.start_ms + self.spoken_ms),
            clarity: 1.0,
            audio: vec![0.0; length].into(),
        }
    }
}

proptest! {
    #[test]
    fn captions_keep_their_promises(acts in prop::collection::vec(act(), 1..60)) {
        let mut party = Party::default();
        for act in acts {
            party.act(act);
        }
        let last_segment = party.segment;
        party.act(Act::End);
        // What is answered last is answered all the same.
        while let Some((is_draft, window)) = party.asked.pop() {
            if is_draft {
                let caption = party.captions.draft_failed(window);
                party.shown.extend(caption);
            }
        }
        for segment in 0..last_segment {
            prop_assert!(party.captions.is_closed(segment), "{segment} is still open");
        }
        check(&party.shown)?;
    }
}

fn check(shown: &[Caption]) -> Result<(), TestCaseError> {
    let mut latest: HashMap<u32, &Caption> = HashMap::new();
    for caption in shown {
        prop_assert!(caption.start <= caption.end);
        prop_assert!(caption.stable_len <= caption.text.len());
        prop_assert!(caption.text.is_char_boundary(caption.stable_len));
        let mut at = caption.start;
        for word in &caption.words {
            prop_assert!(at <= word.start && word.start <= word.end, "words overlap");
            prop_assert!((0.0..=1.0).contains(&word.confidence));
            at = word.end;
        }
        prop_assert!(at <= caption.end);
        if let Some(before) = latest.insert(caption.segment, caption) {
            prop_assert!(!before.is_final, "something follows a final");
            prop_assert!(before.revision < caption.revision, "revisions grow");
            let committed = &before.text[..before.stable_len];
            prop_assert!(
                caption.is_final || caption.text.starts_with(committed),
                "{:?} was committed before {:?}",
                committed,
                caption.text
            );
        }
    }
    let mut finals: Vec<_> = latest.values().filter(|caption| caption.is_final).collect();
    finals.sort_by_key(|caption| caption.segment);
    for pair in finals.windows(2) {
        prop_assert!(pair[0].end <= pair[1].start, "finals overlap");
    }
    Ok(())
}
