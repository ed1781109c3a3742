//! How far each voice has been heard, kept on disk: a gateway that was killed in mid-call says afterwards what it missed.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sidetone_proto::CallId;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, warn};

use super::continuity::Trace;
use crate::media::unix_ms;

const FILE_NAME: &str = "heard.json";

/// Between two writes, while something changes: that much more than was missed may be told as missed.
const WRITE_INTERVAL: Duration = Duration::from_secs(1);

/// What was heard longer ago than this belongs to a call that is over.
const MEMORY_MS: i64 = 3_600_000;

type Traces = BTreeMap<CallId, Vec<Trace>>;

/// The voices of every call. Clones share it; without a state directory it forgets everything.
#[derive(Clone, Debug)]
pub(super) struct Journal(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of the process before this one, until the call is heard again.
    before: Traces,
    now: Traces,
    is_changed: bool,
}

impl Journal {
    /// Reads what an earlier process left in a directory.
    pub(super) fn open(directory: Option<&Path>) -> Self {
        Self(directory.map(|directory| {
            let path = directory.join(FILE_NAME);
            let oldest = unix_ms() - MEMORY_MS;
            let mut before = read(&path);
            before.retain(|_, traces| {
                traces.retain(|trace| trace.end_unix_ms() >= oldest);
                !traces.is_empty()
            });
            let state = State { before, ..State::default() };
            Arc::new(Inner { path, state: Mutex::new(state) })
        }))
    }

    /// How far an earlier process heard a call. Given once.
    pub(super) fn take(&self, call: &CallId) -> Vec<Trace> {
        self.with(|state| state.before.remove(call)).flatten().unwrap_or_default()
    }

    /// How far a call has been heard.
    pub(super) fn note(&self, call: &CallId, traces: Vec<Trace>) {
        self.with(|state| {
            if !traces.is_empty() && state.now.get(call) != Some(&traces) {
                state.now.insert(call.clone(), traces);
                state.is_changed = true;
            }
        });
    }

    /// A call is over.
    pub(super) fn forget(&self, call: &CallId) {
        self.with(|state| state.is_changed |= state.now.remove(call).is_some());
    }

    /// Writes what has changed, again and again, until dropped.
    pub(super) async fn keep(self) {
        let mut tick = interval(WRITE_INTERVAL);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.0.is_some() {
            tick.tick().await;
            self.write().await;
        }
    }

    /// Writes what has changed.
    pub(super) async fn write(&self) {
        let Some(inner) = self.0.clone() else { return };
        let written = tokio::task::spawn_blocking(move || {
            let text = {
                let mut state = inner.state();
                if !std::mem::take(&mut state.is_changed) {
                    return Ok(());
                }
                serde_json::to_vec(&state.now)?
            };
            // Whole or not at all. It need not survive a power cut, which ends the calls as well.
            let unfinished = inner.path.with_extension("new");
            fs::write(&unfinished, text)?;
            fs::rename(unfinished, &inner.path)
        });
        if let Ok(Err(error)) = written.await {
            warn!(%error, "could not note how far calls were heard; is state_directory writable?");
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> Option<T> {
        self.0.as_ref().map(|inner| act(&mut inner.state()))
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An unreadable file costs the gaps that it knew, never the start.
fn read(path: &Path) -> Traces {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
            warn!(%error, path = %path.display(), "what an earlier process heard can't be read");
            Traces::new()
        }),
        Err(error) => {
            if error.kind() != ErrorKind::NotFound {
                debug!(%error, path = %path.display(), "what an earlier process heard is not known");
            }
            Traces::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use sidetone_proto::{PartyId, Role};

    use super::*;

    fn trace(until_ms: u64) -> Trace {
        let (party_id, role) = (PartyId::new("p-1-2"), Role::Agent);
        Trace { party_id, role, anchor_unix_ms: unix_ms(), until_ms }
    }

    #[tokio::test]
    async fn a_later_process_learns_how_far_a_call_was_heard() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (CallId::new("s-1"), CallId::new("s-2"));
        let heard = trace(700);
        let journal = Journal::open(Some(folder.path()));
        journal.note(&one, vec![trace(5)]);
        journal.note(&one, vec![heard.clone()]);
        journal.note(&other, vec![trace(1)]);
        journal.forget(&other);
        journal.write().await;
        // Killed: nothing is tidied up.
        let later = Journal::open(Some(folder.path()));
        assert_eq!(later.take(&one), [heard]);
        assert_eq!(later.take(&one), [], "it is told once");
        assert_eq!(later.take(&other), []);
    }

    #[tokio::test]
    async fn old_and_damaged_notes_are_left_aside() {
        let folder = tempfile::tempdir().unwrap();
        let call = CallId::new("s-1");
        let journal = Journal::open(Some(folder.path()));
        let old = Trace { anchor_unix_ms: unix_ms() - MEMORY_MS - 1_000, ..trace(10) };
        journal.note(&call, vec![old]);
        journal.write().await;
        assert_eq!(Journal::open(Some(folder.path())).take(&call), []);
        fs::write(folder.path().join(FILE_NAME), "{\"s-1\": 7").unwrap();
        assert_eq!(Journal::open(Some(folder.path())).take(&call), []);
        let nowhere = Journal::open(None);
        nowhere.note(&call, vec![trace(1)]);
        nowhere.write().await;
        assert_eq!(nowhere.take(&call), []);
    }
}
