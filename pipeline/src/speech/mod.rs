//! From a party's samples to the windows that a recogniser is given: voice activity detection and endpointing.
//!
//! Everything here runs at 16 kHz ([`SAMPLE_RATE`]), and counts samples from the party's sample 0.

mod detector;
mod segmenter;

pub use detector::{FRAME_LEN, Voice, VoiceDetector};
pub use segmenter::{Endpointing, OpenUtterance, Segmenter, SpeechEvent, Window};

/// Samples per second of everything that speech recognition sees.
pub const SAMPLE_RATE: u64 = 16_000;

/// Samples at [`SAMPLE_RATE`] in a number of milliseconds.
pub const fn samples(ms: u64) -> u64 {
    ms * SAMPLE_RATE / 1000
}

/// Milliseconds in a number of samples at [`SAMPLE_RATE`], rounded down.
pub const fn millis(samples: u64) -> u64 {
    samples * 1000 / SAMPLE_RATE
}
