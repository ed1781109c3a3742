//! What publishers send, checked: nothing past this module has to distrust an event.

use sidetone_proto::{CallId, InvalidParty, Party, PartyId, v1};

use crate::event::{
    Caption, CaptionState, ConsentSource, ConsentState, GapReason, PartyRole, Word,
};

/// Longest caption, in bytes of UTF-8. An utterance of half a minute is about 500.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Most words in one caption.
pub const MAX_WORDS: usize = 2_048;
/// Longest single word, in bytes of UTF-8.
pub const MAX_WORD_BYTES: usize = 256;
/// Most parties on one call.
pub const MAX_PARTIES: usize = 16;
/// Times up to here fit a JSON number exactly (2^53 - 1).
pub const MAX_MILLIS: u64 = (1 << 53) - 1;

/// A valid event of a call, before it has a place in the call's order.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// The call is being listened to.
    CallStarted {
        /// The call.
        call: CallId,
        /// Milliseconds since the Unix epoch.
        started_unix_ms: i64,
        /// The parties whose audio is received.
        parties: Vec<PartyRole>,
    },
    /// Every final of the call is out.
    CallEnded {
        /// The call.
        call: CallId,
        /// Milliseconds since the Unix epoch.
        ended_unix_ms: i64,
    },
    /// A provisional caption; its `seq` and `latency_ms` are not yet known.
    Partial(Caption),
    /// A final caption; its `seq` and `latency_ms` are not yet known.
    Final(Caption),
    /// Speech that is missing.
    Gap {
        /// Whose.
        party: Party,
        /// Milliseconds on the party's clock.
        start_ms: u64,
        /// Milliseconds on the party's clock.
        end_ms: u64,
        /// Why.
        reason: GapReason,
        /// As in [`Caption`].
        anchor_unix_ms: i64,
    },
    /// How well the captions are doing.
    Status {
        /// The call.
        call: CallId,
        /// The state from now on.
        state: CaptionState,
        /// Whether everyone who is heard is on hold.
        is_on_hold: bool,
        /// The parties that are on hold.
        parties_on_hold: Vec<PartyId>,
    },
    /// Who recognises a party.
    Recognition {
        /// The party.
        party: Party,
        /// Whether that is another recogniser than the preferred one.
        is_fallback: bool,
    },
    /// What is known of the parties' consent.
    Consent {
        /// The call.
        call: CallId,
        /// What is known.
        state: ConsentState,
        /// How somebody has told of it.
        source: ConsentSource,
        /// When, in milliseconds since the Unix epoch. A later one counts.
        at_unix_ms: i64,
    },
}

/// An event that breaks the contract. Sending it again will not help.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidEvent {
    /// The request has no event, or one that this version does not know.
    #[error(
        "the request carries no event that this relay knows: update the relay before its publishers"
    )]
    Missing,
    /// An id is missing or malformed.
    #[error(transparent)]
    Party(#[from] InvalidParty),
    /// Something is bigger than the relay takes.
    #[error("{what} exceeds the limit of {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How much is taken.
        limit: usize,
    },
    /// A time is negative, beyond the range or ends before it starts.
    #[error("{0} is not a possible time span")]
    Time(&'static str),
    /// A confidence is not between 0 and 1.
    #[error("confidence must be between 0 and 1")]
    Confidence,
    /// An enumeration has a value that this version does not know.
    #[error("{field} has the unknown value {value}")]
    Unknown {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: i32,
    },
}

impl Incoming {
    /// The call that the event belongs to.
    pub fn call(&self) -> &CallId {
        match self {
            Incoming::CallStarted { call, .. }
            | Incoming::CallEnded { call, .. }
            | Incoming::Status { call, .. }
            | Incoming::Consent { call, .. } => call,
            Incoming::Partial(caption) | Incoming::Final(caption) => &caption.call_id,
            Incoming::Gap { party, .. } | Incoming::Recognition { party, .. } => &party.call,
        }
    }
}

impl TryFrom<Option<v1::CaptionEvent>> for Incoming {
    type Error = InvalidEvent;

    fn try_from(event: Option<v1::CaptionEvent>) -> Result<Self, InvalidEvent> {
        use v1::caption_event::Event;
        match event.and_then(|event| event.event).ok_or(InvalidEvent::Missing)? {
            Event::CallStarted(started) => call_started(started),
            Event::CallEnded(ended) => Ok(Incoming::CallEnded {
                call: CallId::parse(&ended.call_id)?,
                ended_unix_ms: unix_ms(ended.ended_unix_ms, "ended_unix_ms")?,
            }),
            Event::Caption(caption) => self::caption(caption),
            Event::Gap(gap) => self::gap(gap),
            Event::Consent(consent) => self::consent(consent),
            Event::Status(status) => self::status(status),
            Event::Recognition(recognition) => Ok(Incoming::Recognition {
                party: Party::try_from(recognition.party)?,
                is_fallback: recognition.is_fallback,
            }),
        }
    }
}

