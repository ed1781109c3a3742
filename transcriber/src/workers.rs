//! The threads that recognise, shared by every party of every call.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use pipeline::captions::Hypothesis;
use pipeline::speech::Window;
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::queue::{JobQueue, Purpose, StreamId};
use crate::recogniser::{Recogniser, RecogniserError, RecogniserFactory, Search};

/// Answers on their way to a stream. When full, the worker waits: the stream is slow to take its own captions.
const ANSWERS_CAPACITY: usize = 16;

/// A pool of recognisers, one per thread.
#[derive(Clone)]
pub struct Workers {
    shared: Arc<Shared>,
    streams: Arc<AtomicU64>,
}

/// What a worker found out about a window.
#[derive(Debug)]
pub struct Recognised {
    /// As it was asked for.
    pub purpose: Purpose,
    /// As it was asked about.
    pub window: Window,
    /// `None`: the recogniser failed, also when it was tried again.
    pub hypothesis: Option<Hypothesis>,
}

/// One stream's way to the workers. Dropping it takes back what is still queued.
pub struct Requests {
    stream: StreamId,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Clone)]
struct OpenStream {
    answers: mpsc::Sender<Recognised>,
    /// For drafts. Partials come often and last shortly: they get the fastest.
    search: Search,
}

#[derive(Default)]
struct State {
    queue: JobQueue,
    streams: HashMap<StreamId, OpenStream>,
    closed: bool,
}

impl Workers {
    /// Starts `count` threads, each with a recogniser of its own.
    pub fn start(
        factory: Arc<dyn RecogniserFactory>,
        count: usize,
    ) -> Result<Self, RecogniserError> {
        let shared = Arc::new(Shared { state: Mutex::default(), work: Condvar::new() });
        for number in 0..count {
            let recogniser = factory.create()?;
            let worker = Worker { factory: factory.clone(), recogniser, shared: shared.clone() };
            thread::Builder::new()
                .name(format!("recogniser-{number}"))
                .spawn(move || worker.run())
                .map_err(|error| RecogniserError::Setup(error.to_string()))?;
        }
        Ok(Self { shared, streams: Arc::default() })
    }

    /// A way to have a new stream's windows recognised, and where the answers arrive. `search` is how drafts are decoded.
    pub fn open_stream(&self, search: Search) -> (Requests, mpsc::Receiver<Recognised>) {
        let stream = StreamId(self.streams.fetch_add(1, Ordering::Relaxed));
        let (answers, recognised) = mpsc::channel(ANSWERS_CAPACITY);
        self.shared.lock().streams.insert(stream, OpenStream { answers, search });
        (Requests { stream, shared: self.shared.clone() }, recognised)
    }

    /// Lets the threads end when they have done what is queued.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl Requests {
    /// Queues a window. Every draft is answered; a partial may be dropped for a newer one.
    pub fn request(&self, purpose: Purpose, window: Window) {
        self.shared.lock().queue.push(self.stream, purpose, window);
        self.shared.work.notify_one();
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.queue.forget(self.stream);
        state.streams.remove(&self.stream);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is whole between any two operations.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a window, and says whose it is. `None` when the pool is closed.
    fn next(&self) -> Option<(OpenStream, Purpose, Window)> {
        let mut state = self.lock();
        loop {
            if let Some((stream, purpose, window)) = state.queue.pop() {
                if let Some(stream) = state.streams.get(&stream) {
                    return Some((stream.clone(), purpose, window));
                }
            } else if state.closed {
                return None;
            } else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

struct Worker {
    factory: Arc<dyn RecogniserFactory>,
    recogniser: Box<dyn Recogniser>,
    shared: Arc<Shared>,
}

impl Worker {
    fn run(mut self) {
        while let Some((stream, purpose, window)) = self.shared.next() {
            let hypothesis = match purpose {
                Purpose::Partial => self.recognise(&window, Search::Greedy),
                Purpose::Draft => self
                    .recognise(&window, stream.search)
                    .or_else(|| self.recognise(&window, stream.search)),
            };
            // The stream may have gone meanwhile; then nobody wants the answer.
            let _ = stream.answers.blocking_send(Recognised { purpose, window, hypothesis });
        }
    }

    /// Tries once. After a failure or a panic the recogniser is replaced, since it may be in any state.
    fn recognise(&mut self, window: &Window, search: Search) -> Option<Hypothesis> {
        let recogniser = AssertUnwindSafe(&mut self.recogniser);
        let outcome = catch_unwind(move || {
            let AssertUnwindSafe(recogniser) = { recogniser };
            recogniser.recognise(window, search)
        });
        match outcome {
            Ok(Ok(hypothesis)) => return Some(hypothesis),
            Ok(Err(error)) => warn!(%error, "recognition failed, replacing the recogniser"),
            Err(_) => error!("recogniser panicked, replacing it"),
        }
        match self.factory.create() {
            Ok(recogniser) => self.recogniser = recogniser,
            Err(error) => error!(%error, "no new recogniser, keeping the old one"),
        }
        None
    }
}
