//! Recognisers of every shape, alone and one after the other, through the whole transcriber.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pipeline::captions::{Hypothesis, Word};
use pipeline::speech::{Window, samples};
use sidetone_proto::v1::Caption;
use sidetone_proto::v1::caption_event::Event;
use tokio::sync::mpsc;
use transcriber::backends::{Backend, Backends};
use transcriber::recogniser::{
    Capabilities, Engine, Grpc, Heard, Hearing, Part, RecogniserError, StreamingRecogniser,
    StreamingRecogniserFactory, Task,
};

use crate::gateway::start;
use crate::remote::Remote;
use crate::script::{Script, utterances, voice};
use crate::{World, endpoint};

/// A word for each stretch of 300 ms that begins with something loud: what any engine here makes of some audio.
pub fn loud_words(audio: &[f32]) -> Vec<Word> {
    const STRETCH: usize = samples(300) as usize;
    let is_loud = |audio: &[f32]| audio.iter().any(|sample| sample.abs() > 0.03);
    let stretches = (0..).zip(audio.chunks_exact(STRETCH)).filter(|(_, audio)| is_loud(audio));
    let word = |number: u64| Word {
        text: format!("w{number}"),
        start: samples(300) * number,
        end: samples(300) * number + samples(250),
        confidence: 1.0,
    };
    stretches.map(|(number, _)| word(number)).collect()
}

/// The segments of some audio and what is said in each, to any engine that hears exactly the utterance.
fn loud_transcript(audio: &[i16]) -> Vec<(u32, String)> {
    let said = |window: &Window| {
        let hypothesis = Hypothesis { words: loud_words(&window.audio), ..Hypothesis::default() };
        (window.segment, hypothesis.text())
    };
    utterances(audio).iter().map(said).collect()
}

fn windowed() -> Backend {
    Backend::Windowed(Arc::new(Script::new(|window| {
        let mut words = loud_words(&window.audio);
        for word in &mut words {
            word.start += window.start;
            word.end += window.start;
        }
        Ok(Hypothesis { words, ..Hypothesis::default() })
    })))
}

fn capabilities(streaming: bool) -> Capabilities {
    Capabilities {
        name: "loudness".to_owned(),
        streaming,
        word_times: true,
        languages: Vec::new(),
        vocabulary: false,
    }
}

/// Hears audio as it comes. Fails on some utterances, in a way of its own.
struct Loudness {
    begun: Arc<AtomicUsize>,
    fails: fn(usize) -> Option<RecogniserError>,
}

struct Listening {
    audio: Vec<f32>,
    failure: Option<RecogniserError>,
}

impl StreamingRecogniserFactory for Loudness {
    fn create(&self) -> Result<Box<dyn StreamingRecogniser>, RecogniserError> {
        let number = self.begun.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Listening { audio: Vec::new(), failure: (self.fails)(number) }))
    }

    fn capabilities(&self) -> Capabilities {
        capabilities(true)
    }
}

impl StreamingRecogniser for Listening {
    fn accept(&mut self, audio: &[f32]) -> Result<Option<Hypothesis>, RecogniserError> {
        self.audio.extend_from_slice(audio);
        let is_far = self.audio.len() as u64 > samples(1_000);
        if let Some(failure) = self.failure.take_if(|_| is_far) {
            return Err(failure);
        }
        let words = loud_words(&self.audio);
        Ok(Some(Hypothesis { words, ..Hypothesis::default() }))
    }

    fn finish(&mut self) -> Result<Hypothesis, RecogniserError> {
        Ok(Hypothesis { words: loud_words(&self.audio), ..Hypothesis::default() })
    }
}

/// A remote engine that does as a function says with the number of the utterance.
struct Scripted {
    opened: AtomicUsize,
    act: fn(usize, mpsc::Receiver<Part>, Answers),
}

type Answers = mpsc::Sender<Result<Heard, RecogniserError>>;

#[tonic::async_trait]
impl Engine for Scripted {
    async fn capabilities(&self) -> Result<Capabilities, RecogniserError> {
        Ok(capabilities(true))
    }

    fn open(&self, _: bool) -> Hearing {
        let (parts, incoming) = mpsc::channel(1_024);
        let (answers, heard) = mpsc::channel(16);
        (self.act)(self.opened.fetch_add(1, Ordering::SeqCst), incoming, answers);
        Hearing { parts, heard, task: Task::spawn(async {}) }
    }
}

fn scripted(act: fn(usize, mpsc::Receiver<Part>, Answers)) -> Backend {
    Backend::Remote(Arc::new(Scripted { opened: AtomicUsize::new(0), act }))
}

fn heard(is_final: bool, words: Vec<Word>) -> Result<Heard, RecogniserError> {
    let hypothesis = Hypothesis { words, ..Hypothesis::default() };
    Ok(Heard { is_final, hypothesis, word_times: true })
}

