//! The last thing that happens to a party's captions: what redaction lets through goes out, and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use metrics::counter;
use pipeline::captions::Caption;
use pipeline::redaction::{PartyRedactor, Policy};
use tracing::error;

/// What redacts one party's captions.
pub trait Redact: Send {
    /// As [`PartyRedactor::partial`].
    fn partial(&mut self, caption: Caption) -> Vec<Caption>;
    /// As [`PartyRedactor::closed`].
    fn closed(&mut self, now: Instant, segment: u32, last: Option<Caption>) -> Vec<Caption>;
    /// As [`PartyRedactor::handle_timeout`].
    fn handle_timeout(&mut self, now: Instant, speaking: bool) -> Vec<Caption>;
    /// As [`PartyRedactor::next_timeout`].
    fn next_timeout(&self, speaking: bool) -> Option<Instant>;
    /// As [`PartyRedactor::finish`].
    fn finish(&mut self, now: Instant) -> Vec<Caption>;
}

impl Redact for PartyRedactor {
    fn partial(&mut self, caption: Caption) -> Vec<Caption> {
        PartyRedactor::partial(self, caption)
    }

    fn closed(&mut self, now: Instant, segment: u32, last: Option<Caption>) -> Vec<Caption> {
        PartyRedactor::closed(self, now, segment, last)
    }

    fn handle_timeout(&mut self, now: Instant, speaking: bool) -> Vec<Caption> {
        PartyRedactor::handle_timeout(self, now, speaking)
    }

    fn next_timeout(&self, speaking: bool) -> Option<Instant> {
        PartyRedactor::next_timeout(self, speaking)
    }

    fn finish(&mut self, now: Instant) -> Vec<Caption> {
        PartyRedactor::finish(self, now)
    }
}

/// Makes a redactor for each party, whose first utterance has the number that is given.
#[derive(Clone)]
pub struct Redaction(Arc<dyn Fn(u32) -> Box<dyn Redact> + Send + Sync>);

impl Redaction {
    /// Redacts as a policy says.
    pub fn new(policy: Policy) -> Self {
        Self::with(move |next_segment| Box::new(PartyRedactor::new(policy.clone(), next_segment)))
    }

    /// Redacts as somebody else does.
    pub fn with(make: impl Fn(u32) -> Box<dyn Redact> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    pub(crate) fn gate(&self, next_segment: u32) -> Gate {
        Gate { redaction: self.clone(), redactor: (self.0)(next_segment), inside: Vec::new() }
    }
}

/// What comes out of a [`Gate`].
#[derive(Debug, PartialEq)]
pub(crate) enum Outgoing {
    /// Redacted.
    Caption(Caption),
    /// The final of a segment is withheld, for redaction failed: from where to where, in samples at 16 kHz.
    Withheld(u32, (u64, u64)),
}

/// One party's redactor, and what is done when it fails: what it had is withheld, and another one takes its place.
pub(crate) struct Gate {
    redaction: Redaction,
    redactor: Box<dyn Redact>,
    /// Finals that have gone in and not come out.
    inside: Vec<(u32, (u64, u64))>,
}

impl Gate {
    pub(crate) fn partial(&mut self, caption: Caption) -> Vec<Outgoing> {
        let segment = caption.segment;
        self.pass(segment, |redactor| redactor.partial(caption))
    }

    pub(crate) fn closed(
        &mut self,
        now: Instant,
        segment: u32,
        last: Option<Caption>,
    ) -> Vec<Outgoing> {
        self.inside.extend(last.iter().map(|last| (segment, (last.start, last.end))));
        self.pass(segment + 1, |redactor| redactor.closed(now, segment, last))
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, speaking: bool) -> Vec<Outgoing> {
        let next = self.inside.last().map_or(0, |(segment, _)| segment + 1);
        self.pass(next, |redactor| redactor.handle_timeout(now, speaking))
    }

