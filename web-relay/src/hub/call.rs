//! One call: the order of its events, what has been seen of it, and what its followers may fetch.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use sidetone_proto::{CallId, PartyId};

use super::log::{Entry, Log};
use super::{PublicationId, Pull, Ticket};
use crate::event::{
    CallEnded, CallStarted, CallSummary, Caption, Consent, ConsentState, Event, Gap, GapId,
    PartyRole, Recognition, SegmentId, Status,
};
use crate::incoming::{Incoming, MAX_PARTIES};
use crate::store::{StoredCall, Write};

/// `seq` numbers are reserved in the store in blocks of this many. Partials use them up without a write; after a
/// restart the call goes on behind the block, so that no number is ever used twice.
pub const SEQ_BLOCK: u64 = 1_000;

/// Finals and gaps of one party: more than a day of speech. When reached, further ones are refused.
pub const MAX_SEGMENTS: usize = 100_000;

/// Segments of one party that have a partial and no final yet. When exceeded, the oldest one's partial is forgotten.
pub const MAX_OPEN_SEGMENTS: usize = 4;

/// Changes of a call's consent, besides its refusal. When reached, further ones are dropped.
pub const MAX_CONSENTS: usize = 100;

/// What becomes of a publication.
#[derive(Debug)]
pub(super) enum Admission {
    /// It waits for this write.
    Append(Write),
    /// It waits for those before it.
    Queued,
    /// It is not taken, and never will be.
    Refused(&'static str),
}

#[derive(Debug)]
pub(super) struct Call {
    summary: CallSummary,
    has_start: bool,
    updated_unix_ms: i64,
    next_seq: u64,
    reserved_seq: u64,
    published_seq: u64,
    parties: BTreeMap<PartyId, Party>,
    status: Option<Entry>,
    /// When the newest consent was told, and what it was.
    consent: Option<(i64, ConsentState)>,
    consents: usize,
    /// What came after a refusal, and was dropped.
    dropped: u64,
    /// Publications in the order they came, each behind all before it. Bounded by the owner of the hub.
    pending: VecDeque<Pending>,
    log: Log,
}

#[derive(Debug, Default)]
struct Party {
    finals: HashSet<SegmentId>,
    gaps: HashSet<GapId>,
    open: BTreeMap<SegmentId, OpenSegment>,
    /// Who recognises it.
    recognition: Option<Entry>,
}

impl Party {
    /// What was passed on of it and not stored.
    fn provisional(&self) -> impl Iterator<Item = &Entry> {
        let partials = self.open.values().filter_map(|segment| segment.partial.as_ref());
        partials.chain(&self.recognition)
    }
}

#[derive(Debug)]
struct OpenSegment {
    /// Of the newest partial that was taken.
    revision: u32,
    /// The newest partial that was passed on.
    partial: Option<Entry>,
}

#[derive(Debug)]
struct Pending {
    publication: PublicationId,
    /// Absent: a duplicate, which is done when everything before it is.
    event: Option<Event>,
    waits_for: Option<Ticket>,
}

impl Call {
    pub(super) fn new(id: CallId, now_unix_ms: i64) -> Self {
        let nothing = StoredCall {
            started_unix_ms: now_unix_ms,
            ended_unix_ms: None,
            has_start: false,
            last_seq: 0,
            reserved_seq: 0,
            parties: Vec::new(),
            finals: Vec::new(),
            gaps: Vec::new(),
            consents: Vec::new(),
        };
        Self::resume(id, now_unix_ms, nothing)
    }

    pub(super) fn resume(id: CallId, now_unix_ms: i64, stored: StoredCall) -> Self {
        let mut parties: BTreeMap<PartyId, Party> = BTreeMap::new();
        for (party, id) in stored.finals {
            parties.entry(party).or_default().finals.insert(id);
        }
        for (party, id) in stored.gaps {
            parties.entry(party).or_default().gaps.insert(id);
        }
        Self {
            summary: CallSummary {
                call_id: id,
                started_unix_ms: stored.started_unix_ms,
                ended_unix_ms: stored.ended_unix_ms,
                parties: stored.parties,
            },
            has_start: stored.has_start,
            updated_unix_ms: now_unix_ms,
            next_seq: stored.reserved_seq + 1,
            reserved_seq: stored.reserved_seq,
            published_seq: stored.reserved_seq,
            parties,
            status: None,
            consent: stored.consents.iter().copied().max_by_key(|(at, _)| *at),
            consents: stored.consents.len(),
            dropped: 0,
            pending: VecDeque::new(),
            log: Log::starting_after(stored.last_seq),
        }
    }

    /// Takes a publication, or finds that there is nothing to take.
    pub(super) fn admit(
        &mut self,
        now_unix_ms: i64,
        publication: PublicationId,
        incoming: Incoming,
        ticket: Ticket,
    ) -> Admission {
        self.updated_unix_ms = now_unix_ms;
        let event = match self.event(incoming) {
            Ok(event) => event,
            Err(reason) => return Admission::Refused(reason),
        };
        let write = event.as_ref().and_then(|event| self.write(now_unix_ms, event));
        let waits_for = write.as_ref().map(|_| ticket);
        self.pending.push_back(Pending { publication, event, waits_for });
        write.map_or(Admission::Queued, Admission::Append)
    }

