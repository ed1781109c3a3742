//! The checks of a server with the OpenAI-compatible `POST /v1/audio/transcriptions`.

use std::time::Instant;

use pipeline::speech::{SAMPLE_RATE, millis};
use tokio::task::JoinSet;

use super::call::plain;
use super::{FINAL_PATIENCE, Notes, Outcome, sample};
use crate::backends::DEFAULT_DEADLINE;
use crate::recogniser::{Heard, OpenAi, OpenAiOptions, RecogniserError};

/// Requests that several parties make at once.
const AT_ONCE: usize = 4;

const AFTER_CONNECTION: [&str; 6] =
    ["times", "silence", "independence", "concurrency", "garbage", "authorization"];

const ENDPOINT: &str = "answer POST /v1/audio/transcriptions (multipart/form-data with file, model, response_format) \
                        with status 200 and a JSON object that has \"text\"";

/// Makes every check.
pub(super) async fn examine(options: OpenAiOptions, notes: &mut dyn Notes) {
    let server = match OpenAi::new(options.clone()) {
        Ok(server) => server,
        Err(error) => {
            notes.note("connection", Outcome::failed(error.to_string(), "correct it as it says"));
            notes.skip(&["speech", "pace"], "it needs a connection");
            return notes.skip(&AFTER_CONNECTION, "it needs a connection");
        }
    };
    let speech = sample::speech();
    let begun = Instant::now();
    let heard = server.transcribe(&speech).await;
    let took = begun.elapsed();
    notes.note("connection", connection(&heard, &options));
    let heard = match heard {
        Ok(heard) => heard,
        Err(error) => {
            let outcome = if matches!(error, RecogniserError::Contract(_)) {
                Outcome::failed(error.to_string(), ENDPOINT)
            } else {
                Outcome::skipped("it needs a connection")
            };
            notes.note("speech", outcome);
            notes.skip(&["pace"], "it needs speech");
            return notes.skip(&AFTER_CONNECTION, "it needs speech");
        }
    };
    notes.note("speech", said(&heard));
    let what = format!("{} ms of speech took {} ms", millis(speech.len() as u64), took.as_millis());
    let mend = "take a smaller model or a faster machine; a transcriber turns to the next backend after 2 s";
    notes.note(
        "pace",
        if took > DEFAULT_DEADLINE { Outcome::warning(what, mend) } else { Outcome::ok(what) },
    );
    notes.note("times", times(&heard, speech.len() as u64));
    notes.note("silence", silence(&server).await);
    notes.note("independence", independence(&server, &heard).await);
    notes.note("concurrency", concurrency(&server, &heard).await);
    notes.note("garbage", garbage(&options, &server).await);
    notes.note("authorization", authorization(&options).await);
}

fn connection(heard: &Result<Heard, RecogniserError>, options: &OpenAiOptions) -> Outcome {
    match heard {
        Err(RecogniserError::Unavailable(what) | RecogniserError::Overloaded(what)) => {
            let host = options.url.host_str().unwrap_or_default();
            Outcome::failed(
                format!("{host}: {what}"),
                "start the server at this address, and name it up to and including /v1",
            )
        }
        _ => Outcome::ok("the server answers"),
    }
}

fn said(heard: &Heard) -> Outcome {
    let text = heard.hypothesis.text();
    if text.trim().is_empty() {
        return Outcome::failed(
            "3.2 s of clear speech gave an empty text",
            "decode the file as WAV: 16-bit PCM, mono, 16000 Hz",
        );
    }
    Outcome::ok(format!("\"{}\"", plain(&text)))
}

fn times(heard: &Heard, length: u64) -> Outcome {
    if !heard.word_times {
        return Outcome::warning(
            "the answer has no word times; they are spread over the speech",
            "answer response_format=verbose_json with \"words\": [{\"word\", \"start\", \"end\"}, …], in seconds",
        );
    }
    let mut from = 0;
    for (number, word) in (1..).zip(&heard.hypothesis.words) {
        let seconds = |position: u64| position as f64 / SAMPLE_RATE as f64;
        let (start, end) = (seconds(word.start), seconds(word.end));
        // A tenth of a second is within what recognisers round.
        if word.end < word.start || word.start < from || word.end > length + SAMPLE_RATE / 10 {
            return Outcome::failed(
                format!(
                    "word {number} is said to last from {start:.2} s to {end:.2} s, of {:.2} s",
                    seconds(length)
                ),
                "give times in seconds from the start of the file, in the order in which the words were said",
            );
        }
        from = word.start;
    }
    let last = heard.hypothesis.words.last().map_or(0, |word| word.end);
    if last < length / 10 {
        return Outcome::failed(
            "all words are within the first tenth of the speech",
            "give times in seconds",
        );
    }
    Outcome::ok("within the audio, and in order")
}

