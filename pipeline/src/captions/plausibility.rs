use super::Hypothesis;
use crate::speech::{SAMPLE_RATE, Window};

/// Why a hypothesis is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Implausible {
    /// It has no words.
    Empty,
    /// The recogniser itself doubts that anybody spoke.
    NoSpeech,
    /// The recogniser has little faith in any of its words.
    Unlikely,
    /// It is a loop: the same few words over and over.
    Repetition,
    /// Nobody speaks that fast.
    TooFast,
}

/// Above this probability of silence, and below this mean log probability, text is invented (Radford et al. 2022,
/// section 4.5).
const NO_SPEECH_PROBABILITY: f32 = 0.6;
const DOUBTFUL_LOG_PROBABILITY: f32 = -1.0;
/// So it is when the recogniser is all but sure that nobody speaks, and not sure of its words.
const SURE_NO_SPEECH_PROBABILITY: f32 = 0.95;
const UNSURE_LOG_PROBABILITY: f32 = -0.5;
/// Below this mean log probability it is invented whatever else is said: the recogniser's own measure of a failed decode
/// (same section).
const HOPELESS_LOG_PROBABILITY: f32 = -1.0;

/// A window with a smaller share of unmistakable voice may be music: then doubt of either kind is enough. Speech on a
/// telephone line reaches half in the long run, hold music a third, and a melody coded with Opus half.
const LITTLE_CLARITY: f32 = 0.6;
const UNCLEAR_LOG_PROBABILITY: f32 = -0.8;
/// So it may if the recogniser gives silence more than this: it gives speech next to nothing.
const SOME_NO_SPEECH_PROBABILITY: f32 = 0.1;
const DUBIOUS_LOG_PROBABILITY: f32 = -0.6;

/// An n-gram of up to this many words ...
const LONGEST_LOOP_WORDS: usize = 6;
/// ... is a loop when it stands this often in a row and ...
const LOOP_REPETITIONS: usize = 4;
/// ... has at least this many words in all: people do say "no no no no".
const LEAST_LOOP_WORDS: usize = 6;

/// Fast speech has 5 words a second; one word may fall into any window.
const MOST_WORDS_PER_SECOND: f32 = 8.0;
const FREE_WORDS: f32 = 3.0;

/// Whether a hypothesis about a window may be shown.
pub fn check(hypothesis: &Hypothesis, window: &Window) -> Result<(), Implausible> {
    let seconds = (window.end() - window.start) as f32 / SAMPLE_RATE as f32;
    check_text(hypothesis, seconds, window.clarity)
}

fn check_text(hypothesis: &Hypothesis, seconds: f32, clarity: f32) -> Result<(), Implausible> {
    let words = &hypothesis.words;
    if words.iter().all(|word| word.normalised().next().is_none()) {
        return Err(Implausible::Empty);
    }
    let no_speech = hypothesis.no_speech_probability;
    let confidence = hypothesis.average_log_probability;
    let unclear = clarity < LITTLE_CLARITY;
    if no_speech > NO_SPEECH_PROBABILITY && (confidence < DOUBTFUL_LOG_PROBABILITY || unclear)
        || no_speech > SURE_NO_SPEECH_PROBABILITY && confidence < UNSURE_LOG_PROBABILITY
    {
        return Err(Implausible::NoSpeech);
    }
    if confidence < HOPELESS_LOG_PROBABILITY
        || unclear && confidence < UNCLEAR_LOG_PROBABILITY
        || no_speech > SOME_NO_SPEECH_PROBABILITY && confidence < DUBIOUS_LOG_PROBABILITY
    {
        return Err(Implausible::Unlikely);
    }
    if is_loop(hypothesis) {
        return Err(Implausible::Repetition);
    }
    if words.len() as f32 > FREE_WORDS + seconds * MOST_WORDS_PER_SECOND {
        return Err(Implausible::TooFast);
    }
    Ok(())
}

fn is_loop(hypothesis: &Hypothesis) -> bool {
    let words = &hypothesis.words;
    (1..=LONGEST_LOOP_WORDS).any(|period| {
        let needed = (period * LOOP_REPETITIONS).max(LEAST_LOOP_WORDS) - period;
        let mut run = 0;
        (period..words.len()).any(|i| {
            run = if words[i].same_as(&words[i - period]) { run + 1 } else { 0 };
            run >= needed
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::Word;
    use super::*;

    fn hypothesis(text: &str) -> Hypothesis {
        let words = text.split_whitespace().map(|text| Word {
            text: text.to_owned(),
            start: 0,
            end: 0,
            confidence: 0.9,
        });
        Hypothesis {
            words: words.collect(),
            no_speech_probability: 0.0,
            average_log_probability: -0.2,
        }
    }

    fn check(hypothesis: &Hypothesis, seconds: f32) -> Result<(), Implausible> {
        check_text(hypothesis, seconds, 0.7)
    }

    #[test]
    fn what_people_say_passes() {
        for text in [
            "thank you",
            "no no no no",
            "okay okay okay",
            "seven three zero, five one eight, two four",
            "three three three three two",
        ] {
            assert_eq!(check(&hypothesis(text), 2.0), Ok(()), "{text}");
        }
    }

    #[test]
    fn loops_are_caught_whatever_their_period() {
        for text in [
            "so so so so so so so",
            "thank you. Thank you. thank you thank you",
            "I will see I will see I will see I will see",
            "well then I will see you I will see you I will see you I will see you",
        ] {
            assert_eq!(check(&hypothesis(text), 9.0), Err(Implausible::Repetition), "{text}");
        }
    }

    #[test]
    fn doubt_is_believed() {
        let doubtful = |no_speech_probability, average_log_probability| Hypothesis {
            no_speech_probability,
            average_log_probability,
            ..hypothesis("thanks for watching")
        };
        assert_eq!(check(&doubtful(0.9, -1.1), 2.0), Err(Implausible::NoSpeech));
        assert_eq!(check(&doubtful(0.9, -0.4), 2.0), Ok(()));
        assert_eq!(check(&doubtful(0.1, -1.4), 2.0), Err(Implausible::Unlikely));
        assert_eq!(check(&doubtful(0.99, -0.8), 2.0), Err(Implausible::NoSpeech));
        assert_eq!(check(&doubtful(0.1, -0.9), 2.0), Ok(()));
        assert_eq!(check(&doubtful(0.2, -0.7), 2.0), Err(Implausible::Unlikely));
    }

    #[test]
    fn what_may_be_music_takes_less_doubt() {
        let unclear = |no_speech_probability, average_log_probability| {
            let text = hypothesis("the an hour");
            let heard = Hypothesis { no_speech_probability, average_log_probability, ..text };
            check_text(&heard, 2.0, 0.3)
        };
        assert_eq!(unclear(0.0, -0.3), Ok(()));
        assert_eq!(unclear(0.0, -0.9), Err(Implausible::Unlikely));
        assert_eq!(unclear(0.9, -0.3), Err(Implausible::NoSpeech));
    }

    #[test]
    fn emptiness_and_haste_are_caught() {
        assert_eq!(check(&hypothesis(""), 2.0), Err(Implausible::Empty));
        assert_eq!(check(&hypothesis(". ..."), 2.0), Err(Implausible::Empty));
        let hasty = "one two three four five six seven eight nine ten eleven twelve";
        assert_eq!(check(&hypothesis(hasty), 1.0), Err(Implausible::TooFast));
        assert_eq!(check(&hypothesis(hasty), 3.0), Ok(()));
    }
}
