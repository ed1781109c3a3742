//! Sounds without speech: what a recogniser must stay quiet about.

use super::Audio;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::f32::consts::TAU;
use std::time::Duration;

/// The rate of generated audio in Hz.
const SAMPLE_RATE: u32 = 16_000;

/// The level of telephone line hiss, RMS relative to full scale: about -56 dBFS.
const HISS_RMS: f32 = 50.0;
/// The level of the hum's fundamental, peak: about -60 dBFS.
const HUM_PEAK: f32 = 32.0;
/// Mains frequency in North America, in Hz.
const MAINS_HZ: f64 = 60.0;

/// The level of each of the ring-back's tones, peak: about -22 dBFS RMS.
const RING_PEAK: f32 = 3_600.0;

/// The level of hold music, RMS: about -22 dBFS, the active level of telephone speech.
const MUSIC_RMS: f32 = 2_600.0;
/// Beats per second of the hold music: 96 per minute.
const BEATS_PER_SECOND: f32 = 1.6;
/// A bar is four beats, with one chord in each.
const BEATS_PER_BAR: usize = 4;
/// The chords C, A minor, F and G as MIDI note numbers.
const CHORDS: [[u8; 3]; 4] = [[60, 64, 67], [57, 60, 64], [53, 57, 60], [55, 59, 62]];
/// The melody's notes: the C major pentatonic scale over an octave and a half.
const MELODY_SCALE: [u8; 8] = [67, 69, 72, 74, 76, 79, 81, 84];

impl Audio {
    /// Digital silence. Cut at [`Audio::MAX_DURATION`], as all generators are.
    pub fn silence(duration: Duration) -> Self {
        generated(vec![0; frames(duration)])
    }

    /// An open telephone line on which nobody speaks: hiss in the telephone band, mains hum.
    pub fn line_noise(duration: Duration, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let hum_phase = rng.random::<f32>() * TAU;
        let (mut low, mut lower) = (0.0f32, 0.0f32);
        let samples = (0..frames(duration)).map(|n| {
            // Two one-pole filters leave the band from about 300 to 3400 Hz; their loss is made
            // up for by the factor.
            let white = rng.random::<f32>() * 2.0 - 1.0;
            low += 0.737 * (white - low);
            lower += 0.111 * (low - lower);
            let hiss = (low - lower) * HISS_RMS * 2.6;
            // The cycle count is exact for hours; its fraction is the phase.
            let cycles = (n as f64 * MAINS_HZ / f64::from(SAMPLE_RATE)).fract() as f32;
            // The odd harmonics of a rectified supply are what survives the telephone band.
            let hum: f32 = [(1.0, 1.0), (2.0, 0.5), (3.0, 0.7), (5.0, 0.3)]
                .iter()
                .map(|(harmonic, level)| {
                    level * HUM_PEAK * (TAU * harmonic * cycles + hum_phase).sin()
                })
                .sum();
            (hiss + hum) as i16
        });
        generated(samples.collect())
    }

    /// What a caller hears while the other phone rings, in North America: 440 and 480 Hz, two seconds of six (ITU-T E.180).
    pub fn ring_back(duration: Duration) -> Self {
        let (on, period) = (2 * SAMPLE_RATE as usize, 6 * SAMPLE_RATE as usize);
        let samples = (0..frames(duration)).map(|n| {
            if n % period >= on {
                return 0;
            }
            let tone = |hertz: f64| {
                (f64::from(SAMPLE_RATE).recip() * hertz * n as f64).fract() as f32 * TAU
            };
            (RING_PEAK * (tone(440.0).sin() + tone(480.0).sin())) as i16
        });
        generated(samples.collect())
    }

    /// Music on hold: sustained chords with a bass, and a plucked melody chosen by `seed`.
    pub fn hold_music(duration: Duration, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut mix = vec![0.0f32; frames(duration)];
        let beat = (SAMPLE_RATE as f32 / BEATS_PER_SECOND) as usize;
        let bar = beat * BEATS_PER_BAR;
        let mut step = rng.random_range(0..MELODY_SCALE.len());
        for (number, start) in (0..mix.len()).step_by(bar).enumerate() {
            let chord = CHORDS[number % CHORDS.len()];
            for note in chord {
                sustain(&mut mix[start..], note, bar, 0.16);
            }
            for bass_beat in [0, 2] {
                pluck(&mut mix, start + bass_beat * beat, chord[0] - 24, beat * 2, 0.5);
            }
            let mut position = 0;
            while position < bar {
                let length = [beat / 2, beat / 2, beat, beat * 2][rng.random_range(0..4)];
                let length = length.min(bar - position);
                // A walk in small steps, with rests: what makes a tune out of random notes.
                step = (step + rng.random_range(0..5)).saturating_sub(2);
                step = step.min(MELODY_SCALE.len() - 1);
                if rng.random::<f32>() < 0.85 {
                    pluck(&mut mix, start + position, MELODY_SCALE[step], length * 2, 0.6);
                }
                position += length.max(1);
            }
        }
        let power = mix.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
        let rms = (power / mix.len().max(1) as f64).sqrt() as f32;
        let gain = if rms > 0.0 { MUSIC_RMS / rms } else { 0.0 };
        generated(mix.into_iter().map(|sample| (sample * gain) as i16).collect())
    }
}

fn frames(duration: Duration) -> usize {
    let duration = duration.min(Audio::MAX_DURATION);
    (duration.as_secs_f64() * f64::from(SAMPLE_RATE)).round() as usize
}

fn generated(samples: Vec<i16>) -> Audio {
    Audio { samples: samples.into(), sample_rate: SAMPLE_RATE }
}

