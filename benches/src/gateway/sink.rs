//! A transcriber and a relay that only count.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use sidetone_proto::v1::audio_ingest_server::{AudioIngest, AudioIngestServer};
use sidetone_proto::v1::caption_ingest_server::{CaptionIngest, CaptionIngestServer};
use sidetone_proto::v1::party_audio::Message;
use sidetone_proto::v1::{AudioAck, PartyAudio, PublishAck, PublishRequest};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// A frame that arrives this much later than the party's quickest is late.
const LATE: Duration = Duration::from_millis(100);

/// Audio between two acknowledgements: about a sentence.
const ACKNOWLEDGED_EVERY: Duration = Duration::from_secs(3);

/// Packets in a second.
const PACKETS_PER_SECOND: u64 = 50;

/// A server for one row of the table.
pub(super) struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Dropping it ends the thread.
    _stop: oneshot::Sender<()>,
}

/// What was wrong with what came, in packets of 20 ms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts {
    pub(super) late_packets: u64,
    pub(super) lost_packets: u64,
}

#[derive(Default)]
struct Shared {
    parties: watch::Sender<usize>,
    late_packets: AtomicU64,
    lost_packets: AtomicU64,
}

#[derive(Clone)]
struct Service(Arc<Shared>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Sink {
    /// Serves on a thread of its own, so that what the stand-in for the cloud does at the same time delays nothing.
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::<Shared>::default();
        let service = Service(shared.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("sink".into()).spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener)?;
                let server = Server::builder()
                    .initial_connection_window_size(transcriber::CONNECTION_WINDOW)
                    .add_service(AudioIngestServer::new(service.clone()))
                    .add_service(CaptionIngestServer::new(service))
                    .serve_with_incoming(TcpListenerStream::new(listener));
                tokio::select! {
                    served = server => served.context("the sink has stopped"),
                    _ = stopped => Ok(()),
                }
            })
        })?;
        Ok(Self { address, shared, _stop: stop })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until so many parties are heard.
    pub(super) async fn heard(&self, parties: usize) {
        // The sender is ours: it does not go away.
        let _ = self.shared.parties.subscribe().wait_for(|heard| *heard >= parties).await;
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            late_packets: self.shared.late_packets.load(Ordering::Relaxed),
            lost_packets: self.shared.lost_packets.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    async fn listen(
        &self,
        mut messages: Streaming<PartyAudio>,
        acks: mpsc::Sender<Result<AudioAck, Status>>,
    ) {
        let (mut rate, mut acknowledged) = (1, 0);
        // When the party's clock was at 0, by the frame that was quickest to come.
        let mut origin: Option<Instant> = None;
        while let Some(Ok(PartyAudio { message: Some(message) })) = messages.next().await {
            let end = match message {
                Message::Start(start) => {
                    rate = u64::from(start.sample_rate).max(1);
                    self.parties.send_modify(|parties| *parties += 1);
                    continue;
                }
                Message::Frame(frame) => {
                    let samples = frame.pcm.len() as u64 / 2;
                    let end = frame.sample_position + samples;
                    let spoken = Duration::from_micros(end * 1_000_000 / rate);
                    let Some(started) = Instant::now().checked_sub(spoken) else { continue };
                    let quickest = origin.map_or(started, |origin| origin.min(started));
                    if started - quickest > LATE {
                        self.late_packets
                            .fetch_add(samples * PACKETS_PER_SECOND / rate, Ordering::Relaxed);
                    }
                    origin = Some(quickest);
                    end
                }
                Message::Lost(lost) => {
                    let packets = lost.samples * PACKETS_PER_SECOND / rate;
                    self.lost_packets.fetch_add(packets, Ordering::Relaxed);
                    lost.sample_position + lost.samples
                }
                Message::End(end) => {
                    let ack =
                        AudioAck { sample_position: end.sample_position, ..AudioAck::default() };
                    let _ = acks.send(Ok(ack)).await;
                    return;
                }
                // Nobody refuses anything here.
                Message::Discard(_) => return,
            };
            if end - acknowledged >= ACKNOWLEDGED_EVERY.as_secs() * rate {
                acknowledged = end;
                let ack = AudioAck { sample_position: end, ..AudioAck::default() };
                if acks.send(Ok(ack)).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[tonic::async_trait]
impl AudioIngest for Service {
    type StreamPartyStream = Answers<AudioAck>;

    async fn stream_party(
        &self,
        request: Request<Streaming<PartyAudio>>,
    ) -> Result<Response<Answers<AudioAck>>, Status> {
        let (acks, stream) = mpsc::channel(4);
        let shared = self.0.clone();
        tokio::spawn(async move { shared.listen(request.into_inner(), acks).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

#[tonic::async_trait]
impl CaptionIngest for Service {
    type PublishStream = Answers<PublishAck>;

    async fn publish(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Answers<PublishAck>>, Status> {
        let acks = request
            .into_inner()
            .map(|request| request.map(|request| PublishAck { publish_id: request.publish_id }));
        Ok(Response::new(Box::pin(acks)))
    }
}
