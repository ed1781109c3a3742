//! What the answers of a recogniser's server mean.

use std::time::Duration;

use pipeline::speech::millis;
use sidetone_proto::v1::{Capabilities, RecogniseResponse};
use tonic::Status;

use super::call::{Answer, Course, plain, text_of, told};
use super::{Outcome, sample};
use crate::backends::DEFAULT_DEADLINE;

/// A final that takes longer is felt by readers.
const QUICK: Duration = Duration::from_millis(500);

/// What a server says of itself, asked twice. Without the answer where nothing can be examined.
pub(super) fn judge_capabilities(
    asked: (Result<Capabilities, Status>, Result<Capabilities, Status>),
    language: &str,
) -> (Outcome, Option<Capabilities>) {
    let (first, second) = match asked {
        (Ok(first), Ok(second)) => (first, second),
        (Err(status), _) | (_, Err(status)) => {
            let mend = "answer GetCapabilities of service sidetone.v1.Recogniser within 3 s";
            return (Outcome::failed(told(&status), mend), None);
        }
    };
    let is_tag = |tag: &String| {
        !tag.is_empty() && tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let wrong = if first != second {
        Some(("two answers differ".to_owned(), "answer the same as long as the server runs"))
    } else if first.name.trim().is_empty() {
        Some(("name is empty".to_owned(), "set Capabilities.name to the engine and its model"))
    } else if first.languages.is_empty() || !first.languages.iter().all(is_tag) {
        let what = format!("languages are {:?}", first.languages);
        Some((what, "set Capabilities.languages to BCP 47 tags, as in [\"en\"]"))
    } else if first.max_streams == 0 {
        let mend =
            "set Capabilities.max_streams to how many calls of Recognise the server takes at once";
        Some(("max_streams is 0".to_owned(), mend))
    } else if !language.is_empty() && !first.languages.iter().any(|tag| tag == language) {
        let what = format!("{language:?} is not among the languages {:?}", first.languages);
        return (
            Outcome::failed(
                what,
                "name one of them with --language, or add it to Capabilities.languages",
            ),
            None,
        );
    } else {
        None
    };
    match wrong {
        Some((what, mend)) => {
            (Outcome::failed(what, mend), Some(first).filter(|it| it.max_streams > 0))
        }
        None => {
            let kind = if first.streaming { "streaming" } else { "windowed" };
            let detail = format!("{}, {kind}, {} streams", plain(&first.name), first.max_streams);
            (Outcome::ok(detail), Some(first))
        }
    }
}

pub(super) fn order(course: &Course, streaming: bool) -> Outcome {
    let before_end = |answer: &&Answer| answer.after_end.is_none();
    if course.answers.iter().filter(before_end).any(|it| it.response.is_final) {
        return Outcome::failed(
            "a final came before EndOfUtterance",
            "send is_final = true only after EndOfUtterance; the transcriber decides where an utterance ends",
        );
    }
    let partials = course.answers.iter().filter(before_end).count();
    match (streaming, partials) {
        (true, 0) => Outcome::warning(
            "it says that it is streaming, and answered nothing before the end",
            "send a hypothesis whenever the text changes while audio comes, or set Capabilities.streaming to false",
        ),
        (_, partials) => Outcome::ok(format!("{partials} partials, then the final")),
    }
}

pub(super) fn times(course: &Course, word_times: bool) -> Outcome {
    let has_times = |answer: &&Answer| !answer.response.words.is_empty();
    if !course.answers.iter().any(|answer| has_times(&answer)) {
        return if word_times {
            Outcome::failed(
                "it says that it knows word times, and sent no words",
                "fill RecogniseResponse.words, or set Capabilities.word_times to false",
            )
        } else {
            Outcome::skipped("it knows no word times")
        };
    }
    for answer in course.answers.iter().filter(has_times) {
        if let Some((what, mend)) = wrong_times(answer) {
            return Outcome::failed(what, mend);
        }
    }
    Outcome::ok("within the audio, and in order")
}

pub(super) fn speech(course: &Course) -> Outcome {
    match course.text() {
        Ok(text) if text.is_empty() => Outcome::failed(
            "3.2 s of clear speech gave an empty final",
            "check the audio's format: signed 16-bit little-endian, mono, 16000 Hz, no header",
        ),
        Ok(text) => Outcome::ok(format!("\"{}\"", plain(&text))),
        Err(error) => Outcome::failed(
            error,
            "answer EndOfUtterance with one final, and end the stream with OK",
        ),
    }
}

/// Whatever the course's status: a second final is wrong, and so is anything after the first.
pub(super) fn finals(course: &Course) -> Outcome {
    let first = course.answers.iter().position(|answer| answer.response.is_final);
    let Some(first) = first else {
        return Outcome::failed("there was none", "answer EndOfUtterance with is_final = true");
    };
    let after = course.answers.len() - first - 1;
    if after > 0 {
        return Outcome::failed(
            format!("{after} hypotheses came after the final"),
            "end the stream after the final",
        );
    }
    match &course.status {
        Some(Ok(())) => Outcome::ok("one, and nothing after it"),
        Some(Err(status)) => Outcome::failed(
            format!("after the final the stream ended with {}", told(status)),
            "end the stream with OK",
        ),
        None => Outcome::failed(
            "the stream was left open after the final",
            "end the stream (return from the handler) after the final, without waiting for the client",
        ),
    }
}

pub(super) fn pace(course: &Course) -> Outcome {
    let of_final = course.answers.iter().find(|answer| answer.response.is_final);
    let Some(took) = of_final.and_then(|answer| answer.after_end) else {
        return Outcome::skipped("there is no final after the end");
    };
    let what = format!("the final came {} ms after the end", took.as_millis());
    let mend = "decode while audio comes; take a smaller model, a faster machine or fewer streams";
    if took > DEFAULT_DEADLINE {
        let what = format!(
            "{what}; a transcriber turns to the next backend after {} ms",
            DEFAULT_DEADLINE.as_millis()
        );
        Outcome::warning(what, mend)
    } else if took > QUICK {
        Outcome::warning(format!("{what}; captions appear as much later"), mend)
    } else {
        Outcome::ok(what)
    }
}

fn wrong_times(answer: &Answer) -> Option<(String, &'static str)> {
    let Answer { response, sent_ms, .. } = answer;
    let mut from = 0;
    for (number, word) in (1..).zip(&response.words) {
        let (start, end) = (word.start_ms, word.end_ms);
        if word.text.trim().is_empty() {
            return Some((format!("word {number} is empty"), "leave out words without text"));
        }
        if end < start {
            return Some((
                format!("word {number} ends at {end} ms, before its start at {start} ms"),
                "check which of the two times is which",
            ));
        }
        if start < from {
            return Some((
                format!(
                    "word {number} starts at {start} ms, before word {} at {from} ms",
                    number - 1
                ),
                "send words in the order in which they were said",
            ));
        }
        if end > *sent_ms {
            return Some((
                format!("word {number} ends at {end} ms, and {sent_ms} ms of audio had been sent"),
                "count in milliseconds (not frames, samples or seconds) from the first sample of the utterance",
            ));
        }
        from = start;
    }
    unlikely_unit(response, millis(sample::speech().len() as u64))
}

/// Seconds where milliseconds are meant.
fn unlikely_unit(response: &RecogniseResponse, length_ms: u64) -> Option<(String, &'static str)> {
    let last = response.words.last()?.end_ms;
    let is_tiny = response.is_final && !text_of(response).is_empty() && last < length_ms / 10;
    is_tiny.then(|| {
        (
            format!("the last word of {length_ms} ms of speech ends at {last} ms"),
            "count in milliseconds, not in seconds or frames",
        )
    })
}
