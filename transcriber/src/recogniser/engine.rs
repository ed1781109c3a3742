//! Engines that answer later: remote ones, and streaming ones on threads of their own.

use std::sync::Arc;

use pipeline::captions::Hypothesis;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Capabilities, RecogniserError};

/// Parts of an utterance on their way to an engine: at the 20 to 100 ms of a gateway's frames, more than the longest
/// utterance. When it is full, the engine does not keep up, and is given up.
pub(crate) const PARTS_CAPACITY: usize = 1_024;

/// Answers on their way back. When full, the engine waits.
pub(crate) const HEARD_CAPACITY: usize = 16;

/// An engine that hears utterances side by side.
#[tonic::async_trait]
pub trait Engine: Send + Sync + 'static {
    /// What it can do. Quick once it is known; asks the engine otherwise.
    async fn capabilities(&self) -> Result<Capabilities, RecogniserError>;

    /// Begins an utterance, and returns at once: what goes wrong is the first answer. Must be called inside a tokio
    /// runtime. `partials`: whether hypotheses before the final are of use.
    fn open(&self, partials: bool) -> Hearing;
}

/// What an engine is told about an utterance.
#[derive(Clone, Debug)]
pub enum Part {
    /// The next samples, a second at most: mono, 16 kHz, in [-1, 1].
    Audio(Arc<[f32]>),
    /// There is no more.
    End,
}

/// What an engine makes of an utterance. Word times are samples from the utterance's first.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Nothing follows.
    pub is_final: bool,
    /// From the first word on.
    pub hypothesis: Hypothesis,
    /// Whether the words have times.
    pub word_times: bool,
}

/// An utterance that an engine is hearing. Dropping it calls the engine off.
pub struct Hearing {
    /// To the engine.
    pub parts: mpsc::Sender<Part>,
    /// From the engine. Ends after a final or an error.
    pub heard: mpsc::Receiver<Result<Heard, RecogniserError>>,
    /// What moves the two.
    pub task: Task,
}

/// A task that ends when this is dropped.
pub struct Task(JoinHandle<()>);

impl Task {
    /// Runs a future until it is done, or nobody holds the task any more.
    pub fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
