//! What is to be delivered: in memory, and on disk where there is a spool.

use std::collections::BTreeMap;

use sidetone_proto::Party;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::{CaptionEvent, PublishRequest};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::kept::{Kept, KeptFinal};
use crate::spool::Spool;

/// Events in memory that were not acknowledged. When full, no more are taken from callers, unless there is room on disk.
pub(crate) const MEMORY_CAPACITY: usize = 256;

/// What a caller wants.
#[derive(Debug)]
pub(crate) enum Order {
    Publish(Queued),
    /// Finals of this party are not to be delivered.
    Forget(Party),
}

/// What a caller wants delivered.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) event: Event,
    /// Absent: sent at most once, and forgotten if the relay is away.
    pub(crate) delivered: Option<oneshot::Sender<()>>,
}

/// Events by their numbers, until the relay says that it has them.
pub(crate) struct Outbox {
    entries: BTreeMap<u64, Entry>,
    next_id: u64,
    in_memory: usize,
    spool: Option<Spool>,
    /// The disk took no more when it was last tried. It is tried again when the relay is back.
    is_spool_full: bool,
    kept: Kept,
}

struct Entry {
    /// Absent: on disk.
    event: Option<Event>,
    /// Absent for an announcement, and for what an earlier process left.
    delivered: Option<oneshot::Sender<()>>,
    is_announcement: bool,
    /// Which final it is.
    last: Option<KeptFinal>,
}

impl Outbox {
    /// With what an earlier process left in the spool.
    pub(crate) fn new(spool: Option<(Spool, Vec<(u64, Event)>)>, kept: Kept) -> Self {
        let mut outbox = Self {
            entries: BTreeMap::new(),
            next_id: 0,
            in_memory: 0,
            spool: None,
            is_spool_full: false,
            kept,
        };
        if let Some((spool, events)) = spool {
            if !events.is_empty() {
                info!(events = events.len(), "the spool has events that the relay has not stored");
            }
            outbox.next_id = spool.next_id();
            for (id, event) in events {
                let last = KeptFinal::of(&event);
                outbox.kept.insert(last.as_ref());
                let entry = Entry { event: None, delivered: None, is_announcement: false, last };
                outbox.entries.insert(id, entry);
            }
            outbox.spool = Some(spool);
            outbox.report();
        }
        outbox
    }

    pub(crate) fn push(&mut self, queued: Queued) {
        let id = self.next_id;
        self.next_id += 1;
        self.in_memory += 1;
        let Queued { event, delivered } = queued;
        let last = KeptFinal::of(&event);
        let is_announcement = delivered.is_none();
        self.entries.insert(id, Entry { event: Some(event), delivered, is_announcement, last });
    }

    /// How many more events may be taken from callers at once.
    pub(crate) fn room(&self) -> usize {
        let can_spill = self.spool.is_some() && !self.is_spool_full;
        if can_spill { MEMORY_CAPACITY } else { MEMORY_CAPACITY.saturating_sub(self.in_memory) }
    }

    pub(crate) fn is_memory_full(&self) -> bool {
        self.in_memory >= MEMORY_CAPACITY
    }

    /// The first event from a number on, as it is sent.
    pub(crate) fn request_from(&self, id: u64) -> Option<PublishRequest> {
        self.entries.range(id..).find_map(|(id, entry)| {
            let event = match (&entry.event, &self.spool) {
                (Some(event), _) => Some(event.clone()),
                (None, Some(spool)) => spool.read(*id).unwrap_or_else(|error| {
                    warn!(%error, "cannot read the spool, leaving an event out for now");
                    None
                }),
                (None, None) => None,
            };
            Some(PublishRequest {
                publish_id: *id,
                event: Some(CaptionEvent { event: Some(event?) }),
            })
        })
    }

    pub(crate) fn has_from(&self, id: u64) -> bool {
        self.entries.range(id..).next().is_some()
    }

    pub(crate) fn acknowledge(&mut self, id: u64) {
        if let Some(Entry { delivered: Some(delivered), .. }) = self.remove(id) {
            let _ = delivered.send(());
        }
    }

    /// The finals of a party are not wanted any more, and are not to be found anywhere.
    pub(crate) fn forget(&mut self, party: &Party) {
        let of_party = |entry: &Entry| entry.last.as_ref().is_some_and(|last| last.is_of(party));
        let ids = self.entries.iter().filter(|(_, entry)| of_party(entry)).map(|(id, _)| *id);
        for id in ids.collect::<Vec<_>>() {
            if let Some(Err(error)) = self.spool.as_mut().map(|spool| spool.erase(id)) {
                warn!(%error, "cannot erase an event from the spool: it stays there until it is delivered");
                continue;
            }
            self.remove(id);
        }
        self.report();
    }

    /// The event will never be taken. Its caller learns of it by the sender's end.
    pub(crate) fn drop_oldest(&mut self) {
        if let Some(id) = self.entries.first_key_value().map(|(id, _)| *id) {
            self.remove(id);
        }
    }

    pub(crate) fn drop_announcements(&mut self) {
        let before = self.entries.len();
        self.entries.retain(|_, entry| !entry.is_announcement);
        self.in_memory -= before - self.entries.len();
    }

    /// Puts on disk what is in memory, so that neither time nor a crash can take it.
    pub(crate) fn spill(&mut self) {
        let Some(spool) = self.spool.as_mut().filter(|_| !self.is_spool_full) else { return };
        let loose: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.is_announcement)
            .filter_map(|(id, entry)| Some((*id, entry.event.as_ref()?)))
            .collect();
        if loose.is_empty() {
            return;
        }
        match spool.append(&loose) {
            Ok(()) => {
                for entry in self.entries.values_mut().filter(|entry| !entry.is_announcement) {
                    self.in_memory -= usize::from(entry.event.take().is_some());
                }
            }
            Err(error) => {
                warn!(%error, "the spool takes no more: captions wait in memory until the relay is back");
                self.is_spool_full = true;
            }
        }
        self.report();
    }

    /// The relay is back: there will be room.
    pub(crate) fn try_spool_again(&mut self) {
        self.is_spool_full = false;
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.in_memory -= usize::from(entry.event.is_some());
        if let Some(spool) = self.spool.as_mut().filter(|spool| spool.contains(id)) {
            if let Err(error) = spool.remove(id) {
                warn!(%error, "cannot write to the spool: an event will be delivered twice");
            }
            self.report();
        }
        self.kept.settle(entry.last.as_ref());
        Some(entry)
    }

    fn report(&self) {
        let length = self.spool.as_ref().map_or(0, Spool::length);
        self.kept.report(length, self.spool.is_some() && !self.is_spool_full);
    }
}
