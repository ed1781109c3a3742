//! Telephony session notifications over WebSockets: the shell around [`hub`].

mod frames;
mod hub;

use super::Cloud;
use crate::switchboard::SessionChange;
use crate::timestamp;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::response::Response;
use hub::{Delivered, HubId};
use serde::Deserialize;
use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{sleep_until, timeout};

pub use hub::Delivery;
pub(super) use hub::Hub;

/// Frames that wait for a connection; when full, the connection is ended: it can be recovered.
const QUEUE_CAPACITY: usize = 256;
/// A longer message ends the connection.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// How often a connection is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How soon a ping must be answered.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);
/// A frame that is not written within this time never will be.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Without a word, as a network does.
    Abrupt,
    /// After half an hour without a message: `WSG-902`.
    Idle,
    /// After a day: `WSG-903`.
    Absolute,
}

/// What the handlers share.
pub(super) struct Notifications {
    hub: Mutex<Hub>,
    sockets: Mutex<HashMap<HubId, mpsc::Sender<Outgoing>>>,
}

enum Outgoing {
    Frame(String),
    Cut(Cut),
}

#[derive(Deserialize)]
pub(super) struct ConnectQuery {
    #[serde(default)]
    access_token: String,
    wsc: Option<String>,
}

/// Ends every connection when it goes, however the task that holds it ends.
struct CloseAll(Arc<Notifications>);

impl Drop for CloseAll {
    fn drop(&mut self) {
        self.0.sockets().clear();
    }
}

impl Notifications {
    pub(super) fn new(account_id: &str, seed: u64) -> Self {
        Self { hub: Mutex::new(Hub::new(account_id, seed)), sockets: Mutex::default() }
    }

    pub(super) fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every connection that there is.
    pub(super) fn cut(&self, cut: Cut) {
        for socket in self.sockets().values() {
            let _ = socket.try_send(Outgoing::Cut(cut));
        }
    }

    fn deliver(&self, delivered: Vec<Delivered>) {
        let mut sockets = self.sockets();
        for (id, frame) in delivered {
            let is_full = sockets
                .get(&id)
                .is_some_and(|socket| socket.try_send(Outgoing::Frame(frame)).is_err());
            if is_full {
                sockets.remove(&id);
            }
        }
    }

    fn sockets(&self) -> MutexGuard<'_, HashMap<HubId, mpsc::Sender<Outgoing>>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Turns the switchboard's changes into events and call log records, until it is dropped.
pub(crate) async fn distribute(cloud: Cloud, mut changes: broadcast::Receiver<SessionChange>) {
    let notifications = cloud.notifications.clone();
    let _close_all = CloseAll(notifications.clone());
    loop {
        let next_due = notifications.hub().next_due();
        let due = async {
            match next_due {
                Some(due) => sleep_until(due.into()).await,
                None => pending().await,
            }
        };
        let delivered = tokio::select! {
            change = changes.recv() => match change {
                Ok(change) => {
                    let now = Instant::now();
                    cloud.call_log().observe(&change, now);
                    let timestamp = timestamp::rfc3339(SystemTime::now());
                    let is_live = |auth| cloud.tokens().is_live(auth);
                    notifications.hub().publish(&change, is_live, &timestamp, now)
                }
                Err(RecvError::Lagged(lost)) => {
                    tracing::warn!(lost, "session changes were lost before they became events");
                    vec![]
                }
                Err(RecvError::Closed) => return,
            },
            () = due => notifications.hub().take_due(Instant::now()),
        };
        notifications.deliver(delivered);
    }
}

/// `GET /ws?access_token=…&wsc=…`
pub(super) async fn connect(
    State(cloud): State<Cloud>,
    Query(query): Query<ConnectQuery>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES);
    upgrade.on_upgrade(async move |socket| serve(cloud, query, socket).await)
}

async fn serve(cloud: Cloud, query: ConnectQuery, mut socket: WebSocket) {
    let Some(auth) = cloud.tokens().redeem(&query.access_token, Instant::now()) else {
        let frame = frames::error(401, ("OAU-213", "Token not found"));
        let _ = write(&mut socket, Message::text(frame)).await;
        return;
    };
    let (sender, mut outgoing) = mpsc::channel(QUEUE_CAPACITY);
    let own = sender.downgrade();
    let notifications = &cloud.notifications;
    // Both at once, so that no event comes between the first frames and the ones that follow.
    let (id, first) = {
        let mut hub = notifications.hub();
        let (id, first) = hub.connect(auth, query.wsc.as_deref(), Instant::now());
        notifications.sockets().insert(id, sender);
        (id, first)
    };
    for frame in first {
        if !write(&mut socket, Message::text(frame)).await {
            break;
        }
    }
    let cut = converse(&cloud, id, &mut socket, &mut outgoing).await;
    {
        let mut sockets = notifications.sockets();
        let own = own.upgrade();
        let is_own =
            |current: &mpsc::Sender<_>| own.as_ref().is_some_and(|own| current.same_channel(own));
        // Another connection may have taken the session over.
        if sockets.get(&id).is_none_or(is_own) {
            sockets.remove(&id);
            drop(sockets);
            notifications.hub().lose(id, Instant::now());
        }
    }
    let refusal = match cut {
        Cut::Abrupt => return,
        Cut::Idle => ("WSG-902", "WebSocket connection has been idle for too long"),
        Cut::Absolute => ("WSG-903", "WebSocket connection has reached its absolute timeout"),
    };
    let _ = write(&mut socket, Message::text(frames::error(400, refusal))).await;
}

/// Goes on until the connection has to end; how.
async fn converse(
    cloud: &Cloud,
    id: HubId,
    socket: &mut WebSocket,
    outgoing: &mut mpsc::Receiver<Outgoing>,
) -> Cut {
    let mut ping_at = Instant::now() + PING_INTERVAL;
    let mut pong_due: Option<Instant> = None;
    let mut idle_at = Instant::now() + frames::IDLE_TIMEOUT;
    loop {
        let deadline = pong_due.unwrap_or(ping_at).min(idle_at);
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(Message::Text(text))) => {
                    idle_at = Instant::now() + frames::IDLE_TIMEOUT;
                    let answers = cloud.notifications.hub().handle_text(id, text.as_str());
                    for answer in answers {
                        if !write(socket, Message::text(answer)).await {
                            return Cut::Abrupt;
                        }
                    }
                }
                Some(Ok(Message::Pong(_))) => pong_due = None,
                Some(Ok(Message::Ping(_) | Message::Binary(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Cut::Abrupt,
            },
            next = outgoing.recv() => match next {
                Some(Outgoing::Frame(frame)) => {
                    if !write(socket, Message::text(frame)).await {
                        return Cut::Abrupt;
                    }
                }
                Some(Outgoing::Cut(cut)) => return cut,
                None => return Cut::Abrupt,
            },
            () = sleep_until(deadline.into()) => {
                let now = Instant::now();
                if now >= idle_at {
                    return Cut::Idle;
                }
                if pong_due.is_some() || !write(socket, Message::Ping(Default::default())).await {
                    return Cut::Abrupt;
                }
                (ping_at, pong_due) = (now + PING_INTERVAL, Some(now + PONG_TIMEOUT));
            }
        }
    }
}

async fn write(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(WRITE_TIMEOUT, socket.send(message)).await, Ok(Ok(())))
}