fn call_started(started: v1::CallStarted) -> Result<Incoming, InvalidEvent> {
    let call = CallId::parse(&started.call_id)?;
    if started.parties.len() > MAX_PARTIES {
        return Err(InvalidEvent::TooLarge { what: "parties", limit: MAX_PARTIES });
    }
    let mut parties: Vec<PartyRole> = Vec::with_capacity(started.parties.len());
    for label in started.parties {
        // A label inside the message may leave out the call that the message is about.
        let label = v1::PartyLabel { call_id: started.call_id.clone(), ..label };
        let party = Party::try_from(Some(label))?;
        if parties.iter().all(|known| known.party_id != party.id) {
            parties.push(PartyRole { party_id: party.id, role: party.role });
        }
    }
    let started_unix_ms = unix_ms(started.started_unix_ms, "started_unix_ms")?;
    Ok(Incoming::CallStarted { call, started_unix_ms, parties })
}

fn caption(caption: v1::Caption) -> Result<Incoming, InvalidEvent> {
    let party = Party::try_from(caption.party)?;
    span(caption.start_ms, caption.end_ms, "the caption's start_ms to end_ms")?;
    if caption.text.len() > MAX_TEXT_BYTES {
        return Err(InvalidEvent::TooLarge { what: "text in bytes", limit: MAX_TEXT_BYTES });
    }
    if caption.words.len() > MAX_WORDS {
        return Err(InvalidEvent::TooLarge { what: "words", limit: MAX_WORDS });
    }
    let words = caption.words.into_iter().map(word).collect::<Result<_, _>>()?;
    let stable_bytes =
        if caption.is_final { caption.text.len() } else { caption.stable_len as usize };
    let checked = Caption {
        call_id: party.call,
        seq: 0,
        party_id: party.id,
        role: party.role,
        segment: caption.segment,
        revision: caption.revision,
        stable_len: utf16_len(&caption.text, stable_bytes),
        text: caption.text,
        start_ms: caption.start_ms,
        end_ms: caption.end_ms,
        anchor_unix_ms: unix_ms(caption.anchor_unix_ms, "anchor_unix_ms")?,
        latency_ms: None,
        words,
    };
    Ok(if caption.is_final { Incoming::Final(checked) } else { Incoming::Partial(checked) })
}

fn word(word: v1::Word) -> Result<Word, InvalidEvent> {
    if word.text.len() > MAX_WORD_BYTES {
        return Err(InvalidEvent::TooLarge { what: "a word in bytes", limit: MAX_WORD_BYTES });
    }
    span(word.start_ms, word.end_ms, "a word's start_ms to end_ms")?;
    if !(0.0..=1.0).contains(&word.confidence) {
        return Err(InvalidEvent::Confidence);
    }
    let v1::Word { text, start_ms, end_ms, confidence } = word;
    Ok(Word { text, start_ms, end_ms, confidence })
}

fn gap(gap: v1::Gap) -> Result<Incoming, InvalidEvent> {
    let party = Party::try_from(gap.party)?;
    span(gap.start_ms, gap.end_ms, "the gap's start_ms to end_ms")?;
    let reason = match v1::GapReason::try_from(gap.reason) {
        Ok(v1::GapReason::Unspecified) => GapReason::Unspecified,
        Ok(v1::GapReason::PacketLoss) => GapReason::PacketLoss,
        Ok(v1::GapReason::TranscriberUnavailable) => GapReason::TranscriberUnavailable,
        Ok(v1::GapReason::Overload) => GapReason::Overload,
        Ok(v1::GapReason::RecogniserFailed) => GapReason::RecogniserFailed,
        Ok(v1::GapReason::SupervisionInterrupted) => GapReason::SupervisionInterrupted,
        Ok(v1::GapReason::Withheld) => GapReason::Withheld,
        Err(_) => return Err(InvalidEvent::Unknown { field: "reason", value: gap.reason }),
    };
    let anchor_unix_ms = unix_ms(gap.anchor_unix_ms, "anchor_unix_ms")?;
    Ok(Incoming::Gap { party, start_ms: gap.start_ms, end_ms: gap.end_ms, reason, anchor_unix_ms })
}

fn status(status: v1::Status) -> Result<Incoming, InvalidEvent> {
    let state = match v1::CaptionState::try_from(status.state) {
        Ok(v1::CaptionState::Live) => CaptionState::Live,
        Ok(v1::CaptionState::CaptionsUnavailable) => CaptionState::CaptionsUnavailable,
        Ok(v1::CaptionState::Unspecified) | Err(_) => {
            return Err(InvalidEvent::Unknown { field: "state", value: status.state });
        }
    };
    if status.parties_on_hold.len() > MAX_PARTIES {
        return Err(InvalidEvent::TooLarge { what: "parties on hold", limit: MAX_PARTIES });
    }
    let held = status.parties_on_hold.iter().map(|id| PartyId::parse(id));
    Ok(Incoming::Status {
        call: CallId::parse(&status.call_id)?,
        state,
        is_on_hold: status.is_on_hold,
        parties_on_hold: held.collect::<Result<_, _>>()?,
    })
}

