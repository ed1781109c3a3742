//! Delivers caption events to a relay: at least once, over a gRPC stream that is reopened whenever it breaks.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::caption_ingest_client::CaptionIngestClient;
use sidetone_proto::v1::{CaptionEvent, PublishAck, PublishRequest};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tracing::{info, warn};

/// Events on their way from callers to the stream. When full, [`Publisher::deliver`] waits and
/// [`Publisher::announce`] drops.
const QUEUE_CAPACITY: usize = 256;

/// Events that were sent and not yet acknowledged. When full, nothing more is sent until the relay acknowledges, so
/// that the queue above fills.
const UNACKNOWLEDGED_CAPACITY: usize = 256;

/// A relay that has not opened the stream by then, or that does not answer pings for as long, is given up and connected
/// to again.
const PATIENCE: Duration = Duration::from_secs(5);

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// A relay's address. Cheap to clone; the connection closes when the last clone is dropped and everything that was to
/// be delivered is.
#[derive(Clone, Debug)]
pub struct Publisher {
    queue: mpsc::Sender<Queued>,
}

/// Why an event will never be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undelivered {
    /// The relay says that the event breaks the contract. The reason is in the log.
    Refused,
    /// The publisher's task has ended: the process is going down.
    ShutDown,
}

#[derive(Debug)]
struct Queued {
    event: Event,
    /// Absent: sent at most once, and forgotten if the relay is away.
    delivered: Option<oneshot::Sender<()>>,
}

impl Publisher {
    /// Connects to a relay's `CaptionIngest` service in the background, now and whenever the connection is lost.
    /// Must be called inside a tokio runtime.
    pub fn start(relay: Endpoint) -> Self {
        let (queue, events) = mpsc::channel(QUEUE_CAPACITY);
        tokio::spawn(run(relay, events));
        Self { queue }
    }

    /// Sends an event, again after each lost connection, until the relay has acknowledged it.
    ///
    /// Waits without limit while the relay is away: put a timeout around it where that matters.
    pub async fn deliver(&self, event: Event) -> Result<(), Undelivered> {
        let (delivered, acknowledgement) = oneshot::channel();
        self.queue
            .send(Queued { event, delivered: Some(delivered) })
            .await
            .map_err(|_| Undelivered::ShutDown)?;
        acknowledgement.await.map_err(|_| {
            if self.queue.is_closed() { Undelivered::ShutDown } else { Undelivered::Refused }
        })
    }

    /// Sends an event that the next one of its kind makes worthless: a partial caption, a status. Dropped when the
    /// relay is away or slow.
    pub fn announce(&self, event: Event) {
        let _ = self.queue.try_send(Queued { event, delivered: None });
    }
}

async fn run(relay: Endpoint, mut events: mpsc::Receiver<Queued>) {
    let relay = relay
        .connect_timeout(PATIENCE)
        .http2_keep_alive_interval(PATIENCE)
        .keep_alive_timeout(PATIENCE)
        .keep_alive_while_idle(true);
    let channel = relay.connect_lazy();
    let mut unacknowledged = Unacknowledged::default();
    let mut retry = FIRST_RETRY;
    loop {
        match publish(&channel, &mut events, &mut unacknowledged, &mut retry).await {
            Ok(()) => return,
            Err(status) if is_refusal(&status, &unacknowledged) => {
                // The stream ends at the first unacknowledged event: that is the one which the relay can't take.
                warn!(reason = status.message(), "relay refused an event, dropping it");
                unacknowledged.drop_oldest();
            }
            Err(status) => {
                warn!(relay = %relay.uri(), reason = status.message(), retry_in = ?retry, "no connection to the relay");
                tokio::select! {
                    () = sleep(retry) => {}
                    () = collect(&mut events, &mut unacknowledged) => {}
                }
                retry = (retry * 2).min(LAST_RETRY);
            }
        }
        if events.is_closed() && events.is_empty() && unacknowledged.is_empty() {
            return;
        }
    }
}

