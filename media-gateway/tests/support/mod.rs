//! What whole-gateway tests share: a simulated cloud on one side, a listening transcriber and relay on the other.

// Each test file uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidetone_proto::v1::audio_ingest_server::{AudioIngest, AudioIngestServer};
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::caption_ingest_server::{CaptionIngest, CaptionIngestServer};
use sidetone_proto::v1::party_audio::Message;
use sidetone_proto::v1::{
    AudioAck, Consent, ConsentState, PartyAudio, PartyStart, PublishAck, PublishRequest, Role,
};
use simulator::{Account, Audio, Simulator, SimulatorConfig};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

pub const AGENT: &str = "62226587016";

/// Nothing here takes longer, however busy the machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

type Acks<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What one party sent.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub start: PartyStart,
    pub pcm: Vec<i16>,
    /// Samples that were told to be lost.
    pub lost: u64,
    pub end: Option<u64>,
    /// How many frames were for consent only, and how many were not.
    pub for_consent_only: usize,
    pub for_captions: usize,
    /// The gateway took everything back.
    pub is_discarded: bool,
}

impl Heard {
    /// Where there is a voice, in milliseconds on the party's clock, from and to. Pauses of up to 100 ms belong to it.
    pub fn loud(&self) -> Vec<(u64, u64)> {
        let window = self.start.sample_rate as usize / 100;
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for (number, window) in (0..).zip(self.pcm.chunks(window)) {
            let (from, to) = (number * 10, number * 10 + 10);
            match spans.last_mut() {
                _ if window.iter().all(|sample| sample.unsigned_abs() < 2000) => {}
                Some((_, end)) if from - *end <= 100 => *end = to,
                _ => spans.push((from, to)),
            }
        }
        spans
    }

    /// The share of the energy at a frequency (Goertzel), roughly 0 to 1.
    pub fn share(&self, frequency: f64) -> f64 {
        let rate = f64::from(self.start.sample_rate);
        let (mut cosine, mut sine, mut energy) = (0.0, 0.0, 0.0);
        for (at, sample) in self.pcm.iter().enumerate() {
            let angle = at as f64 * frequency * std::f64::consts::TAU / rate;
            let sample = f64::from(*sample);
            cosine += sample * angle.cos();
            sine += sample * angle.sin();
            energy += sample * sample;
        }
        2.0 * (cosine * cosine + sine * sine) / (energy * self.pcm.len() as f64).max(1.0)
    }
}

