//! What subscribers learn when a session changes.

use super::Session;
use super::view;
use crate::account::Account;
use crate::timestamp;
use serde_json::{Value, json};
use std::fmt;
use std::time::SystemTime;

/// Changes that wait for a subscriber. When full, the oldest are lost to it and it is told how many: a subscriber that
/// lags has to read the sessions again, as after a lost connection.
pub(crate) const CHANGE_CAPACITY: usize = 1024;

/// One party of a session has changed.
#[derive(Clone, PartialEq)]
pub(crate) struct SessionChange {
    /// The session.
    pub(crate) telephony_session_id: String,
    /// Rises by one with each change of the session; the first is 2.
    pub(crate) sequence: u64,
    /// The party's own extension. A party on the public network has none: its events are the account's, and no
    /// subscription of an extension brings them.
    pub(crate) extension_id: Option<String>,
    /// The `body` of a telephony session event.
    pub(crate) body: Value,
}

impl SessionChange {
    /// The change of the party whose JSON is given.
    pub(super) fn new(
        account: &Account,
        session: &mut Session,
        extension_id: Option<String>,
        party: &Value,
        now: SystemTime,
    ) -> Self {
        session.sequence += 1;
        let id = session.id();
        let body = json!({
            "sequence": session.sequence,
            "sessionId": view::legacy_session_id(session),
            "telephonySessionId": id,
            "serverId": format!("10.13.22.27.{}", account.account_id),
            "eventTime": timestamp::rfc3339(now),
            "parties": [party],
            "origin": {"type": "Call"},
        });
        Self { telephony_session_id: id, sequence: session.sequence, extension_id, body }
    }
}

/// Ids only: the body holds numbers and names.
impl fmt::Debug for SessionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionChange")
            .field("telephony_session_id", &self.telephony_session_id)
            .field("sequence", &self.sequence)
            .field("extension_id", &self.extension_id)
            .finish_non_exhaustive()
    }
}
