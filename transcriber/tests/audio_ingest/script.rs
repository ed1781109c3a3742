//! The recogniser, and what it is to say about the demo call.

use std::path::Path;
use std::sync::Arc;

use pipeline::captions::{Hypothesis, Word};
use pipeline::speech::{Endpointing, Segmenter, SpeechEvent, Window, millis};
use transcriber::recogniser::{Recogniser, RecogniserError, RecogniserFactory, Search};

type Answer = dyn Fn(&Window) -> Result<Hypothesis, RecogniserError> + Send + Sync;

/// Answers as a function does, and panics if it does.
#[derive(Clone)]
pub struct Script(Arc<Answer>);

impl Script {
    pub fn new(
        answer: impl Fn(&Window) -> Result<Hypothesis, RecogniserError> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(answer))
    }
}

impl RecogniserFactory for Script {
    fn create(&self) -> Result<Box<dyn Recogniser>, RecogniserError> {
        Ok(Box::new(self.clone()))
    }
}

impl Recogniser for Script {
    fn recognise(&mut self, window: &Window, _: Search) -> Result<Hypothesis, RecogniserError> {
        (self.0)(window)
    }
}

/// One word, which tells from where to where there is speech.
pub fn said(window: &Window) -> Hypothesis {
    let word = Word {
        text: text(window),
        start: window.speech_start,
        end: window.speech_end,
        confidence: 1.0,
    };
    Hypothesis { words: vec![word], ..Hypothesis::default() }
}

/// What [`said`] makes of a window. In tenths of a second: a voice detector that starts in the middle of a call hears
/// some sounds a frame of 16 ms earlier than one that has been there all along.
pub fn text(window: &Window) -> String {
    format!("{}-{}", millis(window.speech_start) / 100, millis(window.speech_end) / 100)
}

/// A role's audio in the demo call, at 16 kHz.
pub fn voice(role: &str) -> Vec<i16> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../simulator/calls/demo");
    let wav = hound::WavReader::open(folder.join(format!("{role}.wav"))).unwrap();
    wav.into_samples::<i16>().map(Result::unwrap).collect()
}

/// The utterances in some audio: the last draft of each.
pub fn utterances(audio: &[i16]) -> Vec<Window> {
    let audio: Vec<f32> = audio.iter().map(|&sample| f32::from(sample) / 32_768.0).collect();
    let mut segmenter = Segmenter::new(Endpointing::default(), 0, 0);
    let mut events = segmenter.push(&audio);
    events.extend(segmenter.finish());
    let mut last = None;
    let mut ended = Vec::new();
    for event in events {
        match event {
            SpeechEvent::Partial(_) => {}
            SpeechEvent::Draft(window) => last = Some(window),
            SpeechEvent::End { .. } => ended.extend(last.take()),
        }
    }
    ended
}

/// The segments of some audio and what is said in each.
pub fn transcript(audio: &[i16]) -> Vec<(u32, String)> {
    utterances(audio).iter().map(|window| (window.segment, text(window))).collect()
}