fn chain(backends: Vec<Backend>) -> Backends {
    let named = (0..).zip(backends).map(|(i, backend): (u32, _)| (format!("b{i}"), backend));
    Backends::new(named.collect(), Duration::from_millis(500))
}

/// Captions a party, and checks what must be true of its captions whoever made them.
async fn captioned(world: &mut World, audio: &[i16]) -> Vec<(u32, String)> {
    world.gateway().await.stream(start("p-1"), audio).await;
    let events = world.relay.events(|_| true).await;
    let mut shown: HashMap<u32, Caption> = HashMap::new();
    for event in events {
        let Event::Caption(caption) = event else { continue };
        // A word may begin before its first voiced sound.
        let mut from = 0;
        for word in &caption.words {
            assert!(word.start_ms <= word.end_ms && word.end_ms <= caption.end_ms + 300);
            assert!(from <= word.end_ms, "{caption:?}");
            from = word.start_ms;
        }
        let Some(before) = shown.insert(caption.segment, caption.clone()) else { continue };
        assert!(!before.is_final, "something follows a final");
        assert!(caption.revision > before.revision, "revisions grow");
        if !caption.is_final {
            let committed = &before.text[..before.stable_len as usize];
            assert!(caption.text.starts_with(committed), "what is committed stays");
        }
    }
    world.relay.transcript("p-1")
}

#[tokio::test]
async fn a_streaming_recogniser_hears_exactly_the_utterances() {
    let begun = Arc::new(AtomicUsize::new(0));
    let loudness = Loudness { begun: begun.clone(), fails: |_| None };
    let mut world = World::with(chain(vec![Backend::Streaming(Arc::new(loudness))])).await;
    let audio = voice("agent");
    assert_eq!(captioned(&mut world, &audio).await, loud_transcript(&audio));
    let events = world.relay.events(|_| true).await;
    let is_partial = |event: &&Event| matches!(event, Event::Caption(caption) if !caption.is_final);
    assert!(events.iter().filter(is_partial).count() > 20, "partials are shown");
}

/// Speech without a pause is cut; the engine has heard beyond the cut by then.
#[tokio::test]
async fn a_streaming_recogniser_says_no_word_twice_where_speech_is_cut() {
    let audio = voice("agent");
    let said = utterances(&audio);
    let spoken = said.iter().flat_map(|window| {
        audio[window.speech_start as usize..window.speech_end as usize].iter().copied()
    });
    let unbroken: Vec<i16> = spoken.collect();
    let expected = loud_transcript(&unbroken);
    assert!(utterances(&unbroken).iter().any(|window| window.audio.len() as u64 > samples(5_000)));

    let loudness = Loudness { begun: Arc::default(), fails: |_| None };
    let mut world = World::with(chain(vec![Backend::Streaming(Arc::new(loudness))])).await;
    assert_eq!(captioned(&mut world, &unbroken).await, expected);
}

#[tokio::test]
async fn a_streaming_recogniser_that_fails_in_mid_utterance_loses_no_word() {
    let loudness = Loudness {
        begun: Arc::default(),
        fails: |number| {
            (number % 3 == 1).then(|| RecogniserError::Failed("as the test wants it".to_owned()))
        },
    };
    let backends = chain(vec![Backend::Streaming(Arc::new(loudness)), windowed()]);
    let mut world = World::with(backends).await;
    let audio = voice("agent");
    assert_eq!(captioned(&mut world, &audio).await, loud_transcript(&audio));
}

#[tokio::test]
async fn a_streaming_recogniser_that_panics_loses_no_word() {
    let loudness = Loudness {
        begun: Arc::default(),
        fails: |number| {
            assert_ne!(number, 1, "the recogniser panics, as this test wants it to");
            None
        },
    };
    let backends = chain(vec![Backend::Streaming(Arc::new(loudness)), windowed()]);
    let mut world = World::with(backends).await;
    let audio = voice("agent");
    assert_eq!(captioned(&mut world, &audio).await, loud_transcript(&audio));
}

#[tokio::test]
async fn one_that_never_answers_is_late_and_the_next_takes_over() {
    let backend = scripted(|_, mut parts, answers| {
        tokio::spawn(async move {
            while parts.recv().await.is_some() {}
            drop(answers);
        });
    });
    let mut world = World::with(chain(vec![backend, windowed()])).await;
    let audio = &voice("agent")[..16_000 * 20];
    assert_eq!(captioned(&mut world, audio).await, loud_transcript(audio));
    // The call's viewers are told.
    let events = world.relay.events(|events| events.iter().any(is_fallback)).await;
    let told = events.iter().find(|event| is_fallback(event)).unwrap();
    assert!(matches!(told, Event::Recognition(of) if of.party == start("p-1").party));
}

