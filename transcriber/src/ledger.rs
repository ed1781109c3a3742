//! What was said and is not stored by the relay yet: the reason why audio must be kept.

use std::collections::BTreeMap;

/// Where a stream would have to resume, in samples at 16 kHz, and the number of the utterance that it would find first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ResumePoint {
    /// In samples at 16 kHz.
    pub position: u64,
    /// Counts the party's utterances.
    pub next_segment: u32,
}

/// Something that the relay has to store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Item {
    /// The final of an utterance, by segment.
    Final(u32),
    /// A gap, by its start in samples at 16 kHz.
    Gap(u64),
}

/// The items that are not stored yet, each with where to resume if it is to be made again.
#[derive(Default)]
pub struct Ledger {
    owed: BTreeMap<Item, Owed>,
}

struct Owed {
    resume: ResumePoint,
    sent: bool,
}

impl Ledger {
    /// An item will have to be stored, or called off.
    pub fn owe(&mut self, item: Item, resume: ResumePoint) {
        self.owed.entry(item).or_insert(Owed { resume, sent: false });
    }

    /// The item is made, and will get to the relay.
    pub fn sent(&mut self, item: Item) {
        if let Some(owed) = self.owed.get_mut(&item) {
            owed.sent = true;
        }
    }

    /// There is nothing to store after all, unless it is on its way already.
    pub fn call_off(&mut self, item: Item) {
        if self.owed.get(&item).is_some_and(|owed| !owed.sent) {
            self.owed.remove(&item);
        }
    }

    /// Another item is to be stored in the place of one, for the same stretch of audio.
    pub fn replace(&mut self, item: Item, by: Item) {
        if let Some(Owed { resume, .. }) = self.owed.remove(&item) {
            self.owe(by, resume);
        }
    }

    /// The relay has it.
    pub fn stored(&mut self, item: Item) {
        self.owed.remove(&item);
    }

    /// The earliest point that anything owed goes back to, or `now` if that is earlier.
    pub fn resume_point(&self, now: ResumePoint) -> ResumePoint {
        self.owed.values().map(|owed| owed.resume).chain([now]).min().unwrap_or(now)
    }

    /// How much is owed.
    pub fn len(&self) -> usize {
        self.owed.len()
    }

    /// Whether everything is stored.
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64, next_segment: u32) -> ResumePoint {
        ResumePoint { position, next_segment }
    }

    #[test]
    fn the_oldest_debt_decides_where_to_resume() {
        let mut ledger = Ledger::default();
        ledger.owe(Item::Final(3), at(1000, 3));
        ledger.owe(Item::Final(4), at(2000, 4));
        assert_eq!(ledger.resume_point(at(3000, 5)), at(1000, 3));
        ledger.stored(Item::Final(4));
        assert_eq!(ledger.resume_point(at(3000, 5)), at(1000, 3));
        ledger.stored(Item::Final(3));
        assert_eq!(ledger.resume_point(at(3000, 5)), at(3000, 5));
        assert!(ledger.is_empty());
    }

    #[test]
    fn what_takes_an_items_place_keeps_its_audio() {
        let mut ledger = Ledger::default();
        ledger.owe(Item::Final(0), at(100, 0));
        ledger.sent(Item::Final(0));
        ledger.replace(Item::Final(0), Item::Gap(300));
        ledger.replace(Item::Final(7), Item::Gap(900));
        ledger.call_off(Item::Gap(300));
        assert!(ledger.is_empty(), "the gap is not on its way yet");
        ledger.owe(Item::Final(1), at(500, 1));
        ledger.replace(Item::Final(1), Item::Gap(600));
        assert_eq!(ledger.resume_point(at(1000, 2)), at(500, 1));
        ledger.stored(Item::Gap(600));
        assert_eq!(ledger.resume_point(at(1000, 2)), at(1000, 2));
    }

    #[test]
    fn what_is_on_its_way_is_not_called_off() {
        let mut ledger = Ledger::default();
        ledger.owe(Item::Final(0), at(0, 0));
        ledger.sent(Item::Final(0));
        ledger.call_off(Item::Final(0));
        assert_eq!(ledger.len(), 1);
        ledger.owe(Item::Gap(500), at(500, 1));
        ledger.call_off(Item::Gap(500));
        assert_eq!(ledger.len(), 1);
    }
}
