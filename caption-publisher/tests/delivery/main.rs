//! A publisher against a relay that does, message by message, what the test says.

mod spool;

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use caption_publisher::{Publisher, Undelivered};
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::caption_ingest_server::{CaptionIngest, CaptionIngestServer};
use sidetone_proto::v1::{CallEnded, PublishAck, PublishRequest};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// Events that may be sent and unacknowledged, and that may wait to be sent.
const CAPACITY: usize = 256;

/// Every stream that a publisher opens.
struct Relay {
    streams: mpsc::Receiver<RelayStream>,
}

/// One stream: dropping it breaks it off.
struct RelayStream {
    requests: Streaming<PublishRequest>,
    acks: mpsc::Sender<Result<PublishAck, Status>>,
}

struct Service(mpsc::Sender<RelayStream>);

#[tonic::async_trait]
impl CaptionIngest for Service {
    type PublishStream = Pin<Box<dyn Stream<Item = Result<PublishAck, Status>> + Send>>;

    async fn publish(
        &self,
        requests: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let (acks, outgoing) = mpsc::channel(2 * CAPACITY);
        let stream = RelayStream { requests: requests.into_inner(), acks };
        self.0.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

impl Relay {
    fn serve(listener: TcpListener) -> Self {
        let (opened, streams) = mpsc::channel(4);
        let server = Server::builder()
            .add_service(CaptionIngestServer::new(Service(opened)))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        Self { streams }
    }

    async fn start() -> (Self, Publisher) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let publisher = publisher(listener.local_addr().unwrap());
        (Self::serve(listener), publisher)
    }

    async fn stream(&mut self) -> RelayStream {
        self.streams.recv().await.unwrap()
    }
}

impl RelayStream {
    /// The next event's name.
    async fn take(&mut self) -> (u64, String) {
        let request = self.requests.message().await.unwrap().expect("the stream goes on");
        match request.event.unwrap().event.unwrap() {
            Event::CallEnded(ended) => (request.publish_id, ended.call_id),
            other => panic!("unexpected event {other:?}"),
        }
    }

    /// Acknowledges what it takes, and gives its name.
    async fn take_and_acknowledge(&mut self) -> String {
        let (publish_id, name) = self.take().await;
        self.acknowledge(publish_id).await;
        name
    }