/// A transcriber and a relay in one.
#[derive(Clone, Default)]
pub struct Downstream {
    pub parties: Arc<Mutex<BTreeMap<String, Heard>>>,
    /// How many parties have been heard of.
    pub started: Arc<watch::Sender<usize>>,
    /// How many messages of all parties have been heard.
    pub messages: Arc<watch::Sender<usize>>,
    /// How many parties have been heard to their end.
    pub heard_out: Arc<watch::Sender<usize>>,
    /// While true, a party's end is not acknowledged.
    pub withholds_acks: Arc<watch::Sender<bool>>,
    /// What the transcriber hears a role say about consent.
    pub hears: Arc<watch::Sender<Option<(Role, ConsentState)>>>,
    pub events: Arc<Mutex<Vec<Event>>>,
    /// How many events have come.
    pub published: Arc<watch::Sender<usize>>,
    pub ended: Arc<tokio::sync::Notify>,
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
        let (parties, started) = (self.parties.clone(), self.started.clone());
        let messages_heard = self.messages.clone();
        let hears = self.hears.clone();
        let (heard_out, mut withheld) = (self.heard_out.clone(), self.withholds_acks.subscribe());
        tokio::spawn(async move {
            let mut id = String::new();
            while let Some(Ok(PartyAudio { message: Some(message) })) = messages.next().await {
                let mut end = None;
                let mut role = Role::Unspecified;
                {
                    let mut parties = parties.lock().unwrap();
                    if let Message::Start(start) = &message {
                        id = start.party.clone().unwrap().party_id;
                    }
                    let heard = parties.entry(id.clone()).or_default();
                    match message {
                        Message::Start(start) => {
                            heard.start = start;
                            started.send_modify(|count| *count += 1);
                        }
                        Message::Frame(frame) => {
                            heard.for_consent_only += usize::from(frame.for_consent_only);
                            heard.for_captions += usize::from(!frame.for_consent_only);
                            heard.pcm.resize(frame.sample_position as usize, 0);
                            heard.pcm.extend(
                                frame
                                    .pcm
                                    .chunks_exact(2)
                                    .map(|two| i16::from_le_bytes([two[0], two[1]])),
                            );
                        }
                        Message::Lost(lost) => heard.lost += lost.samples,
                        Message::End(it) => {
                            heard.end = Some(it.sample_position);
                            end = Some(it.sample_position);
                        }
                        Message::Discard(_) => {
                            heard.is_discarded = true;
                            end = Some(heard.pcm.len() as u64);
                        }
                    }
                    if let Some(party) = &heard.start.party {
                        role = party.role();
                    }
                }
                let heard = hears.borrow().filter(|(whose, _)| *whose == role);
                if let Some((_, consent)) = heard {
                    let ack = AudioAck { heard_consent: consent.into(), ..AudioAck::default() };
                    let _ = acks.send(Ok(ack)).await;
                }
                messages_heard.send_modify(|count| *count += 1);
                if let Some(sample_position) = end {
                    heard_out.send_modify(|count| *count += 1);
                    let _ = withheld.wait_for(|withheld| !withheld).await;
                    let heard = hears.borrow().filter(|(whose, _)| *whose == role);
                    let heard_consent =
                        heard.map(|(_, consent)| consent).unwrap_or_default().into();
                    let ack = AudioAck { sample_position, heard_consent, ..AudioAck::default() };
                    let _ = acks.send(Ok(ack)).await;
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
                let event = request.event.and_then(|event| event.event).unwrap();
                let is_end = matches!(event, Event::CallEnded(_));
                this.events.lock().unwrap().push(event);
                this.published.send_modify(|count| *count += 1);
                let _ = acks.send(Ok(PublishAck { publish_id: request.publish_id })).await;
                if is_end {
                    this.ended.notify_one();
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl Downstream {
    /// What the relay was told of consent, in order.
    pub fn consents(&self) -> Vec<Consent> {
        let consent = |event: &Event| match event {
            Event::Consent(consent) => Some(consent.clone()),
            _ => None,
        };
        self.events.lock().unwrap().iter().filter_map(consent).collect()
    }
}

/// Events without what was told of consent.
pub fn but_consent(events: Vec<Event>) -> Vec<Event> {
    events.into_iter().filter(|event| !matches!(event, Event::Consent(_))).collect()
}

pub async fn serve(downstream: Downstream) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .add_service(AudioIngestServer::new(downstream.clone()))
        .add_service(CaptionIngestServer::new(downstream))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    address
}

/// Some seconds of a tone.
pub fn tone(frequency: f64, seconds: u32) -> Audio {
    sound(frequency, seconds, |_| 8000.0)
}

/// Some seconds of a tone that is never silent, but louder and softer `beat` times a second: long tones that are as loud
/// as each other all the time are taken for the same voice.
pub fn voice(frequency: f64, beat: f64, seconds: u32) -> Audio {
    let loudness = |at: f64| 7200.0 + 4800.0 * (at * beat * std::f64::consts::TAU).sin();
    sound(frequency, seconds, loudness)
}

/// A 16-bit mono WAV file at 16 kHz of a tone, as loud as is said of each second.
fn sound(frequency: f64, seconds: u32, loudness: impl Fn(f64) -> f64) -> Audio {
    let samples: Vec<u8> = (0..16_000 * seconds)
        .map(|at| f64::from(at) / 16_000.0)
        .map(|at| (at * frequency * std::f64::consts::TAU).sin() * loudness(at))
        .flat_map(|sample| (sample as i16).to_le_bytes())
        .collect();
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + samples.len() as u32).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(16_000u32.to_le_bytes());
    wav.extend(32_000u32.to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend((samples.len() as u32).to_le_bytes());
    wav.extend(samples);
    Audio::from_wav_bytes(&wav).unwrap()
}

/// A cloud with the demo's account on free loopback ports.
pub async fn simulator() -> Simulator {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let account = Account::demo();
    let config = SimulatorConfig { rest_listen: any, sip_listen: any, account, seed: 7 };
    Simulator::start(config).await.unwrap()
}

/// A gateway's configuration file for that cloud. `sip` and `rest` are more lines of `[sip]`, and more sections.
pub fn config(simulator: &Simulator, downstream: SocketAddr, sip: &str, rest: &str) -> String {
    let account = Account::demo();
    format!(
        "[ringcentral]\nserver = \"{}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\njwt = \"{}\"\n\
         supervisor_device_id = \"{}\"\nagents = [\"{AGENT}\"]\npoll_interval_ms = 200\n\
         [uplink]\ntranscriber = \"http://{downstream}\"\nrelay = \"http://{downstream}\"\n\
         [sip]\nlisten = \"127.0.0.1:0\"\n{sip}\n{rest}\n",
        simulator.rest_url(),
        account.client_id,
        account.client_secret,
        account.jwt,
        account.supervisor_device_id,
    )
}
