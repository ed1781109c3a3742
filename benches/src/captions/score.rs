//! How good the captions of a call were, from the events alone. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use sidetone::demo::{Delays, Step, Tally, align, words};
use sidetone_proto::v1::Caption;
use simulator::Turn;

/// Captions may begin this much before a turn that they belong to, or end this much after it: detectors are not exact.
const SLACK_MS: u64 = 500;

/// An error up to this many words from the seam between two finals is put down to the seam.
const SEAM_WORDS: usize = 1;

/// A caption, and when it came, in ms since the party's first sample was spoken.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) at_ms: u64,
    pub(crate) caption: Caption,
}

/// The figures of one call. Delays mean something only when it was spoken in real time.
#[derive(Debug, Default)]
pub(crate) struct Score {
    /// Word errors of the finals.
    pub(crate) words: Tally,
    /// From the beginning of a turn to its first caption.
    pub(crate) first_partials: Delays,
    /// From the end of a turn to its last final.
    pub(crate) finals: Delays,
    /// From the end of a word to its being shown as it stays.
    pub(crate) word_delays: Delays,
    /// Words that were shown and then taken back or changed.
    pub(crate) erased: usize,
    /// Words of all finals.
    pub(crate) final_words: usize,
    /// Words that partials showed as committed, and of these, those that another word replaced.
    pub(crate) committed: usize,
    pub(crate) committed_changed: usize,
    /// Words lost or doubled where one final of a turn ends and the next begins.
    pub(crate) seam_words: usize,
    /// Words of finals while the party was silent.
    pub(crate) invented: usize,
    /// Turns without a final.
    pub(crate) lost_turns: usize,
}

/// One utterance's captions in the order in which they came.
type Utterance<'a> = Vec<&'a Shown>;

impl Score {
    /// Scores what one party's stream showed of the party's turns.
    pub(crate) fn of_party(turns: &[&Turn], shown: &[Shown]) -> Self {
        let mut utterances = BTreeMap::<u32, Utterance<'_>>::new();
        for it in shown {
            utterances.entry(it.caption.segment).or_default().push(it);
        }
        let mut finals: Vec<&Shown> = shown.iter().filter(|it| it.caption.is_final).collect();
        finals.sort_by_key(|it| it.caption.start_ms);
        let said = join(turns.iter().map(|turn| turn.text.as_str()));
        let heard = join(finals.iter().map(|it| it.caption.text.as_str()));
        let mut score = Self { words: Tally::count(&said, &heard), ..Self::default() };
        for utterance in utterances.values() {
            score.add_steadiness(utterance);
        }
        score.word_delays = utterances.values().flat_map(|it| word_delays(it)).collect();
        score.finals = turns.iter().filter_map(|turn| final_delay(&finals, turn)).collect();
        score.first_partials = turns.iter().filter_map(|turn| first_delay(shown, turn)).collect();
        score.seam_words = turns.iter().map(|turn| seam_words(&finals, turn)).sum();
        let is_invented = |it: &&&Shown| !turns.iter().any(|turn| overlaps(&it.caption, turn));
        score.invented =
            finals.iter().filter(is_invented).map(|it| words(&it.caption.text).len()).sum();
        let is_lost = |turn: &&&Turn| {
            !finals.iter().any(|it| !it.caption.text.is_empty() && overlaps(&it.caption, turn))
        };
        score.lost_turns = turns.iter().filter(is_lost).count();
        score
    }

    /// Both parties, or several calls, together.
    pub(crate) fn add(&mut self, other: Self) {
        self.words.errors += other.words.errors;
        self.words.words += other.words.words;
        self.first_partials.extend(other.first_partials);
        self.finals.extend(other.finals);
        self.word_delays.extend(other.word_delays);
        self.erased += other.erased;
        self.final_words += other.final_words;
        self.committed += other.committed;
        self.committed_changed += other.committed_changed;
        self.seam_words += other.seam_words;
        self.invented += other.invented;
        self.lost_turns += other.lost_turns;
    }

