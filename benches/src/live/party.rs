//! One party whose audio is sent to the transcriber, as a media gateway does it.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use pipeline::codec::{Codec, Decoder};
use sidetone_proto::v1::audio_ingest_client::AudioIngestClient;
use sidetone_proto::v1::party_audio::Message;
use sidetone_proto::v1::{AudioFrame, PartyAudio, PartyEnd, PartyStart};
use sidetone_proto::{CallId, Party as Label, PartyId, Role};
use simulator::Audio;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Audio in a frame, as the gateway sends it.
const FRAME: Duration = Duration::from_millis(100);

/// Frames on their way to the connection. When full the party waits, as behind a gateway's ring.
const FRAMES_CAPACITY: usize = 4;

/// How fast parties speak.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As people do: the first sample was spoken at this time.
    RealTime(Instant),
    /// As fast as the transcriber takes it: for the quality of the text alone.
    Unpaced,
}

/// A party and what it says, as a telephone line carries it.
#[derive(Clone, Debug)]
pub(crate) struct Party {
    label: Label,
    /// 16-bit samples, little-endian.
    pcm: Vec<u8>,
    sample_rate: u32,
}

impl Party {
    /// A party whose voice has gone through the codec.
    pub(crate) fn new(
        call: &str,
        role: Role,
        voice: &Audio,
        line: simulator::Codec,
    ) -> anyhow::Result<Self> {
        let codec = match line {
            simulator::Codec::Opus => Codec::Opus,
            simulator::Codec::Pcmu => Codec::Pcmu,
        };
        let mut decoder = Decoder::new(codec)?;
        let mut pcm = Vec::new();
        for packet in voice.encoded(line, 0.0)? {
            pcm.extend(decoder.decode(&packet)?.iter().flat_map(|sample| sample.to_le_bytes()));
        }
        let label = Label { call: CallId::new(call), id: PartyId::new(role.as_str()), role };
        Ok(Self { label, pcm, sample_rate: codec.sample_rate() })
    }

    /// Samples a second.
    pub(crate) fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Everything that it says.
    pub(crate) fn samples(&self) -> Vec<i16> {
        self.pcm.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
    }

    /// Sends everything, and waits until the transcriber has had it all stored.
    pub(crate) async fn speak(&self, transcriber: SocketAddr, pace: Pace) -> anyhow::Result<()> {
        let channel = Channel::from_shared(format!("http://{transcriber}"))?.connect().await?;
        let (frames, stream) = mpsc::channel(FRAMES_CAPACITY);
        let mut client = AudioIngestClient::new(channel);
        let send = async {
            for (at, message) in self.messages()? {
                if let Pace::RealTime(start) = pace {
                    sleep_until(start + at).await;
                }
                // A stream that is closed says why on its other way.
                if frames.send(PartyAudio { message: Some(message) }).await.is_err() {
                    break;
                }
            }
            drop(frames);
            anyhow::Ok(())
        };
        let hear = async {
            let stream = ReceiverStream::new(stream);
            let mut acks = client.stream_party(stream).await?.into_inner();
            while acks.message().await?.is_some() {}
            anyhow::Ok(())
        };
        let (sent, heard) = tokio::join!(send, hear);
        sent.and(heard).with_context(|| format!("the {} of {}", self.label.role, self.label.call))
    }

    /// Each message and when it is complete, from the first sample on.
    fn messages(&self) -> anyhow::Result<impl Iterator<Item = (Duration, Message)>> {
        let rate = u64::from(self.sample_rate);
        let bytes_per_frame = (rate * FRAME.as_millis() as u64 / 1000 * 2) as usize;
        let anchor_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        let start = Message::Start(PartyStart {
            party: Some((&self.label).into()),
            sample_rate: self.sample_rate,
            anchor_unix_ms,
            sample_position: 0,
            next_segment: 0,
            consent_phrases: None,
        });
        let samples = self.pcm.len() as u64 / 2;
        let end = Message::End(PartyEnd { sample_position: samples });
        let after = move |samples: u64| Duration::from_micros(samples * 1_000_000 / rate);
        let frames = (0u64..).zip(self.pcm.chunks(bytes_per_frame)).map(move |(number, pcm)| {
            let sample_position = number * bytes_per_frame as u64 / 2;
            let complete = after(sample_position + pcm.len() as u64 / 2);
            let pcm = pcm.to_vec().into();
            let frame = AudioFrame { sample_position, pcm, for_consent_only: false };
            (complete, Message::Frame(frame))
        });
        Ok([(Duration::ZERO, start)].into_iter().chain(frames).chain([(after(samples), end)]))
    }
}
