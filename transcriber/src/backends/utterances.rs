//! One party's utterances at an engine that answers later: audio as it comes to a streaming one, windows to a windowed.

use std::collections::HashMap;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pipeline::captions::Hypothesis;
use pipeline::speech::{OpenUtterance, Window, samples};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::queue::Purpose;
use crate::recogniser::{Engine, Heard, Hearing, Part, RecogniserError, Task, on_party_clock};

/// Inputs of an utterance on their way to its task. When full, the engine is given up.
const INPUTS_CAPACITY: usize = 1_024;

/// Answers of all utterances on their way back. When full, the engine waits.
const OUTCOMES_CAPACITY: usize = 16;

/// An engine that owes a final for longer than this never gives it.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Audio goes in parts of no more than so many samples.
const PART: usize = samples(200) as usize;

/// What came of a window or an utterance.
pub(super) enum Outcome {
    Answer(Purpose, Window, Hypothesis),
    DraftFailed(Window, RecogniserError),
    /// Nothing more comes about this utterance.
    Broken(u32, RecogniserError),
}

/// One party's utterances at one engine.
pub(super) struct Utterances {
    engine: Arc<dyn Engine>,
    live: HashMap<u32, Live>,
    outcomes: mpsc::Sender<Outcome>,
    incoming: mpsc::Receiver<Outcome>,
    /// Utterances whose engine took nothing more.
    stuck: Vec<u32>,
}

struct Live {
    inputs: mpsc::Sender<Input>,
    /// Samples of the utterance that were passed on.
    passed: usize,
    _task: Task,
}

enum Input {
    Audio(Arc<[f32]>, View),
    Window(Purpose, Window),
    End,
}

/// What is known of an utterance besides its audio.
#[derive(Clone, Copy)]
struct View {
    segment: u32,
    start: u64,
    speech_start: u64,
    speech_end: u64,
    clarity: f32,
}

impl Utterances {
    pub(super) fn new(engine: Arc<dyn Engine>) -> Self {
        let (outcomes, incoming) = mpsc::channel(OUTCOMES_CAPACITY);
        Self { engine, live: HashMap::new(), outcomes, incoming, stuck: Vec::new() }
    }

    /// Passes on what is new of an utterance that is going on.
    pub(super) fn hear(&mut self, utterance: OpenUtterance<'_>) {
        let OpenUtterance { segment, start, speech_start, speech_end, clarity, audio } = utterance;
        self.pass_on(audio, View { segment, start, speech_start, speech_end, clarity });
    }

    pub(super) fn ask(&mut self, purpose: Purpose, window: Window) {
        let Window { segment, start, speech_start, speech_end, clarity, .. } = window;
        self.pass_on(&window.audio, View { segment, start, speech_start, speech_end, clarity });
        self.send(segment, Input::Window(purpose, window));
    }

    pub(super) fn end(&mut self, segment: u32) {
        self.send(segment, Input::End);
    }

