//! Delivers caption events to a relay: at least once, over a gRPC stream that is reopened whenever it breaks.
//!
//! What is not acknowledged is kept in memory, and, where there is a [`SpoolOptions`], on disk while the relay is away or
//! behind: it survives the process, and is delivered in order before anything newer.

mod kept;
mod outbox;
mod spool;

use std::future::{Future, pending};
use std::time::Duration;

use sidetone_proto::Party;
use sidetone_proto::v1::PublishAck;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::caption_ingest_client::CaptionIngestClient;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tracing::{info, warn};

pub use kept::KeptFinal;
pub use spool::{SpoolError, SpoolOptions};

use kept::Kept;
use outbox::{Order, Outbox, Queued};
use spool::Spool;

/// Events on their way from callers to the stream. When full, [`Publisher::deliver`] waits and
/// [`Publisher::announce`] drops.
const QUEUE_CAPACITY: usize = 256;

/// Events that were sent and not yet acknowledged. When full, nothing more is sent until the relay acknowledges.
const IN_FLIGHT: usize = 256;

/// A relay that has not opened the stream by then, or that does not answer pings for as long, is given up and connected
/// to again.
const PATIENCE: Duration = Duration::from_secs(5);

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// A relay's address. Cheap to clone; the connection closes when the last clone is dropped and everything that was to
/// be delivered is.
#[derive(Clone, Debug)]
pub struct Publisher {
    queue: mpsc::Sender<Order>,
    kept: Kept,
}

/// Why an event will never be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The relay says that the event breaks the contract. The reason is in the log.
    Refused,
    /// The publisher's task has ended: the process is going down.
    ShutDown,
}

impl Publisher {
    /// Connects to a relay's `CaptionIngest` service in the background, now and whenever the connection is lost.
    /// Must be called inside a tokio runtime.
    pub fn start(relay: Endpoint) -> Self {
        Self::run(relay, None)
    }

    /// As [`Self::start`], with a place on disk for what can't be delivered now. What an earlier process left there is
    /// delivered first.
    ///
    /// # Errors
    /// When the file can't be used.
    pub fn start_with_spool(relay: Endpoint, spool: &SpoolOptions) -> Result<Self, SpoolError> {
        Ok(Self::run(relay, Some(Spool::open(spool)?)))
    }

    fn run(relay: Endpoint, spool: Option<(Spool, Vec<(u64, Event)>)>) -> Self {
        let (queue, events) = mpsc::channel(QUEUE_CAPACITY);
        let kept = Kept::new();
        let outbox = Outbox::new(spool, kept.clone());
        tokio::spawn(run(relay, events, outbox));
        Self { queue, kept }
    }

    /// Sends an event, again after each lost connection, until the relay has acknowledged it: then the future completes.
    ///
    /// Events are delivered in the order of these calls, as long as the queue has room. When it has none, the future waits
    /// for it. It waits without limit while the relay is away: put a timeout around it where that matters.
    pub fn deliver(
        &self,
        event: Event,
    ) -> impl Future<Output = Result<(), Undelivered>> + Send + use<> {
        let (delivered, acknowledgement) = oneshot::channel();
        let last = KeptFinal::of(&event);
        let queued = Queued { event, delivered: Some(delivered) };
        let publisher = self.clone();
        let waiting = match self.queue.try_reserve() {
            Ok(place) => {
                self.kept.insert(last.as_ref());
                place.send(Order::Publish(queued));
                None
            }
            Err(_) => Some(queued),
        };
        async move {
            if let Some(queued) = waiting {
                let place = publisher.queue.reserve().await.map_err(|_| Undelivered::ShutDown)?;
                publisher.kept.insert(last.as_ref());
                place.send(Order::Publish(queued));
            }
            acknowledgement.await.map_err(|_| {
                if publisher.queue.is_closed() {
                    Undelivered::ShutDown
                } else {
                    Undelivered::Refused
                }
            })
        }
    }

    /// Sends an event that the next one of its kind makes worthless: a partial caption, a status. Dropped when the
    /// relay is away or slow.
    pub fn announce(&self, event: Event) {
        let _ = self.queue.try_send(Order::Publish(Queued { event, delivered: None }));
    }

    /// Takes back a party's finals that the relay has not stored, from memory and from the disk; they count as refused.
    /// Completes when that is going to happen.
    pub async fn forget(&self, party: Party) {
        // Otherwise the process is going down.
        let _ = self.queue.send(Order::Forget(party)).await;
    }

    /// The finals of a party's stream, from a segment on and without a hole, that are on their way to the relay or have
    /// arrived lately, whoever delivered them.
    pub fn kept(&self, party: &Party, anchor_unix_ms: i64, segment: u32) -> Vec<KeptFinal> {
        self.kept.in_a_row(party, anchor_unix_ms, segment)
    }

    /// Completes when the relay has stored a final, or refused it.
    pub async fn stored(&self, last: &KeptFinal) {
        self.kept.stored(last).await;
    }