    /// A write is durable.
    pub(super) fn confirm(&mut self, ticket: Ticket) {
        if let Some(pending) = self.pending.iter_mut().find(|p| p.waits_for == Some(ticket)) {
            pending.waits_for = None;
        }
    }

    pub(super) fn is_waiting_for(&self, ticket: Ticket) -> bool {
        self.pending.iter().any(|pending| pending.waits_for == Some(ticket))
    }

    /// Publishes what waits for nothing any more, in order, and says which publications that were.
    pub(super) fn release(&mut self, now_unix_ms: i64) -> Vec<PublicationId> {
        let mut released = Vec::new();
        while self.pending.front().is_some_and(|pending| pending.waits_for.is_none()) {
            let Some(pending) = self.pending.pop_front() else { break };
            if let Some(event) = pending.event {
                self.publish(now_unix_ms, event);
            }
            released.push(pending.publication);
        }
        released
    }

    pub(super) fn pull(&self, after_seq: u64, whole: bool) -> Pull {
        let Some(durable) = self.log.after(after_seq) else { return Pull::Behind };
        let mut provisional: Vec<&Entry> = self
            .parties
            .values()
            .flat_map(Party::provisional)
            .chain(&self.status)
            .filter(|entry| whole || entry.seq > after_seq)
            .collect();
        provisional.sort_by_key(|entry| entry.seq);

        let mut entries: Vec<&Entry> = durable.chain(provisional).collect();
        if !whole {
            entries.sort_by_key(|entry| entry.seq);
        }
        let messages = entries.into_iter().map(|entry| entry.json.clone()).collect();
        Pull::Events { messages, as_of_seq: self.published_seq }
    }

    pub(super) fn pending_publications(&self) -> impl Iterator<Item = PublicationId> {
        self.pending.iter().map(|pending| pending.publication)
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// How much came after a refusal, and was dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn is_refused(&self) -> bool {
        self.consent.is_some_and(|(_, state)| state == ConsentState::Refused)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.summary.ended_unix_ms.is_some()
    }

    pub(super) fn published_seq(&self) -> u64 {
        self.published_seq
    }

    pub(super) fn updated_unix_ms(&self) -> i64 {
        self.updated_unix_ms
    }

    pub(super) fn summary(&self) -> &CallSummary {
        &self.summary
    }

    /// Gives a publication its place, unless it has had one before.
    fn event(&mut self, incoming: Incoming) -> Result<Option<Event>, &'static str> {
        let is_end = matches!(incoming, Incoming::CallEnded { .. });
        if self.is_refused() && !is_end {
            // Whoever sent it need not send it again.
            self.dropped += u64::from(!matches!(incoming, Incoming::Consent { .. }));
            return Ok(None);
        }
        Ok(match incoming {
            Incoming::CallStarted { call, started_unix_ms, parties } => {
                if self.has_start {
                    return Ok(None);
                }
                for party in &parties {
                    self.party(&party.party_id, party)?;
                }
                self.has_start = true;
                self.summary.started_unix_ms = started_unix_ms;
                let seq = self.take_seq();
                let started = CallStarted { call_id: call, seq, started_unix_ms, parties };
                Some(Event::CallStarted(started))
            }
            Incoming::CallEnded { call, ended_unix_ms } => {
                if self.has_ended() {
                    return Ok(None);
                }
                self.summary.ended_unix_ms = Some(ended_unix_ms);
                let seq = self.take_seq();
                Some(Event::CallEnded(CallEnded { call_id: call, seq, ended_unix_ms }))
            }
            Incoming::Partial(caption) => self.partial(caption)?,
            Incoming::Final(caption) => self.finished(caption)?,
            Incoming::Gap { party, start_ms, end_ms, reason, anchor_unix_ms } => {
                let label = PartyRole { party_id: party.id.clone(), role: party.role };
                let seen = &mut self.party(&party.id, &label)?.gaps;
                if !insert(seen, GapId { anchor_unix_ms, start_ms })? {
                    return Ok(None);
                }
                Some(Event::Gap(Gap {
                    call_id: party.call,
                    seq: self.take_seq(),
                    party_id: party.id,
                    role: party.role,
                    start_ms,
                    end_ms,
                    reason,
                    anchor_unix_ms,
                }))
            }
            Incoming::Status { call, state, is_on_hold, parties_on_hold } => {
                let seq = self.take_seq();
                let status = Status { call_id: call, seq, state, is_on_hold, parties_on_hold };
                Some(Event::Status(status))
            }
            Incoming::Recognition { party, is_fallback } => {
                let label = PartyRole { party_id: party.id.clone(), role: party.role };
                self.party(&party.id, &label)?;
                Some(Event::Recognition(Recognition {
                    call_id: party.call,
                    seq: self.take_seq(),
                    party_id: party.id,
                    role: party.role,
                    is_fallback,
                }))
            }
            Incoming::Consent { call, state, source, at_unix_ms } => {
                let is_refusal = state == ConsentState::Refused;
                let is_old = self.consent.is_some_and(|(at, known)| {
                    at > at_unix_ms || (at, known) == (at_unix_ms, state)
                });
                if !is_refusal && (is_old || self.consents >= MAX_CONSENTS) {
                    return Ok(None);
                }
                self.consent = Some((at_unix_ms, state));
                self.consents += 1;
                let seq = self.take_seq();
                Some(Event::Consent(Consent { call_id: call, seq, state, source, at_unix_ms }))
            }
        })
    }

