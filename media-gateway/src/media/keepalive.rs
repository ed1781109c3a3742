//! Packets of silence: the far side latches onto the source of the first one, and drops calls that send nothing.

use pipeline::codec::Codec;
use pipeline::rtp::PayloadFormat;

/// An Opus packet of 20 ms of silence: CELT, full band, mono (RFC 6716 section 3.1).
const OPUS_SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];

/// Samples of 20 ms of G.711.
const G711_FRAME: usize = 160;

/// A sender of one packet of silence now and then.
#[derive(Debug)]
pub struct KeepAlive {
    format: PayloadFormat,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

impl KeepAlive {
    /// `seed` gives the random start values that RFC 3550 section 5.1 asks for.
    pub fn new(format: PayloadFormat, seed: u128) -> Self {
        Self {
            format,
            ssrc: seed as u32,
            sequence: (seed >> 32) as u16,
            timestamp: (seed >> 64) as u32,
        }
    }

    /// The next packet, sent `elapsed_ms` after the one before.
    pub fn packet(&mut self, elapsed_ms: u32) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let ticks_per_ms = self.format.clock_rate / 1000;
        self.timestamp = self.timestamp.wrapping_add(elapsed_ms.wrapping_mul(ticks_per_ms));
        // Version 2, and the marker: each packet starts after silence.
        let mut packet = vec![0x80, 0x80 | self.format.payload_type];
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&self.timestamp.to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        match self.format.codec {
            Codec::Opus => packet.extend_from_slice(&OPUS_SILENCE),
            Codec::Pcmu => packet.extend_from_slice(&[0xff; G711_FRAME]),
            Codec::Pcma => packet.extend_from_slice(&[0xd5; G711_FRAME]),
        }
        packet
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use pipeline::rtp::{PartyAudio, RtpReceiver};

    use super::*;

    #[test]
    fn every_codec_hears_silence() {
        for (codec, payload_type, clock_rate) in [
            (Codec::Opus, 109, 16_000),
            (Codec::Opus, 111, 48_000),
            (Codec::Pcmu, 0, 8_000),
            (Codec::Pcma, 8, 8_000),
        ] {
            let format = PayloadFormat { codec, payload_type, clock_rate };
            let mut receiver = RtpReceiver::new(format).unwrap();
            let packet = KeepAlive::new(format, 7 << 70).packet(0);
            receiver.handle_datagram(Instant::now(), &packet).unwrap();
            let Some(PartyAudio::Frame { pcm, .. }) = receiver.poll_audio() else {
                panic!("{codec:?} gave no audio")
            };
            assert_eq!(pcm.len() as u32, codec.sample_rate() / 50, "{codec:?}");
            assert!(pcm.iter().all(|sample| sample.abs() <= 8), "{codec:?}: {pcm:?}");
        }
    }
}
