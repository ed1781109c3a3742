use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::runs::{Beginning, Run, runs};
use super::{Kind, Policy, address};
use crate::captions::{Caption, Word, join};

/// A final that ends in a number of at least so many digits waits for what comes next.
const HELD_DIGITS: usize = 3;

/// One of so many waits a quarter of the time: were it the beginning of a card number, it could be shown (PCI DSS 3.4).
const HARMLESS_DIGITS: usize = 6;

/// A partial shows a number that may go on up to so many digits.
const SHOWN_DIGITS: usize = 4;

/// The longest that a final waits, even if the party goes on speaking: its audio is kept only so long.
const LONGEST_HOLD: Duration = Duration::from_secs(20);

/// The most finals that wait for what comes next. When there are more, the number is judged as it stands.
const HELD_CAPACITY: usize = 19;

/// The most finals that wait for an earlier one. When there are more, they no longer do.
const EARLY_CAPACITY: usize = 32;

/// Redacts the captions of one party, in the order of its utterances.
///
/// A number that goes on in the next utterance is not known for what it is until then: a final that ends in digits is
/// held back until the party says more, or something else, or nothing for a while. A partial is shown up to a number
/// that is not known yet.
pub struct PartyRedactor {
    policy: Policy,
    /// The next segment in order.
    expected: u32,
    /// Closed before an earlier one was; `None` without a final.
    early: BTreeMap<u32, Option<Caption>>,
    /// They end in one number that may go on.
    held: VecDeque<Held>,
    /// How long they wait.
    hold: Duration,
    beginning: Beginning,
    /// The last partial that was let through: its segment, its text and how much of it is stable.
    shown: Option<(u32, String, usize)>,
}

struct Held {
    caption: Caption,
    ready: Instant,
}

impl PartyRedactor {
    /// A redactor for a party whose first utterance has this number.
    pub fn new(policy: Policy, next_segment: u32) -> Self {
        Self {
            hold: policy.hold,
            policy,
            expected: next_segment,
            early: BTreeMap::new(),
            held: VecDeque::new(),
            beginning: Beginning::default(),
            shown: None,
        }
    }

    /// Takes a segment's final, or that it has none. Returns the finals that may go out, redacted, in order.
    pub fn closed(&mut self, now: Instant, segment: u32, last: Option<Caption>) -> Vec<Caption> {
        // The first word on a segment holds: what comes after it is about an attempt that is out of date.
        self.early.entry(segment).or_insert(last);
        if self.early.len() > EARLY_CAPACITY {
            self.expected = self.early.first_key_value().map_or(self.expected, |(first, _)| *first);
        }
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() > self.expected {
                break;
            }
            self.expected = self.expected.max(entry.key() + 1);
            if let Some(caption) = entry.remove() {
                self.held.push_back(Held { caption: with_words(caption), ready: now });
            }
        }
        self.settle(&[])
    }

    /// Takes a partial. Returns it as far as it may be shown, after the finals that may go out now that the party has
    /// said something else.
    pub fn partial(&mut self, caption: Caption) -> Vec<Caption> {
        let caption = with_words(caption);
        let stable = stable_words(&caption);
        let mut out = Vec::new();
        if caption.segment == self.expected && !self.held.is_empty() {
            out = self.settle(&caption.words[..stable]);
        }
        out.extend(self.redacted_partial(caption, stable));
        out
    }

    /// Judges what has waited long enough. `speaking`: the party is saying something that there is no final of yet.
    pub fn handle_timeout(&mut self, now: Instant, speaking: bool) -> Vec<Caption> {
        if self.next_timeout(speaking).is_none_or(|due| now < due) {
            return Vec::new();
        }
        self.release_all()
    }

    /// When [`Self::handle_timeout`] is to be called.
    pub fn next_timeout(&self, speaking: bool) -> Option<Instant> {
        let latest = self.held.front()?.ready + LONGEST_HOLD;
        let quiet = self.held.back()?.ready + self.hold;
        Some(if speaking { latest } else { latest.min(quiet) })
    }

    /// Judges everything as it stands: the party says no more.
    pub fn finish(&mut self, now: Instant) -> Vec<Caption> {
        for caption in std::mem::take(&mut self.early).into_values().flatten() {
            self.held.push_back(Held { caption: with_words(caption), ready: now });
        }
        self.release_all()
    }

    /// Lets finals out that nothing said later can make secret. `next` is how the next utterance begins.
    fn settle(&mut self, next: &[Word]) -> Vec<Caption> {
        let runs = self.runs(next);
        let undecided = runs.iter().find(|run| {
            run.ended_by.is_none()
                && run.most_digits() >= HELD_DIGITS
                && run.verdict(&self.policy, false).is_none()
        });
        let waiting = undecided.filter(|_| self.policy.wants_numbers());
        let is_harmless = waiting.is_some_and(|run| run.most_digits() <= HARMLESS_DIGITS);
        self.hold = if is_harmless { self.policy.hold / 4 } else { self.policy.hold };
        let ready = waiting.and_then(Run::first_utterance).unwrap_or(self.held.len());
        let ready = ready.min(self.held.len());
        if self.held.len() - ready > HELD_CAPACITY {
            return self.release_all();
        }
        self.release(ready, &runs, |run, policy| run.verdict(policy, run.ended_by.is_some()))
    }

    fn release_all(&mut self) -> Vec<Caption> {
        let runs = self.runs(&[]);
        self.release(self.held.len(), &runs, |run, policy| match run.ended_by {
            Some(_) => run.verdict(policy, true),
            None => run.verdict_when_broken_off(policy),
        })
    }

    fn release(
        &mut self,
        count: usize,
        runs: &[Run],
        verdict: impl Fn(&Run, &Policy) -> Option<(Kind, std::ops::Range<usize>)>,
    ) -> Vec<Caption> {
        let verdicts: Vec<_> = runs.iter().map(|run| verdict(run, &self.policy)).collect();
        let known = self.runs(&[]);
        let last = known.last().filter(|run| run.ended_by.is_none());
        // The same number, with what comes next if that is known.
        let of_last = last.and_then(|_| verdicts.get(known.len() - 1)).cloned().flatten();
        let beginning = last
            .map(|run| run.beginning(count, matches!(of_last, Some((Kind::Card, _)))))
            .unwrap_or_default();

        let mut out = Vec::with_capacity(count);
        for (utterance, held) in self.held.drain(..count).enumerate() {
            let mut marks = vec![None; held.caption.words.len()];
            for (run, verdict) in runs.iter().zip(&verdicts) {
                if let Some(verdict) = verdict {
                    run.mark(verdict, utterance, &mut marks);
                }
            }
            mark_emails(&self.policy, &held.caption.words, &mut marks);
            let whole = held.caption.words.len();
            out.push(redacted(held.caption, &marks, whole, whole));
        }
        self.beginning = beginning;
        out
    }

    fn redacted_partial(&mut self, caption: Caption, stable: usize) -> Option<Caption> {
        let mine = self.held.len();
        let in_order = caption.segment == self.expected;
        let mut marks = vec![None; caption.words.len()];
        let (mut shown, mut settled) = (caption.words.len(), stable);
        let is_stable = |place: super::runs::Place| place.0 < mine || place.1 < stable;
        if self.policy.wants_numbers() {
            for run in self.runs(&caption.words) {
                let Some(first) = run.first_word(mine) else { continue };
                let begins = in_order || run.after.is_some_and(|at| at.0 == mine && is_stable(at));
                let is_over = run.ended_by.is_some_and(is_stable) && begins;
                let verdict = run.verdict(&self.policy, is_over);
                if let Some(verdict) = &verdict {
                    run.mark(verdict, mine, &mut marks);
                } else if !is_over && run.most_digits() > SHOWN_DIGITS {
                    shown = shown.min(first);
                }
                if !is_over {
                    settled = settled.min(first);
                }
            }
        }
        if self.policy.emails {
            mark_emails(&self.policy, &caption.words, &mut marks);
            settled = settled.min(stable.saturating_sub(address::LONGEST));
        }
        let caption = redacted(caption, &marks, shown, settled.min(shown));
        let state = (caption.segment, caption.text.clone(), caption.stable_len);
        if caption.text.is_empty() || self.shown.as_ref() == Some(&state) {
            return None;
        }
        self.shown = Some(state);
        Some(caption)
    }

    /// The numbers in what is held, with what comes after it.
    fn runs(&self, next: &[Word]) -> Vec<Run> {
        let held = self.held.iter().map(|held| held.caption.words.as_slice());
        runs(&self.beginning, held.chain([next]))
    }
}

