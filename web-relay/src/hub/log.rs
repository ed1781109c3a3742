//! The newest durable events of a call, as they are sent.

use std::collections::VecDeque;
use std::sync::Arc;

/// How much of a call's newest durable events stays in memory, in bytes of JSON. When full, the oldest leave: they are
/// in the store. A live client that has fallen behind by more than this is disconnected.
pub const LOG_BYTES: usize = 256 * 1024;

/// An event as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) json: Arc<str>,
    /// Whether it tells what was said, or that something was.
    pub(super) is_speech: bool,
}

#[derive(Debug)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    bytes: usize,
    /// Every durable event after this one is in `entries`.
    floor: u64,
}

impl Log {
    pub(super) fn starting_after(seq: u64) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, floor: seq }
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += entry.json.len();
        self.entries.push_back(entry);
        while self.bytes > LOG_BYTES && self.entries.len() > 1 {
            if let Some(oldest) = self.entries.pop_front() {
                self.bytes -= oldest.json.len();
                self.floor = oldest.seq;
            }
        }
    }

    /// Forgets what was said, which the store has deleted, too.
    pub(super) fn forget_speech(&mut self) {
        self.entries.retain(|entry| !entry.is_speech);
        self.bytes = self.entries.iter().map(|entry| entry.json.len()).sum();
    }

    /// The events after a `seq`, or `None` if some of them are no longer here.
    pub(super) fn after(&self, seq: u64) -> Option<impl Iterator<Item = &Entry>> {
        let first = self.entries.partition_point(|entry| entry.seq <= seq);
        (seq >= self.floor).then(|| self.entries.range(first..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_leave_when_the_log_is_full() {
        let mut log = Log::starting_after(10);
        let json: Arc<str> = "x".repeat(LOG_BYTES / 4).into();
        for seq in 11..=16 {
            log.push(Entry { seq, json: json.clone(), is_speech: true });
        }
        let seqs = |after| {
            log.after(after).map(|entries| entries.map(|entry| entry.seq).collect::<Vec<_>>())
        };
        assert_eq!(seqs(10), None);
        assert_eq!(seqs(11), None);
        assert_eq!(seqs(12), Some(vec![13, 14, 15, 16]));
        assert_eq!(seqs(15), Some(vec![16]));
        assert_eq!(seqs(99), Some(vec![]));
    }
}