    /// Whether there is room on disk for what can't be delivered now.
    pub fn has_room_on_disk(&self) -> bool {
        self.kept.spool_has_room()
    }

    /// What is on disk, in bytes.
    pub fn spool_bytes(&self) -> u64 {
        self.kept.spool_bytes()
    }
}

async fn run(relay: Endpoint, mut events: mpsc::Receiver<Order>, mut outbox: Outbox) {
    let relay = relay
        .connect_timeout(PATIENCE)
        .http2_keep_alive_interval(PATIENCE)
        .keep_alive_timeout(PATIENCE)
        .keep_alive_while_idle(true);
    let channel = relay.connect_lazy();
    let mut retry = FIRST_RETRY;
    loop {
        match publish(&channel, &mut events, &mut outbox, &mut retry).await {
            Ok(()) => return,
            Err(status) if is_refusal(&status, &outbox) => {
                // The stream ends at the first unacknowledged event: that is the one which the relay can't take.
                warn!(reason = status.message(), "relay refused an event, dropping it");
                outbox.drop_oldest();
            }
            Err(status) => {
                warn!(relay = %relay.uri(), reason = status.message(), retry_in = ?retry, "no connection to the relay");
                tokio::select! {
                    () = sleep(retry) => {}
                    () = collect(&mut events, &mut outbox) => {}
                }
                retry = (retry * 2).min(LAST_RETRY);
            }
        }
        if events.is_closed() && events.is_empty() && outbox.is_empty() {
            return;
        }
    }
}

/// A stream that is refused as such, before anything was sent on it, is just another broken connection.
fn is_refusal(status: &Status, outbox: &Outbox) -> bool {
    status.code() == Code::InvalidArgument && !outbox.is_empty()
}

/// Runs one stream until it breaks. `Ok` when there is nothing more to publish, ever.
async fn publish(
    channel: &Channel,
    events: &mut mpsc::Receiver<Order>,
    outbox: &mut Outbox,
    retry: &mut Duration,
) -> Result<(), Status> {
    let (requests, outgoing) = mpsc::channel(IN_FLIGHT);
    let mut client = CaptionIngestClient::new(channel.clone());
    let mut acks = tokio::select! {
        opened = timeout(PATIENCE, client.publish(ReceiverStream::new(outgoing))) => opened
            .map_err(|_| Status::unavailable("the relay did not open the stream"))??
            .into_inner(),
        () = collect(events, outbox) => return Ok(()),
    };
    info!(resent = outbox.len(), "connected to the relay");
    *retry = FIRST_RETRY;
    outbox.try_spool_again();

    // Everything before this one was sent on this stream.
    let mut next = 0;
    let mut in_flight = 0_usize;
    let mut is_closed = false;
    while !is_closed || !outbox.is_empty() {
        let has_backlog = outbox.has_from(next);
        tokio::select! {
            // What is there goes out before more is taken: an announcement is dropped only if the relay is behind.
            biased;
            ack = next_ack(&mut acks) => {
                outbox.acknowledge(ack?.publish_id);
                in_flight = in_flight.saturating_sub(1);
            }
            place = requests.reserve(), if has_backlog && in_flight < IN_FLIGHT => {
                let place = place.map_err(|_| Status::unavailable("the stream has ended"))?;
                let Some(request) = outbox.request_from(next) else {
                    return Err(Status::unavailable("the spool can't be read"));
                };
                next = request.publish_id + 1;
                in_flight += 1;
                place.send(request);
            }
            order = events.recv(), if !is_closed && outbox.room() > 0 => match order {
                // There is something more important to send.
                Some(Order::Publish(Queued { delivered: None, .. })) if has_backlog => {}
                Some(Order::Forget(party)) => outbox.forget(&party),
                Some(Order::Publish(queued)) => {
                    outbox.push(queued);
                    if outbox.is_memory_full() {
                        outbox.spill();
                    }
                }
                None => is_closed = true,
            },
        }
    }
    Ok(())
}

async fn next_ack(acks: &mut Streaming<PublishAck>) -> Result<PublishAck, Status> {
    acks.message().await?.ok_or_else(|| Status::unavailable("the relay closed the stream"))
}

/// Takes events while the relay is away: what must be delivered is kept, announcements are dropped. Ends when there will
/// be nothing to deliver any more.
async fn collect(events: &mut mpsc::Receiver<Order>, outbox: &mut Outbox) {
    outbox.drop_announcements();
    outbox.spill();
    while outbox.room() > 0 {
        let Some(first) = events.recv().await else {
            if outbox.is_empty() {
                return;
            }
            break;
        };
        // What has come together goes to disk together.
        let more = std::iter::from_fn(|| events.try_recv().ok()).take(outbox.room() - 1);
        for order in std::iter::once(first).chain(more.collect::<Vec<_>>()) {
            match order {
                Order::Publish(Queued { delivered: None, .. }) => {}
                Order::Publish(queued) => outbox.push(queued),
                Order::Forget(party) => outbox.forget(&party),
            }
        }
        outbox.spill();
    }
    pending().await
}
