//! A relay that stores everything at once, and notes when it came.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::caption_ingest_server::{CaptionIngest, CaptionIngestServer};
use sidetone_proto::v1::{PublishAck, PublishRequest};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// An event and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    pub(crate) at: Instant,
    pub(crate) event: Event,
}

/// A relay on a free loopback port.
pub(crate) struct Relay {
    address: SocketAddr,
    notes: Notes,
}

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Noted>>>);

impl Relay {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let notes = Notes::default();
        let server = Server::builder()
            .add_service(CaptionIngestServer::new(notes.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        Ok(Self { address, notes })
    }

    /// Where a transcriber finds it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come since this was last asked.
    pub(crate) fn take(&self) -> Vec<Noted> {
        std::mem::take(&mut *self.notes.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[tonic::async_trait]
impl CaptionIngest for Notes {
    type PublishStream = Pin<Box<dyn Stream<Item = Result<PublishAck, Status>> + Send>>;

    async fn publish(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let notes = self.0.clone();
        let acks = request.into_inner().map(move |request| {
            let request = request?;
            if let Some(event) = request.event.and_then(|event| event.event) {
                let noted = Noted { at: Instant::now(), event };
                notes.lock().unwrap_or_else(PoisonError::into_inner).push(noted);
            }
            Ok(PublishAck { publish_id: request.publish_id })
        });
        Ok(Response::new(Box::pin(acks)))
    }
}
