//! Telephony session notifications over a WebSocket.
//!
//! [`session`] is the protocol, without a socket or a clock; [`frame`] reads what RingCentral sends; [`connection`] makes a
//! WebSocket. The task here stands between them.

mod connection;
mod frame;
mod seen;
mod session;

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use rand::rngs::StdRng;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info_span, warn};

use super::{Client, Notification};
use connection::{Connector, Socket};
use session::{Output, Session};

pub use connection::ConnectError;

/// What the queue of notifications should hold. When it is full, notifications are dropped, and [`Notification::Missed`]
/// follows as soon as there is room: the reader then reads the calls again.
pub const NOTIFICATION_CAPACITY: usize = 256;

/// A frame that is not written within this time never will be.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the goodbye may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Which telephony sessions are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilters(Vec<String>);

/// The task that keeps a subscription alive.
#[derive(Debug)]
pub struct Notifications(JoinHandle<()>);

type Connecting = Pin<Box<dyn Future<Output = Result<Socket, ConnectError>> + Send>>;

impl EventFilters {
    /// Those of the account. Parties outside of it are told of as well.
    pub fn account() -> Self {
        Self(vec!["/restapi/v1.0/account/~/telephony/sessions".to_owned()])
    }

    /// Those that these extensions, given by id, are on. Only their own parties are told of.
    pub fn extensions<S: AsRef<str>>(ids: impl IntoIterator<Item = S>) -> Self {
        let filter =
            |id: S| format!("/restapi/v1.0/account/~/extension/{}/telephony/sessions", id.as_ref());
        Self(ids.into_iter().map(filter).collect())
    }
}

/// Makes a notification connection and drops it: whether one can be had at all.
///
/// # Errors
/// What stands in the way.
pub async fn try_connection(client: &Client) -> Result<(), ConnectError> {
    Connector::new(client.is_secure()).connect(client, None).await.map(drop)
}

impl Notifications {
    /// Subscribes, and sends what comes until shutdown or until nobody receives any more. Connections that fail or end are
    /// made again; after every gap, the one before the first subscription included, [`Notification::Missed`] is sent.
    ///
    /// Must be called inside a tokio runtime, in a process that has installed a rustls crypto provider.
    pub fn start(
        client: Arc<Client>,
        filters: EventFilters,
        sender: mpsc::Sender<Notification>,
        shutdown: CancellationToken,
    ) -> Self {
        let session = Session::new(filters.0, rand::make_rng::<StdRng>(), Instant::now());
        let mut task = Task {
            connector: Arc::new(Connector::new(client.is_secure())),
            client,
            session,
            outbox: Outbox { sender, owes_missed: false },
            connecting: None,
            socket: None,
        };
        let run = async move {
            if shutdown.run_until_cancelled(task.run()).await.is_none() {
                task.close().await;
            }
        };
        Self(tokio::spawn(run.instrument(info_span!("notifications"))))
    }

    /// Waits until the task has ended.
    pub async fn stopped(self) {
        let _ = self.0.await;
    }
}

struct Task {
    client: Arc<Client>,
    connector: Arc<Connector>,
    session: Session,
    outbox: Outbox,
    connecting: Option<Connecting>,
    socket: Option<Socket>,
}

/// The queue to the reader, and the debt to it.
struct Outbox {
    sender: mpsc::Sender<Notification>,
    /// Something was dropped because the queue was full.
    owes_missed: bool,
}

