//! What a relay's transcripts say of generated calls: whether each was captioned, under the right roles, and once.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use sidetone_proto::Role;
use simulator::{CallKind, CallReport, demo_transcript};
use tokio::time::timeout;
use web_relay::event::{Caption, Event};

use crate::demo::Viewer;

/// How long a transcript may take to be complete once its call is over: the recogniser may be behind.
const PATIENCE: Duration = Duration::from_secs(120);

/// Finals of one role on two streams that overlap by more than this are the same words twice.
const OVERLAP_MS: i64 = 700;

/// What became of the captions of some traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CaptionReport {
    /// Calls with something to caption.
    pub eligible: usize,
    /// Those of them with a whole transcript.
    pub captioned: usize,
    /// Gaps in all transcripts, by reason.
    pub gaps: BTreeMap<String, usize>,
    /// What is wrong, by call.
    pub problems: BTreeMap<String, Vec<Problem>>,
}

/// What may be wrong with a transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// There is none, or it did not end in time.
    Missing,
    /// Nobody's words are in it.
    Empty,
    /// Words of the one are said to be the other's.
    WrongRole,
    /// Words are in it twice.
    Twice,
    /// A call that could not be listened to has one.
    Uninvited,
}

impl CaptionReport {
    /// Reads the transcripts of all calls back from a relay.
    pub async fn read(relay: SocketAddr, calls: &[CallReport]) -> anyhow::Result<Self> {
        let mut report = Self::default();
        for call in calls {
            // What should not be there is not waited for.
            let patience = if call.is_eligible { PATIENCE } else { Duration::from_secs(1) };
            let mut events = Vec::new();
            let viewer = Viewer::connect(relay).await?;
            let watch =
                viewer.watch(&call.telephony_session_id, |event| events.push(event.clone()));
            let is_whole = match timeout(patience, watch).await {
                Ok(watched) => watched.map(|()| true)?,
                Err(_) => false,
            };
            report.take(call, &events, is_whole);
        }
        Ok(report)
    }

    /// Whether every eligible call was captioned as it should.
    pub fn is_good(&self) -> bool {
        self.captioned == self.eligible && self.problems.is_empty()
    }

    fn take(&mut self, call: &CallReport, events: &[Event], is_whole: bool) {
        self.eligible += usize::from(call.is_eligible);
        self.captioned += usize::from(call.is_eligible && is_whole);
        for event in events {
            if let Event::Gap(gap) = event {
                let reason = serde_json::to_value(gap.reason).unwrap_or_default();
                *self.gaps.entry(reason.as_str().unwrap_or_default().to_owned()).or_default() += 1;
            }
        }
        let problems = problems(call, events, is_whole);
        if !problems.is_empty() {
            self.problems.insert(call.telephony_session_id.clone(), problems);
        }
    }
}

fn problems(call: &CallReport, events: &[Event], is_whole: bool) -> Vec<Problem> {
    let finals: Vec<&Caption> =
        events.iter().filter_map(Event::as_final).filter(|it| !it.text.is_empty()).collect();
    if !call.is_eligible {
        return if finals.is_empty() { vec![] } else { vec![Problem::Uninvited] };
    }
    let mut problems = Vec::new();
    if !is_whole {
        problems.push(Problem::Missing);
    }
    if finals.is_empty() {
        problems.push(Problem::Empty);
    }
    let speakers = [Role::Agent, Role::Customer].map(|role| speaker(&finals, role));
    let [agent, customer] = speakers;
    let is_swapped = agent == Some(Role::Customer) || customer == Some(Role::Agent);
    let is_one = agent.is_some() && agent == customer;
    // Between two agents either may count as the agent.
    if is_one || (is_swapped && call.kind != CallKind::Internal) {
        problems.push(Problem::WrongRole);
    }
    if is_repeated(&finals) {
        problems.push(Problem::Twice);
    }
    problems
}

