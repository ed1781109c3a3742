//! The answer: `verbose_json`, of which servers send more or less.

use pipeline::captions::{Hypothesis, Word};
use pipeline::speech::SAMPLE_RATE;
use serde::Deserialize;

use crate::recogniser::grpc::untimed;
use crate::recogniser::hypothesis::MOST_WORDS;
use crate::recogniser::{Heard, RecogniserError};

#[derive(Deserialize)]
struct Transcription {
    text: String,
    #[serde(default)]
    words: Option<Vec<TimedWord>>,
    #[serde(default)]
    segments: Option<Vec<Segment>>,
}

#[derive(Deserialize)]
struct TimedWord {
    word: String,
    /// Seconds.
    start: f64,
    end: f64,
    /// Not OpenAI's own server, but others say it.
    #[serde(default)]
    probability: Option<f32>,
}

#[derive(Deserialize)]
struct Segment {
    #[serde(default)]
    avg_logprob: Option<f32>,
    #[serde(default)]
    no_speech_prob: Option<f32>,
    #[serde(default)]
    words: Option<Vec<TimedWord>>,
}

#[derive(Deserialize)]
struct Failure {
    error: Reason,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Reason {
    Object { message: String },
    Text(String),
}

/// What a transcription says.
pub(super) fn understood(body: &[u8]) -> Result<Heard, RecogniserError> {
    let Transcription { text, words, segments } =
        serde_json::from_slice(body).map_err(|error| {
            // Where it is wrong, without the words themselves.
            let (line, column) = (error.line(), error.column());
            let problem = format!("its answer is no verbose_json (line {line}, column {column})");
            RecogniserError::Contract(problem)
        })?;
    let segments = segments.unwrap_or_default();
    let worst = |values: Vec<f32>, fold: fn(f32, f32) -> f32| values.into_iter().reduce(fold);
    let log = worst(segments.iter().filter_map(|it| it.avg_logprob).collect(), f32::min);
    let silence = worst(segments.iter().filter_map(|it| it.no_speech_prob).collect(), f32::max);
    let in_segments = segments.into_iter().filter_map(|segment| segment.words).flatten();
    let words: Vec<_> = match words {
        Some(words) if !words.is_empty() => words,
        _ => in_segments.collect(),
    };
    let word_times = !words.is_empty();
    let timed = words.into_iter().take(MOST_WORDS).map(|word| Word {
        text: word.word,
        start: position(word.start),
        end: position(word.end),
        confidence: word.probability.unwrap_or(1.0),
    });
    // OpenAI's words have no punctuation; the text does.
    let timed = punctuated(timed.collect(), &text);
    let hypothesis = Hypothesis {
        words: if word_times { timed } else { untimed(&text) },
        no_speech_probability: silence.unwrap_or(0.0),
        average_log_probability: log.unwrap_or(0.0),
    };
    Ok(Heard { is_final: true, hypothesis, word_times })
}

/// What a refusal says about itself, cut to a line.
pub(super) fn reason(body: &[u8]) -> String {
    let message = match serde_json::from_slice::<Failure>(body) {
        Ok(Failure { error: Reason::Object { message } | Reason::Text(message) }) => message,
        Err(_) => return String::new(),
    };
    let line: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
    format!(": {line}")
}

/// Gives words the spelling that they have in the text, if both are the same words.
fn punctuated(mut words: Vec<Word>, text: &str) -> Vec<Word> {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let spelled: Vec<_> = text.split_whitespace().collect();
    let are_same = spelled.len() == words.len()
        && spelled.iter().zip(&words).all(|(text, word)| plain(text) == plain(&word.text));
    if are_same {
        for (word, text) in words.iter_mut().zip(spelled) {
            word.text = text.to_owned();
        }
    }
    words
}

/// Saturates: no number of seconds is too strange.
fn position(seconds: f64) -> u64 {
    (seconds * SAMPLE_RATE as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hypothesis(json: &str) -> Hypothesis {
        understood(json.as_bytes()).unwrap().hypothesis
    }

    #[test]
    fn words_have_their_times_and_the_spelling_of_the_text() {
        let heard = hypothesis(
            r#"{"task":"transcribe","language":"english","duration":1.0,"text":" May I, please?",
                "words":[{"word":"may","start":0.1,"end":0.3},{"word":"i","start":0.3,"end":0.4},
                         {"word":"please","start":0.5,"end":0.9}],
                "segments":[{"id":0,"avg_logprob":-0.25,"no_speech_prob":0.01}]}"#,
        );
        assert_eq!(heard.text(), "May I, please?");
        assert_eq!((heard.words[2].start, heard.words[2].end), (8_000, 14_400));
        assert_eq!((heard.average_log_probability, heard.no_speech_probability), (-0.25, 0.01));
    }

    #[test]
    fn words_may_be_in_the_segments_or_nowhere() {
        let nested = r#"{"text":"may I","segments":[{"words":[{"word":" may","start":0,"end":0.2,
            "probability":0.5},{"word":" I","start":0.2,"end":0.3}]}]}"#;
        let heard = understood(nested.as_bytes()).unwrap();
        assert!(heard.word_times);
        assert_eq!(heard.hypothesis.words[0].confidence, 0.5);
        let plain = understood(br#"{"text":" may I "}"#).unwrap();
        assert!(!plain.word_times);
        assert_eq!(plain.hypothesis.text(), "may I");
        assert_eq!(hypothesis(r#"{"text":"","words":[],"segments":[]}"#).words, []);
        assert_eq!(hypothesis(r#"{"text":"","words":null,"segments":null}"#).words, []);
    }

    #[test]
    fn what_is_no_transcription_is_refused_without_its_words() {
        for body in ["", "<html>secret</html>", r#"{"txet":"secret"}"#, "[]", r#"{"text":7}"#] {
            let error = understood(body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("verbose_json") && !error.contains("secret"), "{error}");
        }
        let strange =
            hypothesis(r#"{"text":"a","words":[{"word":"a","start":-1e300,"end":1e300}]}"#);
        assert_eq!((strange.words[0].start, strange.words[0].end), (0, u64::MAX));
    }

    #[test]
    fn a_refusal_tells_its_reason() {
        assert_eq!(
            reason(br#"{"error":{"message":"no such\n model","type":"x"}}"#),
            ": no such model"
        );
        assert_eq!(reason(br#"{"error":"busy"}"#), ": busy");
        assert_eq!(reason(b"<html>"), "");
    }
}
