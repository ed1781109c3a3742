//! What is said, with who says it, as it travels.

use pipeline::captions::{Caption, Word};
use pipeline::speech::millis;
use sidetone_proto::v1;

use crate::start::Start;

impl Start {
    pub(crate) fn labelled(
        &self,
        caption: Caption,
        timing: Option<v1::FinalTiming>,
    ) -> v1::Caption {
        v1::Caption {
            timing,
            party: Some((&self.party).into()),
            segment: caption.segment,
            revision: caption.revision,
            is_final: caption.is_final,
            text: caption.text,
            stable_len: caption.stable_len as u32,
            start_ms: millis(caption.start),
            end_ms: millis(caption.end),
            anchor_unix_ms: self.anchor_unix_ms,
            words: caption.words.into_iter().map(labelled_word).collect(),
        }
    }

    /// A gap from one position to another, in samples at 16 kHz.
    pub(crate) fn labelled_gap(&self, span: (u64, u64), reason: v1::GapReason) -> v1::Gap {
        v1::Gap {
            party: Some((&self.party).into()),
            start_ms: millis(span.0),
            end_ms: millis(span.1),
            reason: reason.into(),
            anchor_unix_ms: self.anchor_unix_ms,
        }
    }
}

fn labelled_word(word: Word) -> v1::Word {
    v1::Word {
        start_ms: millis(word.start),
        end_ms: millis(word.end),
        confidence: word.confidence,
        text: word.text,
    }
}
