//! Voice activity detectors on telephone speech: what each misses, what each takes for speech, and what it costs.
//!
//! They are the well-kept crates that bring their model along and need no runtime from elsewhere, and a bare threshold of
//! energy to hold them against.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use earshot::Detector;
use nnnoiseless::DenoiseState;
use pipeline::codec::{Codec, Decoder};
use pipeline::resample::Resampler;
use pipeline::speech::{SAMPLE_RATE, Voice, VoiceDetector, millis};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use simulator::{Audio, Turn, demo_transcript};

use crate::captions::rounded;
use crate::{Report, cpu};

/// A detector hears this much of the sounds without speech.
const SOUND: Duration = Duration::from_secs(60);

/// The level of speech in the bundled call, RMS relative to full scale; noise is set against it.
const SPEECH_RMS: f32 = 0.08;

/// A frame of less energy than this is silence to the bare threshold: -45 dBFS.
const ENERGY_RMS: f32 = 0.0056;

/// What to measure.
#[derive(Args)]
pub(crate) struct Arguments {}

/// The figures.
#[derive(Serialize)]
pub(crate) struct Figures {
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    detector: &'static str,
    /// Noise under the call, in dB below the speech; without: a clean line.
    snr_db: Option<u32>,
    /// The share of turns' time that was not taken for speech, in percent; a turn's own pauses count.
    missed_percent: f64,
    /// The share of the time between turns that was taken for speech, in percent.
    false_alarm_percent: f64,
    /// From the beginning of a turn to the first frame that was taken for speech, at most for 95 % of turns.
    onset_p95_ms: u64,
    /// The share of noise, ring-back and hold music without a call that was taken for speech, in percent.
    noise_percent: f64,
    ring_back_percent: f64,
    music_percent: f64,
    /// Processor time for a second of audio, in microseconds.
    cpu_us_per_s: f64,
}

/// A detector under test, with the thresholds that its documentation names.
enum Candidate {
    /// Earshot as the product uses it.
    Product(VoiceDetector),
    Earshot(Box<Detector>),
    Rnnoise(Box<DenoiseState<'static>>, Box<Resampler>),
    Energy,
}

const NAMES: [&str; 4] = ["earshot, as used", "earshot", "nnnoiseless", "energy"];

impl Arguments {
    pub(crate) fn run(self) -> anyhow::Result<Figures> {
        let mut rows = Vec::new();
        for name in NAMES {
            for snr_db in [None, Some(20), Some(10), Some(5)] {
                rows.push(row(name, snr_db).with_context(|| name.to_owned())?);
            }
        }
        Ok(Figures { rows })
    }
}

fn row(detector: &'static str, snr_db: Option<u32>) -> anyhow::Result<Row> {
    let turns = demo_transcript();
    let (mut inside, mut missed, mut outside, mut alarms) = (0, 0, 0, 0);
    let mut onsets = Vec::new();
    let (mut cpu_s, mut seconds) = (0.0, 0.0);
    for (speaker, voice) in [("agent", Audio::demo_agent()), ("customer", Audio::demo_customer())] {
        let audio = noisy(line(&voice)?, snr_db);
        let turns: Vec<&Turn> = turns.iter().filter(|turn| turn.speaker == speaker).collect();
        let before = cpu::this_thread_seconds().unwrap_or_default();
        let frames = Candidate::new(detector)?.hear(&audio);
        cpu_s += cpu::this_thread_seconds().unwrap_or_default() - before;
        seconds += audio.len() as f64 / SAMPLE_RATE as f64;
        for &(at_ms, is_speech) in &frames {
            let is_inside = turns.iter().any(|turn| (turn.start_ms..turn.end_ms).contains(&at_ms));
            let (all, wrong) =
                if is_inside { (&mut inside, &mut missed) } else { (&mut outside, &mut alarms) };
            *all += 1;
            *wrong += usize::from(is_speech != is_inside);
        }
        for turn in turns {
            let heard = frames.iter().find(|(at, is_speech)| *is_speech && *at >= turn.start_ms);
            let heard_ms = heard.map_or(turn.end_ms, |(at, _)| (*at).min(turn.end_ms));
            onsets.push(heard_ms - turn.start_ms);
        }
    }
    onsets.sort_unstable();
    let share = |of: usize, all: usize| rounded(100.0 * of as f64 / all.max(1) as f64);
    let taken = |sound: Audio| -> anyhow::Result<f64> {
        let frames = Candidate::new(detector)?.hear(&line(&sound)?);
        Ok(share(frames.iter().filter(|(_, is_speech)| *is_speech).count(), frames.len()))
    };
    Ok(Row {
        detector,
        snr_db,
        missed_percent: share(missed, inside),
        false_alarm_percent: share(alarms, outside),
        onset_p95_ms: onsets.get(onsets.len() * 95 / 100).copied().unwrap_or_default(),
        noise_percent: taken(Audio::line_noise(SOUND, 1))?,
        ring_back_percent: taken(Audio::ring_back(SOUND))?,
        music_percent: taken(Audio::hold_music(SOUND, 1))?,
        cpu_us_per_s: rounded(1e6 * cpu_s / seconds),
    })
}

impl Candidate {
    fn new(name: &str) -> anyhow::Result<Self> {
        let [product, earshot, rnnoise, _] = NAMES;
        Ok(match name {
            _ if name == product => Self::Product(VoiceDetector::default()),
            _ if name == earshot => Self::Earshot(Detector::default_boxed()),
            _ if name == rnnoise => Self::Rnnoise(
                DenoiseState::new(),
                Box::new(Resampler::new(SAMPLE_RATE as u32, 48_000)?),
            ),
            _ => Self::Energy,
        })
    }

