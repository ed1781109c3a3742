use super::{FrameEncoder, PayloadCodec};
use crate::audio::{Audio, ResampleError};
use crate::plan::Codec;
use bytes::Bytes;
use thiserror::Error;

/// Why a recording cannot be encoded.
#[derive(Debug, Error)]
pub enum EncodeError {
    /// The recording cannot be brought to the codec's sample rate.
    #[error("cannot resample the recording")]
    Resample(#[from] ResampleError),
    /// The codec refused the recording.
    #[error("cannot encode the recording")]
    Encode(#[from] audiopus::Error),
}

impl Audio {
    /// The recording as RTP payloads of 20 ms each, at least one; the last is filled up with silence. With Opus, the
    /// redundancy for in-band error correction is what this loss, in percent, calls for.
    ///
    /// # Errors
    /// [`EncodeError`] says which step failed.
    pub fn encoded(
        &self,
        codec: Codec,
        expected_loss_percent: f32,
    ) -> Result<Vec<Bytes>, EncodeError> {
        let codec = PayloadCodec::from(codec);
        let recording = self.resampled(codec.sample_rate())?;
        let mut encoder = FrameEncoder::new(codec, expected_loss_percent)?;
        let mut frame = vec![0; codec.frame_samples()];
        let mut payloads = Vec::new();
        let mut frames = recording.samples().chunks(frame.len()).peekable();
        while payloads.is_empty() || frames.peek().is_some() {
            let samples = frames.next().unwrap_or_default();
            frame.fill(0);
            frame[..samples.len()].copy_from_slice(samples);
            payloads.push(encoder.encode(&frame)?);
        }
        Ok(payloads)
    }
}
