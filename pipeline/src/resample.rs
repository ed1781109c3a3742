//! Sample rate conversion of one party's stream, for recognisers that want another rate.

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

/// The sample rates that can be converted into each other, in Hz.
pub const SAMPLE_RATES: [u32; 6] = [8_000, 16_000, 24_000, 32_000, 40_000, 48_000];

/// The converter works on blocks of this many milliseconds.
///
/// Its filter is as long as a block, so what comes out lags what went in by half a block (5 ms),
/// and by up to a block more while input waits for its block to fill. Telephone frames are
/// multiples of 10 ms, so for them the lag is 5 ms.
pub const BLOCK_MS: u32 = 10;

/// Why a conversion cannot be set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResampleError {
    /// One of the rates is not in [`SAMPLE_RATES`].
    #[error("sample rate {0} Hz is not supported; use a multiple of 8000 up to 48000")]
    UnsupportedRate(u32),
}

/// A streaming converter of mono audio between two fixed rates. Equal rates pass through.
///
/// The filter's delay is compensated: output sample `n * output_rate / input_rate` is input
/// sample `n`, and the output of a whole stream, with [`flush`](Self::flush), has the length of
/// the input times the ratio, rounded up.
pub struct Resampler {
    input_rate: u32,
    output_rate: u32,
    /// `None` when the rates are equal.
    converter: Option<Fft<f32>>,
    /// Input that waits for its block to fill: always less than a block.
    pending: Vec<f32>,
    pushed: u64,
    returned: u64,
    /// Leading output still to drop, which is the filter's delay and not the party's audio.
    delay_left: usize,
}

impl Resampler {
    /// A converter from `input_rate` to `output_rate`, in Hz.
    ///
    /// # Errors
    /// [`ResampleError::UnsupportedRate`] unless both are in [`SAMPLE_RATES`].
    pub fn new(input_rate: u32, output_rate: u32) -> Result<Self, ResampleError> {
        for rate in [input_rate, output_rate] {
            if !SAMPLE_RATES.contains(&rate) {
                return Err(ResampleError::UnsupportedRate(rate));
            }
        }
        let converter = (input_rate != output_rate).then(|| converter(input_rate, output_rate));
        Ok(Self {
            input_rate,
            output_rate,
            pending: Vec::new(),
            pushed: 0,
            returned: 0,
            delay_left: converter.as_ref().map_or(0, |converter| converter.output_delay()),
            converter,
        })
    }

    /// Takes 16-bit PCM, returns the samples that are ready, in -1 to 1. Over- and undershoot of
    /// the filter may pass 1 by a little when the input is at full scale.
    pub fn push(&mut self, pcm: &[i16]) -> Vec<f32> {
        self.pushed += pcm.len() as u64;
        self.convert(pcm.iter().map(|&sample| f32::from(sample) / 32_768.0))
    }

    /// Returns the rest of the stream. The converter then starts afresh, with another stream.
    pub fn flush(&mut self) -> Vec<f32> {
        let total = (self.pushed * u64::from(self.output_rate)).div_ceil(self.input_rate.into());
        let owed = (total - self.returned) as usize;
        let mut tail = Vec::with_capacity(owed);
        while tail.len() < owed {
            let block = self.block_len();
            tail.extend(self.convert(std::iter::repeat_n(0.0, block)));
        }
        tail.truncate(owed);

        self.pending.clear();
        (self.pushed, self.returned) = (0, 0);
        if let Some(converter) = &mut self.converter {
            converter.reset();
            self.delay_left = converter.output_delay();
        }
        tail
    }

    fn convert(&mut self, input: impl Iterator<Item = f32>) -> Vec<f32> {
        self.pending.extend(input);
        let block = self.block_len();
        let Some(converter) = &mut self.converter else {
            let output = std::mem::take(&mut self.pending);
            self.returned += output.len() as u64;
            return output;
        };
        let mut output = Vec::new();
        let mut blocks = self.pending.chunks_exact(block);
        for input in &mut blocks {
            let start = output.len();
            output.resize(start + converter.output_frames_next(), 0.0);
            run(converter, input, &mut output[start..]);
        }
        self.pending = blocks.remainder().to_vec();

        let dropped = self.delay_left.min(output.len());
        output.drain(..dropped);
        self.delay_left -= dropped;
        self.returned += output.len() as u64;
        output
    }

    fn block_len(&self) -> usize {
        (self.input_rate * BLOCK_MS / 1000) as usize
    }
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resampler")
            .field("input_rate", &self.input_rate)
            .field("output_rate", &self.output_rate)
            .finish_non_exhaustive()
    }
}