/// A stream that is refused as such, before anything was sent on it, is just another broken connection.
fn is_refusal(status: &Status, unacknowledged: &Unacknowledged) -> bool {
    status.code() == Code::InvalidArgument && !unacknowledged.is_empty()
}

/// Runs one stream until it breaks. `Ok` when there is nothing more to publish, ever.
async fn publish(
    channel: &Channel,
    events: &mut mpsc::Receiver<Queued>,
    unacknowledged: &mut Unacknowledged,
    retry: &mut Duration,
) -> Result<(), Status> {
    let (requests, outgoing) = mpsc::channel(UNACKNOWLEDGED_CAPACITY);
    let mut client = CaptionIngestClient::new(channel.clone());
    let mut acks = tokio::select! {
        opened = timeout(PATIENCE, client.publish(ReceiverStream::new(outgoing))) => opened
            .map_err(|_| Status::unavailable("the relay did not open the stream"))??
            .into_inner(),
        () = collect(events, unacknowledged) => return Ok(()),
    };
    // What is unacknowledged fits: it is bounded by the same capacity.
    for request in unacknowledged.requests() {
        requests.try_send(request).map_err(|_| Status::internal("resend queue is full"))?;
    }
    info!(resent = unacknowledged.len(), "connected to the relay");
    *retry = FIRST_RETRY;

    loop {
        tokio::select! {
            ack = next_ack(&mut acks) => unacknowledged.acknowledge(ack?.publish_id),
            queued = events.recv(), if unacknowledged.len() < UNACKNOWLEDGED_CAPACITY => {
                let Some(queued) = queued else { break };
                let request = unacknowledged.push(queued);
                requests.send(request).await.map_err(|_| Status::unavailable("the stream has ended"))?;
            }
        }
    }
    while !unacknowledged.is_empty() {
        unacknowledged.acknowledge(next_ack(&mut acks).await?.publish_id);
    }
    Ok(())
}

async fn next_ack(acks: &mut Streaming<PublishAck>) -> Result<PublishAck, Status> {
    acks.message().await?.ok_or_else(|| Status::unavailable("the relay closed the stream"))
}

/// Takes events while the relay is away: what must be delivered is kept, announcements are dropped. Ends when there will
/// be nothing to deliver any more.
async fn collect(events: &mut mpsc::Receiver<Queued>, unacknowledged: &mut Unacknowledged) {
    unacknowledged.drop_announcements();
    while unacknowledged.len() < UNACKNOWLEDGED_CAPACITY {
        match events.recv().await {
            Some(queued) if queued.delivered.is_some() => {
                unacknowledged.push(queued);
            }
            Some(_) => {}
            None if unacknowledged.is_empty() => return,
            None => break,
        }
    }
    pending().await
}

/// What was sent, by publish id, until the relay says that it has it.
#[derive(Default)]
struct Unacknowledged {
    sent: BTreeMap<u64, Queued>,
    next_id: u64,
}

impl Unacknowledged {
    fn push(&mut self, queued: Queued) -> PublishRequest {
        let id = self.next_id;
        self.next_id += 1;
        let request = request(id, &queued);
        self.sent.insert(id, queued);
        request
    }

    fn acknowledge(&mut self, id: u64) {
        if let Some(Queued { delivered: Some(delivered), .. }) = self.sent.remove(&id) {
            let _ = delivered.send(());
        }
    }

    fn requests(&self) -> impl Iterator<Item = PublishRequest> {
        self.sent.iter().map(|(id, queued)| request(*id, queued))
    }

    fn drop_oldest(&mut self) {
        self.sent.pop_first();
    }

    fn drop_announcements(&mut self) {
        self.sent.retain(|_, queued| queued.delivered.is_some());
    }

    fn len(&self) -> usize {
        self.sent.len()
    }

    fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }
}

fn request(publish_id: u64, queued: &Queued) -> PublishRequest {
    PublishRequest { publish_id, event: Some(CaptionEvent { event: Some(queued.event.clone()) }) }
}
