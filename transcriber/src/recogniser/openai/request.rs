//! The request: multipart/form-data (RFC 7578) with a WAV file.

use pipeline::speech::SAMPLE_RATE;

use super::OpenAiOptions;
use crate::recogniser::grpc::pcm;

/// Ends each part of the form. Longer than anything that occurs in audio or in a model's name by chance.
const BOUNDARY: &str = "sidetone-7b1f6f0f4a5d4c0e9d3b1f2a8c6e5d40";

/// A request's body, which can be sent more than once.
pub(super) struct Form(bytes::Bytes);

impl Form {
    /// With a file that ought to be a WAV file.
    pub(super) fn new(file: &[u8], options: &OpenAiOptions) -> Self {
        let mut body = Vec::with_capacity(file.len() + 2_048);
        let mut field = |name: &str, value: &str| {
            // A line break would end the part's headers or the part; no name or word has one.
            let value = value.replace(['\r', '\n'], " ");
            let part = format!(
                "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
            body.extend_from_slice(part.as_bytes());
        };
        field("model", &options.model);
        field("response_format", "verbose_json");
        field("timestamp_granularities[]", "word");
        field("timestamp_granularities[]", "segment");
        field("temperature", "0");
        if !options.language.is_empty() {
            field("language", &options.language);
        }
        if !options.vocabulary.is_empty() {
            field("prompt", &options.vocabulary.join(", "));
        }
        let header = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"utterance.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
        );
        body.extend_from_slice(header.as_bytes());
        body.extend_from_slice(file);
        body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        Self(body.into())
    }

    pub(super) fn content_type(&self) -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }

    pub(super) fn body(&self) -> bytes::Bytes {
        self.0.clone()
    }
}

/// A WAV file of some audio: 16-bit PCM, mono, 16 kHz.
pub fn wav(audio: &[f32]) -> Vec<u8> {
    let pcm = pcm(audio);
    let rate = SAMPLE_RATE as u32;
    let length = pcm.len() as u32;
    let mut file = Vec::with_capacity(44 + pcm.len());
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + length).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16_u32.to_le_bytes());
    file.extend_from_slice(&1_u16.to_le_bytes());
    file.extend_from_slice(&1_u16.to_le_bytes());
    file.extend_from_slice(&rate.to_le_bytes());
    file.extend_from_slice(&(2 * rate).to_le_bytes());
    file.extend_from_slice(&2_u16.to_le_bytes());
    file.extend_from_slice(&16_u16.to_le_bytes());
    file.extend_from_slice(b"data");
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(&pcm);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_can_read_the_file() {
        let file = wav(&[0.0, 0.5, -1.0, 1.0]);
        let mut reader = hound::WavReader::new(file.as_slice()).unwrap();
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 16_000, 16));
        let samples: Vec<i16> = reader.samples::<i16>().map(Result::unwrap).collect();
        assert_eq!(samples, [0, 16_383, -32_767, 32_767]);
    }
}