impl Task {
    /// Runs until nobody receives any more.
    async fn run(&mut self) {
        let mut logins = self.client.logins();
        loop {
            while let Some(output) = self.session.poll_output() {
                self.follow(output).await;
            }
            let deadline = self.session.poll_timeout().into();
            tokio::select! {
                () = self.outbox.closed() => return,
                () = self.outbox.settle(), if self.outbox.owes_missed => {}
                connected = ready(&mut self.connecting) => {
                    self.connecting = None;
                    match connected {
                        Ok(socket) => {
                            self.socket = Some(socket);
                            logins.mark_unchanged();
                            self.session.handle_connected(Instant::now());
                        }
                        Err(error) => {
                            warn!(%error, "could not connect for notifications");
                            self.session.handle_failure(error.into(), Instant::now());
                        }
                    }
                }
                received = next(&mut self.socket) => self.take(received),
                // The old login ends some time, and its notifications would end with it without a word.
                changed = logins.changed(), if self.socket.is_some() => {
                    if changed.is_ok() {
                        self.session.handle_new_login(Instant::now());
                    }
                }
                () = sleep_until(deadline) => self.session.handle_timeout(Instant::now()),
            }
        }
    }

    fn take(&mut self, received: Option<Result<Message, tungstenite::Error>>) {
        let now = Instant::now();
        match received {
            Some(Ok(Message::Text(text))) => self.session.handle_text(text.as_str(), now),
            Some(Ok(Message::Close(_))) | None => {
                debug!("the notification connection was closed");
                self.session.handle_closed(now);
            }
            Some(Ok(_)) => self.session.handle_activity(now),
            Some(Err(error)) => {
                debug!(%error, "the notification connection broke");
                self.session.handle_closed(now);
            }
        }
    }

    async fn follow(&mut self, output: Output) {
        match output {
            Output::Connect { wsc } => {
                let (client, connector) = (self.client.clone(), self.connector.clone());
                self.connecting =
                    Some(Box::pin(async move { connector.connect(&client, wsc).await }));
            }
            Output::Disconnect => {
                self.connecting = None;
                self.close().await;
            }
            Output::Notify(notification) => self.outbox.put(notification),
            Output::Send(text) => {
                let Some(socket) = &mut self.socket else { return };
                let written = timeout(WRITE_TIMEOUT, socket.send(Message::text(text))).await;
                if !matches!(written, Ok(Ok(()))) {
                    debug!("could not write to the notification connection");
                    self.session.handle_closed(Instant::now());
                }
            }
        }
    }

    async fn close(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            let _ = timeout(CLOSE_TIMEOUT, socket.close(None)).await;
        }
    }
}

impl Outbox {
    fn put(&mut self, notification: Notification) {
        // What comes before the owed word is covered by it.
        if self.owes_missed {
            return;
        }
        if let Err(TrySendError::Full(_)) = self.sender.try_send(notification) {
            warn!("notifications come faster than they are read, leaving some out");
            self.owes_missed = true;
        }
    }

    /// Pays the debt, once there is room.
    async fn settle(&mut self) {
        if let Ok(room) = self.sender.reserve().await {
            room.send(Notification::Missed);
            self.owes_missed = false;
        }
    }

    fn closed(&self) -> impl Future<Output = ()> + use<> {
        let sender = self.sender.clone();
        async move { sender.closed().await }
    }
}

async fn ready(connecting: &mut Option<Connecting>) -> Result<Socket, ConnectError> {
    match connecting {
        Some(connecting) => connecting.await,
        None => pending().await,
    }
}

async fn next(socket: &mut Option<Socket>) -> Option<Result<Message, tungstenite::Error>> {
    match socket {
        Some(socket) => socket.next().await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ringcentral::SessionEvent;

    #[tokio::test]
    async fn a_full_queue_turns_into_one_missed() {
        let (sender, mut receiver) = mpsc::channel(2);
        let mut outbox = Outbox { sender, owes_missed: false };
        let event =
            |sequence| Notification::Session(SessionEvent { sequence, ..SessionEvent::default() });
        for sequence in 0..5 {
            outbox.put(event(sequence));
        }
        for sequence in 0..2 {
            assert_eq!(receiver.recv().await, Some(event(sequence)));
        }
        outbox.settle().await;
        outbox.put(event(5));
        assert_eq!(receiver.recv().await, Some(Notification::Missed));
        assert_eq!(receiver.recv().await, Some(event(5)));
    }
}
