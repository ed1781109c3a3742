//! The open records of the call log, as late and as lingering as the real ones. Pure: time is an input.

use crate::switchboard::SessionChange;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How late a record appears.
const LATE: std::ops::Range<Duration> = Duration::from_secs(3)..Duration::from_secs(10);
/// How long a record may stay after its call.
const LINGER: std::ops::Range<Duration> = Duration::from_secs(1)..Duration::from_secs(120);
/// Records kept; when full, the oldest goes.
const CAPACITY: usize = 1000;

/// Who is on a call, as the call log has it.
pub(super) struct CallLog {
    records: VecDeque<Record>,
    rng: StdRng,
}

struct Record {
    session_id: String,
    extension_id: String,
    direction: Value,
    visible_from: Instant,
    gone_from: Option<Instant>,
}

impl CallLog {
    pub(super) fn new(seed: u64) -> Self {
        Self { records: VecDeque::new(), rng: StdRng::seed_from_u64(seed) }
    }

    /// Takes note of a party that changed.
    pub(super) fn observe(&mut self, change: &SessionChange, now: Instant) {
        let party = &change.body["parties"][0];
        let Some(extension_id) = change.extension_id.as_deref() else { return };
        if party["status"]["reason"] == "Supervising" {
            return;
        }
        let is_over = matches!(party["status"]["code"].as_str(), Some("Disconnected" | "Gone"));
        let known = self.records.iter_mut().find(|record| {
            record.session_id == change.telephony_session_id && record.extension_id == extension_id
        });
        match (known, is_over) {
            (Some(record), true) => {
                let linger = self.rng.random_range(LINGER);
                record.gone_from.get_or_insert(now + linger);
            }
            // An extension may come back to a call.
            (Some(record), false) => record.gone_from = None,
            (None, true) => {}
            (None, false) => {
                if self.records.len() == CAPACITY {
                    self.records.pop_front();
                }
                self.records.push_back(Record {
                    session_id: change.telephony_session_id.clone(),
                    extension_id: extension_id.to_owned(),
                    direction: party["direction"].clone(),
                    visible_from: now + self.rng.random_range(LATE),
                    gone_from: None,
                });
            }
        }
    }

    /// The open records of an extension, or of everybody.
    pub(super) fn active(&mut self, extension_id: Option<&str>, now: Instant) -> Vec<Value> {
        self.records.retain(|record| record.gone_from.is_none_or(|gone| now < gone));
        let shown = self.records.iter().filter(|record| {
            now >= record.visible_from
                && extension_id.is_none_or(|extension| record.extension_id == extension)
        });
        let show = |record: &Record| {
            json!({
                "id": record.session_id.replace('-', ""),
                "telephonySessionId": record.session_id,
                "type": "Voice",
                "direction": record.direction,
                "action": "Phone Call",
                "result": "In Progress",
                "extension": {"id": super::directory::number(&record.extension_id)},
            })
        };
        shown.map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(code: &str) -> SessionChange {
        SessionChange {
            telephony_session_id: "s-1".into(),
            sequence: 2,
            extension_id: Some("622".into()),
            body: json!({"parties": [{"direction": "Inbound", "status": {"code": code}}]}),
        }
    }

    #[test]
    fn records_come_late_and_linger() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for seed in 0..20 {
            let mut log = CallLog::new(seed);
            log.observe(&change("Answered"), start);
            assert_eq!(log.active(None, at(2)).len(), 0);
            assert_eq!(log.active(Some("622"), at(10)).len(), 1);
            assert_eq!(log.active(Some("623"), at(10)).len(), 0);
            log.observe(&change("Disconnected"), at(20));
            log.observe(&change("Disconnected"), at(120));
            assert_eq!(log.active(None, at(20)).len(), 1);
            assert_eq!(log.active(None, at(140)).len(), 0);
        }
    }

    #[test]
    fn who_has_no_extension_has_no_record() {
        let now = Instant::now();
        let mut log = CallLog::new(1);
        log.observe(&SessionChange { extension_id: None, ..change("Answered") }, now);
        assert_eq!(log.active(None, now + Duration::from_secs(60)), [] as [Value; 0]);
    }
}