    pub(super) fn call_off(&mut self, segment: u32) {
        self.live.remove(&segment);
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Outcome> {
        if let Some(segment) = self.stuck.pop() {
            let error = RecogniserError::Unavailable("it takes no more audio".to_owned());
            return Poll::Ready(Outcome::Broken(segment, error));
        }
        // `self.outcomes` keeps the channel open.
        self.incoming.poll_recv(context).map(|outcome| match outcome {
            Some(outcome) => outcome,
            None => Outcome::Broken(0, RecogniserError::Unavailable("it has ended".to_owned())),
        })
    }

    fn pass_on(&mut self, audio: &[f32], view: View) {
        let live = self.live.entry(view.segment).or_insert_with(|| {
            Live::begin(self.engine.clone(), view.segment, self.outcomes.clone())
        });
        let fresh = audio.get(live.passed..).unwrap_or_default();
        live.passed += fresh.len();
        for part in fresh.chunks(PART).map(Arc::from).collect::<Vec<_>>() {
            self.send(view.segment, Input::Audio(part, view));
        }
    }

    fn send(&mut self, segment: u32, input: Input) {
        let Some(live) = self.live.get(&segment) else { return };
        // A task that has ended has said why.
        if let Err(mpsc::error::TrySendError::Full(_)) = live.inputs.try_send(input) {
            self.live.remove(&segment);
            self.stuck.push(segment);
        }
    }
}

impl Live {
    fn begin(engine: Arc<dyn Engine>, segment: u32, outcomes: mpsc::Sender<Outcome>) -> Self {
        let (inputs, incoming) = mpsc::channel(INPUTS_CAPACITY);
        let task = Task::spawn(async move {
            let utterance = async {
                if engine.capabilities().await?.streaming {
                    streaming(engine.as_ref(), incoming, &outcomes).await
                } else {
                    windowed(engine.as_ref(), incoming, &outcomes).await
                }
            };
            if let Err(error) = utterance.await {
                let _ = outcomes.send(Outcome::Broken(segment, error)).await;
            }
        });
        Self { inputs, passed: 0, _task: task }
    }
}

/// Passes audio on as it comes, except what comes after a draft: that is held back until speech is known to go on, for
/// the final is about the draft's audio and no more.
async fn streaming(
    engine: &dyn Engine,
    mut inputs: mpsc::Receiver<Input>,
    outcomes: &mpsc::Sender<Outcome>,
) -> Result<(), RecogniserError> {
    let mut hearing = engine.open(true);
    let mut audio: Vec<f32> = Vec::new();
    let mut sent = 0;
    let mut draft: Option<Window> = None;
    let mut view: Option<View> = None;
    let mut ended: Option<Instant> = None;
    loop {
        tokio::select! {
            input = inputs.recv(), if ended.is_none() => match input {
                // Called off.
                None => return Ok(()),
                Some(Input::Audio(samples, about)) => {
                    audio.extend_from_slice(&samples);
                    view = Some(about);
                    if draft.is_none() {
                        sent = pass(&hearing, &audio, sent)?;
                    }
                }
                Some(Input::Window(Purpose::Draft, window)) => {
                    // Its audio has all come by now; what was held back before it belongs to it, too.
                    sent = pass(&hearing, &audio[..window.audio.len().clamp(sent, audio.len())], sent)?;
                    draft = Some(window);
                }
                Some(Input::Window(Purpose::Partial, _)) => {
                    draft = None;
                    sent = pass(&hearing, &audio, sent)?;
                }
                Some(Input::End) => {
                    let window = draft.as_ref().ok_or_else(undrafted)?;
                    if sent > window.audio.len() {
                        // The utterance was cut: what was heard after the cut is the next one's.
                        drop(hearing);
                        return answer_once(engine, window, outcomes).await;
                    }
                    hearing.parts.try_send(Part::End).map_err(|_| stuck())?;
                    ended = Some(Instant::now() + LONGEST_WAIT);
                }
            },
            heard = hearing.heard.recv() => {
                let heard = heard.unwrap_or_else(|| Err(unfinished()))?;
                match (&draft, &view) {
                    (Some(window), _) if heard.is_final && ended.is_some() => {
                        let hypothesis = on_party_clock(heard, window);
                        let answer = Outcome::Answer(Purpose::Draft, window.clone(), hypothesis);
                        let _ = outcomes.send(answer).await;
                        return Ok(());
                    }
                    _ if heard.is_final => {
                        let problem = "a final before the end of the utterance".to_owned();
                        return Err(RecogniserError::Contract(problem));
                    }
                    (_, Some(view)) => {
                        let window = view.window(&audio[..sent]);
                        let hypothesis = on_party_clock(heard, &window);
                        let answer = Outcome::Answer(Purpose::Partial, window, hypothesis);
                        let _ = outcomes.send(answer).await;
                    }
                    (_, None) => {}
                }
            },
            () = until(ended) => return Err(unanswered()),
        }
    }
}

/// Sends what was not sent yet; returns how much was, in all.
fn pass(hearing: &Hearing, audio: &[f32], sent: usize) -> Result<usize, RecogniserError> {
    for part in audio.get(sent..).unwrap_or_default().chunks(PART) {
        hearing.parts.try_send(Part::Audio(part.into())).map_err(|_| stuck())?;
    }
    Ok(sent.max(audio.len()))
}

type Answering<'a> =
    Pin<Box<dyn Future<Output = (Window, Result<Hypothesis, RecogniserError>)> + Send + 'a>>;

/// Asks about one window at a time for partials, of those that wait the last; about drafts at once.
async fn windowed(
    engine: &dyn Engine,
    mut inputs: mpsc::Receiver<Input>,
    outcomes: &mpsc::Sender<Outcome>,
) -> Result<(), RecogniserError> {
    let mut partial: Option<Answering<'_>> = None;
    let mut next_partial: Option<Window> = None;
    let mut draft: Option<Answering<'_>> = None;
    loop {
        let (purpose, (window, hypothesis)) = tokio::select! {
            input = inputs.recv() => {
                match input {
                    None => return Ok(()),
                    Some(Input::Audio(..) | Input::End) => {}
                    Some(Input::Window(Purpose::Draft, window)) => {
                        (partial, next_partial) = (None, None);
                        draft = Some(Box::pin(ask_about(engine, window)));
                    }
                    Some(Input::Window(Purpose::Partial, window)) if partial.is_none() => {
                        partial = Some(Box::pin(ask_about(engine, window)));
                    }
                    Some(Input::Window(Purpose::Partial, window)) => next_partial = Some(window),
                }
                continue;
            }
            answer = answer_of(&mut draft) => (Purpose::Draft, answer),
            answer = answer_of(&mut partial) => {
                partial = next_partial.take().map(|window| {
                    Box::pin(ask_about(engine, window)) as Answering<'_>
                });
                (Purpose::Partial, answer)
            }
        };
        match (purpose, hypothesis) {
            // A partial more or less: the draft will be taken.
            (Purpose::Partial, Err(RecogniserError::Overloaded(_))) => {}
            (purpose, hypothesis) => {
                let _ = outcomes.send(Outcome::Answer(purpose, window, hypothesis?)).await;
            }
        }
    }
}

async fn answer_of(
    answering: &mut Option<Answering<'_>>,
) -> (Window, Result<Hypothesis, RecogniserError>) {
    match answering {
        Some(answer) => {
            let answer = answer.await;
            *answering = None;
            answer
        }
        None => pending().await,
    }
}

async fn ask_about(
    engine: &dyn Engine,
    window: Window,
) -> (Window, Result<Hypothesis, RecogniserError>) {
    let heard = hear_once(engine, &window.audio).await;
    let hypothesis = heard.map(|heard| on_party_clock(heard, &window));
    (window, hypothesis)
}

async fn answer_once(
    engine: &dyn Engine,
    window: &Window,
    outcomes: &mpsc::Sender<Outcome>,
) -> Result<(), RecogniserError> {
    let hypothesis = on_party_clock(hear_once(engine, &window.audio).await?, window);
    let _ = outcomes.send(Outcome::Answer(Purpose::Draft, window.clone(), hypothesis)).await;
    Ok(())
}

/// Has some audio recognised as an utterance of its own.
async fn hear_once(engine: &dyn Engine, audio: &[f32]) -> Result<Heard, RecogniserError> {
    let mut hearing = engine.open(false);
    pass(&hearing, audio, 0)?;
    hearing.parts.try_send(Part::End).map_err(|_| stuck())?;
    let last = async {
        loop {
            match hearing.heard.recv().await {
                Some(Ok(heard)) if !heard.is_final => {}
                Some(answer) => return answer,
                None => return Err(unfinished()),
            }
        }
    };
    timeout(LONGEST_WAIT, last).await.unwrap_or_else(|_| Err(unanswered()))
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

impl View {
    fn window(&self, audio: &[f32]) -> Window {
        let Self { segment, start, speech_start, speech_end, clarity } = *self;
        let end = start + audio.len() as u64;
        let speech_end = speech_end.min(end);
        Window { segment, start, speech_start, speech_end, clarity, audio: audio.into() }
    }
}

fn stuck() -> RecogniserError {
    RecogniserError::Unavailable("it takes no more audio".to_owned())
}

fn unfinished() -> RecogniserError {
    RecogniserError::Unavailable("it has ended without a final".to_owned())
}

fn unanswered() -> RecogniserError {
    RecogniserError::Unavailable(format!("no final within {} s", LONGEST_WAIT.as_secs()))
}

fn undrafted() -> RecogniserError {
    RecogniserError::Failed("the utterance ended before it was drafted".to_owned())
}
