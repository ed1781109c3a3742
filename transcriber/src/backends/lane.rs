//! Which backend hears each utterance of one party, and what happens when it fails or is late.
//!
//! Pure: time and answers go in ([`Lane::request`], [`Lane::answered`], ...), what is to be done comes out
//! ([`Lane::poll_step`]). An utterance stays with its backend unless that fails, or owes its final for longer than the
//! others' patience: then the next one is given the whole utterance. So no word depends on a backend that has gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use pipeline::captions::Hypothesis;
use pipeline::speech::Window;
use tokio::time::Instant;

use super::chain::{BackendId, Chain};
use crate::queue::Purpose;
use crate::recogniser::RecogniserError;
use crate::workers::Recognised;

/// How long an utterance waits for a backend to come back, once it has ended and nobody else is left to ask. Its audio is
/// in the gateway's ring for longer.
const GIVE_UP: Duration = Duration::from_secs(20);

/// While utterances wait, so often the chain is looked at: other parties may have found out that a backend is back.
const RECHECK: Duration = Duration::from_millis(250);

/// Something to do.
#[derive(Debug)]
pub enum Step {
    /// Give a window to a backend. A draft has to be answered; one that hears audio as it comes may do so after `End`.
    Ask(BackendId, Purpose, Window),
    /// Tell a backend that an utterance is over.
    End(BackendId, u32),
    /// Tell a backend that it need not bother about an utterance any more.
    CallOff(BackendId, u32),
    /// Pass an answer on.
    Answer(Recognised),
    /// Tell people that a backend has failed or was late, and whether it is the first to be known of it.
    Failed(BackendId, RecogniserError, bool),
    /// Tell people that a backend works again.
    Recovered(BackendId),
}

/// One party's utterances that are not answered for good.
pub struct Lane {
    /// How long a backend may take for a final, after the utterance has ended, if there is another to ask.
    patience: Duration,
    open: BTreeMap<u32, Open>,
    steps: VecDeque<Step>,
}

#[derive(Default)]
struct Open {
    /// `None`: there is none to ask at present.
    backend: Option<BackendId>,
    /// Those that have failed on this utterance.
    tried: BTreeSet<BackendId>,
    /// The last one.
    draft: Option<Window>,
    /// The draft is.
    answered: bool,
    ended: Option<Instant>,
    /// When to look at it again.
    due: Option<Instant>,
}

impl Lane {
    /// A party that has not said anything.
    pub fn new(patience: Duration) -> Self {
        Self { patience, open: BTreeMap::new(), steps: VecDeque::new() }
    }

    /// The backend that hears an utterance that is going on.
    pub fn hear(&mut self, chain: &mut Chain, now: Instant, segment: u32) -> Option<BackendId> {
        let open = self.open.entry(segment).or_default();
        if open.backend.is_none() {
            open.backend = chain.pick(now, |id| open.tried.contains(&id));
        }
        open.backend
    }

    /// The segmenter wants a window recognised.
    pub fn request(&mut self, chain: &mut Chain, now: Instant, purpose: Purpose, window: Window) {
        let segment = window.segment;
        if purpose == Purpose::Draft {
            // What they failed on was another window.
            self.open.entry(segment).or_default().tried.clear();
        }
        let backend = self.hear(chain, now, segment);
        if purpose == Purpose::Draft {
            let open = self.open.entry(segment).or_default();
            open.draft = Some(window.clone());
            open.answered = false;
            open.due = backend.is_none().then_some(now + RECHECK);
        }
        if let Some(backend) = backend {
            self.steps.push_back(Step::Ask(backend, purpose, window));
        } else if purpose == Purpose::Draft && !chain.may_recover() {
            self.give_up(segment);
        }
    }

    /// An utterance is over: nothing but the answer to its last draft is wanted any more.
    pub fn ended(&mut self, now: Instant, segment: u32) {
        let Some(open) = self.open.get_mut(&segment) else { return };
        open.ended = Some(now);
        if open.answered {
            self.close(segment);
        } else if let Some(backend) = open.backend {
            open.due = Some(now + self.patience);
            self.steps.push_back(Step::End(backend, segment));
        }
    }

    /// A backend's hypothesis about a window.
    pub fn answered(
        &mut self,
        chain: &mut Chain,
        backend: BackendId,
        purpose: Purpose,
        window: Window,
        hypothesis: Hypothesis,
    ) {
        if purpose == Purpose::Draft && chain.worked(backend) {
            self.steps.push_back(Step::Recovered(backend));
        }
        let Some(open) = self.open.get_mut(&window.segment) else { return };
        let segment = window.segment;
        let is_last = purpose == Purpose::Draft && open.is_owed(&window);
        let recognised = Recognised { purpose, window, hypothesis: Some(hypothesis) };
        self.steps.push_back(Step::Answer(recognised));
        if is_last {
            open.answered = true;
            open.due = None;
            if open.ended.is_some() {
                self.close(segment);
            }
        }
    }

