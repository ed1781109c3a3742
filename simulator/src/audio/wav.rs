//! Reading WAV files: 16-bit mono PCM at any common rate.

use super::Audio;
use hound::{SampleFormat, WavReader};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why bytes are not a usable WAV recording.
#[derive(Debug, Error)]
pub enum WavError {
    /// The bytes are not a RIFF/WAVE file, or its header contradicts itself.
    #[error("not a WAV file ({reason}): give a RIFF/WAVE file with 16-bit mono PCM")]
    NotWav {
        /// What is wrong with the header.
        reason: String,
    },
    /// The file ends before the samples that its header announces.
    #[error("the WAV file is truncated: copy it again, it ends before its samples do")]
    Truncated,
    /// The recording has more than one channel.
    #[error("the WAV file has {channels} channels: give one mono file for each party")]
    NotMono {
        /// The number of channels.
        channels: u16,
    },
    /// The samples are not 16-bit integers.
    #[error("the WAV file has {found} samples: convert it to 16-bit PCM")]
    NotPcm16 {
        /// What the samples are instead.
        found: String,
    },
    /// The sample rate is out of range.
    #[error("the sample rate {rate} Hz is not supported: use 8000 to 48000 Hz")]
    UnsupportedRate {
        /// The sample rate in Hz.
        rate: u32,
    },
    /// The recording is longer than [`Audio::MAX_DURATION`].
    #[error("the recording lasts {hours:.1} hours: cut it to at most 4 hours")]
    TooLong {
        /// The length in hours.
        hours: f64,
    },
}

/// Why a file could not be taken as a recording.
#[derive(Debug, Error)]
pub enum AudioFileError {
    /// The file could not be read.
    #[error("cannot read {}: check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file was read, but is no usable recording.
    #[error("cannot use {}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: WavError,
    },
}

impl Audio {
    /// Reads a WAV file: 16-bit mono PCM, 8000 to 48000 Hz, at most 4 hours.
    ///
    /// # Errors
    /// [`AudioFileError`] names the file and what is wrong with it.
    pub fn from_wav(path: impl AsRef<Path>) -> Result<Self, AudioFileError> {
        let path = path.as_ref();
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(path)?.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes =
            read().map_err(|source| AudioFileError::Read { path: path.to_owned(), source })?;
        Self::from_wav_bytes(&bytes)
            .map_err(|source| AudioFileError::Invalid { path: path.to_owned(), source })
    }

    /// Reads the bytes of a WAV file, with the limits of [`Audio::from_wav`].
    ///
    /// # Errors
    /// [`WavError`] says what is wrong with the bytes.
    pub fn from_wav_bytes(bytes: &[u8]) -> Result<Self, WavError> {
        if bytes.len() < 12 || &bytes[..4] != b"RIFF" || &bytes[8..12] != b"WAVE" {
            return Err(WavError::NotWav { reason: "no RIFF/WAVE header".into() });
        }
        let mut reader = WavReader::new(bytes).map_err(header_error)?;
        let spec = reader.spec();
        if spec.channels != 1 {
            return Err(WavError::NotMono { channels: spec.channels });
        }
        if spec.sample_format != SampleFormat::Int || spec.bits_per_sample != 16 {
            let kind = match spec.sample_format {
                SampleFormat::Int => "integer",
                SampleFormat::Float => "floating-point",
            };
            return Err(WavError::NotPcm16 {
                found: format!("{}-bit {kind}", spec.bits_per_sample),
            });
        }
        check_rate(spec.sample_rate)?;
        check_length(u64::from(reader.duration()), spec.sample_rate)?;
        // The header's length is a claim; it must not size an allocation by itself.
        if reader.duration() as usize > bytes.len() / 2 {
            return Err(WavError::Truncated);
        }
        let samples =
            reader.samples::<i16>().collect::<Result<Vec<_>, _>>().map_err(header_error)?;
        Self::from_samples(samples, spec.sample_rate)
    }
}

/// The longest recording at the highest rate, with room for the chunks around the samples.
const MAX_FILE_BYTES: u64 =
    Audio::MAX_DURATION.as_secs() * Audio::MAX_SAMPLE_RATE as u64 * 2 + (1 << 20);

pub(super) fn check_rate(rate: u32) -> Result<(), WavError> {
    if (Audio::MIN_SAMPLE_RATE..=Audio::MAX_SAMPLE_RATE).contains(&rate) {
        Ok(())
    } else {
        Err(WavError::UnsupportedRate { rate })
    }
}

pub(super) fn check_length(samples: u64, sample_rate: u32) -> Result<(), WavError> {
    if samples > Audio::MAX_DURATION.as_secs() * u64::from(sample_rate) {
        Err(WavError::TooLong { hours: samples as f64 / f64::from(sample_rate) / 3600.0 })
    } else {
        Ok(())
    }
}

