//! Changing the sample rate of a whole recording, without moving it in time.

use super::Audio;
use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};
use thiserror::Error;

/// The resampler refused the recording.
#[derive(Debug, Error)]
#[error("cannot resample from {from} Hz to {to} Hz ({reason}): convert the recording to {to} Hz")]
pub struct ResampleError {
    /// The rate of the recording in Hz.
    pub from: u32,
    /// The wanted rate in Hz.
    pub to: u32,
    /// What the resampler said.
    pub reason: String,
}

/// Input frames for one step of the resampler.
const CHUNK_FRAMES: usize = 1024;

impl Audio {
    /// The same recording at another rate, `sample_rate` in Hz. Sample `n` stays at its instant:
    /// the delay of the filter is taken off.
    ///
    /// # Errors
    /// [`ResampleError`] when the resampler cannot do this pair of rates.
    pub fn resampled(&self, sample_rate: u32) -> Result<Audio, ResampleError> {
        if sample_rate == self.sample_rate || self.samples.is_empty() {
            return Ok(Audio { samples: self.samples.clone(), sample_rate });
        }
        let error =
            |reason: String| ResampleError { from: self.sample_rate, to: sample_rate, reason };
        let input: Vec<f32> = self.samples.iter().map(|sample| f32::from(*sample)).collect();
        let frames = input.len();
        let input =
            InterleavedSlice::new(&input, 1, frames).map_err(|source| error(source.to_string()))?;
        let mut resampler = Fft::<f32>::new(
            self.sample_rate as usize,
            sample_rate as usize,
            CHUNK_FRAMES,
            1,
            FixedSync::Input,
        )
        .map_err(|source| error(source.to_string()))?;
        let output = resampler
            .process_all(&input, frames, None)
            .map_err(|source| error(source.to_string()))?
            .take_data();
        let samples: Vec<i16> = output.into_iter().map(|sample| sample.round() as i16).collect();
        Ok(Audio { samples: samples.into(), sample_rate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 1 kHz burst from 300 ms to 500 ms within one second.
    fn burst(sample_rate: u32) -> Audio {
        let samples = (0..sample_rate)
            .map(|n| {
                let t = f64::from(n) / f64::from(sample_rate);
                let level = if (0.3..0.5).contains(&t) { 8_000.0 } else { 0.0 };
                ((t * 1000.0 * std::f64::consts::TAU).sin() * level) as i16
            })
            .collect();
        Audio::from_samples(samples, sample_rate).unwrap()
    }

    #[test]
    fn sound_stays_at_its_instant_and_level() {
        for from in [8_000, 16_000, 22_050, 44_100, 48_000] {
            for to in [8_000, 16_000] {
                let audio = burst(from).resampled(to).unwrap();
                assert_eq!(audio.sample_rate(), to);
                assert!(audio.samples().len().abs_diff(to as usize) <= 1, "{from} to {to}");
                let loud = |n: &&(usize, &i16)| n.1.unsigned_abs() > 4_000;
                let seconds = |n: usize| n as f64 / f64::from(to);
                let samples: Vec<(usize, &i16)> = audio.samples().iter().enumerate().collect();
                let first = seconds(samples.iter().find(loud).unwrap().0);
                let last = seconds(samples.iter().rfind(loud).unwrap().0);
                assert!((first - 0.3).abs() < 0.002, "{from} to {to}: starts at {first}");
                assert!((last - 0.5).abs() < 0.002, "{from} to {to}: ends at {last}");
            }
        }
    }

    #[test]
    fn full_scale_saturates_instead_of_wrapping() {
        let square: Vec<i16> =
            (0..16_000).map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let audio = Audio::from_samples(square, 16_000).unwrap().resampled(8_000).unwrap();
        // Ringing at the edges of the square wave exceeds full scale; wrapped samples would put
        // opposite extremes next to each other in the middle of a half wave.
        let middle_of_half_waves = audio.samples()[5..].chunks(10).take(700);
        for (n, half_wave) in middle_of_half_waves.enumerate() {
            assert_eq!(half_wave[0] > 0, n % 2 == 0, "half wave {n}");
        }
    }
}