    /// Normalised erasure (Arivazhagan et al. 2020): words taken back for each word that stays.
    pub(crate) fn flicker(&self) -> f64 {
        self.erased as f64 / self.final_words.max(1) as f64
    }

    /// The share of committed words that changed.
    pub(crate) fn committed_changed_share(&self) -> f64 {
        self.committed_changed as f64 / self.committed.max(1) as f64
    }

    fn add_steadiness(&mut self, utterance: &Utterance<'_>) {
        let mut before: Vec<&str> = Vec::new();
        let mut committed: Vec<String> = Vec::new();
        for Shown { caption, .. } in utterance {
            let now: Vec<&str> = caption.text.split_whitespace().collect();
            let kept = before.iter().zip(&now).take_while(|(before, now)| before == now).count();
            self.erased += before.len() - kept;
            let heard = words(&caption.text);
            let changed = |(at, word): (usize, &String)| heard.get(at) != Some(word);
            self.committed_changed +=
                committed.iter().enumerate().filter(|it| changed(*it)).count();
            let stable = caption.text.get(..caption.stable_len as usize).unwrap_or_default();
            if caption.is_final {
                self.final_words += now.len();
            } else {
                let stable = words(stable);
                self.committed += stable.len().saturating_sub(committed.len());
                committed = stable;
            }
            before = now;
        }
    }
}

/// From the end of each word of the final to the first caption from which on it stands there as it stays.
fn word_delays(utterance: &Utterance<'_>) -> Vec<Duration> {
    let Some(last) = utterance.last().filter(|it| it.caption.is_final) else { return Vec::new() };
    let spoken = |shown: &Shown| -> Vec<String> {
        shown.caption.words.iter().map(|word| words(&word.text).concat()).collect()
    };
    let versions: Vec<(u64, Vec<String>)> =
        utterance.iter().map(|it| (it.at_ms, spoken(it))).collect();
    let delay = |(at, word): (usize, &sidetone_proto::v1::Word)| {
        let settled = words(&word.text).concat();
        let stands = |(_, version): &&(u64, Vec<String>)| version.get(at) == Some(&settled);
        let since = versions.iter().rev().take_while(stands).last();
        let shown_ms = since.map_or(last.at_ms, |(at_ms, _)| *at_ms);
        Duration::from_millis(shown_ms.saturating_sub(word.end_ms))
    };
    last.caption.words.iter().enumerate().map(delay).collect()
}

/// The final that holds the end of the turn.
fn final_delay(finals: &[&Shown], turn: &Turn) -> Option<Duration> {
    let last = finals.iter().rfind(|it| overlaps(&it.caption, turn))?;
    Some(Duration::from_millis(last.at_ms.saturating_sub(turn.end_ms)))
}

/// The first caption about audio of the turn.
fn first_delay(shown: &[Shown], turn: &Turn) -> Option<Duration> {
    let first = shown.iter().find(|it| overlaps(&it.caption, turn))?;
    Some(Duration::from_millis(first.at_ms.saturating_sub(turn.start_ms)))
}

fn seam_words(finals: &[&Shown], turn: &Turn) -> usize {
    let parts = finals.iter().filter(|it| overlaps(&it.caption, turn));
    let parts: Vec<Vec<String>> = parts.map(|it| words(&it.caption.text)).collect();
    let seams = parts.iter().scan(0, |heard, part| {
        *heard += part.len();
        Some(*heard)
    });
    let seams: Vec<usize> = seams.take(parts.len().saturating_sub(1)).collect();
    // The seam lies before the word of this number.
    let is_near = |heard: usize| {
        seams
            .iter()
            .any(|seam| (seam.saturating_sub(SEAM_WORDS)..=seam + SEAM_WORDS).contains(&heard))
    };
    let is_seams = |step: &Step| match *step {
        Step::Deletion { before } => is_near(before),
        Step::Insertion { heard } => is_near(heard),
        Step::Match { .. } | Step::Substitution { .. } => false,
    };
    align(&words(&turn.text), &parts.concat()).iter().filter(|step| is_seams(step)).count()
}

