//! A streaming recogniser of this process, each utterance on a thread of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::error;

use super::engine::{HEARD_CAPACITY, PARTS_CAPACITY};
use super::{
    Capabilities, Engine, Heard, Hearing, Part, RecogniserError, StreamingRecogniserFactory, Task,
};

type Answers = mpsc::Sender<Result<Heard, RecogniserError>>;

/// Lifts a [`StreamingRecogniserFactory`].
pub(crate) struct Local(pub(crate) Arc<dyn StreamingRecogniserFactory>);

#[tonic::async_trait]
impl Engine for Local {
    async fn capabilities(&self) -> Result<Capabilities, RecogniserError> {
        Ok(Capabilities { streaming: true, ..self.0.capabilities() })
    }

    fn open(&self, _partials: bool) -> Hearing {
        let (parts, incoming) = mpsc::channel(PARTS_CAPACITY);
        let (answers, heard) = mpsc::channel(HEARD_CAPACITY);
        let factory = self.0.clone();
        // Ends by itself when `parts` is dropped, and at the next answer when `heard` is.
        tokio::task::spawn_blocking(move || {
            let panicked = answers.clone();
            let hear = AssertUnwindSafe(|| hear(factory.as_ref(), incoming, &answers));
            if catch_unwind(hear).is_err() {
                error!("streaming recogniser panicked");
                let _ = panicked.blocking_send(Err(RecogniserError::Failed("it panicked".into())));
            }
        });
        Hearing { parts, heard, task: Task::spawn(async {}) }
    }
}

fn hear(
    factory: &dyn StreamingRecogniserFactory,
    mut incoming: mpsc::Receiver<Part>,
    answers: &Answers,
) {
    let word_times = factory.capabilities().word_times;
    let mut recogniser = match factory.create() {
        Ok(recogniser) => recogniser,
        Err(error) => return drop(answers.blocking_send(Err(error))),
    };
    while let Some(part) = incoming.blocking_recv() {
        let (is_final, outcome) = match part {
            Part::Audio(audio) => (false, recogniser.accept(&audio)),
            Part::End => (true, recogniser.finish().map(Some)),
        };
        let answer = match outcome {
            Ok(Some(hypothesis)) => Ok(Heard { is_final, hypothesis, word_times }),
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        let is_last = is_final || answer.is_err();
        if answers.blocking_send(answer).is_err() || is_last {
            return;
        }
    }
}
