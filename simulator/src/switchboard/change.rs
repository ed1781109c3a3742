//! What subscribers learn when a session changes.

use serde_json::Value;

/// Changes that wait for a subscriber. When full, the oldest are lost to it and it is told how many.
pub(crate) const CHANGE_CAPACITY: usize = 1024;

/// One party of a session has changed.
#[derive(Clone, PartialEq)]
pub(crate) struct SessionChange {
    /// The session.
    pub(crate) telephony_session_id: String,
    /// Rises by one with each change of the session; the first is 2.
    pub(crate) sequence: u64,
    /// The party's own extension.
    pub(crate) extension_id: Option<String>,
    /// The `body` of a telephony session event.
    pub(crate) body: Value,
}
