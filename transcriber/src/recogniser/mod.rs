//! Speech recognisers: the traits that another one is plugged in by, and those that come with Sidetone.
//!
//! A **windowed** engine ([`Recogniser`]) decodes a stretch of audio at a time; the transcriber asks it about an utterance
//! again and again while it grows. A **streaming** engine ([`StreamingRecogniser`]) gets the utterance's audio as it comes
//! and tells what it makes of it so far. Either way its hypotheses pass the same checks and the same stabiliser before
//! anybody sees them, so that an engine need not keep its words steady. `docs/recognisers.md` walks through an example.

mod engine;
mod grpc;
mod header;
mod hypothesis;
mod local;
mod model;
mod openai;
mod whisper;

use pipeline::captions::Hypothesis;
use pipeline::speech::Window;

pub use engine::{Engine, Heard, Hearing, Part, Task};
pub use grpc::Grpc;
pub(crate) use grpc::pcm;
pub use header::{HeaderError, ModelHeader, check_header};
pub(crate) use hypothesis::on_party_clock;
pub(crate) use local::Local;
pub use model::{ModelError, ModelSource};
pub use openai::{OpenAi, OpenAiError, OpenAiOptions, wav};
pub use whisper::{Whisper, WhisperOptions};

/// What an engine can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What people read in logs: engine and model.
    pub name: String,
    /// Audio is decoded as it comes, rather than window by window.
    pub streaming: bool,
    /// Every word has its times. Otherwise they are spread over the speech.
    pub word_times: bool,
    /// BCP 47 tags of the languages that it knows. Empty: whatever it was configured for.
    pub languages: Vec<String>,
    /// It makes use of words and names that are likely to be said.
    pub vocabulary: bool,
}

/// Makes recognisers that share one loaded model. A recogniser belongs to a worker thread, not to a call.
pub trait RecogniserFactory: Send + Sync + 'static {
    /// A recogniser of its own for a worker, which may be dropped and asked for again after an error.
    fn create(&self) -> Result<Box<dyn Recogniser>, RecogniserError>;

    /// What its recognisers can do.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "windowed recogniser".to_owned(),
            streaming: false,
            word_times: true,
            languages: Vec::new(),
            vocabulary: false,
        }
    }
}

/// Decodes one window of speech at a time. Keeps nothing from one window to the next, for they are of different calls.
pub trait Recogniser: Send {
    /// What is said in a window, with word times on the party's clock. No words if nothing is.
    fn recognise(&mut self, window: &Window, search: Search)
    -> Result<Hypothesis, RecogniserError>;
}

/// Makes streaming recognisers that share one loaded model.
pub trait StreamingRecogniserFactory: Send + Sync + 'static {
    /// A recogniser for one utterance.
    fn create(&self) -> Result<Box<dyn StreamingRecogniser>, RecogniserError>;

    /// What its recognisers can do; `streaming` is true.
    fn capabilities(&self) -> Capabilities;
}

/// Hears one utterance of one party, on a thread of its own, and is dropped when nobody wants to know more.
///
/// Word times are samples at 16 kHz from the utterance's first sample.
pub trait StreamingRecogniser: Send {
    /// Takes the next samples (mono, 16 kHz, in [-1, 1]). Returns what the utterance is taken to say so far, from its first
    /// word on, if there is news.
    fn accept(&mut self, audio: &[f32]) -> Result<Option<Hypothesis>, RecogniserError>;

    /// The utterance is over: what it says. No words if nothing was said.
    fn finish(&mut self) -> Result<Hypothesis, RecogniserError>;
}

/// How a decoder looks for the words, where it has the choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Search {
    /// The likeliest token at each step: the fastest.
    Greedy,
    /// Several readings side by side: for audio in which one wrong token leads astray. Takes up to twice as long.
    Beam,
}

/// Why there is no hypothesis.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecogniserError {
    /// The engine could not set itself up, for want of memory most often.
    #[error("the recogniser could not be set up: {0}")]
    Setup(String),
    /// The engine gave up on a window. The recogniser should be replaced.
    #[error("the recogniser failed: {0}")]
    Failed(String),
    /// The engine can't be reached, or is going down.
    #[error("the recogniser is not there: {0}")]
    Unavailable(String),
    /// The engine has no room for another utterance at present.
    #[error("the recogniser takes no more: {0}")]
    Overloaded(String),
    /// The engine's server does not keep to its contract, or holds that we don't.
    #[error("the recogniser breaks its contract: {0}; see `transcriber conformance`")]
    Contract(String),
}
