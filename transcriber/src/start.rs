//! The first message of a party's stream, and what its positions mean.

use pipeline::captions::{Meaning, PhraseListener};
use pipeline::speech::SAMPLE_RATE;
use sidetone_proto::{Party, v1};

use crate::party::PartyError;

/// No position is beyond this one: at 16 kHz, some 500 years. Sums of positions stay far from overflowing.
const MAX_POSITION: u64 = 1 << 48;

/// No party says more than this; numbers go on counting from here without overflowing.
const MAX_SEGMENT: u32 = 1 << 31;

/// Wall clocks up to here are exact in every part of the system, in milliseconds since the Unix epoch.
const MAX_UNIX_MS: i64 = (1 << 53) - 1;

/// Phrases about consent that one party is listened to for.
const MAX_PHRASES: usize = 100;

/// Nobody says a phrase as long, in bytes.
const MAX_PHRASE_BYTES: usize = 500;

/// A stream's first message, checked.
#[derive(Clone, Debug)]
pub struct Start {
    /// The label of every caption.
    pub party: Party,
    /// Of the audio that arrives, in Hz: 8000 or 16000.
    pub sample_rate: u32,
    /// Wall clock at sample 0, in ms since the Unix epoch.
    pub anchor_unix_ms: i64,
    /// Where the audio begins, in samples at `sample_rate`.
    pub sample_position: u64,
    /// The number of the next utterance.
    pub next_segment: u32,
    /// Hears what the party says about being transcribed.
    pub phrases: PhraseListener,
}

impl TryFrom<v1::PartyStart> for Start {
    type Error = PartyError;

    fn try_from(start: v1::PartyStart) -> Result<Self, PartyError> {
        let v1::PartyStart {
            party,
            sample_rate,
            anchor_unix_ms,
            sample_position,
            next_segment,
            consent_phrases,
        } = start;
        let party =
            Party::try_from(party).map_err(|error| PartyError::Contract(error.to_string()))?;
        if !matches!(sample_rate, 8_000 | 16_000) {
            let problem = format!("{sample_rate} Hz is neither 8000 nor 16000");
            return Err(PartyError::Contract(problem));
        }
        if !(0..=MAX_UNIX_MS).contains(&anchor_unix_ms) {
            let problem = format!("anchor_unix_ms {anchor_unix_ms} is no time of a call");
            return Err(PartyError::Contract(problem));
        }
        if next_segment > MAX_SEGMENT {
            let problem = format!("next_segment {next_segment} was never acknowledged");
            return Err(PartyError::Contract(problem));
        }
        check_position(sample_position)?;
        let phrases = phrases(&consent_phrases.unwrap_or_default())?;
        Ok(Self { party, sample_rate, anchor_unix_ms, sample_position, next_segment, phrases })
    }
}

fn phrases(phrases: &v1::ConsentPhrases) -> Result<PhraseListener, PartyError> {
    let of = |meaning, list: &'_ [String]| -> Vec<(Meaning, String)> {
        list.iter().map(|phrase| (meaning, phrase.clone())).collect()
    };
    let all = [
        of(Meaning::Announced, &phrases.announced),
        of(Meaning::Granted, &phrases.granted),
        of(Meaning::Refused, &phrases.refused),
    ]
    .concat();
    if all.len() > MAX_PHRASES || all.iter().any(|(_, phrase)| phrase.len() > MAX_PHRASE_BYTES) {
        return Err(PartyError::Contract(format!(
            "at most {MAX_PHRASES} phrases of {MAX_PHRASE_BYTES} bytes each are listened for"
        )));
    }
    Ok(PhraseListener::new(all.iter().map(|(meaning, phrase)| (*meaning, phrase.as_str()))))
}

impl Start {
    /// A position of the party's, in samples at 16 kHz.
    pub(crate) fn to_16k(&self, position: u64) -> u64 {
        position * (SAMPLE_RATE / u64::from(self.sample_rate))
    }

    /// A position at 16 kHz, in samples at the party's rate, rounded down.
    pub(crate) fn at_party_rate(&self, position: u64) -> u64 {
        position / (SAMPLE_RATE / u64::from(self.sample_rate))
    }
}

/// Refuses positions that no call ever reaches.
pub(crate) fn check_position(position: u64) -> Result<(), PartyError> {
    if position > MAX_POSITION {
        return Err(PartyError::Contract(format!("no call is as long as position {position}")));
    }
    Ok(())
}
