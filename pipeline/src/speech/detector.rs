use earshot::Detector;

/// Samples in a frame of the detector: 16 ms.
pub const FRAME_LEN: usize = 256;

/// A frame scores as speech while nobody speaks from this score on ...
const ONSET_SCORE: f32 = 0.5;
/// ... and goes on as speech down to this one.
const OFFSET_SCORE: f32 = 0.35;

/// Frames quieter than this (RMS, full scale = 1) are never speech: -60 dBFS, below any telephone's noise gate.
const SILENCE_RMS: f32 = 0.001;

/// What a frame scores when a voice is unmistakable. Music that passes for speech seldom does.
const CLEAR_SCORE: f32 = 0.9;

/// What was heard in a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Voice {
    /// Nobody speaks.
    Absent,
    /// Somebody speaks, or something sounds like it.
    Likely,
    /// Somebody speaks.
    Clear,
}

/// Tells speech from everything else, 16 ms at a time. One per party: it remembers the last frames.
pub struct VoiceDetector {
    model: Box<Detector>,
    speaking: bool,
}

impl Default for VoiceDetector {
    fn default() -> Self {
        Self { model: Detector::default_boxed(), speaking: false }
    }
}

impl VoiceDetector {
    /// Hears the next frame, of [`FRAME_LEN`] samples in [-1, 1].
    pub fn hear(&mut self, frame: &[f32]) -> Voice {
        let score = self.model.predict_f32(frame);
        let threshold = if self.speaking { OFFSET_SCORE } else { ONSET_SCORE };
        self.speaking = score >= threshold && rms(frame) >= SILENCE_RMS;
        match self.speaking {
            false => Voice::Absent,
            true if score < CLEAR_SCORE => Voice::Likely,
            true => Voice::Clear,
        }
    }

    /// Forgets what was heard, as at the start of a stream.
    pub fn reset(&mut self) {
        self.model.reset();
        self.speaking = false;
    }
}

fn rms(frame: &[f32]) -> f32 {
    (frame.iter().map(|sample| sample * sample).sum::<f32>() / frame.len() as f32).sqrt()
}