/// Whose words are said to be a role's, by the pairs of words that the bundled call has. `None`: too few to tell.
fn speaker(finals: &[&Caption], role: Role) -> Option<Role> {
    let own = finals.iter().filter(|caption| caption.role == role);
    let said: Vec<_> = own.flat_map(|caption| pairs(&caption.text)).collect();
    let count = |speaker: Role| {
        let turns = demo_transcript().into_iter().filter(|turn| turn.speaker == speaker.as_str());
        let known: HashSet<_> = turns.flat_map(|turn| pairs(&turn.text)).collect();
        said.iter().filter(|pair| known.contains(*pair)).count()
    };
    let (agent, customer) = (count(Role::Agent), count(Role::Customer));
    (agent.abs_diff(customer) >= 3).then_some(if agent > customer {
        Role::Agent
    } else {
        Role::Customer
    })
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let words: Vec<String> = text
        .split(|letter: char| !letter.is_alphanumeric() && letter != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    words.windows(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

fn is_repeated(finals: &[&Caption]) -> bool {
    let span = |caption: &Caption| {
        let at = |ms: u64| caption.anchor_unix_ms.saturating_add_unsigned(ms);
        (at(caption.start_ms), at(caption.end_ms))
    };
    finals.iter().enumerate().any(|(n, one)| {
        finals[n + 1..].iter().any(|other| {
            let is_other_stream =
                (&one.party_id, one.anchor_unix_ms) != (&other.party_id, other.anchor_unix_ms);
            let is_same_voice = one.role == other.role || one.role == Role::Mixed;
            let ((a, b), (c, d)) = (span(one), span(other));
            is_other_stream && is_same_voice && b.min(d) - a.max(c) > OVERLAP_MS
        })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use simulator::Variant;

    use super::*;

    fn call(kind: CallKind) -> CallReport {
        CallReport {
            telephony_session_id: "s-1".into(),
            kind,
            variant: Variant::default(),
            is_eligible: kind.is_answered(),
            legs: vec![],
            was_heard_twice: false,
            ghosts: 0,
            was_deleted: false,
        }
    }

    /// A final with what a speaker of the bundled call says, under a role.
    fn said(speaker: &str, role: &str, anchor: i64) -> Event {
        let turns = demo_transcript();
        let text: Vec<_> = turns
            .iter()
            .filter(|turn| turn.speaker == speaker)
            .map(|it| it.text.as_str())
            .collect();
        serde_json::from_value(json!({
            "type": "final", "call_id": "s-1", "seq": 1, "party_id": format!("p-{role}"), "role": role,
            "segment": 0, "revision": 0, "text": text.join(" "), "stable_len": 0, "start_ms": 0,
            "end_ms": 5_000, "anchor_unix_ms": anchor, "latency_ms": null, "words": [],
        }))
        .unwrap()
    }

    #[test]
    fn a_transcript_is_held_against_the_bundled_call() {
        let (agent, customer) = (said("agent", "agent", 0), said("customer", "customer", 0));
        let swapped = [said("agent", "customer", 0), said("customer", "agent", 0)];
        let again = said("agent", "agent", 1_000);
        let later = said("agent", "agent", 9_000);
        for (kind, events, expected) in [
            (CallKind::Inbound, vec![agent.clone(), customer.clone()], vec![]),
            (CallKind::Inbound, vec![agent.clone(), customer.clone(), later], vec![]),
            (CallKind::Inbound, vec![agent.clone(), customer, again], vec![Problem::Twice]),
            (CallKind::Inbound, swapped.to_vec(), vec![Problem::WrongRole]),
            (CallKind::Internal, swapped.to_vec(), vec![]),
            (
                CallKind::Internal,
                vec![agent.clone(), said("agent", "customer", 0)],
                vec![Problem::WrongRole],
            ),
            (CallKind::Queue, vec![said("agent", "mixed", 0)], vec![]),
            (CallKind::Queue, vec![], vec![Problem::Empty]),
            (CallKind::EarlyHangUp, vec![], vec![]),
            (CallKind::Voicemail, vec![agent], vec![Problem::Uninvited]),
        ] {
            assert_eq!(problems(&call(kind), &events, true), expected, "{kind} {events:?}");
        }
    }

    #[test]
    fn a_report_is_good_if_every_eligible_call_has_a_whole_transcript() {
        let events = [said("agent", "agent", 0), said("customer", "customer", 0)];
        let mut report = CaptionReport::default();
        report.take(&call(CallKind::Queue), &events, true);
        report.take(&call(CallKind::EarlyHangUp), &[], false);
        assert!(report.is_good(), "{report:?}");
        report.take(&call(CallKind::Queue), &events, false);
        assert_eq!((report.eligible, report.captioned), (2, 1));
        assert_eq!(report.problems["s-1"], [Problem::Missing]);
        assert!(!report.is_good());
    }
}