fn consent(consent: v1::Consent) -> Result<Incoming, InvalidEvent> {
    let state = match v1::ConsentState::try_from(consent.state) {
        Ok(v1::ConsentState::Awaited) => ConsentState::Awaited,
        Ok(v1::ConsentState::NotRequired) => ConsentState::NotRequired,
        Ok(v1::ConsentState::Announced) => ConsentState::Announced,
        Ok(v1::ConsentState::Granted) => ConsentState::Granted,
        Ok(v1::ConsentState::Refused) => ConsentState::Refused,
        Ok(v1::ConsentState::Unspecified) | Err(_) => {
            return Err(InvalidEvent::Unknown { field: "consent state", value: consent.state });
        }
    };
    let source = match v1::ConsentSource::try_from(consent.source) {
        Ok(v1::ConsentSource::Policy) => ConsentSource::Policy,
        Ok(v1::ConsentSource::Operator) => ConsentSource::Operator,
        Ok(v1::ConsentSource::Key) => ConsentSource::Key,
        Ok(v1::ConsentSource::Phrase) => ConsentSource::Phrase,
        Ok(v1::ConsentSource::Unspecified) | Err(_) => {
            return Err(InvalidEvent::Unknown { field: "consent source", value: consent.source });
        }
    };
    let call = CallId::parse(&consent.call_id)?;
    let at_unix_ms = unix_ms(consent.at_unix_ms, "at_unix_ms")?;
    Ok(Incoming::Consent { call, state, source, at_unix_ms })
}

fn span(start_ms: u64, end_ms: u64, what: &'static str) -> Result<(), InvalidEvent> {
    if start_ms <= end_ms && end_ms <= MAX_MILLIS { Ok(()) } else { Err(InvalidEvent::Time(what)) }
}

fn unix_ms(millis: i64, what: &'static str) -> Result<i64, InvalidEvent> {
    if (0..=MAX_MILLIS as i64).contains(&millis) {
        Ok(millis)
    } else {
        Err(InvalidEvent::Time(what))
    }
}

/// Converts a length in bytes to one in UTF-16 code units, which is how a browser counts. Rounds down to a character.
fn utf16_len(text: &str, bytes: usize) -> u32 {
    text.char_indices()
        .take_while(|(start, character)| start + character.len_utf8() <= bytes)
        .map(|(_, character)| character.len_utf16() as u32)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto() -> v1::Caption {
        v1::Caption {
            party: Some(v1::PartyLabel {
                call_id: "s-1".to_owned(),
                party_id: "p-1".to_owned(),
                role: v1::Role::Agent.into(),
            }),
            text: "héllo 👋 there".to_owned(),
            stable_len: 7,
            start_ms: 100,
            end_ms: 900,
            anchor_unix_ms: 1_000,
            ..v1::Caption::default()
        }
    }

    fn read(caption: v1::Caption) -> Result<Incoming, InvalidEvent> {
        Incoming::try_from(Some(v1::CaptionEvent {
            event: Some(v1::caption_event::Event::Caption(caption)),
        }))
    }

    fn stable_len(caption: v1::Caption) -> u32 {
        match read(caption) {
            Ok(Incoming::Partial(caption) | Incoming::Final(caption)) => caption.stable_len,
            other => panic!("expected a caption, got {other:?}"),
        }
    }

    #[test]
    fn stable_length_is_counted_as_javascript_counts() {
        // "héllo " is 7 bytes and 6 code units; the wave is 4 bytes and 2 code units.
        for (bytes, units) in [(0, 0), (1, 1), (2, 1), (3, 2), (7, 6), (8, 6), (11, 8), (99, 14)] {
            assert_eq!(stable_len(v1::Caption { stable_len: bytes, ..proto() }), units, "{bytes}");
        }
        assert_eq!(stable_len(v1::Caption { is_final: true, ..proto() }), 14);
    }

    #[test]
    fn events_that_break_the_contract_are_refused() {
        let word = |confidence| v1::Word { confidence, ..v1::Word::default() };
        assert_eq!(Incoming::try_from(None), Err(InvalidEvent::Missing));
        for broken in [
            v1::Caption { party: None, ..proto() },
            v1::Caption { start_ms: 901, ..proto() },
            v1::Caption { end_ms: u64::MAX, ..proto() },
            v1::Caption { anchor_unix_ms: -1, ..proto() },
            v1::Caption { text: "x".repeat(MAX_TEXT_BYTES + 1), ..proto() },
            v1::Caption { words: vec![word(0.5); MAX_WORDS + 1], ..proto() },
            v1::Caption { words: vec![word(f32::NAN)], ..proto() },
            v1::Caption { words: vec![word(1.5)], ..proto() },
        ] {
            assert!(read(broken.clone()).is_err(), "{broken:?}");
        }
        assert!(read(v1::Caption { words: vec![word(1.0)], ..proto() }).is_ok());
    }
}