async fn silence(server: &OpenAi) -> Outcome {
    for (what, audio) in
        [("3 s of silence", sample::silence()), ("3 s of faint hiss", sample::hiss())]
    {
        match server.transcribe(&audio).await {
            Err(error) => {
                return Outcome::failed(
                    format!("{what}: {error}"),
                    "answer silence with an empty \"text\"",
                );
            }
            Ok(heard) if !heard.hypothesis.text().is_empty() => {
                let words = heard.hypothesis.words.len();
                return Outcome::failed(
                    format!("{what} became {words} words"),
                    "answer silence with an empty \"text\": have the server use a voice filter (vad_filter) and no_speech_prob",
                );
            }
            Ok(_) => {}
        }
    }
    Outcome::ok("nothing is heard in it")
}

async fn independence(server: &OpenAi, before: &Heard) -> Outcome {
    match server.transcribe(&sample::speech()).await {
        Ok(again) if again.hypothesis.text() == before.hypothesis.text() => {
            Outcome::ok("the same audio gives the same text")
        }
        Ok(_) => Outcome::warning(
            "the same audio gives another text the second time",
            "decode with temperature 0 and without what was said before (condition_on_previous_text = false)",
        ),
        Err(error) => Outcome::failed(error.to_string(), ENDPOINT),
    }
}

async fn concurrency(server: &OpenAi, before: &Heard) -> Outcome {
    let mut requests = JoinSet::new();
    for _ in 0..AT_ONCE {
        let server = server.clone();
        requests.spawn(async move { server.transcribe(&sample::speech()).await });
    }
    let mend =
        "serve several requests side by side, or refuse one too many with 429 (and Retry-After)";
    let mut served = 0;
    while let Some(answer) = requests.join_next().await {
        match answer {
            Ok(Ok(heard)) if heard.hypothesis.text() == before.hypothesis.text() => served += 1,
            Ok(Ok(_)) => {
                return Outcome::failed(
                    "a request beside others was given another text",
                    "keep requests apart",
                );
            }
            Ok(Err(RecogniserError::Overloaded(_))) => {}
            Ok(Err(error)) => {
                return Outcome::failed(
                    format!("of {AT_ONCE} requests at once, one: {error}"),
                    mend,
                );
            }
            Err(error) => return Outcome::failed(error.to_string(), mend),
        }
    }
    if served == 0 {
        return Outcome::failed(format!("of {AT_ONCE} requests at once, none was served"), mend);
    }
    Outcome::ok(format!("of {AT_ONCE} requests at once, {served} were served, the others refused"))
}

/// An upload that is no audio, and then one that is.
async fn garbage(options: &OpenAiOptions, server: &OpenAi) -> Outcome {
    match server.post_raw(b"this is no WAV file").await {
        Ok(status) if (400..500).contains(&status) => {}
        Ok(status) => {
            return Outcome::failed(
                format!("an upload that is no audio was answered with {status}"),
                "answer it with 400 and a JSON object {\"error\": {\"message\": …}}",
            );
        }
        Err(error) => {
            return Outcome::failed(
                format!("an upload that is no audio: {error}"),
                "answer it with 400 instead of closing the connection",
            );
        }
    }
    match server.transcribe(&sample::speech()).await {
        Ok(_) => Outcome::ok("refused, and others are served"),
        Err(error) => Outcome::failed(
            format!("after it, {} is not served: {error}", options.model),
            "keep what one request does away from the others",
        ),
    }
}

async fn authorization(options: &OpenAiOptions) -> Outcome {
    if options.api_key.is_none() {
        return Outcome::skipped("no --api-key-file is given");
    }
    let wrong = OpenAiOptions {
        api_key: Some("wrong".to_owned()),
        timeout: FINAL_PATIENCE,
        ..options.clone()
    };
    match OpenAi::new(wrong) {
        Ok(server) => match server.transcribe(&sample::speech()).await {
            Ok(_) => Outcome::failed(
                "a wrong key is taken",
                "check the key, and answer a wrong one with 401",
            ),
            Err(_) => Outcome::ok("a wrong key is refused"),
        },
        Err(error) => Outcome::failed(error.to_string(), "correct it as it says"),
    }
}
