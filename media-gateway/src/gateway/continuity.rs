//! What of a voice nobody heard, between one leg and the next. Pure.

use serde::{Deserialize, Serialize};
use sidetone_proto::{CallId, Party, PartyId, Role};

/// Legs of one voice that are closer together than this leave nothing out: a word is longer.
const TOLERANCE_MS: i64 = 200;

/// How far a voice was heard on one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Trace {
    pub(super) party_id: PartyId,
    pub(super) role: Role,
    /// Wall clock at the stream's time 0, in milliseconds since the Unix epoch.
    pub(super) anchor_unix_ms: i64,
    /// Up to which time on the stream's clock, in milliseconds.
    pub(super) until_ms: u64,
}

/// A stream, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// `None` before the first sound.
    pub(super) trace: Option<Trace>,
    /// Whether nothing more will come.
    pub(super) is_finished: bool,
}

/// A voice went on being heard after a while in which it was not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interruption {
    /// The stream that broke off.
    pub(super) of: Trace,
    /// Until when, in milliseconds on that stream's clock.
    pub(super) to_ms: u64,
}

/// The streams of one call, in the order of their legs.
#[derive(Debug, Default)]
pub(super) struct Continuity {
    /// Streams that broke off and were not taken up yet, at most one for each voice.
    broken: Vec<Trace>,
    /// What was seen of each stream.
    seen: Vec<Seen>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    has_begun: bool,
    is_finished: bool,
}

impl Trace {
    /// When the voice was last heard, in milliseconds since the Unix epoch.
    pub(super) fn end_unix_ms(&self) -> i64 {
        self.anchor_unix_ms.saturating_add_unsigned(self.until_ms)
    }

    /// Whose voice it is.
    pub(super) fn party(&self, call: &CallId) -> Party {
        Party { call: call.clone(), id: self.party_id.clone(), role: self.role }
    }
}

impl Continuity {
    /// `before`: the streams of an earlier process, which was killed while it listened to the call.
    pub(super) fn after(before: Vec<Trace>) -> Self {
        Self { broken: before, seen: Vec::new() }
    }

    /// Takes all streams that there have been, in order. Each interruption is found once.
    pub(super) fn observe(&mut self, streams: &[Progress]) -> Vec<Interruption> {
        self.seen.resize(streams.len().max(self.seen.len()), Seen::default());
        let mut found = Vec::new();
        for (seen, stream) in self.seen.iter_mut().zip(streams) {
            let Some(trace) = stream.trace.as_ref() else { continue };
            if !std::mem::replace(&mut seen.has_begun, true) {
                found.extend(resume(&mut self.broken, trace));
            }
            if stream.is_finished && !std::mem::replace(&mut seen.is_finished, true) {
                self.broken.retain(|earlier| earlier.party_id != trace.party_id);
                self.broken.push(trace.clone());
            }
        }
        found
    }
}

