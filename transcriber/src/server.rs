//! The gRPC face of the transcriber.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use caption_publisher::Publisher;
use pipeline::speech::Endpointing;
use sidetone_proto::v1::audio_ingest_server::AudioIngest;
use sidetone_proto::v1::party_audio::Message;
use sidetone_proto::v1::{AudioAck, PartyAudio};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, info, info_span, warn};

use crate::party::{PartyError, PartyStream, Start};
use crate::workers::Workers;

/// Acknowledgements on their way to a gateway. When full, the stream waits: the gateway reads none.
const ACKS_CAPACITY: usize = 16;

/// Takes audio from gateways.
pub struct AudioIngestService {
    workers: Workers,
    publisher: Publisher,
    endpointing: Endpointing,
    slots: Arc<Semaphore>,
}

impl AudioIngestService {
    /// A service with room for `slots` parties at once.
    pub fn new(
        workers: Workers,
        publisher: Publisher,
        endpointing: Endpointing,
        slots: usize,
    ) -> Self {
        Self { workers, publisher, endpointing, slots: Arc::new(Semaphore::new(slots)) }
    }

    async fn open(
        &self,
        audio: &mut Streaming<PartyAudio>,
    ) -> Result<(PartyStream, Start), Status> {
        let first = audio.message().await?.and_then(|first| first.message);
        let Some(Message::Start(start)) = first else {
            return Err(Status::invalid_argument("a stream begins with a PartyStart"));
        };
        let start = Start::try_from(start)?;
        let stream = PartyStream::open(
            start.clone(),
            self.endpointing.clone(),
            &self.workers,
            self.publisher.clone(),
        )?;
        Ok((stream, start))
    }
}

#[tonic::async_trait]
impl AudioIngest for AudioIngestService {
    type StreamPartyStream = Pin<Box<dyn Stream<Item = Result<AudioAck, Status>> + Send>>;

    async fn stream_party(
        &self,
        request: Request<Streaming<PartyAudio>>,
    ) -> Result<Response<Self::StreamPartyStream>, Status> {
        let gateway = request.remote_addr();
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted("all slots of this transcriber are taken; try another one")
        })?;
        let mut audio = request.into_inner();
        let (stream, start) = self.open(&mut audio).await?;
        let span = info_span!("party", call = %start.party.call, party = %start.party.id);
        let (answers, outgoing) = mpsc::channel(ACKS_CAPACITY);
        tokio::spawn(serve(stream, start, audio, answers, gateway, slot).instrument(span));
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

async fn serve(
    stream: PartyStream,
    start: Start,
    audio: Streaming<PartyAudio>,
    answers: mpsc::Sender<Result<AudioAck, Status>>,
    gateway: Option<SocketAddr>,
    _slot: OwnedSemaphorePermit,
) {
    info!(
        role = %start.party.role,
        sample_rate = start.sample_rate,
        position = start.sample_position,
        ?gateway,
        "party stream opened"
    );
    let messages = audio.map_while(Result::ok).filter_map(|message| message.message);
    let (acks, mut outgoing) = mpsc::channel(1);
    let forward = async {
        while let Some(ack) = outgoing.recv().await {
            // The gateway may be gone; its party is captioned to the end nonetheless.
            let _ = answers.send(Ok(ack)).await;
        }
    };
    let (outcome, ()) = tokio::join!(stream.run(messages, acks), forward);
    match outcome {
        Ok(()) => info!("party stream ended"),
        Err(error) => {
            warn!(%error, "party stream broken off");
            let _ = answers.send(Err(error.into())).await;
        }
    }
}

impl From<PartyError> for Status {
    fn from(error: PartyError) -> Self {
        let message = error.to_string();
        match error {
            PartyError::Contract(_) => Status::invalid_argument(message),
            PartyError::Refused => Status::failed_precondition(message),
            PartyError::ShuttingDown => Status::unavailable(message),
        }
    }
}