fn header_error(error: hound::Error) -> WavError {
    match error {
        // The reader runs over a slice: the only failure is that the bytes have run out.
        hound::Error::IoError(_) => WavError::Truncated,
        hound::Error::FormatError(reason) => WavError::NotWav { reason: reason.into() },
        hound::Error::Unsupported
        | hound::Error::TooWide
        | hound::Error::InvalidSampleFormat
        | hound::Error::UnfinishedSample => WavError::NotPcm16 { found: "compressed".into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A canonical WAV file; `data_bytes` is what its header claims.
    fn wav(format: u16, channels: u16, rate: u32, bits: u16, data: &[u8], claim: u32) -> Vec<u8> {
        let block = channels * bits / 8;
        let mut bytes = b"RIFF".to_vec();
        bytes.extend((36 + claim).to_le_bytes());
        bytes.extend(b"WAVEfmt ");
        bytes.extend(16u32.to_le_bytes());
        bytes.extend(format.to_le_bytes());
        bytes.extend(channels.to_le_bytes());
        bytes.extend(rate.to_le_bytes());
        bytes.extend((rate * u32::from(block)).to_le_bytes());
        bytes.extend(block.to_le_bytes());
        bytes.extend(bits.to_le_bytes());
        bytes.extend(b"data");
        bytes.extend(claim.to_le_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn sixteen_bit_mono_is_read_at_any_common_rate() {
        for rate in [8_000, 11_025, 16_000, 22_050, 44_100, 48_000] {
            let audio =
                Audio::from_wav_bytes(&wav(1, 1, rate, 16, &[1, 0, 0xff, 0x7f, 0, 0x80], 6))
                    .unwrap();
            assert_eq!(audio.samples(), [1, i16::MAX, i16::MIN]);
            assert_eq!(audio.sample_rate(), rate);
        }
    }

    #[test]
    fn each_defect_has_its_own_error() {
        let data = [0u8; 8];
        let good = wav(1, 1, 16_000, 16, &data, 8);
        let four_hours = 4 * 3600 * 8_000 * 2;
        type Check = fn(&WavError) -> bool;
        let table: [(&str, Vec<u8>, Check); 12] = [
            ("empty", vec![], |e| matches!(e, WavError::NotWav { .. })),
            ("text", b"hello, this is not audio".to_vec(), |e| {
                matches!(e, WavError::NotWav { .. })
            }),
            ("header cut", good[..30].to_vec(), |e| matches!(e, WavError::Truncated)),
            ("data cut", good[..46].to_vec(), |e| matches!(e, WavError::Truncated)),
            ("claims 1 GB", wav(1, 1, 48_000, 16, &data, 1 << 30), |e| {
                matches!(e, WavError::Truncated)
            }),
            ("stereo", wav(1, 2, 16_000, 16, &data, 8), |e| {
                matches!(e, WavError::NotMono { channels: 2 })
            }),
            ("float", wav(3, 1, 16_000, 32, &data, 8), |e| matches!(e, WavError::NotPcm16 { .. })),
            ("8 bit", wav(1, 1, 16_000, 8, &data, 8), |e| matches!(e, WavError::NotPcm16 { .. })),
            ("24 bit", wav(1, 1, 16_000, 24, &data[..6], 6), |e| {
                matches!(e, WavError::NotPcm16 { .. })
            }),
            ("mu-law", wav(7, 1, 8_000, 8, &data, 8), |e| matches!(e, WavError::NotPcm16 { .. })),
            ("96 kHz", wav(1, 1, 96_000, 16, &data, 8), |e| {
                matches!(e, WavError::UnsupportedRate { rate: 96_000 })
            }),
            ("too long", wav(1, 1, 8_000, 16, &data, four_hours + 2), |e| {
                matches!(e, WavError::TooLong { .. })
            }),
        ];
        for (name, bytes, expected) in table {
            let error = Audio::from_wav_bytes(&bytes).expect_err(name);
            assert!(expected(&error), "{name}: {error:?}");
        }
    }

    #[test]
    fn no_prefix_and_no_changed_byte_of_a_file_panics() {
        let good = wav(1, 1, 16_000, 16, &[0u8; 64], 64);
        for length in 0..good.len() {
            let _ = Audio::from_wav_bytes(&good[..length]);
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = good.clone();
                changed[length] = value;
                let _ = Audio::from_wav_bytes(&changed);
            }
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Audio::from_wav("/no/such/call.wav").unwrap_err();
        assert!(matches!(error, AudioFileError::Read { .. }));
        assert!(error.to_string().contains("/no/such/call.wav"));
    }
}
