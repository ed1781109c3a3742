//! The list of calls: those in progress, and those that ended a short while ago.

use std::collections::HashMap;
use std::sync::Arc;

use sidetone_proto::CallId;

use crate::event::{CallList, CallSummary, ServerMessage};
use crate::store::RecentCall;

/// How long a call stays in the list after the last thing that happened in it, in milliseconds.
pub const LISTED_MS: i64 = 60 * 60_000;

/// Calls in one list message. When there are more, the newest are listed.
pub const MAX_LISTED: usize = 1_000;

#[derive(Debug)]
pub(super) struct Directory {
    calls: HashMap<CallId, RecentCall>,
    /// The list as it is sent, until something changes.
    json: Option<Arc<str>>,
}

impl Directory {
    pub(super) fn new(recent: Vec<RecentCall>) -> Self {
        let calls = recent.into_iter().map(|call| (call.summary.call_id.clone(), call)).collect();
        Self { calls, json: None }
    }

    /// Notes what is known of a call. True if that changes the list.
    pub(super) fn update(&mut self, summary: &CallSummary, updated_unix_ms: i64) -> bool {
        match self.calls.get_mut(&summary.call_id) {
            Some(known) if known.summary == *summary => {
                known.updated_unix_ms = updated_unix_ms;
                return false;
            }
            Some(known) => *known = RecentCall { summary: summary.clone(), updated_unix_ms },
            None => {
                let call = RecentCall { summary: summary.clone(), updated_unix_ms };
                self.calls.insert(summary.call_id.clone(), call);
            }
        }
        self.json = None;
        true
    }

    /// Drops the calls in which nothing has happened for a while. True if that changes the list.
    pub(super) fn expire(&mut self, now_unix_ms: i64) -> bool {
        let before = self.calls.len();
        self.calls.retain(|_, call| now_unix_ms.saturating_sub(call.updated_unix_ms) < LISTED_MS);
        let changed = self.calls.len() != before;
        if changed {
            self.json = None;
        }
        changed
    }

    pub(super) fn json(&mut self) -> Arc<str> {
        if let Some(json) = &self.json {
            return json.clone();
        }
        let mut calls: Vec<_> = self.calls.values().map(|call| call.summary.clone()).collect();
        calls.sort_by(|a, b| {
            b.started_unix_ms.cmp(&a.started_unix_ms).then_with(|| a.call_id.cmp(&b.call_id))
        });
        calls.truncate(MAX_LISTED);
        let json: Arc<str> = ServerMessage::Calls(CallList { calls }).to_json().into();
        self.json = Some(json.clone());
        json
    }
}
