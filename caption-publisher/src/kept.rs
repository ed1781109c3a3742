//! Which finals are on their way, or have arrived lately: a party's stream that is resumed need not say them again, and
//! must not give their numbers to others.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::{CallId, Party, PartyId};
use tokio::sync::watch;

/// Finals of a stream that are remembered when the relay has stored them: of more than the longest that a gateway may lag
/// behind.
const STORED_CAPACITY: usize = 600;

/// Streams that are remembered when the relay has stored everything of them. When there are more, the one that was quiet
/// longest is forgotten.
const STREAMS_CAPACITY: usize = 1024;

/// A final that was delivered, or is going to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptFinal {
    stream: Stream,
    /// Counts the utterances of the party's stream.
    pub segment: u32,
    /// Milliseconds on the party's clock.
    pub start_ms: u64,
    /// Milliseconds on the party's clock.
    pub end_ms: u64,
}

/// One audio stream of one party, over all its connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Stream {
    call: CallId,
    party: PartyId,
    anchor_unix_ms: i64,
}

/// All of them. Clones share what they know.
#[derive(Clone, Debug)]
pub(crate) struct Kept(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    streams: Mutex<Streams>,
    /// Told whenever one has been stored.
    stored: watch::Sender<()>,
    spool_bytes: AtomicU64,
    spool_has_room: AtomicBool,
}

#[derive(Debug, Default)]
struct Streams {
    finals: HashMap<Stream, Finals>,
    /// Counts what has happened.
    now: u64,
}

/// Of one stream.
#[derive(Debug, Default)]
struct Finals {
    under_way: BTreeMap<u32, KeptFinal>,
    stored: BTreeMap<u32, KeptFinal>,
    touched: u64,
}

impl KeptFinal {
    pub(crate) fn of(event: &Event) -> Option<Self> {
        let Event::Caption(caption) = event else { return None };
        let party = Party::try_from(caption.party.clone()).ok()?;
        let stream =
            Stream { call: party.call, party: party.id, anchor_unix_ms: caption.anchor_unix_ms };
        let (segment, start_ms, end_ms) = (caption.segment, caption.start_ms, caption.end_ms);
        caption.is_final.then_some(Self { stream, segment, start_ms, end_ms })
    }

    pub(crate) fn is_of(&self, party: &Party) -> bool {
        self.stream.call == party.call && self.stream.party == party.id
    }
}

impl Kept {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            streams: Mutex::default(),
            stored: watch::Sender::new(()),
            spool_bytes: AtomicU64::new(0),
            spool_has_room: AtomicBool::new(false),
        }))
    }

    pub(crate) fn insert(&self, last: Option<&KeptFinal>) {
        let Some(last) = last else { return };
        self.lock().of(&last.stream).under_way.insert(last.segment, last.clone());
    }

    /// The relay has stored it, or will never take it.
    pub(crate) fn settle(&self, last: Option<&KeptFinal>) {
        let Some(last) = last else { return };
        let mut streams = self.lock();
        let finals = streams.of(&last.stream);
        finals.under_way.remove(&last.segment);
        finals.stored.insert(last.segment, last.clone());
        if finals.stored.len() > STORED_CAPACITY {
            finals.stored.pop_first();
        }
        drop(streams);
        self.0.stored.send_replace(());
    }

    /// Those of a stream from a segment on, without a hole.
    pub(crate) fn in_a_row(
        &self,
        party: &Party,
        anchor_unix_ms: i64,
        segment: u32,
    ) -> Vec<KeptFinal> {
        let stream = Stream { call: party.call.clone(), party: party.id.clone(), anchor_unix_ms };
        let streams = self.lock();
        let Some(finals) = streams.finals.get(&stream) else { return Vec::new() };
        let find = |segment| finals.under_way.get(&segment).or_else(|| finals.stored.get(&segment));
        (segment..).map_while(find).cloned().collect()
    }

    pub(crate) async fn stored(&self, last: &KeptFinal) {
        let mut news = self.0.stored.subscribe();
        let is_under_way = || {
            let streams = self.lock();
            let finals = streams.finals.get(&last.stream);
            finals.is_some_and(|finals| finals.under_way.contains_key(&last.segment))
        };
        while is_under_way() {
            if news.changed().await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn report(&self, spool_bytes: u64, has_room: bool) {
        self.0.spool_bytes.store(spool_bytes, Ordering::Relaxed);
        self.0.spool_has_room.store(has_room, Ordering::Relaxed);
    }

    pub(crate) fn spool_bytes(&self) -> u64 {
        self.0.spool_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn spool_has_room(&self) -> bool {
        self.0.spool_has_room.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        // Nothing panics while it holds the lock.
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    fn of(&mut self, stream: &Stream) -> &mut Finals {
        self.now += 1;
        if self.finals.len() >= STREAMS_CAPACITY && !self.finals.contains_key(stream) {
            let quiet = self.finals.iter().filter(|(_, finals)| finals.under_way.is_empty());
            let oldest = quiet.min_by_key(|(_, finals)| finals.touched).map(|(key, _)| key.clone());
            if let Some(key) = oldest {
                self.finals.remove(&key);
            }
        }
        let finals = self.finals.entry(stream.clone()).or_default();
        finals.touched = self.now;
        finals
    }
}