    /// A backend has failed on a draft. What is out of date matters to nobody.
    pub fn draft_failed(
        &mut self,
        chain: &mut Chain,
        now: Instant,
        backend: BackendId,
        window: &Window,
        error: RecogniserError,
    ) {
        if self.open.get(&window.segment).is_some_and(|open| open.is_owed(window)) {
            self.broken(chain, now, backend, window.segment, error);
        }
    }

    /// A backend has failed on an utterance.
    pub fn broken(
        &mut self,
        chain: &mut Chain,
        now: Instant,
        backend: BackendId,
        segment: u32,
        error: RecogniserError,
    ) {
        let is_news = chain.failed(backend, now);
        self.steps.push_back(Step::Failed(backend, error, is_news));
        let Some(open) = self.open.get_mut(&segment) else { return };
        if open.backend == Some(backend) {
            open.tried.insert(backend);
            let next = chain.pick(now, |id| open.tried.contains(&id));
            self.move_to(chain, now, segment, next);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.open.values().filter_map(|open| open.due).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, chain: &mut Chain, now: Instant) {
        let is_due = |open: &Open| open.due.is_some_and(|due| due <= now);
        let due: Vec<_> =
            self.open.iter().filter(|(_, it)| is_due(it)).map(|(&it, _)| it).collect();
        for segment in due {
            let Some(open) = self.open.get_mut(&segment) else { continue };
            match open.backend {
                Some(backend) => {
                    open.due = None;
                    let next = chain.pick(now, |id| id == backend || open.tried.contains(&id));
                    // If there is nobody else, it has all the time that it takes.
                    if next.is_some() {
                        open.tried.insert(backend);
                        let is_news = chain.failed(backend, now);
                        let after = self.patience.as_millis();
                        let late = RecogniserError::Unavailable(format!("late by {after} ms"));
                        self.steps.push_back(Step::Failed(backend, late, is_news));
                        self.move_to(chain, now, segment, next);
                    }
                }
                None if open.ended.is_some_and(|ended| ended + GIVE_UP <= now) => {
                    self.give_up(segment);
                }
                None => {
                    let next = chain.pick(now, |id| open.tried.contains(&id));
                    self.move_to(chain, now, segment, next);
                }
            }
        }
    }

    /// What is to be done next.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// Gives an utterance, as far as it was drafted, to another backend.
    fn move_to(&mut self, chain: &Chain, now: Instant, segment: u32, next: Option<BackendId>) {
        let Some(open) = self.open.get_mut(&segment) else { return };
        if let Some(left) = std::mem::replace(&mut open.backend, next) {
            self.steps.push_back(Step::CallOff(left, segment));
        }
        let Some(draft) = open.draft.clone().filter(|_| !open.answered) else {
            // It goes to whoever works when there is more of it.
            open.tried.clear();
            return;
        };
        if let Some(backend) = next {
            self.steps.push_back(Step::Ask(backend, Purpose::Draft, draft));
            if open.ended.is_some() {
                open.due = Some(now + self.patience);
                self.steps.push_back(Step::End(backend, segment));
            }
        } else if chain.may_recover() {
            // Those of this process would fail on it again.
            open.tried.retain(|id| chain.is_local(*id));
            open.due = Some(now + RECHECK);
        } else {
            self.give_up(segment);
        }
    }

    fn give_up(&mut self, segment: u32) {
        let Some(open) = self.open.get_mut(&segment) else { return };
        open.answered = true;
        open.due = None;
        // Another draft may follow, and may fare better.
        open.tried.clear();
        let (ended, draft) = (open.ended, open.draft.clone());
        if let Some(window) = draft {
            let recognised = Recognised { purpose: Purpose::Draft, window, hypothesis: None };
            self.steps.push_back(Step::Answer(recognised));
        }
        if ended.is_some() {
            self.close(segment);
        }
    }

    fn close(&mut self, segment: u32) {
        if let Some(Open { backend: Some(backend), .. }) = self.open.remove(&segment) {
            self.steps.push_back(Step::CallOff(backend, segment));
        }
    }
}

impl Open {
    /// Whether a window is the draft that an answer is owed about.
    fn is_owed(&self, window: &Window) -> bool {
        let same =
            |draft: &Window| draft.speech_end == window.speech_end && draft.end() == window.end();
        !self.answered && self.draft.as_ref().is_some_and(same)
    }
}
