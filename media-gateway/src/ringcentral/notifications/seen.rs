//! Which events have come already.

use std::collections::{HashSet, VecDeque};

/// The last ids that came. When full, the oldest is forgotten: a repetition follows its original closely.
#[derive(Debug, Default)]
pub(super) struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    pub(super) const CAPACITY: usize = 1024;

    /// A UUID is shorter. What is longer is not remembered.
    const MAX_ID_LEN: usize = 128;

    /// Whether an id comes for the first time, as far as remembered.
    pub(super) fn is_new(&mut self, id: &str) -> bool {
        if id.is_empty() || id.len() > Self::MAX_ID_LEN {
            return true;
        }
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > Self::CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len().max(self.order.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_new_once_and_memory_is_bounded() {
        let mut seen = Seen::default();
        assert!(seen.is_new("a") && !seen.is_new("a"));
        for id in 0..2 * Seen::CAPACITY {
            assert!(seen.is_new(&id.to_string()));
        }
        assert_eq!(seen.len(), Seen::CAPACITY);
        assert!(seen.is_new("a"), "forgotten long ago");
        assert!(seen.is_new("") && seen.is_new(""), "an event without an id is not a repetition");
    }
}