#[test]
fn failures_are_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let refuses = scripted(|_, _, answers| {
                let error = RecogniserError::Overloaded("as the test wants it".to_owned());
                answers.try_send(Err(error)).unwrap();
            });
            let mut world = World::with(chain(vec![refuses, windowed()])).await;
            let audio = &voice("agent")[..16_000 * 20];
            assert_eq!(captioned(&mut world, audio).await, loud_transcript(audio));
        });
    });
    let shown = recorder.handle().render();
    assert!(shown.contains("sidetone_transcriber_backend_up{backend=\"b0\"} 0"), "{shown}");
    assert!(shown.contains("backend_failures_total{backend=\"b0\"}"), "{shown}");
}

fn is_fallback(event: &Event) -> bool {
    matches!(event, Event::Recognition(recognition) if recognition.is_fallback)
}

/// Shrinking, growing and contradicting hypotheses, times that make no sense, and a final that says something else.
#[tokio::test]
async fn one_that_answers_nonsense_breaks_no_promise() {
    let backend = scripted(|utterance, mut parts, answers| {
        tokio::spawn(async move {
            let mut number = utterance as u64;
            let mut random = move || {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                number >> 33
            };
            let mut words = move || -> Vec<Word> {
                (0..random() % 6)
                    .map(|_| Word {
                        text: format!("n{}", random() % 3),
                        start: random() << (random() % 40),
                        end: random() << (random() % 40),
                        confidence: f32::from_bits(random() as u32),
                    })
                    .collect()
            };
            while let Some(part) = parts.recv().await {
                let is_final = matches!(part, Part::End);
                if answers.send(heard(is_final, words())).await.is_err() || is_final {
                    return;
                }
            }
        });
    });
    let mut world = World::with(chain(vec![backend])).await;
    let audio = voice("agent");
    captioned(&mut world, &audio).await;
}

#[tokio::test]
async fn one_that_gives_a_final_too_early_is_left() {
    let backend = scripted(|_, _parts, answers| {
        answers.try_send(heard(true, Vec::new())).unwrap();
    });
    let mut world = World::with(chain(vec![backend, windowed()])).await;
    let audio = &voice("agent")[..16_000 * 20];
    assert_eq!(captioned(&mut world, audio).await, loud_transcript(audio));
}

#[tokio::test]
async fn a_server_of_the_service_recognises() {
    for streaming in [true, false] {
        let server = Remote::start(None, streaming, loud_words);
        let mut world = World::with(chain(vec![grpc(&server)])).await;
        let audio = voice("agent");
        assert_eq!(captioned(&mut world, &audio).await, loud_transcript(&audio));
        let events = world.relay.events(|_| true).await;
        let is_partial =
            |event: &&Event| matches!(event, Event::Caption(caption) if !caption.is_final);
        assert!(events.iter().any(|event| is_partial(&event)), "streaming: {streaming}");
    }
}

/// The server goes in the middle of the third utterance, with its connections.
#[tokio::test]
async fn a_server_that_is_killed_in_mid_utterance_loses_no_word() {
    let server = Remote::start(None, true, loud_words);
    let mut world = World::with(chain(vec![grpc(&server), windowed()])).await;
    let audio = voice("agent");
    let said = utterances(&audio);
    let broken = ((said[2].speech_start + said[2].speech_end) / 2) as usize;
    let mut party = world.gateway().await.start(start("p-1")).await.unwrap();
    party.say(&audio, 0, broken).await;
    party.ack_of(said[1].speech_end).await;
    server.heard_utterance(3).await;
    server.kill();
    party.say(&audio, broken, audio.len()).await;
    party.end(audio.len()).await;
    party.rest().await.unwrap();
    assert_eq!(world.relay.transcript("p-1"), loud_transcript(&audio));
    world.relay.events(|events| events.iter().any(is_fallback)).await;
}

/// With nobody else to ask, the utterance waits until the server is back.
#[tokio::test]
async fn a_server_that_comes_back_is_given_the_utterance_again() {
    let server = Remote::start(None, true, loud_words);
    let address = server.address();
    let mut world = World::with(chain(vec![grpc(&server)])).await;
    let audio = &voice("agent")[..16_000 * 30];
    let said = utterances(audio);
    let broken = ((said[1].speech_start + said[1].speech_end) / 2) as usize;
    let mut party = world.gateway().await.start(start("p-1")).await.unwrap();
    party.say(audio, 0, broken).await;
    party.ack_of(said[0].speech_end).await;
    server.kill();
    party.say(audio, broken, audio.len()).await;
    party.end(audio.len()).await;
    let _again = Remote::start(Some(address), true, loud_words);
    party.rest().await.unwrap();
    assert_eq!(world.relay.transcript("p-1"), loud_transcript(audio));
    assert!(world.relay.events(|_| true).await.iter().all(|event| !matches!(event, Event::Gap(_))));
}

fn grpc(server: &Remote) -> Backend {
    Backend::Remote(Arc::new(Grpc::new(endpoint(server.address()), "en", &["Sidetone".to_owned()])))
}
