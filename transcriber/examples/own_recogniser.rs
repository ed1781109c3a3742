//! A recogniser of one's own behind the Rust trait, in a transcriber of one's own. It hears how long somebody spoke.
//!
//!     cargo run -p transcriber --example own_recogniser
//!
//! Gateways send audio to 127.0.0.1:8082; a relay takes captions at 127.0.0.1:8081, as with the stock transcriber.

use std::sync::Arc;
use std::time::Duration;

use pipeline::captions::{Hypothesis, Word};
use pipeline::speech::{Window, millis};
use transcriber::backends::{Backend, Backends};
use transcriber::config::{Config, Settings};
use transcriber::recogniser::{
    Capabilities, Recogniser, RecogniserError, RecogniserFactory, Search,
};

/// Holds what all recognisers share: with a real engine, the loaded model.
struct Stopwatch;

/// Belongs to one worker thread.
struct Hand;

impl RecogniserFactory for Stopwatch {
    fn create(&self) -> Result<Box<dyn Recogniser>, RecogniserError> {
        Ok(Box::new(Hand))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "stopwatch".to_owned(),
            streaming: false,
            word_times: true,
            languages: Vec::new(),
            vocabulary: false,
        }
    }
}

impl Recogniser for Hand {
    fn recognise(&mut self, window: &Window, _: Search) -> Result<Hypothesis, RecogniserError> {
        // A real engine decodes `window.audio`: mono, 16 kHz, in [-1, 1].
        let spoken = millis(window.speech_end - window.speech_start);
        let word = Word {
            text: format!("[{:.1} s of speech]", spoken as f64 / 1_000.0),
            start: window.speech_start,
            end: window.speech_end,
            confidence: 1.0,
        };
        Ok(Hypothesis { words: vec![word], ..Hypothesis::default() })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::try_from(Settings::default())?;
    let listener = transcriber::bind(&config)?;
    let own = ("stopwatch".to_owned(), Backend::Windowed(Arc::new(Stopwatch)));
    let backends = Backends::new(vec![own], Duration::from_secs(2));
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    tokio::runtime::Runtime::new()?
        .block_on(transcriber::serve(config, backends, listener, stop))?;
    Ok(())
}

#[test]
fn it_tells_how_long_somebody_spoke() {
    let window = Window {
        segment: 0,
        start: 0,
        speech_start: 1_600,
        speech_end: 33_600,
        clarity: 1.0,
        audio: vec![0.0; 36_000].into(),
    };
    let heard = Stopwatch.create().unwrap().recognise(&window, Search::Greedy).unwrap();
    assert_eq!(heard.text(), "[2.0 s of speech]");
}
