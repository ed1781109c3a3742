//! A relay that keeps everything in memory, and acknowledges and refuses what it is told to.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::caption_ingest_server::{CaptionIngest, CaptionIngestServer};
use sidetone_proto::v1::{Caption, Gap, PublishAck, PublishRequest};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// What a party's transcript consists of.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Final(Caption),
    Gap(Gap),
}

/// The test's side.
pub struct Relay {
    entries: watch::Receiver<Vec<Entry>>,
    events: watch::Receiver<Vec<Event>>,
    orders: watch::Sender<Orders>,
}

/// What the relay is to do.
#[derive(Clone, Debug, Default)]
struct Orders {
    /// Entries of this party are acknowledged only up to a number of them.
    withheld: Option<(String, usize)>,
    /// Finals of this segment are refused.
    refused: Option<u32>,
}

struct Service {
    entries: Arc<watch::Sender<Vec<Entry>>>,
    events: Arc<watch::Sender<Vec<Event>>>,
    orders: watch::Receiver<Orders>,
}

impl Relay {
    pub async fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, entries) = watch::channel(Vec::new());
        let (all, events) = watch::channel(Vec::new());
        let (orders, ordered) = watch::channel(Orders::default());
        let service = Service { entries: Arc::new(sender), events: Arc::new(all), orders: ordered };
        let server = Server::builder()
            .add_service(CaptionIngestServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        (Self { entries, events, orders }, address)
    }

    /// Acknowledges only so many entries of a party, until told otherwise. Other parties' go on.
    pub fn acknowledge_only(&self, party: &str, count: usize) {
        self.orders.send_modify(|orders| orders.withheld = Some((party.to_owned(), count)));
    }

    pub fn acknowledge_all(&self) {
        self.orders.send_modify(|orders| orders.withheld = None);
    }

    pub fn refuse_segment(&self, segment: u32) {
        self.orders.send_modify(|orders| orders.refused = Some(segment));
    }

    /// Whatever has come, partials and status events included, when it meets a condition.
    pub async fn events(&mut self, enough: impl FnMut(&Vec<Event>) -> bool) -> Vec<Event> {
        self.events.wait_for(enough).await.unwrap().clone()
    }

    /// Every partial that has come.
    pub fn partials_now(&self) -> Vec<Caption> {
        let events = self.events.borrow();
        let captions = events.iter().filter_map(|event| match event {
            Event::Caption(caption) if !caption.is_final => Some(caption.clone()),
            _ => None,
        });
        captions.collect()
    }

    /// A party's entries when there are so many.
    pub async fn entries(&mut self, party: &str, count: usize) -> Vec<Entry> {
        let enough = |all: &Vec<Entry>| of_party(all, party).len() >= count;
        let all = self.entries.wait_for(enough).await.unwrap();
        of_party(&all, party)
    }

    /// A party's entries now.
    pub fn entries_now(&self, party: &str) -> Vec<Entry> {
        of_party(&self.entries.borrow(), party)
    }

    /// Segments and texts of a party's finals; there must be no gaps.
    pub fn transcript(&self, party: &str) -> Vec<(u32, String)> {
        let entries = self.entries_now(party);
        entries.into_iter().map(Entry::into_final).map(|it| (it.segment, it.text)).collect()
    }
}

impl Entry {
    pub fn into_final(self) -> Caption {
        match self {
            Entry::Final(caption) => caption,
            Entry::Gap(gap) => panic!("unexpected {gap:?}"),
        }
    }

    pub fn into_gap(self) -> Gap {
        match self {
            Entry::Gap(gap) => gap,
            Entry::Final(caption) => panic!("unexpected {caption:?}"),
        }
    }

    fn of(event: Event) -> Option<Self> {
        match event {
            Event::Caption(caption) => caption.is_final.then_some(Entry::Final(caption)),
            Event::Gap(gap) => Some(Entry::Gap(gap)),
            Event::Recognition(_) => None,
            other => panic!("a transcriber sends no {other:?}"),
        }
    }

    fn party(&self) -> &str {
        let label = match self {
            Entry::Final(caption) => caption.party.as_ref(),
            Entry::Gap(gap) => gap.party.as_ref(),
        };
        &label.unwrap().party_id
    }
}

impl Service {
    /// Waits until an event may be acknowledged.
    async fn settle(&self, event: Event) -> Result<(), Status> {
        self.events.send_modify(|events| events.push(event.clone()));
        let Some(entry) = Entry::of(event) else { return Ok(()) };
        let refused = self.orders.borrow().refused;
        if matches!(&entry, Entry::Final(caption) if Some(caption.segment) == refused) {
            return Err(Status::invalid_argument("refused by the test"));
        }
        let party = entry.party().to_owned();
        let mut number = 0;
        self.entries.send_modify(|entries| {
            entries.push(entry);
            number = of_party(entries, &party).len();
        });
        let may = |orders: &Orders| match &orders.withheld {
            Some((withheld, count)) => *withheld != party || number <= *count,
            None => true,
        };
        self.orders.clone().wait_for(may).await.map_err(|_| Status::unavailable("test is over"))?;
        Ok(())
    }
}

#[tonic::async_trait]
impl CaptionIngest for Service {
    type PublishStream = Pin<Box<dyn Stream<Item = Result<PublishAck, Status>> + Send>>;

    async fn publish(
        &self,
        requests: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let mut requests = requests.into_inner();
        let (acks, outgoing) = mpsc::channel(256);
        let service = Arc::new(Self {
            entries: self.entries.clone(),
            events: self.events.clone(),
            orders: self.orders.clone(),
        });
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let PublishRequest { publish_id, event } = request;
                let (service, acks) = (service.clone(), acks.clone());
                let event = event.unwrap().event.unwrap();
                // Each on its own: what is withheld for one party does not hold up another.
                tokio::spawn(async move {
                    let settled = service.settle(event).await;
                    let _ = acks.send(settled.map(|()| PublishAck { publish_id })).await;
                });
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

fn of_party(entries: &[Entry], party: &str) -> Vec<Entry> {
    entries.iter().filter(|entry| entry.party() == party).cloned().collect()
}