/// A stream has begun: what it goes on from is broken no longer.
fn resume(broken: &mut Vec<Trace>, begun: &Trace) -> Option<Interruption> {
    let is_same = |it: &Trace| it.party_id == begun.party_id;
    let is_mixed = |it: &Trace| it.role == Role::Mixed || begun.role == Role::Mixed;
    let at = broken.iter().position(is_same).or_else(|| broken.iter().rposition(is_mixed))?;
    let of = broken.remove(at);
    if begun.role == Role::Mixed {
        // Everyone is heard again.
        broken.clear();
    }
    let missing_ms = begun.anchor_unix_ms.saturating_sub(of.end_unix_ms());
    let to_ms = of.until_ms.saturating_add(missing_ms.unsigned_abs());
    (missing_ms >= TOLERANCE_MS).then_some(Interruption { of, to_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(party: &str, role: Role, anchor_unix_ms: i64, until_ms: u64) -> Trace {
        Trace { party_id: PartyId::new(party), role, anchor_unix_ms, until_ms }
    }

    fn agent(anchor_unix_ms: i64, until_ms: u64) -> Trace {
        trace("p-1-2", Role::Agent, anchor_unix_ms, until_ms)
    }

    fn live(trace: Trace) -> Progress {
        Progress { trace: Some(trace), is_finished: false }
    }

    fn over(trace: Trace) -> Progress {
        Progress { trace: Some(trace), is_finished: true }
    }

    #[test]
    fn a_voice_that_is_heard_on_another_leg_was_not_heard_in_between() {
        let mut continuity = Continuity::default();
        let silent = Progress { trace: None, is_finished: false };
        assert_eq!(continuity.observe(&[live(agent(1_000, 500)), silent.clone()]), []);
        assert_eq!(continuity.observe(&[over(agent(1_000, 2_000)), silent.clone()]), []);
        let streams = [over(agent(1_000, 2_000)), silent, live(agent(8_000, 20))];
        let interruption = Interruption { of: agent(1_000, 2_000), to_ms: 7_000 };
        assert_eq!(continuity.observe(&streams), [interruption]);
        assert_eq!(continuity.observe(&streams), [], "it is told once");
    }

    #[test]
    fn legs_that_overlap_or_follow_at_once_leave_nothing_out() {
        for anchor in [2_000, 3_000, 3_199] {
            let mut continuity = Continuity::default();
            continuity.observe(&[live(agent(1_000, 20))]);
            let streams = [over(agent(1_000, 2_000)), live(agent(anchor, 20))];
            assert_eq!(continuity.observe(&streams), [], "{anchor}");
        }
    }

    #[test]
    fn the_others_voice_is_another_matter() {
        let mut continuity = Continuity::default();
        let customer = trace("p-1-1", Role::Customer, 9_000, 20);
        assert_eq!(continuity.observe(&[over(agent(1_000, 2_000)), live(customer)]), []);
    }

    #[test]
    fn a_mixed_leg_goes_on_from_whoever_was_heard_last() {
        let mut continuity = Continuity::default();
        let customer = trace("p-1-1", Role::Customer, 1_000, 3_000);
        let streams = [over(agent(1_000, 2_000)), over(customer.clone())];
        assert_eq!(continuity.observe(&streams), []);
        let mixed = trace("p-1-9", Role::Mixed, 6_000, 20);
        let streams = [streams[0].clone(), streams[1].clone(), live(mixed.clone())];
        assert_eq!(continuity.observe(&streams), [Interruption { of: customer, to_ms: 5_000 }]);
        let again = trace("p-1-11", Role::Mixed, 9_000, 20);
        let mixed = Trace { until_ms: 1_000, ..mixed };
        let [one, two, _] = streams;
        let streams = [one, two, over(mixed.clone()), live(again)];
        assert_eq!(continuity.observe(&streams), [Interruption { of: mixed, to_ms: 3_000 }]);
    }

    #[test]
    fn an_earlier_process_is_gone_on_from() {
        let mut continuity = Continuity::after(vec![agent(1_000, 2_000)]);
        let streams = [live(agent(10_000, 20))];
        let interruption = Interruption { of: agent(1_000, 2_000), to_ms: 9_000 };
        assert_eq!(continuity.observe(&streams), [interruption]);
    }

    #[test]
    fn a_leg_that_came_and_went_unseen_counts_too() {
        let mut continuity = Continuity::default();
        continuity.observe(&[over(agent(1_000, 2_000))]);
        let brief = over(agent(8_000, 100));
        let streams = [over(agent(1_000, 2_000)), brief.clone()];
        let interruption = Interruption { of: agent(1_000, 2_000), to_ms: 7_000 };
        assert_eq!(continuity.observe(&streams), [interruption]);
        let streams = [over(agent(1_000, 2_000)), brief, live(agent(9_000, 20))];
        let interruption = Interruption { of: agent(8_000, 100), to_ms: 1_000 };
        assert_eq!(continuity.observe(&streams), [interruption]);
    }
}
