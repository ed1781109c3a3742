//! Packets of silence: the far side latches onto the source of the first one, and drops calls that send nothing.

use pipeline::rtp::PayloadFormat;

/// A sender of one packet of silence now and then.
#[derive(Debug)]
pub struct KeepAlive {
    format: PayloadFormat,
    silence: Vec<u8>,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

impl KeepAlive {
    /// `seed` gives the random start values that RFC 3550 section 5.1 asks for.
    pub fn new(format: PayloadFormat, seed: u128) -> Self {
        Self {
            format,
            silence: format.codec.silence(),
            ssrc: seed as u32,
            // SRTP wants room before the first rollover (RFC 3711 section 3.3.1).
            sequence: (seed >> 32) as u16 & 0x7fff,
            timestamp: (seed >> 64) as u32,
        }
    }

    /// Who sends.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
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
        packet.extend_from_slice(&self.silence);
        packet
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use pipeline::codec::Codec;
    use pipeline::rtp::{PartyAudio, RtpReceiver};

    use super::*;

    #[test]
    fn every_codec_hears_silence() {
        for (codec, payload_type, clock_rate) in [
            (Codec::Opus, 109, 16_000),
            (Codec::Opus, 111, 48_000),
            (Codec::Pcmu, 0, 8_000),
            (Codec::Pcma, 8, 8_000),
            (Codec::G722, 9, 8_000),
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
