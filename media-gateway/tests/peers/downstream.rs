//! A transcriber and a relay in one: counts the audio and notes the end of the call.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use sidetone_proto::v1::audio_ingest_server::{AudioIngest, AudioIngestServer};
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::caption_ingest_server::{CaptionIngest, CaptionIngestServer};
use sidetone_proto::v1::party_audio::Message;
use sidetone_proto::v1::{AudioAck, PartyAudio, PublishAck, PublishRequest};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use super::process::within;

type Acks<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the gateway sends to. Clones share everything.
#[derive(Clone, Default)]
pub struct Downstream {
    heard: Arc<Mutex<Heard>>,
    /// Samples so far.
    samples: Arc<watch::Sender<usize>>,
    is_over: Arc<watch::Sender<bool>>,
}

/// The audio of the call's one party.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Per second.
    pub sample_rate: u32,
    /// From the first sample on; what was lost is silence.
    pub pcm: Vec<i16>,
}

impl Heard {
    /// How long it is.
    pub fn seconds(&self) -> f64 {
        self.pcm.len() as f64 / f64::from(self.sample_rate.max(1))
    }

    /// The share of the energy at a frequency (Goertzel), roughly 0 to 1, where anything is to be heard at all.
    pub fn share(&self, frequency: f64) -> f64 {
        let rate = f64::from(self.sample_rate);
        let is_loud = |window: &&[i16]| window.iter().any(|sample| sample.unsigned_abs() > 500);
        let loud: Vec<i16> = self.pcm.chunks(160).filter(is_loud).flatten().copied().collect();
        // Windows of a tenth of a second: pauses between bursts shift the phase.
        let windows = loud.chunks(self.sample_rate as usize / 10);
        let shares: Vec<f64> =
            windows.map(|window| window_share(window, frequency, rate)).collect();
        shares.iter().sum::<f64>() / (shares.len() as f64).max(1.0)
    }

    /// How long anything is to be heard, in seconds.
    pub fn loud_seconds(&self) -> f64 {
        let is_loud = |window: &&[i16]| window.iter().any(|sample| sample.unsigned_abs() > 500);
        let loud = self.pcm.chunks(160).filter(is_loud).count() * 160;
        loud as f64 / f64::from(self.sample_rate.max(1))
    }
}

impl Downstream {
    /// Starts both services on one port.
    pub async fn start() -> (Self, SocketAddr) {
        let this = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder()
            .add_service(AudioIngestServer::new(this.clone()))
            .add_service(CaptionIngestServer::new(this.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        (this, address)
    }

    /// Waits until this many seconds have arrived.
    pub async fn hears(&self, seconds: f64) {
        let heard = self.heard.clone();
        let mut samples = self.samples.subscribe();
        let wait = samples.wait_for(|_| heard.lock().unwrap().seconds() >= seconds);
        within(&format!("{seconds} s of audio have arrived"), wait).await.unwrap();
    }

    /// Waits until the call is over. Gives what was heard.
    pub async fn over(&self) -> Heard {
        let mut is_over = self.is_over.subscribe();
        within("the call is over", is_over.wait_for(|over| *over)).await.unwrap();
        self.heard.lock().unwrap().clone()
    }

    /// Notes one message. Gives the position to acknowledge, at the end.
    fn note(&self, message: Message) -> Option<u64> {
        let mut heard = self.heard.lock().unwrap();
        match message {
            Message::Start(start) => heard.sample_rate = start.sample_rate,
            Message::Frame(frame) => {
                let samples =
                    frame.pcm.chunks_exact(2).map(|it| i16::from_le_bytes([it[0], it[1]]));
                heard.pcm.resize(frame.sample_position as usize, 0);
                heard.pcm.extend(samples);
                self.samples.send_replace(heard.pcm.len());
            }
            Message::Lost(_) => {}
            Message::End(end) => return Some(end.sample_position),
        }
        None
    }
}

#[tonic::async_trait]
impl AudioIngest for Downstream {
    type StreamPartyStream = Acks<AudioAck>;

    async fn stream_party(
        &self,
        request: Request<Streaming<PartyAudio>>,
    ) -> Result<Response<Acks<AudioAck>>, Status> {
        let mut messages = request.into_inner();
        let (acks, stream) = mpsc::channel(4);
        let this = self.clone();
        tokio::spawn(async move {
            while let Some(Ok(PartyAudio { message: Some(message) })) = messages.next().await {
                if let Some(sample_position) = this.note(message) {
                    let _ = acks.send(Ok(AudioAck { sample_position, next_segment: 0 })).await;
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

#[tonic::async_trait]
impl CaptionIngest for Downstream {
    type PublishStream = Acks<PublishAck>;

    async fn publish(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Acks<PublishAck>>, Status> {
        let mut requests = request.into_inner();
        let (acks, stream) = mpsc::channel(16);
        let this = self.clone();
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                let _ = acks.send(Ok(PublishAck { publish_id: request.publish_id })).await;
                if let Some(Event::CallEnded(_)) = request.event.and_then(|event| event.event) {
                    this.is_over.send_replace(true);
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

fn window_share(window: &[i16], frequency: f64, rate: f64) -> f64 {
    let (mut cosine, mut sine, mut energy) = (0.0, 0.0, 0.0);
    for (at, sample) in window.iter().enumerate() {
        let angle = at as f64 * frequency * std::f64::consts::TAU / rate;
        let sample = f64::from(*sample);
        cosine += sample * angle.cos();
        sine += sample * angle.sin();
        energy += sample * sample;
    }
    2.0 * (cosine * cosine + sine * sine) / (energy * window.len() as f64).max(1.0)
}