    pub(crate) fn finish(&mut self, now: Instant) -> Vec<Outgoing> {
        self.pass(0, |redactor| redactor.finish(now))
    }

    pub(crate) fn next_timeout(&self, speaking: bool) -> Option<Instant> {
        // Whatever is inside when this fails is withheld at the next occasion.
        catch_unwind(AssertUnwindSafe(|| self.redactor.next_timeout(speaking))).ok().flatten()
    }

    /// `next`: the segment that a redactor which takes this one's place has to expect.
    fn pass(
        &mut self,
        next: u32,
        redact: impl FnOnce(&mut dyn Redact) -> Vec<Caption>,
    ) -> Vec<Outgoing> {
        let redactor = self.redactor.as_mut();
        let Ok(out) = catch_unwind(AssertUnwindSafe(|| redact(redactor))) else {
            return self.fail(next);
        };
        for caption in out.iter().filter(|caption| caption.is_final) {
            self.inside.retain(|(segment, _)| *segment != caption.segment);
        }
        out.into_iter().map(Outgoing::Caption).collect()
    }

    fn fail(&mut self, next: u32) -> Vec<Outgoing> {
        error!(finals = self.inside.len(), "redaction failed, withholding what was not redacted");
        counter!("sidetone_transcriber_withheld_finals_total").increment(self.inside.len() as u64);
        self.redactor = (self.redaction.0)(next);
        self.inside.drain(..).map(|(segment, span)| Outgoing::Withheld(segment, span)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails on certain words. Keeps every final until it is asked to finish.
    #[derive(Default)]
    struct Fragile(Vec<Caption>);

    impl Redact for Fragile {
        fn partial(&mut self, caption: Caption) -> Vec<Caption> {
            assert!(!caption.text.contains("trap"), "the redactor fails, as this test wants it to");
            vec![caption]
        }

        fn closed(&mut self, _: Instant, _: u32, last: Option<Caption>) -> Vec<Caption> {
            self.0.extend(last);
            let is_trap = self.0.iter().any(|caption| caption.text.contains("trap"));
            assert!(!is_trap, "the redactor fails, as this test wants it to");
            Vec::new()
        }

        fn handle_timeout(&mut self, _: Instant, _: bool) -> Vec<Caption> {
            Vec::new()
        }

        fn next_timeout(&self, _: bool) -> Option<Instant> {
            panic!("the redactor fails, as this test wants it to")
        }

        fn finish(&mut self, _: Instant) -> Vec<Caption> {
            std::mem::take(&mut self.0)
        }
    }

    fn caption(segment: u32, text: &str, is_final: bool) -> Caption {
        Caption {
            segment,
            revision: 0,
            is_final,
            text: text.to_owned(),
            stable_len: 0,
            start: 10 * u64::from(segment),
            end: 10 * u64::from(segment) + 5,
            words: Vec::new(),
        }
    }

    #[test]
    fn what_the_redactor_fails_on_is_withheld_with_all_that_it_had() {
        let mut gate = Redaction::with(|_| Box::new(Fragile::default())).gate(0);
        let now = Instant::now();
        assert_eq!(gate.partial(caption(0, "fine", false)).len(), 1);
        assert!(gate.partial(caption(0, "a trap", false)).is_empty());
        assert!(gate.closed(now, 0, Some(caption(0, "fine", true))).is_empty());
        let withheld = [Outgoing::Withheld(0, (0, 5)), Outgoing::Withheld(1, (10, 15))];
        assert_eq!(gate.closed(now, 1, Some(caption(1, "a trap", true))), withheld);
        assert_eq!(gate.next_timeout(false), None);

        let last = caption(2, "fine again", true);
        assert!(gate.closed(now, 2, Some(last.clone())).is_empty());
        assert_eq!(gate.finish(now), [Outgoing::Caption(last)]);
        assert!(gate.finish(now).is_empty());
    }
}
