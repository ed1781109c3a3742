//! One party's way to the recognisers: carries out what its [`Lane`] decides.

use std::collections::VecDeque;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll};

use pipeline::speech::OpenUtterance;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::chain::{BackendId, Chain};
use super::lane::{Lane, Step};
use super::utterances::{Outcome, Utterances};
use super::{Ready, Running};
use crate::queue::Purpose;
use crate::recogniser::{RecogniserError, Search};
use crate::workers::{Recognised, Requests};

/// One party's utterances, whoever recognises them. Dropping it calls everything off.
pub struct Recognition {
    running: Arc<Running>,
    lane: Lane,
    sessions: Vec<Session>,
    answers: VecDeque<Recognised>,
    /// The backend that the party's viewers were told of last.
    told: BackendId,
}

/// The party at one backend.
enum Session {
    Pool(Requests, mpsc::Receiver<Recognised>),
    Engine(Utterances),
}

impl Recognition {
    pub(super) fn new(running: Arc<Running>, search: Search) -> Self {
        let session = |ready: &Ready| match ready {
            Ready::Pool(workers) => {
                let (requests, recognised) = workers.open_stream(search);
                Session::Pool(requests, recognised)
            }
            Ready::Engine(engine) => Session::Engine(Utterances::new(engine.clone())),
        };
        Self {
            lane: Lane::new(running.deadline),
            sessions: running.backends.iter().map(session).collect(),
            answers: VecDeque::new(),
            told: 0,
            running,
        }
    }

    /// Passes on what is new of the utterance that is going on.
    pub fn hear(&mut self, utterance: Option<OpenUtterance<'_>>) {
        let Some(utterance) = utterance else { return };
        let segment = utterance.segment;
        let backend = self.decide(|lane, chain, now| lane.hear(chain, now, segment));
        if let Some(Session::Engine(utterances)) = backend.and_then(|it| self.sessions.get_mut(it))
        {
            utterances.hear(utterance);
        }
    }

    /// Has a window recognised. Every draft is answered; a partial may be dropped.
    pub fn request(&mut self, purpose: Purpose, window: pipeline::speech::Window) {
        self.decide(|lane, chain, now| lane.request(chain, now, purpose, window));
    }

    /// The utterance is over; its last draft is still answered.
    pub fn ended(&mut self, segment: u32) {
        self.decide(|lane, _, now| lane.ended(now, segment));
    }

    /// The next answer. Can be dropped and called again without loss.
    pub async fn next(&mut self) -> Recognised {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return answer;
            }
            let due = self.lane.poll_timeout();
            let timeout = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => pending().await,
                }
            };
            let sessions = &mut self.sessions;
            tokio::select! {
                (backend, outcome) = poll_fn(|context| poll_sessions(sessions, context)) => {
                    self.take(backend, outcome);
                }
                () = timeout => self.decide(Lane::handle_timeout),
            }
        }
    }

    /// Whether another backend than the first serves, if that has changed since this was last asked.
    pub fn news(&mut self) -> Option<bool> {
        if self.sessions.len() == 1 {
            return None;
        }
        let serving = self.running.chain().serving();
        let has_changed = (serving == 0) != (self.told == 0);
        self.told = serving;
        has_changed.then_some(serving != 0)
    }

    fn take(&mut self, backend: BackendId, outcome: Outcome) {
        self.decide(|lane, chain, now| match outcome {
            Outcome::Answer(purpose, window, hypothesis) => {
                lane.answered(chain, backend, purpose, window, hypothesis);
            }
            Outcome::DraftFailed(window, error) => {
                lane.draft_failed(chain, now, backend, &window, error);
            }
            Outcome::Broken(segment, error) => lane.broken(chain, now, backend, segment, error),
        });
    }

    /// Lets the lane decide something, and does what it says.
    fn decide<T>(&mut self, decision: impl FnOnce(&mut Lane, &mut Chain, Instant) -> T) -> T {
        let decided = decision(&mut self.lane, &mut self.running.chain(), Instant::now());
        while let Some(step) = self.lane.poll_step() {
            self.carry_out(step);
        }
        decided
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Ask(backend, purpose, window) => match &mut self.sessions[backend] {
                Session::Pool(requests, _) => requests.request(purpose, window),
                Session::Engine(utterances) => utterances.ask(purpose, window),
            },
            Step::End(backend, segment) => {
                if let Session::Engine(utterances) = &mut self.sessions[backend] {
                    utterances.end(segment);
                }
            }
            Step::CallOff(backend, segment) => {
                if let Session::Engine(utterances) = &mut self.sessions[backend] {
                    utterances.call_off(segment);
                }
            }
            Step::Answer(recognised) => self.answers.push_back(recognised),
            Step::Failed(backend, error, is_news) => {
                self.running.has_failed(backend, &error, is_news);
            }
            Step::Recovered(backend) => self.running.has_recovered(backend),
        }
    }
}

fn poll_sessions(
    sessions: &mut [Session],
    context: &mut Context<'_>,
) -> Poll<(BackendId, Outcome)> {
    for (backend, session) in sessions.iter_mut().enumerate() {
        let outcome = match session {
            Session::Engine(utterances) => utterances.poll(context),
            Session::Pool(_, recognised) => poll_pool(recognised, context),
        };
        if let Poll::Ready(outcome) = outcome {
            return Poll::Ready((backend, outcome));
        }
    }
    Poll::Pending
}

fn poll_pool(
    recognised: &mut mpsc::Receiver<Recognised>,
    context: &mut Context<'_>,
) -> Poll<Outcome> {
    while let Poll::Ready(Some(recognised)) = recognised.poll_recv(context) {
        if let Some(outcome) = of_pool(recognised) {
            return Poll::Ready(outcome);
        }
    }
    Poll::Pending
}

/// What a worker says. A partial that it failed on is no loss: its recogniser is replaced already.
fn of_pool(Recognised { purpose, window, hypothesis }: Recognised) -> Option<Outcome> {
    match (purpose, hypothesis) {
        (purpose, Some(hypothesis)) => Some(Outcome::Answer(purpose, window, hypothesis)),
        (Purpose::Draft, None) => {
            let error = RecogniserError::Failed("on an utterance, twice".to_owned());
            Some(Outcome::DraftFailed(window, error))
        }
        (Purpose::Partial, None) => None,
    }
}
