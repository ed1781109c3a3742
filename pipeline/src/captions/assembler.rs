use std::collections::BTreeMap;

use super::hypothesis::{join, tidied};
use super::plausibility::{self, Implausible};
use super::{Hypothesis, Stabiliser, Word};
use crate::speech::Window;

/// A caption of one party, before it is labelled with the party. Times are samples at 16 kHz on the party's clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Caption {
    /// Counts the party's utterances.
    pub segment: u32,
    /// Counts the versions of this segment's caption.
    pub revision: u32,
    /// Nothing about this segment follows a final.
    pub is_final: bool,
    /// As it is shown. Empty only in a final that takes back what partials had shown.
    pub text: String,
    /// Bytes at the start of `text` that no later partial changes.
    pub stable_len: usize,
    /// Where speech begins.
    pub start: u64,
    /// Where the audio ends that the caption covers: in a final, where speech ends.
    pub end: u64,
    /// With their times.
    pub words: Vec<Word>,
}

/// Turns the hypotheses about one party's windows into captions, segment by segment.
///
/// Hypotheses and ends may come in any order: a final is made when its segment has ended *and* the hypothesis about
/// its last draft is there.
#[derive(Default)]
pub struct CaptionAssembler {
    open: BTreeMap<u32, OpenSegment>,
    /// Segments below this were opened; those that are not open any more are closed for good.
    opened: u32,
    rejected: Vec<Implausible>,
}

#[derive(Default)]
struct OpenSegment {
    ended: bool,
    /// `speech_end` of the latest window that was sent to the recogniser as a draft.
    draft_expected: u64,
    draft: Option<(Window, Hypothesis)>,
    stabiliser: Stabiliser,
    /// The last caption that was shown.
    shown: Option<Caption>,
    /// The longest window that a plausible hypothesis was about.
    heard_until: u64,
}

impl CaptionAssembler {
    /// An assembler for a stream whose first utterance has this number.
    pub fn from_segment(next_segment: u32) -> Self {
        Self { opened: next_segment, ..Self::default() }
    }

    /// A draft of a segment has gone to the recogniser; earlier drafts of it are out of date.
    pub fn draft_requested(&mut self, window: &Window) {
        let Some(segment) = self.open_segment(window.segment) else { return };
        segment.draft_expected = window.speech_end;
        segment.draft = None;
    }

    /// The recogniser's answer about a draft.
    pub fn draft_recognised(&mut self, window: Window, hypothesis: Hypothesis) -> Option<Caption> {
        let segment = self.open.get_mut(&window.segment)?;
        if window.speech_end == segment.draft_expected {
            segment.draft = Some((window.clone(), hypothesis.clone()));
            if segment.ended {
                return self.finalise(window.segment);
            }
        }
        self.partial_recognised(&window, &hypothesis)
    }

    /// The recogniser's answer about a partial.
    pub fn partial_recognised(
        &mut self,
        window: &Window,
        hypothesis: &Hypothesis,
    ) -> Option<Caption> {
        if let Err(reason) = plausibility::check(hypothesis, window) {
            self.rejected.push(reason);
            return None;
        }
        let segment = self.open_segment(window.segment)?;
        if segment.ended || window.end() <= segment.heard_until {
            return None;
        }
        segment.heard_until = window.end();
        let heard = tidied(hypothesis.words.clone(), window.speech_start, window.end());
        let (text, stable_len, words) = segment.stabiliser.update(&heard, window.end());
        let unchanged = segment
            .shown
            .as_ref()
            .is_some_and(|shown| shown.text == text && shown.stable_len == stable_len);
        if unchanged {
            return None;
        }
        let caption = Caption {
            segment: window.segment,
            revision: segment.next_revision(),
            is_final: false,
            text,
            stable_len,
            start: window.speech_start,
            end: window.end(),
            // What is committed keeps the times of an older hypothesis.
            words: tidied(words, window.speech_start, window.end()),
        };
        segment.shown = Some(caption.clone());
        Some(caption)
    }

    /// The utterance is over. Returns its final, if the hypothesis about its last draft is there already.
    pub fn ended(&mut self, segment: u32) -> Option<Caption> {
        let open = self.open.get_mut(&segment)?;
        open.ended = true;
        open.draft.as_ref()?;
        self.finalise(segment)
    }

    /// The recogniser failed on a segment's last draft: what partials have shown is all there will be.
    pub fn draft_failed(&mut self, window: Window) -> Option<Caption> {
        self.draft_recognised(window, Hypothesis::default())
    }

    /// Whether a segment's final is still to come.
    pub fn is_open(&self, segment: u32) -> bool {
        self.open.contains_key(&segment)
    }

    /// Whether a segment is done with, with or without a final.
    pub fn is_closed(&self, segment: u32) -> bool {
        segment < self.opened && !self.is_open(segment)
    }

    /// Why hypotheses were not believed since this was last asked.
    pub fn take_rejected(&mut self) -> Vec<Implausible> {
        std::mem::take(&mut self.rejected)
    }