    async fn acknowledge(&self, publish_id: u64) {
        self.acks.send(Ok(PublishAck { publish_id })).await.unwrap();
    }
}

fn publisher(address: SocketAddr) -> Publisher {
    Publisher::start(Endpoint::from_shared(format!("http://{address}")).unwrap())
}

/// An event that is told from others by its name.
fn event(name: impl ToString) -> Event {
    Event::CallEnded(CallEnded { call_id: name.to_string(), ended_unix_ms: 0 })
}

fn deliver(publisher: &Publisher, name: impl ToString) -> JoinHandle<Result<(), Undelivered>> {
    let (publisher, event) = (publisher.clone(), event(name));
    tokio::spawn(async move { publisher.deliver(event).await })
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_in_order() {
    let (mut relay, publisher) = Relay::start().await;
    let mut first = relay.stream().await;
    let mut deliveries = Vec::new();
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        deliveries.push(deliver(&publisher, name));
        let (id, taken) = first.take().await;
        assert_eq!(taken, name);
        ids.push(id);
    }
    assert!(ids.is_sorted());
    first.acknowledge(ids[0]).await;
    assert_eq!(deliveries.remove(0).await.unwrap(), Ok(()));
    assert!(deliveries.iter().all(|delivery| !delivery.is_finished()));

    drop(first);
    deliveries.push(deliver(&publisher, "d"));
    let mut second = relay.stream().await;
    for name in ["b", "c", "d"] {
        assert_eq!(second.take_and_acknowledge().await, name);
    }
    for delivery in deliveries {
        assert_eq!(delivery.await.unwrap(), Ok(()));
    }
}

#[tokio::test]
async fn acknowledgements_may_come_in_any_order() {
    let (mut relay, publisher) = Relay::start().await;
    let mut stream = relay.stream().await;
    let older = deliver(&publisher, "a");
    let (older_id, _) = stream.take().await;
    let newer = deliver(&publisher, "b");
    let (newer_id, _) = stream.take().await;
    stream.acknowledge(newer_id).await;
    assert_eq!(newer.await.unwrap(), Ok(()));
    assert!(!older.is_finished());
    stream.acknowledge(older_id).await;
    assert_eq!(older.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_refused_event_is_reported_and_holds_up_nothing() {
    let (mut relay, publisher) = Relay::start().await;
    let mut first = relay.stream().await;
    let bad = deliver(&publisher, "bad");
    first.take().await;
    let good = deliver(&publisher, "good");
    first.take().await;
    first.acks.send(Err(Status::invalid_argument("not a call"))).await.unwrap();
    assert_eq!(bad.await.unwrap(), Err(Undelivered::Refused));

    let mut second = relay.stream().await;
    assert_eq!(second.take_and_acknowledge().await, "good");
    assert_eq!(good.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_relay_that_refuses_the_stream_itself_costs_no_event() {
    let (mut relay, publisher) = Relay::start().await;
    let first = relay.stream().await;
    first.acks.send(Err(Status::invalid_argument("no streams today"))).await.unwrap();
    drop(first);
    let mut second = relay.stream().await;
    let delivery = deliver(&publisher, "a");
    assert_eq!(second.take_and_acknowledge().await, "a");
    assert_eq!(delivery.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn announcements_are_not_kept_for_a_relay_that_is_away() {
    let vacant = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = vacant.local_addr().unwrap();
    drop(vacant);
    let publisher = publisher(address);
    for partial in 0..2 * CAPACITY {
        publisher.announce(event(format!("partial {partial}")));
    }
    let mut delivery = deliver(&publisher, "final");
    // It is taken off the queue behind all of the announcements that fitted, and none of them is left.
    assert!(timeout(Duration::from_secs(60), &mut delivery).await.is_err());
    tokio::time::resume();

    let mut relay = Relay::serve(TcpListener::bind(address).await.unwrap());
    let mut stream = relay.stream().await;
    assert_eq!(stream.take_and_acknowledge().await, "final");
    assert_eq!(delivery.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn an_announcement_that_was_under_way_is_not_sent_again() {
    let (mut relay, publisher) = Relay::start().await;
    let mut first = relay.stream().await;
    // A stream is open on this side before it is on the other.
    let probe = deliver(&publisher, "probe");
    assert_eq!(first.take_and_acknowledge().await, "probe");
    assert_eq!(probe.await.unwrap(), Ok(()));
    publisher.announce(event("partial"));
    assert_eq!(first.take().await.1, "partial");
    let delivery = deliver(&publisher, "final");
    assert_eq!(first.take().await.1, "final");

    drop(first);
    let mut second = relay.stream().await;
    assert_eq!(second.take_and_acknowledge().await, "final");
    assert_eq!(delivery.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_relay_that_acknowledges_nothing_is_sent_a_bounded_number_of_events() {
    let (mut relay, publisher) = Relay::start().await;
    let mut stream = relay.stream().await;
    let deliveries: Vec<_> = (0..3 * CAPACITY).map(|name| deliver(&publisher, name)).collect();
    let mut ids = Vec::new();
    for _ in 0..CAPACITY {
        ids.push(stream.take().await.0);
    }
    // The clock stands still while anything can happen; it runs on when nothing can.
    tokio::time::pause();
    assert!(timeout(Duration::from_secs(1), stream.take()).await.is_err());
    publisher.announce(event("dropped, for the queue is full"));
    tokio::time::resume();

    for id in ids {
        stream.acknowledge(id).await;
    }
    for _ in CAPACITY..3 * CAPACITY {
        assert_ne!(stream.take_and_acknowledge().await, "dropped, for the queue is full");
    }
    for delivery in deliveries {
        assert_eq!(delivery.await.unwrap(), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_never_opens_the_stream_is_tried_again() {
    // Takes connections and says nothing on them, as a process that was stopped does.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let publisher = publisher(silent.local_addr().unwrap());
    let delivery = deliver(&publisher, "a");
    let (connection, _) = silent.accept().await.unwrap();
    let (again, _) = silent.accept().await.unwrap();
    drop((connection, again));
    tokio::time::resume();

    let mut relay = Relay::serve(silent);
    let mut stream = relay.stream().await;
    assert_eq!(stream.take_and_acknowledge().await, "a");
    assert_eq!(delivery.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn what_was_to_be_delivered_outlives_its_publisher() {
    let (mut relay, publisher) = Relay::start().await;
    let mut stream = relay.stream().await;
    let delivery = deliver(&publisher, "a");
    let (id, _) = stream.take().await;
    delivery.abort();
    drop(publisher);
    drop(stream);
    let mut again = relay.stream().await;
    let (same_id, name) = again.take().await;
    assert_eq!((same_id, name.as_str()), (id, "a"));
    again.acknowledge(same_id).await;
    assert!(again.requests.message().await.unwrap().is_none(), "nothing is left to publish");
}
