//! Generated traffic in real time, and what became of it.

use crate::audio::Audio;
use crate::plan::{CallPlan, Codec, Start};
use crate::report::CallReport;
use crate::simulator::{PlaceCallError, Simulator};
use crate::traffic::{Traffic, TrafficError};
use serde::Serialize;
use std::collections::BTreeMap;
use thiserror::Error;
use tokio::time::Instant;

/// What became of generated traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrafficReport {
    /// What the traffic was generated from.
    pub seed: u64,
    /// Calls by kind.
    pub kinds: BTreeMap<String, KindReport>,
    /// Calls of which a voice was heard on two legs at once.
    pub heard_twice: usize,
    /// Supervisor parties that were left behind unanswered.
    pub ghosts: usize,
    /// Calls that somebody dropped by deleting their session.
    pub deleted: usize,
    /// Every call, in the order in which they were placed.
    pub calls: Vec<CallReport>,
}

/// What became of the calls of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KindReport {
    /// Calls.
    pub placed: usize,
    /// Those with something to listen to, which the supervisor may.
    pub eligible: usize,
    /// Eligible ones of which both voices were heard.
    pub heard: usize,
    /// Legs that were answered in all of them together.
    pub legs: usize,
}

/// Why traffic could not be run.
#[derive(Debug, Error)]
pub enum RunError {
    /// It cannot be generated.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    /// The simulator's account has not the agents of the traffic.
    #[error("cannot place a call; start the simulator with Account::with_agents")]
    Place(#[from] PlaceCallError),
}

impl Simulator {
    /// Places every call of the traffic at its time, with excerpts of two recordings on one clock, and waits until all are
    /// over.
    ///
    /// # Errors
    /// [`RunError`] says what does not fit. Calls that have been placed go on.
    pub async fn run(
        &self,
        traffic: &Traffic,
        codec: Codec,
        [customer, agent]: [&Audio; 2],
    ) -> Result<TrafficReport, RunError> {
        let start = Instant::now();
        let agents = self.agents();
        let mut calls = Vec::new();
        for scheduled in traffic.schedule()? {
            tokio::time::sleep_until(start + scheduled.at).await;
            let extension = agents.get(scheduled.agent).cloned().unwrap_or_default();
            let share = f64::from(scheduled.begins_ppm) / 1e6;
            let begin = customer.duration().mul_f64(share);
            let [customer, agent] =
                [customer, agent].map(|voice| voice.excerpt(begin, scheduled.talk));
            let plan = CallPlan {
                person: scheduled.person,
                kind: scheduled.kind,
                ringing: scheduled.ringing,
                start: Start::AtOnce,
                codec,
                ..CallPlan::new(&extension, customer, agent)
            };
            calls.push(self.place_call(plan).await?);
        }
        let mut reports = Vec::with_capacity(calls.len());
        for call in calls {
            reports.extend(call.report().await);
        }
        Ok(TrafficReport::new(traffic.seed, reports))
    }
}

impl TrafficReport {
    fn new(seed: u64, calls: Vec<CallReport>) -> Self {
        let mut kinds = BTreeMap::<String, KindReport>::new();
        for call in &calls {
            let kind = kinds.entry(call.kind.to_string()).or_default();
            kind.placed += 1;
            kind.eligible += usize::from(call.is_eligible);
            kind.heard += usize::from(call.is_eligible && call.is_heard());
            kind.legs += call.answered().count();
        }
        Self {
            seed,
            kinds,
            heard_twice: calls.iter().filter(|call| call.was_heard_twice).count(),
            ghosts: calls.iter().map(|call| call.ghosts).sum(),
            deleted: calls.iter().filter(|call| call.was_deleted).count(),
            calls,
        }
    }

    /// Whether every eligible call was heard, none twice, no ghost is left, and no call was dropped.
    pub fn is_good(&self) -> bool {
        let is_all_heard = self.kinds.values().all(|kind| kind.heard == kind.eligible);
        is_all_heard && self.heard_twice == 0 && self.ghosts == 0 && self.deleted == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::CallKind;
    use crate::report::{Hears, LegReport, Outcome};
    use crate::variant::Variant;

    fn call(kind: CallKind, hears: &[Hears]) -> CallReport {
        let leg = |hears: &Hears| LegReport {
            hears: *hears,
            outcome: Outcome::Answered,
            moves: 0,
            packets_sent: 1,
            packets_received: 1,
        };
        CallReport {
            telephony_session_id: "s-1".into(),
            kind,
            variant: Variant::default(),
            is_eligible: kind.is_answered(),
            legs: hears.iter().map(leg).collect(),
            was_heard_twice: false,
            ghosts: 0,
            was_deleted: false,
        }
    }

    #[test]
    fn a_report_counts_by_kind_and_says_whether_all_went_well() {
        let both = [Hears::Agent, Hears::Customer];
        let good = vec![
            call(CallKind::Queue, &both),
            call(CallKind::Queue, &[Hears::Everyone]),
            call(CallKind::EarlyHangUp, &[]),
        ];
        let report = TrafficReport::new(1, good.clone());
        let queue = KindReport { placed: 2, eligible: 2, heard: 2, legs: 3 };
        assert_eq!(report.kinds["queue"], queue);
        assert_eq!(report.kinds["early-hang-up"], KindReport { placed: 1, ..Default::default() });
        assert!(report.is_good());
        assert_eq!(serde_json::to_value(&report).unwrap()["calls"][0]["kind"], "queue");

        let one_voice = call(CallKind::Inbound, &both[..1]);
        let ghost = CallReport { ghosts: 1, ..good[0].clone() };
        let deleted = CallReport { was_deleted: true, ..good[0].clone() };
        let twice = CallReport { was_heard_twice: true, ..good[0].clone() };
        for bad in [one_voice, ghost, deleted, twice] {
            assert!(!TrafficReport::new(1, vec![good[0].clone(), bad]).is_good());
        }
    }
}
