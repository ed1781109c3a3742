//! An uplink whose transcriber breaks off in the middle.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use media_gateway::uplink::{Feed, Outcome, Uplink};
use pipeline::clock::SamplePosition;
use pipeline::rtp::PartyAudio;
use sidetone_proto::v1::audio_ingest_server::{AudioIngest, AudioIngestServer};
use sidetone_proto::v1::party_audio::Message;
use sidetone_proto::v1::{AudioAck, PartyAudio as PartyAudioMessage, PartyStart};
use sidetone_proto::{CallId, Party, PartyId, Role};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

const RATE: u32 = 8000;
/// Samples of the whole call: 20 s.
const TOTAL: usize = 160_000;
/// What the first connection acknowledges before it breaks, in the middle of a frame.
const ACKNOWLEDGED: u64 = 24_100;

/// Breaks off the first stream after 5 s of audio; takes the next one to its end.
#[derive(Clone, Default)]
struct Transcriber {
    starts: Arc<Mutex<Vec<PartyStart>>>,
    /// By sample position; what came twice must be the same twice.
    heard: Arc<Mutex<Vec<Option<i16>>>>,
}

#[tonic::async_trait]
impl AudioIngest for Transcriber {
    type StreamPartyStream = Pin<Box<dyn Stream<Item = Result<AudioAck, Status>> + Send>>;

    async fn stream_party(
        &self,
        request: Request<Streaming<PartyAudioMessage>>,
    ) -> Result<Response<Self::StreamPartyStream>, Status> {
        let mut messages = request.into_inner();
        let (acks, stream) = mpsc::channel(4);
        let this = self.clone();
        tokio::spawn(async move {
            let Some(Ok(PartyAudioMessage { message: Some(Message::Start(start)) })) =
                messages.next().await
            else {
                panic!("the first message is not a start")
            };
            let is_first = start.sample_position == 0;
            this.starts.lock().unwrap().push(start);
            while let Some(Ok(message)) = messages.next().await {
                match message.message {
                    Some(Message::Frame(frame)) => {
                        this.hear(&frame);
                        if is_first && frame.sample_position >= 40_000 {
                            let ack = AudioAck { sample_position: ACKNOWLEDGED, next_segment: 3 };
                            acks.send(Ok(ack)).await.unwrap();
                            acks.send(Err(Status::unavailable("going down"))).await.unwrap();
                            return;
                        }
                    }
                    Some(Message::End(end)) => {
                        let ack =
                            AudioAck { sample_position: end.sample_position, next_segment: 9 };
                        acks.send(Ok(ack)).await.unwrap();
                        return;
                    }
                    other => panic!("unexpected message {other:?}"),
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl Transcriber {
    fn hear(&self, frame: &sidetone_proto::v1::AudioFrame) {
        let mut heard = self.heard.lock().unwrap();
        heard.resize(TOTAL, None);
        for (index, sample) in frame.pcm.chunks_exact(2).enumerate() {
            let at = frame.sample_position as usize + index;
            let sample = i16::from_le_bytes([sample[0], sample[1]]);
            assert!(heard[at].is_none_or(|earlier| earlier == sample), "position {at} changed");
            heard[at] = Some(sample);
        }
    }
}

async fn serve(transcriber: impl AudioIngest) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .add_service(AudioIngestServer::new(transcriber))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    address
}

fn sample(position: usize) -> i16 {
    (position as u32).wrapping_mul(2_654_435_761) as i16
}

#[tokio::test]
async fn a_broken_stream_resumes_without_a_hole() {
    let transcriber = Transcriber::default();
    let address = serve(transcriber.clone()).await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let party = Party { call: CallId::new("s-1"), id: PartyId::new("p-1-2"), role: Role::Agent };
    let feed = Feed::new(RATE);
    let mut uplink = Uplink::start(channel, party, RATE, feed.clone());
    for start in (0..TOTAL).step_by(160) {
        let pcm = (start..start + 160).map(sample).collect();
        feed.push(
            PartyAudio::Frame { position: SamplePosition(start as u64), pcm },
            RATE,
            1_000_020,
        );
    }
    feed.finish();
    assert_eq!(uplink.finished().await, Outcome::Delivered);

    let starts = transcriber.starts.lock().unwrap();
    let resumed: Vec<_> = starts.iter().map(|it| (it.sample_position, it.next_segment)).collect();
    assert_eq!(resumed, [(0, 0), (ACKNOWLEDGED, 3)]);
    assert!(starts.iter().all(|start| start.anchor_unix_ms == 1_000_000), "{starts:?}");
    let heard = transcriber.heard.lock().unwrap();
    let hole = (0..TOTAL).find(|at| heard[*at] != Some(sample(*at)));
    assert_eq!(hole, None, "every sample arrived");
}

#[tokio::test]
async fn a_party_without_a_sound_never_opens_a_stream() {
    let channel = Endpoint::from_static("http://127.0.0.1:9").connect_lazy();
    let party = Party { call: CallId::new("s-1"), id: PartyId::new("p-1-2"), role: Role::Agent };
    let feed = Feed::new(RATE);
    let mut uplink = Uplink::start(channel, party, RATE, feed.clone());
    feed.finish();
    assert_eq!(uplink.finished().await, Outcome::Delivered);
}

/// Takes nothing.
struct Refusing;

#[tonic::async_trait]
impl AudioIngest for Refusing {
    type StreamPartyStream = Pin<Box<dyn Stream<Item = Result<AudioAck, Status>> + Send>>;

    async fn stream_party(
        &self,
        _: Request<Streaming<PartyAudioMessage>>,
    ) -> Result<Response<Self::StreamPartyStream>, Status> {
        Err(Status::invalid_argument("unknown sample rate"))
    }
}

#[tokio::test]
async fn audio_that_no_transcriber_takes_is_reported() {
    let address = serve(Refusing).await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let party = Party { call: CallId::new("s-1"), id: PartyId::new("p-1-2"), role: Role::Agent };
    let feed = Feed::new(RATE);
    let mut uplink = Uplink::start(channel, party, RATE, feed.clone());
    feed.push(PartyAudio::Frame { position: SamplePosition(0), pcm: vec![1; 800] }, RATE, 5_000);
    feed.finish();
    let outcome = uplink.finished().await;
    let (from, to) = (SamplePosition(0), SamplePosition(800));
    let anchor_unix_ms = 5_000 - to.to_ms(RATE) as i64;
    let missing = Outcome::Unacknowledged { from, to, anchor_unix_ms };
    assert_eq!(outcome, missing);
}
