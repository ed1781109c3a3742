//! What leaves the redactor, whatever a party says and however it is cut into utterances.

mod cards;
mod other_kinds;
mod properties;

use std::time::{Duration, Instant};

use pipeline::captions::{Caption, Word};
use pipeline::redaction::{PartyRedactor, Policy};
use pipeline::speech::samples;

/// A party that speaks to a redactor.
struct Party {
    redactor: PartyRedactor,
    now: Instant,
    next: u32,
}

impl Party {
    fn with(policy: Policy) -> Self {
        Self { redactor: PartyRedactor::new(policy, 0), now: Instant::now(), next: 0 }
    }

    fn new() -> Self {
        Self::with(Policy::default())
    }

    /// The next final; gives the texts of those that go out.
    fn says(&mut self, text: &str) -> Vec<String> {
        let last = caption(self.next, text, text.len(), true);
        self.next += 1;
        texts(self.redactor.closed(self.now, self.next - 1, Some(last)))
    }

    /// A partial of the next segment, `stable` bytes of which are committed.
    fn is_saying(&mut self, text: &str, stable: usize) -> Vec<Caption> {
        self.redactor.partial(caption(self.next, text, stable, false))
    }

    /// Nothing, for so long.
    fn waits(&mut self, time: Duration, speaking: bool) -> Vec<String> {
        self.now += time;
        texts(self.redactor.handle_timeout(self.now, speaking))
    }
}

fn caption(segment: u32, text: &str, stable_len: usize, is_final: bool) -> Caption {
    let start = samples(10_000 * u64::from(segment));
    let words = text.split_whitespace().zip(0..).map(|(text, i)| Word {
        text: text.to_owned(),
        start: start + samples(100 * i),
        end: start + samples(100 * (i + 1)),
        confidence: 0.9,
    });
    Caption {
        segment,
        revision: 0,
        is_final,
        text: text.to_owned(),
        stable_len,
        start,
        end: start + samples(10_000),
        words: words.collect(),
    }
}

fn texts(captions: Vec<Caption>) -> Vec<String> {
    for caption in &captions {
        let words: Vec<_> = caption.words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(words.join(" "), caption.text, "words and text say the same");
        assert!(caption.words.iter().is_sorted_by_key(|word| (word.start, word.end)));
    }
    captions.into_iter().map(|caption| caption.text).collect()
}