    fn partial(&mut self, mut caption: Caption) -> Result<Option<Event>, &'static str> {
        let party = self.party(&caption.party_id, &label(&caption))?;
        if party.finals.contains(&caption.id()) {
            return Ok(None);
        }
        match party.open.get_mut(&caption.id()) {
            Some(open) if caption.revision <= open.revision => return Ok(None),
            Some(open) => open.revision = caption.revision,
            None => {
                let open = OpenSegment { revision: caption.revision, partial: None };
                party.open.insert(caption.id(), open);
                if party.open.len() > MAX_OPEN_SEGMENTS {
                    party.open.pop_first();
                }
            }
        }
        caption.seq = self.take_seq();
        Ok(Some(Event::Partial(caption)))
    }

    fn finished(&mut self, mut caption: Caption) -> Result<Option<Event>, &'static str> {
        let party = self.party(&caption.party_id, &label(&caption))?;
        if !insert(&mut party.finals, caption.id())? {
            return Ok(None);
        }
        caption.seq = self.take_seq();
        Ok(Some(Event::Final(caption)))
    }

    /// The party's state; lists it if it is new.
    fn party(&mut self, id: &PartyId, label: &PartyRole) -> Result<&mut Party, &'static str> {
        let known = &mut self.summary.parties;
        match known.iter().position(|party| party.party_id == *id) {
            Some(index) => known[index].role = label.role,
            None if known.len() >= MAX_PARTIES => {
                return Err("the call has as many parties as the relay takes");
            }
            None => known.push(label.clone()),
        }
        Ok(self.parties.entry(id.clone()).or_default())
    }

    fn take_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }

    /// What has to be durable before the event may be seen: itself, a new block of numbers, or nothing.
    fn write(&mut self, now_unix_ms: i64, event: &Event) -> Option<Write> {
        let block_used_up = event.seq() > self.reserved_seq;
        if block_used_up {
            self.reserved_seq = event.seq() + SEQ_BLOCK - 1;
        }
        let durable = match event {
            Event::CallStarted(_)
            | Event::CallEnded(_)
            | Event::Final(_)
            | Event::Gap(_)
            | Event::Consent(_) => true,
            Event::Partial(_) | Event::Status(_) | Event::Recognition(_) => false,
        };
        (durable || block_used_up).then(|| Write {
            call: self.summary.call_id.clone(),
            now_unix_ms,
            started_unix_ms: self.summary.started_unix_ms,
            reserved_seq: self.reserved_seq,
            event: durable.then(|| event.clone()),
        })
    }

    fn publish(&mut self, now_unix_ms: i64, mut event: Event) {
        if let Event::Partial(caption) | Event::Final(caption) = &mut event {
            let end_unix_ms = caption.anchor_unix_ms.saturating_add_unsigned(caption.end_ms);
            caption.latency_ms = Some(now_unix_ms.saturating_sub(end_unix_ms).max(0) as u64);
        }
        let is_speech = matches!(event, Event::Partial(_) | Event::Final(_) | Event::Gap(_));
        let entry = Entry { seq: event.seq(), json: Arc::from(event.to_json()), is_speech };
        self.published_seq = entry.seq;
        match event {
            Event::CallStarted(_) | Event::CallEnded(_) | Event::Gap(_) => self.log.push(entry),
            Event::Final(caption) => {
                if let Some(party) = self.parties.get_mut(&caption.party_id) {
                    party.open.remove(&caption.id());
                }
                self.log.push(entry);
            }
            Event::Partial(caption) => {
                let party = self.parties.get_mut(&caption.party_id);
                if let Some(open) = party.and_then(|party| party.open.get_mut(&caption.id())) {
                    open.partial = Some(entry);
                }
            }
            Event::Status(_) => self.status = Some(entry),
            Event::Recognition(recognition) => {
                if let Some(party) = self.parties.get_mut(&recognition.party_id) {
                    party.recognition = Some(entry);
                }
            }
            Event::Consent(consent) => {
                if consent.state == ConsentState::Refused {
                    self.log.forget_speech();
                    self.status = None;
                    self.parties.clear();
                }
                self.log.push(entry);
            }
        }
    }
}

fn label(caption: &Caption) -> PartyRole {
    PartyRole { party_id: caption.party_id.clone(), role: caption.role }
}

/// True if it was not there before.
fn insert<T: std::hash::Hash + Eq>(seen: &mut HashSet<T>, item: T) -> Result<bool, &'static str> {
    if !seen.contains(&item) && seen.len() >= MAX_SEGMENTS {
        return Err("the party has as many segments as the relay takes");
    }
    Ok(seen.insert(item))
}
