//! G.722 at 64 kbit/s: 16 kHz audio, although its RTP clock says 8000 (RFC 3551 section 4.5.2).

use super::Codec;
use super::concealer::Concealer;
use ezk_g722::libg722::Bitrate;
use ezk_g722::libg722::decoder::Decoder;
use ezk_g722::libg722::encoder::Encoder;
use std::fmt;

/// Two samples in a byte.
const SAMPLES_PER_BYTE: usize = 2;

/// The decoder adapts its predictors to what it hears, so that a loss is audible for a moment
/// after it.
pub(super) struct G722Decoder {
    decoder: Decoder,
    concealer: Concealer,
}

impl G722Decoder {
    pub(super) fn new() -> Self {
        Self { decoder: new_decoder(), concealer: Concealer::new(Codec::G722.sample_rate()) }
    }

    pub(super) fn decode(&mut self, payload: &[u8]) -> Vec<i16> {
        let pcm = self.decoder.decode(payload);
        self.concealer.heard(&pcm);
        pcm
    }

    pub(super) fn conceal(&mut self, samples: usize) -> Vec<i16> {
        self.concealer.conceal(samples)
    }

    pub(super) fn reset(&mut self) {
        self.decoder = new_decoder();
        self.concealer.reset();
    }
}

impl fmt::Debug for G722Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("G722Decoder").finish_non_exhaustive()
    }
}

/// Samples in a payload of `bytes` bytes.
pub(super) const fn duration(bytes: usize) -> u64 {
    (bytes * SAMPLES_PER_BYTE) as u64
}

/// The payload of `samples` samples of silence.
pub(super) fn silence(samples: usize) -> Vec<u8> {
    Encoder::new(Bitrate::Mode1_64000, false, false).encode(&vec![0; samples])
}

fn new_decoder() -> Decoder {
    Decoder::new(Bitrate::Mode1_64000, false, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tone_of_6_khz_survives() {
        // Above what 8 kHz sampling can carry.
        let tone: Vec<i16> = (0..16_000)
            .map(|n| ((f64::from(n) * 0.375 * std::f64::consts::TAU).sin() * 8000.0) as i16)
            .collect();
        let payload = Encoder::new(Bitrate::Mode1_64000, false, false).encode(&tone);
        assert_eq!(duration(payload.len()), 16_000);
        let mut decoder = G722Decoder::new();
        let heard: Vec<i16> =
            payload.chunks(160).flat_map(|packet| decoder.decode(packet)).collect();
        assert_eq!(heard.len(), tone.len());
        // The filter bank delays by 22 samples.
        let delay = (0..40).max_by_key(|&delay| product(&heard[1000 + delay..], &tone[1000..]));
        let delay = delay.unwrap();
        let likeness = product(&heard[1000 + delay..], &tone[1000..]) as f64
            / ((product(&heard[1000..], &heard[1000..]) as f64)
                * (product(&tone[1000..], &tone[1000..]) as f64))
                .sqrt();
        assert!(likeness > 0.95, "{likeness} at a delay of {delay}");
    }

    fn product(a: &[i16], b: &[i16]) -> i64 {
        a.iter().zip(b).take(14_000).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum()
    }

    proptest! {
        #[test]
        fn any_payload_is_survived(payloads in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 1..960),
                (any::<u8>(), 1_usize..960).prop_map(|(code, length)| vec![code; length]),
            ],
            1..20,
        )) {
            let mut decoder = G722Decoder::new();
            for payload in payloads {
                let pcm = decoder.decode(&payload);
                prop_assert_eq!(pcm.len() as u64, duration(payload.len()));
                prop_assert_eq!(decoder.conceal(320).len(), 320);
            }
        }
    }
}