/// Whether most of the caption, or its middle, lies within the turn.
fn overlaps(caption: &Caption, turn: &Turn) -> bool {
    let middle = caption.start_ms.midpoint(caption.end_ms);
    (turn.start_ms.saturating_sub(SLACK_MS)..turn.end_ms + SLACK_MS).contains(&middle)
}

fn join<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use sidetone_proto::v1::Word;

    use super::*;

    fn turn(start_ms: u64, end_ms: u64, text: &str) -> Turn {
        Turn { speaker: "agent".into(), start_ms, end_ms, text: text.into() }
    }

    /// A caption whose words last 200 ms each, from `start_ms` on; `|` ends what is committed.
    fn shown(at_ms: u64, segment: u32, start_ms: u64, text: &str) -> Shown {
        let (committed, rest) = text.split_once('|').unwrap_or((text, ""));
        let text = format!("{committed}{rest}");
        let words: Vec<Word> = (1..)
            .zip(text.split_whitespace())
            .map(|(number, text)| Word {
                text: text.into(),
                start_ms: start_ms + 200 * (number - 1),
                end_ms: start_ms + 200 * number,
                confidence: 1.0,
            })
            .collect();
        let end_ms = words.last().map_or(start_ms, |word| word.end_ms);
        let stable_len = committed.len() as u32;
        let caption =
            Caption { segment, text, stable_len, start_ms, end_ms, words, ..Caption::default() };
        Shown { at_ms, caption }
    }

    fn finished(at_ms: u64, segment: u32, start_ms: u64, text: &str) -> Shown {
        let mut shown = shown(at_ms, segment, start_ms, text);
        shown.caption.is_final = true;
        shown
    }

    #[test]
    fn a_steady_call_scores_well() {
        let said = turn(1_000, 1_800, "may I help you");
        let score = Score::of_party(
            &[&said],
            &[
                shown(1_500, 0, 1_000, "|may"),
                shown(1_900, 0, 1_000, "may I| help"),
                finished(2_300, 0, 1_000, "may I help you"),
            ],
        );
        assert_eq!(score.words, Tally { errors: 0, words: 4 });
        assert_eq!((score.erased, score.committed, score.committed_changed), (0, 2, 0));
        assert_eq!(score.first_partials.percentile_ms(50), Some(500));
        assert_eq!(score.finals.percentile_ms(50), Some(500));
        // may: 300, I: 500, help: 300, you: 500.
        assert_eq!(score.word_delays.percentile_ms(50), Some(300));
        assert_eq!(score.word_delays.percentile_ms(95), Some(500));
        assert_eq!((score.seam_words, score.invented, score.lost_turns), (0, 0, 0));
    }

    #[test]
    fn what_is_taken_back_counts() {
        let said = turn(1_000, 1_600, "good morning Helen");
        let score = Score::of_party(
            &[&said],
            &[
                shown(1_500, 0, 1_000, "|good mourning"),
                shown(1_700, 0, 1_000, "good morning| hell"),
                finished(2_000, 0, 1_000, "good evening Helen"),
            ],
        );
        assert_eq!(score.erased, 1 + 2);
        assert_eq!(score.flicker(), 1.0);
        assert_eq!((score.committed, score.committed_changed), (2, 1));
        assert_eq!(score.words.errors, 1);
    }

    #[test]
    fn seams_inventions_and_losses_are_told_apart() {
        let turns = [turn(1_000, 3_000, "one two three four"), turn(9_000, 9_800, "thank you")];
        let score = Score::of_party(
            &turns.iter().collect::<Vec<_>>(),
            &[
                finished(2_500, 0, 1_000, "one two"),
                finished(3_500, 1, 1_600, "two three four"),
                finished(6_000, 2, 5_000, "thanks for watching"),
            ],
        );
        assert_eq!((score.seam_words, score.invented, score.lost_turns), (1, 3, 1));
    }
}
