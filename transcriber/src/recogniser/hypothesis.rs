//! From what an engine answers to a hypothesis on the party's clock, whatever it answers.

use pipeline::captions::{Hypothesis, Word};
use pipeline::speech::Window;

use super::Heard;

/// Nobody says more in an utterance; an engine that answers more has lost its way.
pub(super) const MOST_WORDS: usize = 1_000;

/// Puts a hypothesis about an utterance, whose times count from its first sample, on the party's clock: within the window,
/// in order, and without overlap. Where the engine knows no times, the words are spread over the speech.
pub(crate) fn on_party_clock(heard: Heard, window: &Window) -> Hypothesis {
    let Heard { mut hypothesis, word_times, .. } = heard;
    hypothesis.words.truncate(MOST_WORDS);
    hypothesis.words.retain_mut(|word| {
        word.text = word.text.trim().to_owned();
        !word.text.is_empty()
    });
    let words = &mut hypothesis.words;
    if word_times {
        let mut from = window.start;
        for word in words {
            let place = |offset: u64| window.start.saturating_add(offset).min(window.end());
            word.start = place(word.start).max(from);
            word.end = place(word.end).max(word.start);
            from = word.end;
        }
    } else {
        spread(words, window);
    }
    for word in &mut hypothesis.words {
        word.confidence = probability(word.confidence, 1.0);
    }
    hypothesis.no_speech_probability = probability(hypothesis.no_speech_probability, 0.0);
    let log = hypothesis.average_log_probability;
    hypothesis.average_log_probability = if log.is_nan() { 0.0 } else { log.min(0.0) };
    hypothesis
}

fn probability(value: f32, unknown: f32) -> f32 {
    if value.is_nan() { unknown } else { value.clamp(0.0, 1.0) }
}

/// Long words take longer to say.
fn spread(words: &mut [Word], window: &Window) {
    let length = |word: &Word| word.text.chars().count() as u64 + 1;
    let all = words.iter().map(length).sum::<u64>().max(1);
    let spoken = window.speech_end.saturating_sub(window.speech_start);
    let mut said = 0;
    for word in words {
        word.start = window.speech_start + spoken * said / all;
        said += length(word);
        word.end = window.speech_start + spoken * said / all;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window() -> Window {
        Window {
            segment: 0,
            start: 16_000,
            speech_start: 20_000,
            speech_end: 40_000,
            clarity: 1.0,
            audio: vec![0.0; 32_000].into(),
        }
    }

    fn heard(words: Vec<Word>, word_times: bool) -> Heard {
        let hypothesis = Hypothesis { words, ..Hypothesis::default() };
        Heard { is_final: true, hypothesis, word_times }
    }

    fn word(text: &str, start: u64, end: u64) -> Word {
        Word { text: text.to_owned(), start, end, confidence: 0.5 }
    }

    #[test]
    fn times_count_from_the_start_of_the_window() {
        let heard = heard(vec![word("may", 4_000, 8_000), word(" I ", 8_000, 9_000)], true);
        let words = on_party_clock(heard, &window()).words;
        assert_eq!((words[0].start, words[0].end), (20_000, 24_000));
        assert_eq!((words[1].start, words[1].end, words[1].text.as_str()), (24_000, 25_000, "I"));
    }

    #[test]
    fn words_without_times_are_spread_over_the_speech() {
        let heard = heard(vec![word("abc", 0, 0), word("d", 0, 0), word("efg", 0, 0)], false);
        let words = on_party_clock(heard, &window()).words;
        let times: Vec<_> = words.iter().map(|word| (word.start, word.end)).collect();
        assert_eq!(times, [(20_000, 28_000), (28_000, 32_000), (32_000, 40_000)]);
    }

    proptest! {
        #[test]
        fn whatever_comes_words_stay_in_order_and_in_the_window(
            words in prop::collection::vec(("[a-z ]{0,5}", any::<u64>(), any::<u64>(), any::<f32>()), 0..20),
            word_times: bool,
            log: f32,
        ) {
            let words = words.into_iter().map(|(text, start, end, confidence)| {
                Word { text, start, end, confidence }
            });
            let mut heard = heard(words.collect(), word_times);
            heard.hypothesis.average_log_probability = log;
            let placed = on_party_clock(heard, &window());
            let mut from = window().start;
            for word in &placed.words {
                prop_assert!(!word.text.trim().is_empty());
                prop_assert!(from <= word.start && word.start <= word.end);
                prop_assert!(word.end <= window().end());
                prop_assert!((0.0..=1.0).contains(&word.confidence));
                from = word.end;
            }
            prop_assert!(placed.average_log_probability <= 0.0);
        }
    }
}
