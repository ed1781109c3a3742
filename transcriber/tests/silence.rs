//! Nobody speaks, so nothing is captioned: silence, line noise and hold music as telephone lines carry them.

use std::time::Duration;

use pipeline::captions::CaptionAssembler;
use pipeline::codec::{self, Decoder};
use pipeline::resample::Resampler;
use pipeline::speech::{Endpointing, Segmenter, SpeechEvent, millis};
use simulator::{Audio, Codec};
use transcriber::recogniser::{ModelSource, RecogniserFactory, Search, Whisper, WhisperOptions};

const FIVE_MINUTES: Duration = Duration::from_secs(300);

/// Of the partials, one in this many is decoded: a busy machine drops more.
const DECODED_PARTIALS: usize = 8;

/// Captions of what comes out of a telephone line.
fn captions(audio: &Audio, codec: Codec) -> Vec<String> {
    let model = Whisper::load(&ModelSource::BuiltIn, &WhisperOptions { language: "en".to_owned() });
    let mut recogniser = model.unwrap().create().unwrap();
    let mut segmenter = Segmenter::new(Endpointing::default(), 0, 0);
    let mut assembler = CaptionAssembler::default();
    let mut partials = 0;

    let packets = audio.encoded(codec, 0.0).unwrap();
    let codec = match codec {
        Codec::Opus => codec::Codec::Opus,
        Codec::Pcmu => codec::Codec::Pcmu,
    };
    let mut decoder = Decoder::new(codec).unwrap();
    let mut resampler = Resampler::new(codec.sample_rate(), 16_000).unwrap();
    let mut events: Vec<_> = packets
        .iter()
        .flat_map(|packet| segmenter.push(&resampler.push(&decoder.decode(packet).unwrap())))
        .collect();
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
    assert_eq!(captions(&Audio::silence(FIVE_MINUTES), Codec::Pcmu), NOTHING);
}

#[test]
fn five_minutes_of_line_noise_say_nothing() {
    assert_eq!(captions(&Audio::line_noise(FIVE_MINUTES, 1), Codec::Pcmu), NOTHING);
}

#[test]
fn five_minutes_of_hold_music_say_nothing() {
    assert_eq!(captions(&Audio::hold_music(FIVE_MINUTES, 1), Codec::Pcmu), NOTHING);
}

/// Opus turns music into something that is more like a voice.
#[test]
fn five_minutes_of_hold_music_in_opus_say_nothing() {
    assert_eq!(captions(&Audio::hold_music(FIVE_MINUTES, 2), Codec::Opus), NOTHING);
}

#[test]
fn the_same_way_hears_speech() {
    let heard = captions(&Audio::demo_agent(), Codec::Pcmu).join(" ");
    assert!(heard.contains("Thank you, Helen."), "{heard}");
}