fn frequency(midi_note: u8) -> f32 {
    440.0 * 2f32.powf((f32::from(midi_note) - 69.0) / 12.0)
}

/// Adds a soft, slightly tremulous organ tone that swells and fades within `length` samples.
fn sustain(mix: &mut [f32], midi_note: u8, length: usize, level: f32) {
    let frequency = frequency(midi_note);
    let ramp = SAMPLE_RATE as usize / 8;
    for (n, sample) in mix.iter_mut().enumerate().take(length) {
        let t = n as f32 / SAMPLE_RATE as f32;
        let envelope = (n.min(length - n) as f32 / ramp as f32).min(1.0);
        let tremolo = 1.0 + 0.1 * (TAU * 5.0 * t).sin();
        let tone: f32 = [(1.0, 1.0), (2.0, 0.4), (3.0, 0.15)]
            .iter()
            .map(|(harmonic, part)| part * (TAU * frequency * harmonic * t).sin())
            .sum();
        *sample += level * envelope * tremolo * tone;
    }
}

/// Adds a plucked string from sample `start` on: a fast attack, higher harmonics dying first.
fn pluck(mix: &mut [f32], start: usize, midi_note: u8, length: usize, level: f32) {
    let frequency = frequency(midi_note);
    let attack = SAMPLE_RATE as f32 * 0.005;
    for (n, sample) in mix.iter_mut().skip(start).enumerate().take(length) {
        let t = n as f32 / SAMPLE_RATE as f32;
        let onset = (n as f32 / attack).min(1.0);
        let release = ((length - n) as f32 / (attack * 4.0)).min(1.0);
        let tone: f32 = [(1.0, 1.0), (2.0, 0.5), (3.0, 0.3), (4.0, 0.15)]
            .iter()
            .map(|(harmonic, part)| {
                part * (-t * (2.0 + harmonic)).exp() * (TAU * frequency * harmonic * t).sin()
            })
            .sum();
        *sample += level * onset * release * tone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_SECONDS: Duration = Duration::from_secs(10);

    fn dbfs(samples: &[i16]) -> f64 {
        let power = samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        10.0 * (power / samples.len() as f64 / 32768f64.powi(2)).log10()
    }

    /// The level of one frequency by Goertzel's recurrence, relative to the whole.
    fn share_of(samples: &[i16], frequency: f64) -> f64 {
        let coefficient = 2.0 * (std::f64::consts::TAU * frequency / f64::from(SAMPLE_RATE)).cos();
        let (mut s1, mut s2) = (0.0, 0.0);
        for sample in samples {
            (s1, s2) = (f64::from(*sample) + coefficient * s1 - s2, s1);
        }
        let power = s1 * s1 + s2 * s2 - coefficient * s1 * s2;
        let total = samples.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        2.0 * power / (samples.len() as f64 * total)
    }

    #[test]
    fn durations_are_exact_and_seeds_repeat() {
        for generate in [Audio::line_noise, Audio::hold_music] {
            let audio = generate(TEN_SECONDS, 1);
            assert_eq!(audio.duration(), TEN_SECONDS);
            assert_eq!(audio, generate(TEN_SECONDS, 1));
            assert_ne!(audio, generate(TEN_SECONDS, 2));
        }
        let silence = Audio::silence(TEN_SECONDS);
        assert_eq!(silence.duration(), TEN_SECONDS);
        assert!(silence.samples().iter().all(|sample| *sample == 0));
        assert_eq!(Audio::hold_music(Duration::ZERO, 1).samples().len(), 0);
    }

    #[test]
    fn line_noise_is_as_faint_as_a_real_line_and_hums() {
        let noise = Audio::line_noise(TEN_SECONDS, 7);
        let level = dbfs(noise.samples());
        assert!((-58.0..-50.0).contains(&level), "{level} dBFS");
        let hum = share_of(noise.samples(), 60.0);
        assert!(hum > 0.02, "hum is {hum} of the power");
        let out_of_band = share_of(noise.samples(), 7_000.0);
        assert!(hum > 100.0 * out_of_band, "7 kHz is {out_of_band} of the power");
    }

    #[test]
    fn ring_back_rings_two_seconds_of_six() {
        let ringing = Audio::ring_back(TEN_SECONDS);
        let second = |n: usize| &ringing.samples()[n * 16_000..(n + 1) * 16_000];
        assert!(share_of(second(1), 440.0) > 0.4 && share_of(second(7), 480.0) > 0.4);
        assert!([2, 5, 8].iter().all(|n| second(*n).iter().all(|sample| *sample == 0)));
        assert!((-24.0..-18.0).contains(&dbfs(second(0))));
    }

    #[test]
    fn hold_music_is_tonal_moving_and_as_loud_as_speech() {
        let music = Audio::hold_music(TEN_SECONDS, 7);
        let level = dbfs(music.samples());
        assert!((-25.0..-19.0).contains(&level), "{level} dBFS");
        assert!(music.samples().iter().all(|sample| sample.unsigned_abs() < 32_000));
        // The first bar is C major, the second A minor: C sharp is in neither, G only in the first.
        let bar = (SAMPLE_RATE as f32 / BEATS_PER_SECOND) as usize * BEATS_PER_BAR;
        let [c, a] = [0, 1].map(|n| &music.samples()[n * bar..(n + 1) * bar]);
        assert!(share_of(c, 261.63) > 20.0 * share_of(c, 277.18));
        assert!(share_of(a, 220.0) > 5.0 * share_of(c, 220.0));
    }
}
