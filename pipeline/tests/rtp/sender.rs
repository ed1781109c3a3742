//! The far end: packets as a party sends them, and a listener that checks what every listener may
//! rely on.

use bytes::Bytes;
use pipeline::codec::Codec;
use pipeline::codec::g711::decode_mu_law;
use pipeline::rtp::{PartyAudio, PayloadFormat, RtpReceiver};
use rtp::header::Header;
use rtp::packet::Packet;
use std::time::{Duration, Instant};
use webrtc_util::marshal::Marshal;

pub const PCMU: PayloadFormat =
    PayloadFormat { codec: Codec::Pcmu, payload_type: 0, clock_rate: 8000 };
pub const G722: PayloadFormat =
    PayloadFormat { codec: Codec::G722, payload_type: 9, clock_rate: 8000 };
pub const OPUS_48: PayloadFormat =
    PayloadFormat { codec: Codec::Opus, payload_type: 111, clock_rate: 48_000 };
pub const OPUS_16: PayloadFormat =
    PayloadFormat { codec: Codec::Opus, payload_type: 109, clock_rate: 16_000 };

/// Samples in a 20 ms frame of G.711.
pub const FRAME: u64 = 160;

/// The next packet's numbers; tests set them to play tricks.
#[derive(Clone, Debug)]
pub struct Sender {
    pub ssrc: u32,
    pub payload_type: u8,
    pub sequence_number: u16,
    pub timestamp: u32,
}

impl Sender {
    pub fn new(format: PayloadFormat) -> Self {
        Self {
            ssrc: 0x5eed_0001,
            payload_type: format.payload_type,
            sequence_number: 100,
            timestamp: 5000,
        }
    }

    /// A packet that lasts `ticks` of the RTP clock.
    pub fn packet(&mut self, ticks: u32, payload: &[u8]) -> Vec<u8> {
        let header = Header {
            version: 2,
            payload_type: self.payload_type,
            sequence_number: self.sequence_number,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            ..Header::default()
        };
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(ticks);
        let packet = Packet { header, payload: Bytes::copy_from_slice(payload) };
        packet.marshal().expect("the header is well formed").to_vec()
    }

    /// 20 ms of mu-law in which every sample says which frame it is of.
    pub fn frame(&mut self, number: u64) -> Vec<u8> {
        self.packet(FRAME as u32, &[code(number); FRAME as usize])
    }

    /// Frames that never leave the sender's network.
    pub fn lose(&mut self, frames: u16) {
        self.sequence_number = self.sequence_number.wrapping_add(frames);
        self.timestamp = self.timestamp.wrapping_add(u32::from(frames) * FRAME as u32);
    }
}

/// The sample that [`Sender::frame`] fills a frame with; never 0.
pub fn mark(number: u64) -> i16 {
    decode_mu_law(code(number))
}

fn code(number: u64) -> u8 {
    (number % 120) as u8
}

/// A receiver, the clock on the wall, and all it has told so far.
pub struct Listener {
    pub receiver: RtpReceiver,
    pub heard: Vec<PartyAudio>,
    start: Instant,
    ms: u64,
}

impl Listener {
    pub fn new(format: PayloadFormat) -> Self {
        let receiver = RtpReceiver::new(format).expect("the format is supported");
        Self { receiver, heard: Vec::new(), start: Instant::now(), ms: 0 }
    }

    pub fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// Lets time pass up to `ms`, with every timer that is due on the way.
    pub fn wait_until(&mut self, ms: u64) {
        let now = self.at(ms);
        while let Some(due) = self.receiver.poll_timeout().filter(|&due| due <= now) {
            self.receiver.handle_timeout(due);
            let next = self.receiver.poll_timeout();
            assert!(next.is_none_or(|next| next > due), "a timer that does not move");
            self.take();
        }
        self.ms = ms;
    }

    /// Hands a datagram in at `ms`; returns whether it was taken.
    pub fn receive(&mut self, ms: u64, datagram: &[u8]) -> bool {
        self.wait_until(ms);
        self.receive_unawares(ms, datagram)
    }

    /// Hands a datagram in without having looked at the timers, as after a stall.
    pub fn receive_unawares(&mut self, ms: u64, datagram: &[u8]) -> bool {
        let taken = self.receiver.handle_datagram(self.at(ms), datagram).is_ok();
        self.take();
        taken
    }

    pub fn finish(&mut self) {
        self.receiver.finish();
        self.take();
        assert_eq!(self.receiver.poll_timeout(), None);
    }

    /// What was told since the last call, in short.
    pub fn news(&mut self) -> Vec<Heard> {
        let news = self.heard.iter().map(Heard::of).collect();
        self.heard.clear();
        news
    }

    fn take(&mut self) {
        while let Some(audio) = self.receiver.poll_audio() {
            if let Some(before) = self.heard.last() {
                assert!(audio.position() >= before.end(), "{before:?} overlaps {audio:?}");
            }
            assert!(audio.samples() > 0, "an empty stretch");
            assert!(audio.end() <= self.receiver.position());
            self.heard.push(audio);
        }
    }
}

/// A stretch of audio without its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Position, length, and the first sample.
    Audio(u64, u64, i16),
    /// Position and length.
    Lost(u64, u64),
}

impl Heard {
    fn of(audio: &PartyAudio) -> Self {
        match audio {
            PartyAudio::Frame { position, pcm } => {
                Self::Audio(position.0, pcm.len() as u64, pcm[0])
            }
            PartyAudio::Lost { position, samples } => Self::Lost(position.0, *samples),
        }
    }

    /// Frame `number` of a sender, unharmed, at `position`.
    pub fn frame(position: u64, number: u64) -> Self {
        Self::Audio(position, FRAME, mark(number))
    }
}
