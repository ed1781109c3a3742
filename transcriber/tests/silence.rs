//! Nobody speaks, so nothing is captioned: silence, line noise and hold music as a telephone line carries them.

use std::time::Duration;

use pipeline::captions::CaptionAssembler;
use pipeline::codec::g711::{decode_mu_law, encode_mu_law};
use pipeline::resample::Resampler;
use pipeline::speech::{Endpointing, Segmenter, SpeechEvent, millis};
use simulator::Audio;
use transcriber::recogniser::{ModelSource, RecogniserFactory, Search, Whisper, WhisperOptions};

const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// Of the partials, one in this many is decoded: a busy machine drops more.
const DECODED_PARTIALS: usize = 8;

/// Captions of what comes out of a telephone line, at 8 kHz and G.711.
fn captions(audio: &Audio) -> Vec<String> {
    let model = Whisper::load(&ModelSource::BuiltIn, &WhisperOptions { language: "en".to_owned() });
    let mut recogniser = model.unwrap().create().unwrap();
    let mut resampler = Resampler::new(8_000, 16_000).unwrap();
    let mut segmenter = Segmenter::new(Endpointing::default(), 0, 0);
    let mut assembler = CaptionAssembler::default();
    let mut partials = 0;

    let audio = audio.resampled(8_000).unwrap();
    let line: Vec<i16> =
        audio.samples().iter().map(|&sample| decode_mu_law(encode_mu_law(sample))).collect();
    let mut events: Vec<_> =
        line.chunks(480).flat_map(|chunk| segmenter.push(&resampler.push(chunk))).collect();
    events.extend(segmenter.finish());

    let mut shown = Vec::new();
    for event in events {
        let caption = match event {
            SpeechEvent::Partial(window) => {
                partials += 1;
                if partials % DECODED_PARTIALS != 0 {
                    continue;
                }
                let hypothesis = recogniser.recognise(&window, Search::Greedy).unwrap();
                assembler.partial_recognised(&window, &hypothesis)
            }
            SpeechEvent::Draft(window) => {
                assembler.draft_requested(&window);
                let hypothesis = recogniser.recognise(&window, Search::Greedy).unwrap();
                assembler.draft_recognised(window, hypothesis)
            }
            SpeechEvent::End { segment } => assembler.ended(segment),
        };
        shown.extend(caption.map(|caption| format!("{}: {}", millis(caption.start), caption.text)));
    }
    eprintln!("{partials} partials");
    shown
}

const NOTHING: [&str; 0] = [];

#[test]
fn five_minutes_of_silence_say_nothing() {
    assert_eq!(captions(&Audio::silence(FIVE_MINUTES)), NOTHING);
}

#[test]
fn five_minutes_of_line_noise_say_nothing() {
    assert_eq!(captions(&Audio::line_noise(FIVE_MINUTES, 1)), NOTHING);
}

#[test]
fn five_minutes_of_hold_music_say_nothing() {
    assert_eq!(captions(&Audio::hold_music(FIVE_MINUTES, 1)), NOTHING);
}

#[test]
fn the_same_way_hears_speech() {
    let heard = captions(&Audio::demo_agent()).join(" ");
    assert!(heard.contains("Thank you, Helen."), "{heard}");
}
