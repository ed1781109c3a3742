//! A gateway's side of the connection.

use std::time::Duration;

use sidetone_proto::v1::audio_ingest_client::AudioIngestClient;
use sidetone_proto::v1::party_audio::Message;
use sidetone_proto::v1::{
    AudioAck, AudioFrame, LostAudio, PartyAudio, PartyEnd, PartyLabel, PartyStart, Role,
};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// Samples in a frame: 60 ms at 16 kHz.
pub const FRAME: usize = 960;

/// One connection.
pub struct Gateway(AudioIngestClient<Channel>);

/// One party's stream. Dropping it breaks it off.
pub struct Party {
    audio: mpsc::Sender<PartyAudio>,
    acks: Streaming<AudioAck>,
}

/// The first message of a party at 16 kHz.
pub fn start(party: &str) -> PartyStart {
    let party = PartyLabel {
        call_id: "s-1".to_owned(),
        party_id: party.to_owned(),
        role: Role::Agent.into(),
    };
    PartyStart {
        party: Some(party),
        sample_rate: 16_000,
        anchor_unix_ms: 1_800_000_000_000,
        sample_position: 0,
        next_segment: 0,
        consent_phrases: None,
    }
}

/// Where a stream goes on after an acknowledgement.
pub fn resumed(party: &str, ack: AudioAck) -> PartyStart {
    let AudioAck { sample_position, next_segment, .. } = ack;
    PartyStart { sample_position, next_segment, ..start(party) }
}

pub fn frame(position: usize, samples: &[i16]) -> Message {
    let pcm = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    Message::Frame(AudioFrame { sample_position: position as u64, pcm, for_consent_only: false })
}

/// A frame that nobody has consented to yet.
pub fn withheld(position: usize, samples: &[i16]) -> Message {
    match frame(position, samples) {
        Message::Frame(frame) => Message::Frame(AudioFrame { for_consent_only: true, ..frame }),
        other => other,
    }
}

impl Gateway {
    pub async fn connect(transcriber: Endpoint) -> Self {
        Self(AudioIngestClient::connect(transcriber).await.unwrap())
    }

    /// Opens a stream with the messages that are sent before anything is answered.
    pub async fn open(&self, first: impl IntoIterator<Item = Message>) -> Result<Party, Status> {
        let (audio, messages) = mpsc::channel(4);
        for message in first {
            audio.try_send(PartyAudio { message: Some(message) }).unwrap();
        }
        let acks = self.0.clone().stream_party(ReceiverStream::new(messages)).await?.into_inner();
        Ok(Party { audio, acks })
    }

    pub async fn start(&self, start: PartyStart) -> Result<Party, Status> {
        self.open([Message::Start(start)]).await
    }

    /// Opens a stream and sends nothing on it.
    pub async fn say_nothing(&self) -> Result<(), Status> {
        let (_open, messages) = mpsc::channel::<PartyAudio>(1);
        self.0.clone().stream_party(ReceiverStream::new(messages)).await.map(drop)
    }

    /// Streams a whole party and waits until everything is stored.
    pub async fn stream(&self, start: PartyStart, audio: &[i16]) -> AudioAck {
        let mut party = self.start(start).await.unwrap();
        party.say(audio, 0, audio.len()).await;
        party.end(audio.len()).await;
        *party.rest().await.unwrap().last().unwrap()
    }
}

impl Party {
    pub async fn send(&self, message: Message) {
        let message = PartyAudio { message: Some(message) };
        self.audio.send(message).await.expect("the transcriber goes on reading");
    }

    /// Sends audio from one position to another, as fast as it is taken.
    pub async fn say(&self, audio: &[i16], from: usize, to: usize) {
        for at in (from..to).step_by(FRAME) {
            self.send(frame(at, &audio[at..to.min(at + FRAME)])).await;
        }
    }

    pub async fn lose(&self, lost: LostAudio) {
        self.send(Message::Lost(lost)).await;
    }

    pub async fn end(&self, position: usize) {
        self.send(Message::End(PartyEnd { sample_position: position as u64 })).await;
    }

    /// Sends nothing more, without a word. Gives what the transcriber answers.
    pub fn fall_silent(self) -> Streaming<AudioAck> {
        self.acks
    }

    /// Another end of the way to the transcriber, for a task that sends while this one receives.
    pub fn sender(&self) -> mpsc::Sender<PartyAudio> {
        self.audio.clone()
    }

    pub async fn ack(&mut self) -> Result<Option<AudioAck>, Status> {
        self.acks.message().await
    }

    /// The acknowledgements that have arrived.
    pub async fn acks_now(&mut self) -> Vec<AudioAck> {
        let mut acks = Vec::new();
        while let Ok(ack) = timeout(Duration::ZERO, self.ack()).await {
            acks.extend(ack.unwrap());
        }
        acks
    }

    /// The first acknowledgement that reaches a position.
    pub async fn ack_of(&mut self, position: u64) -> AudioAck {
        loop {
            let ack = self.ack().await.unwrap().expect("more acknowledgements");
            if ack.sample_position >= position {
                return ack;
            }
        }
    }

    /// Everything up to the end of the stream.
    pub async fn rest(&mut self) -> Result<Vec<AudioAck>, Status> {
        let mut acks = Vec::new();
        while let Some(ack) = self.ack().await? {
            acks.push(ack);
        }
        Ok(acks)
    }
}
