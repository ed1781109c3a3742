//! The recognisers in the order in which they are asked, shared by every party.

mod chain;
mod lane;
mod recognition;
mod utterances;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{counter, gauge};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::recogniser::{
    Engine, Local, RecogniserError, RecogniserFactory, Search, StreamingRecogniserFactory,
};
use crate::workers::Workers;

pub use chain::{BackendId, Chain};
pub use lane::{Lane, Step};
pub use recognition::Recognition;

/// How long a backend may take for a final before the next one is asked, unless the operator decides otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(2);

/// A way to have speech recognised.
#[derive(Clone)]
pub enum Backend {
    /// Decodes windows on the worker threads.
    Windowed(Arc<dyn RecogniserFactory>),
    /// Hears audio as it comes, each utterance on a thread of its own.
    Streaming(Arc<dyn StreamingRecogniserFactory>),
    /// Answers from elsewhere.
    Remote(Arc<dyn Engine>),
}

/// Backends with their names, in the order in which they are asked.
pub struct Backends {
    order: Vec<(String, Backend)>,
    deadline: Duration,
}

/// Backends at work. Cheap to clone.
#[derive(Clone)]
pub struct Recognisers(Arc<Running>);

struct Running {
    names: Vec<String>,
    backends: Vec<Ready>,
    chain: Mutex<Chain>,
    deadline: Duration,
}

enum Ready {
    Pool(Workers),
    Engine(Arc<dyn Engine>),
}

impl Backends {
    /// At least one backend. A backend that owes a final for longer than `deadline` after an utterance's end loses it to
    /// the next.
    pub fn new(order: Vec<(String, Backend)>, deadline: Duration) -> Self {
        assert!(!order.is_empty(), "somebody has to recognise");
        Self { order, deadline }
    }

    /// Starts worker threads, `workers` of them, for each windowed backend.
    pub fn start(self, workers: usize) -> Result<Recognisers, RecogniserError> {
        let mut ready = Vec::new();
        for (name, backend) in &self.order {
            gauge!("sidetone_transcriber_backend_up", "backend" => name.clone()).set(1.0);
            ready.push(match backend {
                Backend::Windowed(factory) => {
                    Ready::Pool(Workers::start(factory.clone(), workers)?)
                }
                Backend::Streaming(factory) => Ready::Engine(Arc::new(Local(factory.clone()))),
                Backend::Remote(engine) => Ready::Engine(engine.clone()),
            });
        }
        let are_local = self.order.iter().map(|(_, it)| !matches!(it, Backend::Remote(_)));
        let chain = Mutex::new(Chain::new(are_local, Instant::now()));
        let names = self.order.iter().map(|(name, _)| name.clone()).collect();
        Ok(Recognisers(Arc::new(Running {
            names,
            backends: ready,
            chain,
            deadline: self.deadline,
        })))
    }
}

impl Recognisers {
    /// A way to have a new stream's utterances recognised. `search` is how drafts are decoded. Must be called inside a
    /// tokio runtime.
    pub fn open(&self, search: Search) -> Recognition {
        Recognition::new(self.0.clone(), search)
    }

    /// Their names, in the order in which they are asked.
    pub fn names(&self) -> &[String] {
        &self.0.names
    }

    /// Lets the worker threads end when they have done what is queued.
    pub fn close(&self) {
        for backend in &self.0.backends {
            if let Ready::Pool(workers) = backend {
                workers.close();
            }
        }
    }
}

impl Running {
    fn chain(&self) -> MutexGuard<'_, Chain> {
        // Nothing panics while it holds the lock.
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_failed(&self, id: BackendId, error: &RecogniserError, is_news: bool) {
        let name = &self.names[id];
        counter!("sidetone_transcriber_backend_failures_total", "backend" => name.clone())
            .increment(1);
        if is_news {
            gauge!("sidetone_transcriber_backend_up", "backend" => name.clone()).set(0.0);
            let next = &self.names[self.chain().serving()];
            warn!(backend = %name, %error, serving = %next, "a recogniser fails; the next takes over");
        }
    }

    fn has_recovered(&self, id: BackendId) {
        let name = &self.names[id];
        gauge!("sidetone_transcriber_backend_up", "backend" => name.clone()).set(1.0);
        info!(backend = %name, "a recogniser works again");
    }
}

impl From<Arc<dyn RecogniserFactory>> for Backends {
    fn from(factory: Arc<dyn RecogniserFactory>) -> Self {
        let name = factory.capabilities().name;
        Self::new(vec![(name, Backend::Windowed(factory))], DEFAULT_DEADLINE)
    }
}

impl From<Workers> for Recognisers {
    fn from(workers: Workers) -> Self {
        Self(Arc::new(Running {
            names: vec!["workers".to_owned()],
            backends: vec![Ready::Pool(workers)],
            chain: Mutex::new(Chain::new([true], Instant::now())),
            deadline: DEFAULT_DEADLINE,
        }))
    }
}
