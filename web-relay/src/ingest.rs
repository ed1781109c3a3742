//! The gRPC service that publishers send caption events to.

use std::pin::Pin;

use futures_util::Stream;
use sidetone_proto::v1::caption_ingest_server::CaptionIngest;
use sidetone_proto::v1::{PublishAck, PublishRequest};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};
use tracing::info;

use crate::hub::Settled;
use crate::incoming::Incoming;
use crate::switchboard::Switchboard;

/// Events of one publisher that are not yet acknowledged. When full, its stream is not read from until there is room.
const IN_FLIGHT: usize = 256;

/// Longest request, in bytes: the longest text with the most words.
pub(crate) const MAX_REQUEST_BYTES: usize = 1024 * 1024;

pub(crate) struct Ingest {
    switchboard: Switchboard,
    shutdown: CancellationToken,
}

/// A request's answer on its way. Answers go out in the order of the requests, so that a refusal always means the
/// oldest one that is not acknowledged.
enum Answer {
    Pending(u64, oneshot::Receiver<Settled>),
    Refusal(Status),
}

impl Ingest {
    pub(crate) fn new(switchboard: Switchboard, shutdown: CancellationToken) -> Self {
        Self { switchboard, shutdown }
    }
}

#[tonic::async_trait]
impl CaptionIngest for Ingest {
    type PublishStream = Pin<Box<dyn Stream<Item = Result<PublishAck, Status>> + Send>>;

    async fn publish(
        &self,
        requests: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let peer = requests.remote_addr();
        info!(peer = ?peer, "publisher connected");
        let (answers, outgoing) = mpsc::channel(IN_FLIGHT);
        let switchboard = self.switchboard.clone();
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            let refusal = tokio::select! {
                refusal = receive(requests.into_inner(), &switchboard, &answers) => refusal,
                () = shutdown.cancelled() => {
                    Some(Status::unavailable("the relay is shutting down: reconnect and send again"))
                }
                () = answers.closed() => None,
            };
            if let Some(refusal) = refusal {
                info!(peer = ?peer, reason = refusal.message(), "publisher's stream ends");
                let _ = answers.send(Answer::Refusal(refusal)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing).then(settle))))
    }
}

/// Takes requests until the publisher is done (`None`), or one can't be taken.
async fn receive(
    mut requests: Streaming<PublishRequest>,
    switchboard: &Switchboard,
    answers: &mpsc::Sender<Answer>,
) -> Option<Status> {
    loop {
        let request = match requests.message().await {
            Ok(request) => request?,
            // tonic's word for a request that is too long.
            Err(status) if status.code() == Code::OutOfRange => {
                return Some(Status::invalid_argument(status.message()));
            }
            Err(status) => return Some(status),
        };
        let incoming = match Incoming::try_from(request.event) {
            Ok(incoming) => incoming,
            Err(invalid) => return Some(Status::invalid_argument(invalid.to_string())),
        };
        // A place for the answer first: what a publisher may have under way is bounded by it.
        let place = answers.reserve().await.ok()?;
        place.send(Answer::Pending(request.publish_id, switchboard.publish(incoming).await));
    }
}

async fn settle(answer: Answer) -> Result<PublishAck, Status> {
    match answer {
        Answer::Pending(publish_id, settled) => match settled.await {
            Ok(Settled::Done) => Ok(PublishAck { publish_id }),
            Ok(Settled::Refused(reason)) => Err(Status::invalid_argument(reason)),
            Ok(Settled::Unavailable(reason)) => Err(Status::unavailable(reason)),
            Err(_) => {
                Err(Status::unavailable("the relay is shutting down: reconnect and send again"))
            }
        },
        Answer::Refusal(status) => Err(status),
    }
}