/// A Blackman window passes telephone speech (3.4 kHz at 8 kHz) with a filter this short; its
/// images are 70 dB down.
fn converter(input_rate: u32, output_rate: u32) -> Fft<f32> {
    let block = (input_rate * BLOCK_MS / 1000) as usize;
    Fft::new_custom(
        input_rate as usize,
        output_rate as usize,
        block,
        1,
        1,
        WindowFunction::Blackman,
        FixedSync::Both,
    )
    .expect("both rates are in SAMPLE_RATES and the block is not empty")
}

fn run(converter: &mut Fft<f32>, input: &[f32], output: &mut [f32]) {
    let frames = output.len();
    let input = InterleavedSlice::new(input, 1, input.len()).expect("one channel fills its slice");
    let mut output =
        InterleavedSlice::new_mut(output, 1, frames).expect("one channel fills its slice");
    converter
        .process_into_buffer(&input, &mut output, None)
        .expect("the slices are exactly one block long");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sine(rate: u32, hz: f64, samples: usize) -> Vec<i16> {
        let step = hz / f64::from(rate) * std::f64::consts::TAU;
        (0..samples).map(|n| ((n as f64 * step).sin() * 16_000.0).round() as i16).collect()
    }

    fn whole(input_rate: u32, output_rate: u32, pcm: &[i16]) -> Vec<f32> {
        let mut resampler = Resampler::new(input_rate, output_rate).unwrap();
        let mut output = resampler.push(pcm);
        output.extend(resampler.flush());
        output
    }

    #[test]
    fn a_tone_keeps_its_phase_and_its_loudness() {
        for (input_rate, output_rate) in [(8_000, 16_000), (48_000, 16_000), (16_000, 8_000)] {
            for hz in [100.0, 1000.0, 3000.0] {
                let output = whole(input_rate, output_rate, &sine(input_rate, hz, 4800));
                let wanted = sine(output_rate, hz, output.len());
                // The ends of a tone are steps, which no filter reproduces.
                for n in output.len() / 4..output.len() * 3 / 4 {
                    let error = (output[n] - f32::from(wanted[n]) / 32_768.0).abs();
                    assert!(error < 0.005, "{input_rate} to {output_rate}, {hz} Hz: {n}, {error}");
                }
            }
        }
    }

    #[test]
    fn nothing_above_the_telephone_band_is_invented() {
        // What an upsampler gets wrong is the mirror image: 1 kHz would reappear at 7 kHz.
        let output = whole(8_000, 16_000, &sine(8_000, 1000.0, 8_000));
        let (mut re, mut im) = (0.0_f64, 0.0_f64);
        for (n, &sample) in output[4000..12_000].iter().enumerate() {
            let phase = n as f64 * 7000.0 / 16_000.0 * std::f64::consts::TAU;
            re += f64::from(sample) * phase.cos();
            im += f64::from(sample) * phase.sin();
        }
        let amplitude = re.hypot(im) / 4000.0;
        assert!(amplitude < 0.5 * 0.001, "image of {amplitude}");
    }

    #[test]
    fn equal_rates_pass_through() {
        let mut resampler = Resampler::new(16_000, 16_000).unwrap();
        assert_eq!(resampler.push(&[i16::MIN, 0, 16_384]), [-1.0, 0.0, 0.5]);
        assert!(resampler.flush().is_empty());
    }

    #[test]
    fn a_telephone_frame_comes_out_within_five_milliseconds() {
        let mut resampler = Resampler::new(8_000, 16_000).unwrap();
        let frame = [0; 160];
        assert_eq!(resampler.push(&frame).len(), 320 - 80);
        assert_eq!(resampler.push(&frame).len(), 320);
    }

    #[test]
    fn unknown_rates_are_refused() {
        for (input, output) in [(0, 16_000), (44_101, 16_000)] {
            let error = Resampler::new(input, output).unwrap_err();
            assert_eq!(error, ResampleError::UnsupportedRate(input));
        }
        assert!(Resampler::new(8_000, 44_100).is_err());
    }

    proptest! {
        #[test]
        fn the_cut_into_pushes_does_not_matter(
            pcm in prop::collection::vec(any::<i16>(), 0..2000),
            cuts in prop::collection::vec(1_usize..500, 1..10),
        ) {
            let at_once = whole(8_000, 16_000, &pcm);
            prop_assert_eq!(at_once.len(), pcm.len() * 2);

            let mut resampler = Resampler::new(8_000, 16_000).unwrap();
            let mut output = Vec::new();
            let mut rest = pcm.as_slice();
            for &cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(cut.min(rest.len()));
                output.extend(resampler.push(now));
                rest = later;
            }
            output.extend(resampler.flush());
            prop_assert_eq!(&output, &at_once);

            // After a flush the converter is as good as new.
            let mut again = resampler.push(&pcm);
            again.extend(resampler.flush());
            prop_assert_eq!(&again, &at_once);
        }
    }
}
