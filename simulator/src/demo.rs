//! The bundled demo call: two parties and what they say.

use crate::audio::Audio;

/// One turn of the demo call's reference transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks: `agent` or `customer`.
    pub speaker: String,
    /// When the turn starts, in milliseconds from the start of the conversation.
    pub start_ms: u64,
    /// When the turn ends, in milliseconds from the start of the conversation.
    pub end_ms: u64,
    /// What is said.
    pub text: String,
}

const CUSTOMER_WAV: &[u8] = include_bytes!("../calls/demo/customer.wav");
const AGENT_WAV: &[u8] = include_bytes!("../calls/demo/agent.wav");
const TRANSCRIPT_TSV: &str = include_str!("../calls/demo/demo_call.tsv");

/// The reference transcript of the demo call, in order of time.
pub fn demo_transcript() -> Vec<Turn> {
    TRANSCRIPT_TSV.lines().skip(1).filter_map(turn).collect()
}

impl Audio {
    /// The customer's side of the demo call: 16 kHz, about 90 s.
    pub fn demo_customer() -> Self {
        Self::from_wav_bytes(CUSTOMER_WAV).expect("the bundled recording is valid")
    }

    /// The agent's side of the demo call, on the same clock as [`Audio::demo_customer`].
    pub fn demo_agent() -> Self {
        Self::from_wav_bytes(AGENT_WAV).expect("the bundled recording is valid")
    }
}

fn turn(line: &str) -> Option<Turn> {
    let mut fields = line.splitn(4, '\t');
    Some(Turn {
        speaker: fields.next()?.to_owned(),
        start_ms: fields.next()?.parse().ok()?,
        end_ms: fields.next()?.parse().ok()?,
        text: fields.next()?.trim_end().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_turn_is_read_and_lies_within_the_recording() {
        let turns = demo_transcript();
        assert_eq!(turns.len(), TRANSCRIPT_TSV.trim_end().lines().count() - 1);
        let call_ms = Audio::demo_agent().duration().as_millis() as u64;
        for turn in &turns {
            assert!(turn.start_ms < turn.end_ms && turn.end_ms <= call_ms, "{turn:?}");
            assert!(["agent", "customer"].contains(&turn.speaker.as_str()), "{turn:?}");
        }
    }

    #[test]
    fn each_party_is_heard_during_its_own_turns_only() {
        let recordings = [("agent", Audio::demo_agent()), ("customer", Audio::demo_customer())];
        let first = &demo_transcript()[0];
        let rms = |audio: &Audio| {
            let sample = |ms: u64| (ms * u64::from(audio.sample_rate()) / 1000) as usize;
            let heard = &audio.samples()[sample(first.start_ms)..sample(first.end_ms)];
            (heard.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / heard.len() as f64).sqrt()
        };
        let [speaking, silent] = [0, 1].map(|n| {
            let n = if recordings[0].0 == first.speaker { n } else { 1 - n };
            rms(&recordings[n].1)
        });
        assert!(speaking > 10.0 * silent, "speaking {speaking}, silent {silent}");
    }
}