    fn open_segment(&mut self, number: u32) -> Option<&mut OpenSegment> {
        if number >= self.opened {
            self.opened = number + 1;
            self.open.insert(number, OpenSegment::default());
        }
        self.open.get_mut(&number)
    }

    fn finalise(&mut self, number: u32) -> Option<Caption> {
        let mut segment = self.open.remove(&number)?;
        let revision = segment.next_revision();
        let (window, hypothesis) = segment.draft?;
        let words = match plausibility::check(&hypothesis, &window) {
            Ok(()) => hypothesis.words,
            Err(reason) => {
                self.rejected.push(reason);
                // What the party saw being said is a better record than nothing.
                segment.shown.take()?.words
            }
        };
        let words = tidied(words, window.speech_start, window.speech_end);
        let text = join(&words);
        Some(Caption {
            segment: number,
            revision,
            is_final: true,
            stable_len: text.len(),
            text,
            start: window.speech_start,
            end: window.speech_end,
            words,
        })
    }
}

impl OpenSegment {
    fn next_revision(&self) -> u32 {
        self.shown.as_ref().map_or(0, |shown| shown.revision + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::samples;

    fn window(segment: u32, speech_end_ms: u64) -> Window {
        Window {
            segment,
            start: 0,
            speech_start: samples(100),
            speech_end: samples(speech_end_ms),
            clarity: 1.0,
            audio: vec![0.0; samples(speech_end_ms + 200) as usize].into(),
        }
    }

    fn heard(text: &str) -> Hypothesis {
        let words = text.split_whitespace().zip(1..).map(|(text, i)| Word {
            text: text.to_owned(),
            start: samples(200 * (i - 1)),
            end: samples(200 * i),
            confidence: 1.0,
        });
        Hypothesis { words: words.collect(), ..Hypothesis::default() }
    }

    #[test]
    fn a_final_replaces_partials_and_counts_on() {
        let mut captions = CaptionAssembler::default();
        let partial = captions.partial_recognised(&window(0, 800), &heard("may eye")).unwrap();
        assert_eq!((partial.revision, partial.is_final), (0, false));
        captions.draft_requested(&window(0, 1200));
        assert_eq!(captions.ended(0), None);
        let last = captions.draft_recognised(window(0, 1200), heard("may I")).unwrap();
        assert_eq!((last.revision, last.is_final, last.text.as_str()), (1, true, "may I"));
        assert_eq!((last.start, last.end), (samples(100), samples(1200)));
        assert!(!captions.is_open(0));
    }

    #[test]
    fn a_draft_becomes_the_final_when_nothing_more_is_said() {
        let mut captions = CaptionAssembler::default();
        captions.draft_requested(&window(0, 1200));
        let draft = captions.draft_recognised(window(0, 1200), heard("may I")).unwrap();
        assert!(!draft.is_final);
        let last = captions.ended(0).unwrap();
        assert_eq!((last.revision, last.is_final, last.text.as_str()), (1, true, "may I"));
    }

    #[test]
    fn a_draft_that_speech_went_on_after_is_not_the_final() {
        let mut captions = CaptionAssembler::default();
        captions.draft_requested(&window(0, 1200));
        captions.draft_requested(&window(0, 2400));
        assert!(captions.ended(0).is_none());
        let late = captions.draft_recognised(window(0, 1200), heard("may I"));
        assert_eq!(late, None);
        let last = captions.draft_recognised(window(0, 2400), heard("may I help you")).unwrap();
        assert_eq!(last.text, "may I help you");
    }

    #[test]
    fn nothing_follows_a_final() {
        let mut captions = CaptionAssembler::default();
        captions.draft_requested(&window(0, 1200));
        captions.draft_recognised(window(0, 1200), heard("may I"));
        captions.ended(0).unwrap();
        assert_eq!(captions.draft_recognised(window(0, 1200), heard("may I")), None);
        assert_eq!(captions.partial_recognised(&window(0, 1800), &heard("may I help")), None);
    }

    #[test]
    fn a_good_partial_outlives_an_empty_final() {
        let mut captions = CaptionAssembler::default();
        captions.partial_recognised(&window(0, 800), &heard("hello there")).unwrap();
        captions.draft_requested(&window(0, 1200));
        captions.ended(0);
        let last = captions.draft_failed(window(0, 1200)).unwrap();
        assert_eq!((last.text.as_str(), last.is_final), ("hello there", true));
        assert_eq!(captions.take_rejected(), [Implausible::Empty]);
    }

    #[test]
    fn what_nobody_said_is_no_caption() {
        let mut captions = CaptionAssembler::default();
        assert_eq!(captions.partial_recognised(&window(0, 800), &heard("")), None);
        captions.draft_requested(&window(0, 1200));
        captions.ended(0);
        assert_eq!(captions.draft_recognised(window(0, 1200), heard("")), None);
        assert!(!captions.is_open(0));
    }

    #[test]
    fn partials_about_less_than_is_shown_are_dropped() {
        let mut captions = CaptionAssembler::default();
        captions.partial_recognised(&window(0, 1800), &heard("hello there you")).unwrap();
        assert_eq!(captions.partial_recognised(&window(0, 800), &heard("hello")), None);
    }
}