fn mark_emails(policy: &Policy, words: &[Word], marks: &mut [Option<Kind>]) {
    if policy.emails {
        let texts: Vec<_> = words.iter().map(|word| word.text.as_str()).collect();
        for span in address::emails(&texts) {
            for mark in &mut marks[span] {
                mark.get_or_insert(Kind::Email);
            }
        }
    }
}

/// A caption without its marked words, up to `shown` of its words, the first `settled` of which are stable.
fn redacted(caption: Caption, marks: &[Option<Kind>], shown: usize, settled: usize) -> Caption {
    let mut words: Vec<Word> = Vec::with_capacity(shown);
    let (mut stable, mut before) = (0, None);
    for (index, word) in caption.words.into_iter().take(shown).enumerate() {
        match (marks[index], words.last_mut()) {
            (Some(kind), Some(last)) if before == Some(kind) => {
                last.end = last.end.max(word.end);
                last.confidence = last.confidence.min(word.confidence);
            }
            (Some(kind), _) => words.push(Word { text: kind.placeholder().to_owned(), ..word }),
            (None, _) => words.push(word),
        }
        before = marks[index];
        if index < settled {
            stable = words.len();
        }
    }
    // A placeholder that goes on beyond the stable words stays what it is.
    let text = join(&words);
    let stable_len = join(&words[..stable]).len();
    Caption { text, stable_len, words, ..caption }
}

/// How many of a caption's words are stable as a whole.
fn stable_words(caption: &Caption) -> usize {
    let mut length = 0;
    let ends = caption.words.iter().map(|word| {
        length += word.text.len() + usize::from(length > 0);
        length
    });
    ends.take_while(|end| *end <= caption.stable_len).count()
}

/// Gives a caption words that say what its text says: what is not in the words can't be seen by anything here.
fn with_words(mut caption: Caption) -> Caption {
    if join(&caption.words) != caption.text {
        let (start, end) = (caption.start, caption.end);
        let word = |text: &str| Word { text: text.to_owned(), start, end, confidence: 0.0 };
        let stable = caption.text.get(..caption.stable_len).unwrap_or_default();
        let stable: Vec<_> = stable.split_whitespace().map(word).collect();
        caption.words = caption.text.split_whitespace().map(word).collect();
        caption.text = join(&caption.words);
        caption.stable_len = join(&stable).len();
    }
    caption
}
