//! One RTP stream (RFC 3550): numbers and times packets, and loses some of them.

use super::encoder::{FrameEncoder, PayloadCodec};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rtp::header::Header;
use rtp::packet::Packet;
use std::collections::VecDeque;
use thiserror::Error;
use webrtc_util::marshal::Marshal;

/// The random initial values of a stream (RFC 3550 section 5.1), and the seed of its losses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RtpIdentity {
    pub(crate) ssrc: u32,
    pub(crate) sequence_number: u16,
    pub(crate) timestamp: u32,
    pub(crate) loss_seed: u64,
}

/// Why a frame did not become a packet.
#[derive(Debug, Error)]
pub(crate) enum RtpStreamError {
    /// The codec refused the frame.
    #[error("cannot encode a frame")]
    Encode(#[from] audiopus::Error),
    /// The packet could not be written.
    #[error("cannot write a packet")]
    Write(#[from] webrtc_util::Error),
}

/// The payload type of telephone-events in every offer.
const EVENT_PAYLOAD_TYPE: u8 = 101;
/// How long a key is pressed, in frames.
const KEY_FRAMES: u16 = 5;
/// How often the end of an event is sent (RFC 4733 section 2.5.1.4).
const ENDS: usize = 3;
/// Ticks of the event's clock in a frame of 20 ms: 8 kHz.
const EVENT_STEP: u16 = 160;
const END_BIT: u8 = 0x80;
/// In dBm0, without its sign.
const VOLUME: u8 = 10;

/// The number of a key among the telephone-events (RFC 4733 section 3.2).
pub(crate) fn event_of(key: char) -> Option<u8> {
    "0123456789*#ABCD".find(key).and_then(|number| u8::try_from(number).ok())
}

/// Turns frames into packets.
pub(crate) struct RtpStream {
    codec: PayloadCodec,
    encoder: FrameEncoder,
    payload_type: u8,
    identity: RtpIdentity,
    packets: u64,
    /// Frames of the time in which nothing was sent.
    paused: u64,
    loss_percent: f32,
    losses: StdRng,
    /// Packets of keys that are pressed, each in the place of a frame: the payload, and whether it begins an event.
    events: VecDeque<([u8; 4], bool)>,
    /// When the present event began.
    event_timestamp: u32,
}

impl RtpStream {
    pub(crate) fn new(
        codec: PayloadCodec,
        payload_type: u8,
        loss_percent: f32,
        identity: RtpIdentity,
    ) -> Result<Self, RtpStreamError> {
        Ok(Self {
            codec,
            encoder: FrameEncoder::new(codec, loss_percent)?,
            payload_type,
            identity,
            packets: 0,
            paused: 0,
            loss_percent,
            losses: StdRng::seed_from_u64(identity.loss_seed),
            events: VecDeque::new(),
            event_timestamp: 0,
        })
    }

    /// The next packets tell of a key, by its number.
    pub(crate) fn press(&mut self, event: u8) {
        let payload = |frames: u16, flags: u8| {
            let [high, low] = (frames * EVENT_STEP).to_be_bytes();
            [event, flags | VOLUME, high, low]
        };
        let pressed = (1..KEY_FRAMES).map(|frames| (payload(frames, 0), frames == 1));
        self.events.extend(pressed);
        self.events.extend([(payload(KEY_FRAMES, END_BIT), false); ENDS]);
    }

    /// The next packet, which carries `frame`; `None` when it gets lost. A lost packet has been
    /// encoded and numbered all the same.
    pub(crate) fn next_packet(&mut self, frame: &[i16]) -> Result<Option<Bytes>, RtpStreamError> {
        let audio = self.encoder.encode(frame)?;
        let event = self.events.pop_front();
        let number = self.packets;
        self.packets += 1;
        if self.losses.random::<f32>() * 100.0 < self.loss_percent {
            return Ok(None);
        }
        let elapsed = ((number + self.paused) as u32).wrapping_mul(self.codec.timestamp_step());
        let mut timestamp = self.identity.timestamp.wrapping_add(elapsed);
        if let Some((_, is_first)) = event {
            if is_first {
                self.event_timestamp = timestamp;
            }
            timestamp = self.event_timestamp;
        }
        let packet = Packet {
            header: Header {
                version: 2,
                marker: number == 0 || event.is_some_and(|(_, is_first)| is_first),
                payload_type: if event.is_some() { EVENT_PAYLOAD_TYPE } else { self.payload_type },
                sequence_number: self.identity.sequence_number.wrapping_add(number as u16),
                timestamp,
                ssrc: self.identity.ssrc,
                ..Default::default()
            },
            payload: event.map_or(audio, |(payload, _)| Bytes::copy_from_slice(&payload)),
        };
        Ok(Some(packet.marshal()?))
    }

    /// Lets the time of a frame pass without a packet, as on hold: the numbers go on, the timestamps jump.
    pub(crate) fn pause(&mut self) {
        self.paused += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use webrtc_util::marshal::Unmarshal;

    fn packets(codec: PayloadCodec, count: usize, loss_percent: f32) -> Vec<Option<Packet>> {
        let identity = RtpIdentity {
            ssrc: 7,
            sequence_number: u16::MAX,
            timestamp: u32::MAX - 100,
            loss_seed: 1,
        };
        let mut stream = RtpStream::new(codec, 111, loss_percent, identity).unwrap();
        let frame = vec![500; codec.frame_samples()];
        (0..count)
            .map(|_| {
                let packet = stream.next_packet(&frame).unwrap();
                packet.map(|mut bytes| Packet::unmarshal(&mut bytes).unwrap())
            })
            .collect()
    }

    #[test]
    fn packets_are_numbered_and_timed_across_the_wrap() {
        for (codec, step) in [(PayloadCodec::Opus, 960), (PayloadCodec::Pcmu, 160)] {
            let packets: Vec<Packet> = packets(codec, 3, 0.0).into_iter().flatten().collect();
            let header = |n: usize| &packets[n].header;
            assert_eq!((header(0).marker, header(1).marker), (true, false));
            assert_eq!(header(0).sequence_number, u16::MAX);
            assert_eq!(header(1).sequence_number, 0);
            assert_eq!(header(2).timestamp, (u32::MAX - 100).wrapping_add(2 * step));
            assert!(packets.iter().all(|packet| packet.header.ssrc == 7));
        }
        assert_eq!(packets(PayloadCodec::Pcmu, 1, 0.0)[0].as_ref().unwrap().payload.len(), 160);
    }

    #[test]
    fn a_key_takes_the_place_of_frames_and_ends_three_times() {
        let identity = RtpIdentity { ssrc: 1, sequence_number: 5, timestamp: 0, loss_seed: 1 };
        let mut stream = RtpStream::new(PayloadCodec::Pcmu, 0, 0.0, identity).unwrap();
        let mut next = |key: Option<char>| {
            if let Some(event) = key.and_then(event_of) {
                stream.press(event);
            }
            let mut bytes = stream.next_packet(&[0; 160]).unwrap().unwrap();
            Packet::unmarshal(&mut bytes).unwrap()
        };
        assert_eq!(next(Some('x')).header.payload_type, 0);
        let packets: Vec<Packet> =
            [Some('#')].into_iter().chain([None; 6]).map(&mut next).collect();
        for (number, packet) in packets.iter().enumerate() {
            let header = &packet.header;
            assert_eq!((header.payload_type, header.timestamp), (101, 160));
            assert_eq!(header.sequence_number, 6 + number as u16);
            assert_eq!(header.marker, number == 0);
            let frames = (number as u16 + 1).min(5);
            let flags = if frames == 5 { 0x8a } else { 10 };
            let [high, low] = (frames * 160).to_be_bytes();
            assert_eq!(packet.payload[..], [11, flags, high, low]);
        }
        let after = next(None).header;
        assert_eq!((after.payload_type, after.sequence_number, after.timestamp), (0, 13, 8 * 160));
    }

    #[test]
    fn a_pause_moves_the_timestamp_only() {
        let identity = RtpIdentity { ssrc: 1, sequence_number: 5, timestamp: 0, loss_seed: 1 };
        let mut stream = RtpStream::new(PayloadCodec::Pcmu, 0, 0.0, identity).unwrap();
        let next = |stream: &mut RtpStream| {
            let mut bytes = stream.next_packet(&[0; 160]).unwrap().unwrap();
            let header = Packet::unmarshal(&mut bytes).unwrap().header;
            (header.sequence_number, header.timestamp)
        };
        assert_eq!(next(&mut stream), (5, 0));
        stream.pause();
        stream.pause();
        assert_eq!(next(&mut stream), (6, 480));
    }

    #[test]
    fn the_wanted_share_of_packets_gets_lost_and_leaves_a_gap() {
        let packets = packets(PayloadCodec::Pcmu, 5_000, 10.0);
        let lost = packets.iter().filter(|packet| packet.is_none()).count();
        assert!((400..600).contains(&lost), "{lost} of 5000");
        let after = packets.iter().position(Option::is_none).unwrap() + 1;
        let next = packets[after..].iter().position(Option::is_some).unwrap() + after;
        let sequence_number = packets[next].as_ref().unwrap().header.sequence_number;
        assert_eq!(sequence_number, u16::MAX.wrapping_add(next as u16));
    }
}