    /// Whether each frame is speech, and when it ends, in ms.
    fn hear(&mut self, audio: &[f32]) -> Vec<(u64, bool)> {
        match self {
            Self::Product(detector) => frames(audio, pipeline::speech::FRAME_LEN, |frame| {
                detector.hear(frame) != Voice::Absent
            }),
            Self::Earshot(detector) => frames(audio, pipeline::speech::FRAME_LEN, |frame| {
                detector.predict_f32(frame) >= 0.5
            }),
            Self::Rnnoise(denoiser, resampler) => {
                let pcm: Vec<i16> =
                    audio.iter().map(|sample| (sample * f32::from(i16::MAX)) as i16).collect();
                let wide: Vec<f32> = resampler
                    .push(&pcm)
                    .into_iter()
                    .map(|sample| sample * f32::from(i16::MAX))
                    .collect();
                let mut denoised = [0.0; DenoiseState::FRAME_SIZE];
                let heard = frames(&wide, DenoiseState::FRAME_SIZE, |frame| {
                    denoiser.process_frame(&mut denoised, frame) >= 0.5
                });
                // Three samples for each of ours.
                heard.into_iter().map(|(at_ms, is_speech)| (at_ms / 3, is_speech)).collect()
            }
            Self::Energy => {
                frames(audio, pipeline::speech::FRAME_LEN, |frame| rms(frame) >= ENERGY_RMS)
            }
        }
    }
}

fn frames(
    audio: &[f32],
    length: usize,
    mut is_speech: impl FnMut(&[f32]) -> bool,
) -> Vec<(u64, bool)> {
    (1..)
        .zip(audio.chunks_exact(length))
        .map(|(number, frame)| (millis(number * length as u64), is_speech(frame)))
        .collect()
}

/// What a telephone line makes of a sound: G.711, at 16 kHz again.
fn line(sound: &Audio) -> anyhow::Result<Vec<f32>> {
    let mut decoder = Decoder::new(Codec::Pcmu)?;
    let mut resampler = Resampler::new(8_000, SAMPLE_RATE as u32)?;
    let mut audio = Vec::new();
    for packet in sound.encoded(simulator::Codec::Pcmu, 0.0)? {
        audio.extend(resampler.push(&decoder.decode(&packet)?));
    }
    audio.extend(resampler.flush());
    Ok(audio)
}

/// Adds white noise; speech counts as loud as it usually is in the call.
fn noisy(mut audio: Vec<f32>, snr_db: Option<u32>) -> Vec<f32> {
    let Some(snr_db) = snr_db else { return audio };
    let mut random = StdRng::seed_from_u64(1);
    // White noise of this peak has its RMS a factor of the square root of 3 lower.
    let peak = SPEECH_RMS * 10f32.powf(-(snr_db as f32) / 20.0) * 3f32.sqrt();
    for sample in &mut audio {
        *sample += random.random_range(-peak..peak);
    }
    audio
}

fn rms(frame: &[f32]) -> f32 {
    (frame.iter().map(|sample| sample * sample).sum::<f32>() / frame.len() as f32).sqrt()
}

impl Report for Figures {
    fn rows(&self) -> Vec<(String, String)> {
        let row = |row: &Row| {
            let line = row.snr_db.map_or("clean".to_owned(), |snr_db| format!("{snr_db} dB"));
            let figures = format!(
                "{line}: missed {} %, false alarms {} %, onset {} ms, noise {} %, ring-back {} %, music {} %, {} us/s",
                row.missed_percent,
                row.false_alarm_percent,
                row.onset_p95_ms,
                row.noise_percent,
                row.ring_back_percent,
                row.music_percent,
                row.cpu_us_per_s,
            );
            (row.detector.to_owned(), figures)
        };
        self.rows.iter().map(row).collect()
    }
}
