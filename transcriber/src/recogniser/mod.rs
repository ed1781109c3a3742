//! Speech recognisers: one trait, and Whisper behind it.

mod header;
mod model;
mod whisper;

use pipeline::captions::Hypothesis;
use pipeline::speech::Window;

pub use header::{HeaderError, ModelHeader, check_header};
pub use model::{ModelError, ModelSource};
pub use whisper::{Whisper, WhisperOptions};

/// Makes recognisers that share one loaded model. A recogniser belongs to a worker thread, not to a call.
pub trait RecogniserFactory: Send + Sync + 'static {
    /// A recogniser of its own for a worker, which may be dropped and asked for again after an error.
    fn create(&self) -> Result<Box<dyn Recogniser>, RecogniserError>;
}

/// Decodes one window of speech at a time. Keeps nothing from one window to the next, for they are of different calls.
pub trait Recogniser: Send {
    /// What is said in a window, with word times on the party's clock. No words if nothing is.
    fn recognise(&mut self, window: &Window, search: Search)
    -> Result<Hypothesis, RecogniserError>;
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
#[derive(Debug, thiserror::Error)]
pub enum RecogniserError {
    /// The engine could not set itself up, for want of memory most often.
    #[error("the recogniser could not be set up: {0}")]
    Setup(String),
    /// The engine gave up on a window. The recogniser should be replaced.
    #[error("the recogniser failed: {0}")]
    Failed(String),
}
