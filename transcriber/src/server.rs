//! The gRPC face of the transcriber.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use caption_publisher::Publisher;
use pipeline::speech::Endpointing;
use sidetone_proto::Role;
use sidetone_proto::v1::audio_ingest_server::AudioIngest;
use sidetone_proto::v1::party_audio::Message;
use sidetone_proto::v1::{AudioAck, PartyAudio};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, info, info_span, warn};

use crate::backends::Recognisers;
use crate::party::{PartyError, PartyStream};
use crate::recogniser::Search;
use crate::seats::{Seat, Seats};
use crate::start::Start;

/// Acknowledgements on their way to a gateway. When full, newer ones replace what waits behind them.
const ACKS_CAPACITY: usize = 16;

/// A gateway says at once whose audio it sends.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Takes audio from gateways.
pub struct AudioIngestService {
    recognisers: Recognisers,
    publisher: Publisher,
    endpointing: Endpointing,
    seats: Seats,
    slots: Arc<Semaphore>,
}

/// What a stream occupies. The slot is free before the next connection of the party gets the seat.
struct Place {
    _slot: OwnedSemaphorePermit,
    seat: Seat,
}

impl AudioIngestService {
    /// A service with room for `slots` parties at once.
    pub fn new(
        recognisers: impl Into<Recognisers>,
        publisher: Publisher,
        endpointing: Endpointing,
        slots: usize,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(slots));
        let recognisers = recognisers.into();
        Self { recognisers, publisher, endpointing, seats: Seats::default(), slots }
    }

    async fn place(&self, start: &Start) -> Result<Place, Status> {
        let seat = self.seats.claim(start).await;
        let slot = self.slots.clone().try_acquire_owned().map_err(|_| {
            Status::resource_exhausted("all slots of this transcriber are taken; try another one")
        })?;
        Ok(Place { _slot: slot, seat })
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
        let mut audio = request.into_inner();
        let start = timeout(START_TIMEOUT, first_message(&mut audio))
            .await
            .map_err(|_| Status::unavailable("no PartyStart came; connect again"))??;
        let place = self.place(&start).await?;
        let span = info_span!("party", call = %start.party.call, party = %start.party.id);
        span.in_scope(|| {
            info!(
                role = %start.party.role,
                sample_rate = start.sample_rate,
                position = start.sample_position,
                ?gateway,
                "party stream opened"
            );
        });
        let endpointing = self.endpointing.clone();
        // Where two voices overlap, the likeliest token is often the other's.
        let (endpointing, search) = match start.party.role {
            Role::Mixed => (endpointing.on_mixed_leg(), Search::Beam),
            Role::Agent | Role::Customer | Role::Unknown => (endpointing, Search::Greedy),
        };
        let (recognition, publisher) = (self.recognisers.open(search), self.publisher.clone());
        let stream = PartyStream::open(start, endpointing, recognition, publisher)?;
        let (answers, outgoing) = mpsc::channel(ACKS_CAPACITY);
        tokio::spawn(serve(stream, audio, answers, place).instrument(span));
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

async fn first_message(audio: &mut Streaming<PartyAudio>) -> Result<Start, Status> {
    match audio.message().await?.and_then(|first| first.message) {
        Some(Message::Start(start)) => Ok(Start::try_from(start)?),
        _ => Err(Status::invalid_argument("a stream begins with a PartyStart")),
    }
}

async fn serve(
    stream: PartyStream,
    audio: Streaming<PartyAudio>,
    answers: mpsc::Sender<Result<AudioAck, Status>>,
    place: Place,
) {
    tokio::select! {
        () = caption(stream, audio, &answers) => {}
        () = place.seat.claimed() => {
            info!("the party's audio comes on another connection now");
            let _ = answers.try_send(Err(Status::aborted("another connection took over")));
        }
    }
}

async fn caption(
    stream: PartyStream,
    audio: Streaming<PartyAudio>,
    answers: &mpsc::Sender<Result<AudioAck, Status>>,
) {
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
            PartyError::ShuttingDown => Status::unavailable(message),
        }
    }
}
