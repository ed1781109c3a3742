//! What goes out of a party's stream, and what becomes of it.

use caption_publisher::{KeptFinal, Publisher, Undelivered};
use pipeline::captions::Caption;
use pipeline::speech::samples;
use sidetone_proto::v1;
use sidetone_proto::v1::caption_event::Event;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::error;

use super::{PartyError, PartyStream};
use crate::ledger::{Item, Ledger, ResumePoint};
use crate::redaction::Outgoing;
use crate::start::Start;

/// What became of an item that went to the relay.
pub(super) struct Delivery {
    item: Item,
    /// The audio that it is about, in samples at 16 kHz.
    span: (u64, u64),
    outcome: Result<(), Undelivered>,
}

impl PartyStream {
    /// Lets redaction have what there is to be shown of a segment. If the segment is closed and there is nothing, then
    /// nothing was said, or the recogniser failed, or it was for consent only.
    pub(super) fn publish(&mut self, segment: u32, caption: Option<Caption>) {
        if let Some(caption) = caption.as_ref().filter(|caption| caption.is_final) {
            self.heard = self.heard.max(self.start.phrases.hear(&caption.text));
        }
        let is_closed = self.captions.is_closed(segment);
        let timing = if is_closed { self.unfinished.remove(&segment) } else { None };
        let is_withheld = self.withheld.contains(&segment);
        let caption = caption.filter(|_| !is_withheld);
        let now = Instant::now().into_std();
        let out = match caption {
            Some(caption) if caption.is_final => {
                self.failed.remove(&segment);
                self.timings.extend(timing.map(|of| (segment, of.timing)));
                // However long it waits: it is not called off any more.
                self.ledger.sent(Item::Final(segment));
                self.gate.closed(now, segment, Some(caption))
            }
            Some(caption) => self.gate.partial(caption),
            None if !is_closed => return,
            None => {
                let failed = self.failed.remove(&segment);
                self.withheld.remove(&segment);
                match failed.filter(|_| !is_withheld) {
                    Some(span) => self.deliver_gap_instead(
                        Item::Final(segment),
                        span,
                        v1::GapReason::RecogniserFailed,
                    ),
                    None => self.ledger.call_off(Item::Final(segment)),
                }
                self.gate.closed(now, segment, None)
            }
        };
        self.send(out);
    }

    /// Sends what redaction lets through.
    pub(super) fn send(&mut self, out: Vec<Outgoing>) {
        for outgoing in out {
            match outgoing {
                Outgoing::Caption(caption) if caption.is_final => {
                    let timing = self.timings.remove(&caption.segment);
                    let (item, span) = (Item::Final(caption.segment), (caption.start, caption.end));
                    let event = Event::Caption(self.start.labelled(caption, timing));
                    self.deliver(item, span, event);
                }
                Outgoing::Caption(caption) => {
                    self.publisher.announce(Event::Caption(self.start.labelled(caption, None)));
                }
                Outgoing::Withheld(segment, span) => {
                    self.timings.remove(&segment);
                    let item = Item::Final(segment);
                    self.deliver_gap_instead(item, span, v1::GapReason::Withheld);
                }
            }
        }
    }

    /// Tells the call's viewers when another recogniser than the first takes over, and when the first is back.
    pub(super) fn tell_who_recognises(&mut self) {
        let Some(is_fallback) = self.recognition.news() else { return };
        let party = Some((&self.start.party).into());
        self.publisher.announce(Event::Recognition(v1::Recognition { party, is_fallback }));
    }

    fn deliver_gap_instead(&mut self, item: Item, span: (u64, u64), reason: v1::GapReason) {
        self.ledger.replace(item, Item::Gap(span.0));
        self.deliver_gap(span, reason);
    }

    pub(super) fn deliver_gap(&mut self, span: (u64, u64), reason: v1::GapReason) {
        let gap = self.start.labelled_gap(span, reason);
        self.deliver(Item::Gap(span.0), span, Event::Gap(gap));
    }

    fn deliver(&mut self, item: Item, span: (u64, u64), event: Event) {
        self.ledger.sent(item);
        // Queued here and now: in order.
        let delivered = self.publisher.deliver(event);
        self.deliveries.spawn(async move {
            let outcome = delivered.await;
            Delivery { item, span, outcome }
        });
    }

    pub(super) fn take_delivery(
        &mut self,
        Delivery { item, span, outcome }: Delivery,
    ) -> Result<(), PartyError> {
        match (outcome, item) {
            (Ok(()), _) => self.ledger.stored(item),
            // It would be refused again however often it is said: the transcript shows that something is missing, and
            // the call goes on.
            (Err(Undelivered::Refused), Item::Final(segment)) => {
                error!(segment, "the relay refused a caption, see the reason above");
                self.deliver_gap_instead(item, span, v1::GapReason::Unspecified);
            }
            (Err(Undelivered::Refused), Item::Gap(_)) => {
                error!("the relay refused a gap, see the reason above");
                self.ledger.stored(item);
            }
            (Err(Undelivered::ShutDown), _) => return Err(PartyError::ShuttingDown),
        }
        Ok(())
    }

    /// A final that an earlier connection, or an earlier process, has made: it need not be made again.
    pub(super) fn await_kept(&mut self, last: KeptFinal, resume: ResumePoint) {
        let item = Item::Final(last.segment);
        self.ledger.owe(item, resume);
        self.ledger.sent(item);
        let span = (samples(last.start_ms), samples(last.end_ms));
        let publisher = self.publisher.clone();
        self.deliveries.spawn(async move {
            publisher.stored(&last).await;
            Delivery { item, span, outcome: Ok(()) }
        });
    }

    /// Forgets what was heard and is not published yet. What waits for redaction is dropped with the stream.
    pub(super) fn discard(&mut self) {
        self.deliveries = JoinSet::new();
        self.ledger = Ledger::default();
        let (publisher, party) = (self.publisher.clone(), self.start.party.clone());
        tokio::spawn(async move { publisher.forget(party).await });
    }
}

/// Finals of the party that need not be made again. Where phrases are listened for, they are: who hears them again, hears
/// what was not acknowledged of consent.
pub(super) fn kept(start: &Start, publisher: &Publisher) -> Vec<KeptFinal> {
    if !start.phrases.is_empty() {
        return Vec::new();
    }
    publisher.kept(&start.party, start.anchor_unix_ms, start.next_segment)
}
