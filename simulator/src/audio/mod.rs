//! What a party says: decoded mono samples, from a WAV file or from a generator.

mod generate;
mod resample;
mod wav;

pub use resample::ResampleError;
pub use wav::{AudioFileError, WavError};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Mono 16-bit samples with their rate. A clone shares the samples.
#[derive(Clone, PartialEq, Eq)]
pub struct Audio {
    samples: Arc<[i16]>,
    sample_rate: u32,
}

impl Audio {
    /// The lowest sample rate, in Hz.
    pub const MIN_SAMPLE_RATE: u32 = 8_000;
    /// The highest sample rate, in Hz.
    pub const MAX_SAMPLE_RATE: u32 = 48_000;
    /// The longest recording: longer than any call, short enough to hold in memory.
    pub const MAX_DURATION: Duration = Duration::from_secs(4 * 3600);

    /// Samples at full scale of `i16`, `sample_rate` in Hz.
    ///
    /// # Errors
    /// [`WavError::UnsupportedRate`] and [`WavError::TooLong`], with the same limits as a file.
    pub fn from_samples(samples: Vec<i16>, sample_rate: u32) -> Result<Self, WavError> {
        wav::check_rate(sample_rate)?;
        wav::check_length(samples.len() as u64, sample_rate)?;
        Ok(Self { samples: samples.into(), sample_rate })
    }

    /// The samples.
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// The sample rate in Hz.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// A part of the recording, which goes on from its start when it ends before `length` is reached. Nothing but silence
    /// comes from an empty one. Cut at [`Audio::MAX_DURATION`].
    pub fn excerpt(&self, begin: Duration, length: Duration) -> Self {
        let samples = |time: Duration| (time.as_secs_f64() * f64::from(self.sample_rate)) as usize;
        let count = samples(length.min(Self::MAX_DURATION));
        let excerpt = self.samples.iter().copied().cycle().skip(samples(begin)).take(count);
        let mut excerpt: Vec<i16> = excerpt.collect();
        excerpt.resize(count, 0);
        Self { samples: excerpt.into(), sample_rate: self.sample_rate }
    }

    /// The length in time.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.samples.len() as f64 / f64::from(self.sample_rate))
    }
}

/// The length only: what is said stays out of logs.
impl fmt::Debug for Audio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audio")
            .field("duration", &self.duration())
            .field("sample_rate", &self.sample_rate)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_begins_within_the_recording_and_goes_round() {
        let samples: Vec<i16> = (0..8_000).collect();
        let recording = Audio::from_samples(samples, 8_000).unwrap();
        let excerpt = recording.excerpt(Duration::from_millis(750), Duration::from_millis(500));
        assert_eq!(excerpt.samples().len(), 4_000);
        assert_eq!([excerpt.samples()[0], excerpt.samples()[2_000]], [6_000, 0]);
        let nothing = Audio::silence(Duration::ZERO);
        let silence = nothing.excerpt(Duration::ZERO, Duration::from_millis(10));
        assert_eq!(silence.samples(), [0; 160]);
    }
}
