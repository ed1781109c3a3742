//! Owns the hub: hands it what publishers, clients, the store and the clock say, and does what it asks for.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use sidetone_proto::CallId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::{info, warn};

use crate::hub::{ClientId, Hub, OpenError, Output, PublicationId, Pull, Settled};
use crate::incoming::Incoming;
use crate::store::{StoreError, TranscriptStore};

/// Events between their arrival and their being durable, over all publishers. When full, publishers are not read from
/// until there is room.
pub const IN_FLIGHT: usize = 2_048;

/// The hub, shared by everything that talks to it.
#[derive(Clone)]
pub(crate) struct Switchboard {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn TranscriptStore>,
    room: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    hub: Hub,
    publications: HashMap<PublicationId, Publication>,
    mailboxes: HashMap<ClientId, Arc<Mailbox>>,
    next_id: u64,
    /// The store's last answer to a write.
    store_works: bool,
}

struct Publication {
    settled: oneshot::Sender<Settled>,
    _room: OwnedSemaphorePermit,
}

/// A client of the hub; leaves when dropped.
pub(crate) struct Client {
    id: ClientId,
    switchboard: Switchboard,
    mailbox: Arc<Mailbox>,
    followed: BTreeSet<CallId>,
}

/// What a client has to look at. Bounded: it names each followed call at most once.
#[derive(Default)]
struct Mailbox {
    mail: Mutex<Mail>,
    arrived: Notify,
}

/// See [`Client::mail`].
#[derive(Default)]
pub(crate) struct Mail {
    pub(crate) opened: Vec<(CallId, Result<u64, OpenError>)>,
    pub(crate) news: BTreeSet<CallId>,
    pub(crate) list_news: bool,
}

impl Switchboard {
    pub(crate) fn new(hub: Hub, store: Arc<dyn TranscriptStore>) -> Self {
        let state = State {
            hub,
            publications: HashMap::new(),
            mailboxes: HashMap::new(),
            next_id: 0,
            store_works: true,
        };
        let room = Arc::new(Semaphore::new(IN_FLIGHT));
        Self { shared: Arc::new(Shared { store, room, state: Mutex::new(state) }) }
    }

    /// Waits for room, then takes the event. The answer comes once it is durable or passed on.
    pub(crate) async fn publish(&self, incoming: Incoming) -> oneshot::Receiver<Settled> {
        let (settled, answer) = oneshot::channel();
        // The semaphore is never closed; if it were, dropping `settled` would say so.
        if let Ok(room) = self.shared.room.clone().acquire_owned().await {
            let mut state = self.lock();
            let id = PublicationId(state.take_id());
            state.publications.insert(id, Publication { settled, _room: room });
            let call = incoming.call().clone();
            let dropped = state.hub.dropped(&call);
            state.hub.handle_publication(unix_ms(), id, incoming);
            let now_dropped = state.hub.dropped(&call);
            // One line for the first of each power of two: a publisher may have much that it sends again.
            if now_dropped != dropped && now_dropped.is_power_of_two() {
                info!(%call, dropped = now_dropped, "dropped what came after a refusal of consent");
            }
            self.drive(&mut state);
        }
        answer
    }

    pub(crate) fn connect(&self) -> Client {
        let mailbox = Arc::new(Mailbox::default());
        let mut state = self.lock();
        let id = ClientId(state.take_id());
        state.mailboxes.insert(id, mailbox.clone());
        Client { id, switchboard: self.clone(), mailbox, followed: BTreeSet::new() }
    }

    pub(crate) fn list(&self) -> Arc<str> {
        self.lock().hub.list()
    }

    pub(crate) fn handle_timeout(&self) {
        let mut state = self.lock();
        state.hub.handle_timeout(unix_ms());
        self.drive(&mut state);
    }

    /// False while writes fail.
    pub(crate) fn store_works(&self) -> bool {
        self.lock().store_works
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what the hub asks for. The lock is held, so that writes reach the store in the hub's order.
    fn drive(&self, state: &mut State) {
        while let Some(output) = state.hub.poll_output() {
            match output {
                Output::Load(call) => {
                    let loading = self.shared.store.load(call.clone());
                    let switchboard = self.clone();
                    tokio::spawn(async move {
                        let loaded = loading.await.map_err(|error| {
                            warn!(%call, %error, "a call can't be loaded");
                        });
                        let mut state = switchboard.lock();
                        state.hub.handle_loaded(unix_ms(), &call, loaded.ok());
                        switchboard.drive(&mut state);
                    });
                }
                Output::Append(ticket, write) => {
                    let writing = self.shared.store.append(write);
                    let switchboard = self.clone();
                    tokio::spawn(async move {
                        let stored = writing.await;
                        let mut state = switchboard.lock();
                        state.note(&stored);
                        state.hub.handle_stored(unix_ms(), ticket, stored.is_ok());
                        switchboard.drive(&mut state);
                    });
                }
                Output::Settle(publication, settled) => {
                    if let Some(publication) = state.publications.remove(&publication) {
                        let _ = publication.settled.send(settled);
                    }
                }
                Output::Opened(client, call, opened) => {
                    state.post(client, |mail| mail.opened.push((call, opened)));
                }
                Output::News(client, call) => {
                    state.post(client, |mail| {
                        mail.news.insert(call);
                    });
                }
                Output::ListNews(client) => state.post(client, |mail| mail.list_news = true),
            }
        }
    }
}

impl State {
    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn note(&mut self, stored: &Result<(), StoreError>) {
        self.store_works = stored.is_ok();
    }

    fn post(&self, client: ClientId, write: impl FnOnce(&mut Mail)) {
        if let Some(mailbox) = self.mailboxes.get(&client) {
            write(&mut mailbox.mail.lock().unwrap_or_else(PoisonError::into_inner));
            mailbox.arrived.notify_one();
        }
    }
}

impl Client {
    /// Waits until there is something to look at, and takes it.
    pub(crate) async fn mail(&self) -> Mail {
        self.mailbox.arrived.notified().await;
        std::mem::take(&mut self.mailbox.mail.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn open(&mut self, call: CallId) {
        let mut state = self.switchboard.lock();
        state.hub.handle_open(self.id, &call);
        self.switchboard.drive(&mut state);
        drop(state);
        self.followed.insert(call);
    }

    pub(crate) fn leave(&mut self, call: &CallId) {
        self.switchboard.lock().hub.handle_leave(self.id, call);
        self.followed.remove(call);
    }

    pub(crate) fn watch_list(&self) {
        let mut state = self.switchboard.lock();
        state.hub.handle_watch_list(self.id);
        self.switchboard.drive(&mut state);
    }

    pub(crate) fn pull(&self, call: &CallId, after_seq: u64, whole: bool) -> Pull {
        self.switchboard.lock().hub.pull(call, after_seq, whole)
    }

    pub(crate) fn list(&self) -> Arc<str> {
        self.switchboard.list()
    }

    pub(crate) fn store(&self) -> &Arc<dyn TranscriptStore> {
        &self.switchboard.shared.store
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut state = self.switchboard.lock();
        state.mailboxes.remove(&self.id);
        state.hub.handle_leave_list(self.id);
        for call in &self.followed {
            state.hub.handle_leave(self.id, call);
        }
    }
}

/// The wall clock, in milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
