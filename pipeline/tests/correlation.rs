//! Two legs of the demo call are told from two copies of its mix, through the codecs and delays of a telephone network.

use std::path::Path;

use pipeline::clock::SamplePosition;
use pipeline::correlation::{Comparison, Stream, Verdict};

const RATE: u32 = 16_000;

fn voice(role: &str) -> Vec<i16> {
    let calls = Path::new(env!("CARGO_MANIFEST_DIR")).join("../simulator/calls/demo");
    let wav = hound::WavReader::open(calls.join(format!("{role}.wav"))).unwrap();
    wav.into_samples().map(Result::unwrap).collect()
}

fn mix(one: &[i16], other: &[i16]) -> Vec<i16> {
    one.iter().zip(other).map(|(a, b)| a.saturating_add(*b)).collect()
}

/// Later, quieter, at 8 kHz, and with the noise of a line.
fn as_heard_elsewhere(audio: &[i16], delay_ms: usize) -> Vec<i16> {
    let delayed = std::iter::repeat_n(0, delay_ms * 16).chain(audio.iter().copied());
    let mut noise = 1_u32;
    delayed
        .step_by(2)
        .map(|sample| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            sample / 3 + (noise >> 28) as i16
        })
        .collect()
}

/// What is found, and after how many milliseconds.
fn compare(one: (&[i16], u32), other: (&[i16], u32)) -> Option<(Verdict, f32, usize)> {
    let stream = |rate| Stream { rate, anchor_unix_ms: 1_700_000_000_000 };
    let mut comparison = Comparison::new([stream(one.1), stream(other.1)]);
    for ms in (0..90_000).step_by(100) {
        for (side, (audio, rate)) in [one, other].into_iter().enumerate() {
            let at = |ms: usize| (ms * rate as usize / 1000).min(audio.len());
            let (start, end) = (at(ms), at(ms + 100));
            comparison.push(side, SamplePosition(start as u64), &audio[start..end]);
        }
        if let Some((verdict, correlation)) = comparison.verdict() {
            return Some((verdict, correlation, ms));
        }
    }
    None
}

#[test]
fn the_parties_of_a_call_are_separate() {
    let (agent, customer) = (voice("agent"), voice("customer"));
    let (verdict, correlation, ms) = compare((&agent, RATE), (&customer, RATE)).unwrap();
    assert_eq!(verdict, Verdict::Separate);
    assert!(correlation <= 0.3 && ms < 20_000, "{correlation} after {ms} ms");
    let customer = as_heard_elsewhere(&customer, 120);
    assert_eq!(compare((&agent, RATE), (&customer, 8_000)).unwrap().0, Verdict::Separate);
}

#[test]
fn copies_of_one_mix_are_the_same_whatever_they_went_through() {
    let both = mix(&voice("agent"), &voice("customer"));
    let (verdict, correlation, ms) = compare((&both, RATE), (&both, RATE)).unwrap();
    assert_eq!(verdict, Verdict::Same);
    assert!(correlation > 0.99 && ms < 10_000, "{correlation} after {ms} ms");
    for delay_ms in [0, 60, 310, 490] {
        let copy = as_heard_elsewhere(&both, delay_ms);
        let (verdict, correlation, _) = compare((&both, RATE), (&copy, 8_000)).unwrap();
        assert_eq!(verdict, Verdict::Same, "{delay_ms} ms late: {correlation}");
    }
}
