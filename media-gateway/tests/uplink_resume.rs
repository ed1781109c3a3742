//! Uplinks whose transcribers break off in the middle, refuse, or do not read.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use media_gateway::uplink::{Feed, Outcome, Transcribers, Uplink};
use pipeline::clock::SamplePosition;
use pipeline::rtp::PartyAudio;
use sidetone_proto::v1::audio_ingest_server::{AudioIngest, AudioIngestServer};
use sidetone_proto::v1::party_audio::Message;
use sidetone_proto::v1::{AudioAck, GapReason, PartyAudio as PartyAudioMessage, PartyStart};
use sidetone_proto::{CallId, Party, PartyId, Role};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
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
    /// Which of the transcribers that share what they hear.
    number: usize,
    /// Each with the transcriber's number.
    starts: Arc<Mutex<Vec<(usize, PartyStart)>>>,
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
            this.starts.lock().unwrap().push((this.number, start));
            while let Some(Ok(message)) = messages.next().await {
                match message.message {
                    Some(Message::Frame(frame)) => {
                        this.hear(&frame);
                        if is_first && frame.sample_position >= 40_000 {
                            let ack = AudioAck {
                                sample_position: ACKNOWLEDGED,
                                next_segment: 3,
                                ..AudioAck::default()
                            };
                            acks.send(Ok(ack)).await.unwrap();
                            acks.send(Err(Status::unavailable("going down"))).await.unwrap();
                            return;
                        }
                    }
                    Some(Message::End(end)) => {
                        let ack = AudioAck {
                            sample_position: end.sample_position,
                            next_segment: 9,
                            ..AudioAck::default()
                        };
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

fn uplink(transcribers: &[SocketAddr], feed: &Feed) -> Uplink {
    let party = Party { call: CallId::new("s-1"), id: PartyId::new("p-1-2"), role: Role::Agent };
    let endpoint = |address| Endpoint::from_shared(format!("http://{address}")).unwrap();
    let transcribers = Transcribers::connect(transcribers.iter().map(endpoint));
    Uplink::start(transcribers, party, RATE, feed.clone())
}

/// Pushes packets of 20 ms.
fn push(feed: &Feed, samples: usize) {
    for start in (0..samples).step_by(160) {
        let pcm = (start..start + 160).map(sample).collect();
        let frame = PartyAudio::Frame { position: SamplePosition(start as u64), pcm };
        feed.push(frame, RATE, 1_000_020);
    }
}

impl Transcriber {
    /// One stream broke off after 5 s, another one went on where the first had acknowledged.
    fn assert_resumed(&self) {
        let starts = self.starts.lock().unwrap();
        let resumed: Vec<_> =
            starts.iter().map(|(_, it)| (it.sample_position, it.next_segment)).collect();
        assert_eq!(resumed, [(0, 0), (ACKNOWLEDGED, 3)]);
        assert!(starts.iter().all(|(_, start)| start.anchor_unix_ms == 1_000_000), "{starts:?}");
        let heard = self.heard.lock().unwrap();
        let hole = (0..TOTAL).find(|at| heard[*at] != Some(sample(*at)));
        assert_eq!(hole, None, "every sample arrived");
    }
}

#[tokio::test]
async fn a_broken_stream_resumes_without_a_hole() {
    let transcriber = Transcriber::default();
    let address = serve(transcriber.clone()).await;
    let feed = Feed::new(RATE);
    let mut uplink = uplink(&[address], &feed);
    push(&feed, TOTAL);
    feed.finish();
    assert_eq!(uplink.finished().await, Outcome::Delivered);
    transcriber.assert_resumed();
}

#[tokio::test]
async fn a_party_moves_to_another_transcriber_without_a_hole() {
    let first = Transcriber::default();
    let second = Transcriber { number: 1, ..first.clone() };
    let addresses = [serve(first.clone()).await, serve(second).await];
    let feed = Feed::new(RATE);
    let mut uplink = uplink(&addresses, &feed);
    push(&feed, TOTAL);
    feed.finish();
    assert_eq!(uplink.finished().await, Outcome::Delivered);
    first.assert_resumed();
    let starts = first.starts.lock().unwrap();
    assert_ne!(starts[0].0, starts[1].0, "the one that failed is passed over");
}

#[tokio::test]
async fn a_transcriber_that_is_not_there_is_passed_over() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let transcriber = Transcriber::default();
    let address = serve(transcriber.clone()).await;
    // Each party begins at one of the two at random.
    for _ in 0..8 {
        let feed = Feed::new(RATE);
        let mut uplink = uplink(&[nobody, address], &feed);
        push(&feed, 1600);
        feed.finish();
        assert_eq!(uplink.finished().await, Outcome::Delivered);
    }
    assert_eq!(transcriber.starts.lock().unwrap().len(), 8);
}

/// Opens a first stream and does not read it until it is told to fail; takes the next one to its end.
#[derive(Clone, Default)]
struct Stuck {
    fails: Arc<Notify>,
    streams: Arc<Mutex<Vec<Vec<Message>>>>,
}

#[tonic::async_trait]
impl AudioIngest for Stuck {
    type StreamPartyStream = Pin<Box<dyn Stream<Item = Result<AudioAck, Status>> + Send>>;

    async fn stream_party(
        &self,
        request: Request<Streaming<PartyAudioMessage>>,
    ) -> Result<Response<Self::StreamPartyStream>, Status> {
        let mut messages = request.into_inner();
        let (acks, stream) = mpsc::channel(4);
        let this = self.clone();
        let is_first = {
            let mut streams = this.streams.lock().unwrap();
            streams.push(Vec::new());
            streams.len() == 1
        };
        tokio::spawn(async move {
            if is_first {
                this.fails.notified().await;
                let _ = acks.send(Err(Status::unavailable("overloaded"))).await;
                return;
            }
            while let Some(Ok(PartyAudioMessage { message: Some(message) })) = messages.next().await
            {
                this.streams.lock().unwrap()[1].push(message.clone());
                if let Message::End(end) = message {
                    let sample_position = end.sample_position;
                    let ack = AudioAck { sample_position, ..AudioAck::default() };
                    let _ = acks.send(Ok(ack)).await;
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

#[tokio::test]
async fn what_the_ring_cannot_hold_becomes_a_gap_and_nothing_waits() {
    let stuck = Stuck::default();
    let address = serve(stuck.clone()).await;
    let feed = Feed::new(RATE);
    let mut uplink = uplink(&[address], &feed);
    // 60 s at once, which is twice what the ring holds: the RTP side is never held up.
    let total = 60 * RATE as usize;
    push(&feed, total);
    feed.finish();
    stuck.fails.notify_one();
    assert_eq!(uplink.finished().await, Outcome::Delivered);

    let streams = stuck.streams.lock().unwrap();
    let [Message::Start(_), Message::Lost(lost), rest @ ..] = streams[1].as_slice() else {
        panic!("no gap at the start: {:?}", streams[1].get(1))
    };
    assert_eq!(lost.reason(), GapReason::TranscriberUnavailable);
    assert_eq!(lost.sample_position, 0);
    let mut position = lost.samples;
    assert!(position.abs_diff(30 * u64::from(RATE)) <= 800, "{position}");
    for message in rest {
        match message {
            Message::Frame(frame) => {
                assert_eq!(frame.sample_position, position);
                position += frame.pcm.len() as u64 / 2;
            }
            Message::End(end) => assert_eq!(end.sample_position, total as u64),
            other => panic!("unexpected message {other:?}"),
        }
    }
    assert_eq!(position, total as u64);
}

#[tokio::test]
async fn a_party_without_a_sound_never_opens_a_stream() {
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    let feed = Feed::new(RATE);
    let mut uplink = uplink(&[address], &feed);
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
    let feed = Feed::new(RATE);
    let mut uplink = uplink(&[address], &feed);
    feed.push(PartyAudio::Frame { position: SamplePosition(0), pcm: vec![1; 800] }, RATE, 5_000);
    feed.finish();
    let outcome = uplink.finished().await;
    let (from, to) = (SamplePosition(0), SamplePosition(800));
    let anchor_unix_ms = 5_000 - to.to_ms(RATE) as i64;
    let missing = Outcome::Unacknowledged { from, to, anchor_unix_ms };
    assert_eq!(outcome, missing);
}
