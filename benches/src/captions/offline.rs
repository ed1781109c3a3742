//! What the same model makes of each turn when it hears it whole, once: the price of streaming is measured against it.

use pipeline::resample::Resampler;
use pipeline::speech::{SAMPLE_RATE, Window, samples};
use sidetone::demo::Tally;
use simulator::Turn;
use transcriber::recogniser::{Recogniser, Search};

use crate::cpu;
use crate::live::Party;

/// Audio around a turn that is decoded with it, in ms.
const MARGIN_MS: u64 = 250;

/// What one pass over every turn gave and cost.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Offline {
    pub(crate) words: Tally,
    pub(crate) cpu_s: f64,
}

impl Offline {
    /// Decodes each of the party's turns in one pass, with the decoder's settings for finals.
    pub(crate) fn decode(
        &mut self,
        party: &Party,
        turns: &[&Turn],
        recogniser: &mut dyn Recogniser,
    ) -> anyhow::Result<()> {
        let mut resampler = Resampler::new(party.sample_rate(), SAMPLE_RATE as u32)?;
        let mut audio = resampler.push(&party.samples());
        audio.extend(resampler.flush());
        let clamp = |ms: u64| (samples(ms) as usize).min(audio.len());
        for turn in turns {
            let start = clamp(turn.start_ms.saturating_sub(MARGIN_MS));
            let end = clamp(turn.end_ms + MARGIN_MS);
            let window = Window {
                segment: 0,
                start: start as u64,
                speech_start: samples(turn.start_ms),
                speech_end: samples(turn.end_ms),
                clarity: 1.0,
                audio: audio[start..end].into(),
            };
            let before = cpu::this_thread_seconds().unwrap_or_default();
            let hypothesis = recogniser.recognise(&window, Search::Greedy)?;
            self.cpu_s += cpu::this_thread_seconds().unwrap_or_default() - before;
            let counted = Tally::count(&turn.text, &hypothesis.text());
            self.words.errors += counted.errors;
            self.words.words += counted.words;
        }
        Ok(())
    }
}
