//! The calls of a contact centre: who calls when and what happens, computed from a seed before the first call.

use crate::account::Customer;
use crate::kind::CallKind;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::ops::Range;
use std::time::Duration;
use thiserror::Error;

/// How often each kind comes, in twenty calls.
const DECK: [(CallKind, usize); 11] = [
    (CallKind::Inbound, 4),
    (CallKind::Queue, 3),
    (CallKind::Outbound, 3),
    (CallKind::Internal, 1),
    (CallKind::Hold, 2),
    (CallKind::BlindTransfer, 1),
    (CallKind::AttendedTransfer, 1),
    (CallKind::Park, 1),
    (CallKind::Conference, 1),
    (CallKind::EarlyHangUp, 2),
    (CallKind::Voicemail, 1),
];
/// How long it rings, in milliseconds.
const RINGING_MS: Range<u64> = 2_000..8_000;
/// How long people talk, in milliseconds, if there is time.
const TALK_MS: Range<u64> = 20_000..90_000;
/// An agent's pause between two calls.
const WRAP_UP: Duration = Duration::from_secs(5);
/// Attempts to find a time and an agent for a call.
const ATTEMPTS: usize = 1_000;

/// Calls to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Agents of the account, at least 2: see [`Account::with_agents`](crate::Account::with_agents).
    pub agents: usize,
    /// Calls in all.
    pub calls: usize,
    /// By when all of them are over, at least 30 s.
    pub duration: Duration,
    /// What everything derives from.
    pub seed: u64,
}

/// A call to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduledCall {
    /// When it is placed, from the start.
    pub at: Duration,
    /// The number of its agent in the account.
    pub agent: usize,
    /// Who calls, or is called.
    pub person: Customer,
    /// What happens.
    pub kind: CallKind,
    /// How long it rings.
    pub ringing: Duration,
    /// How long its parties talk.
    pub talk: Duration,
    /// Where in the recording they begin, from 0 to 1 million.
    pub begins_ppm: u32,
}

/// Why traffic cannot be generated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrafficError {
    /// Internal calls and transfers need two agents.
    #[error("{agents} agents are too few: use 2 at least")]
    TooFewAgents {
        /// How many were asked for.
        agents: usize,
    },
    /// Calls ring, and then people talk.
    #[error("{duration:?} is too short for a call: use 30 s at least")]
    TooShort {
        /// What was asked for.
        duration: Duration,
    },
    /// The agents have no time for so many calls.
    #[error("{agents} agents cannot take {calls} calls in {duration:?}: use more agents or time")]
    TooDense {
        /// How many agents there are.
        agents: usize,
        /// How many calls were asked for.
        calls: usize,
        /// In which time.
        duration: Duration,
    },
}

impl Traffic {
    /// The calls in order of time. No agent is in two calls at once.
    ///
    /// # Errors
    /// [`TrafficError`] says what does not fit.
    pub fn schedule(&self) -> Result<Vec<ScheduledCall>, TrafficError> {
        let Self { agents, calls, duration, seed } = *self;
        if agents < 2 {
            return Err(TrafficError::TooFewAgents { agents });
        }
        if duration < Duration::from_secs(30) {
            return Err(TrafficError::TooShort { duration });
        }
        let mut rng = StdRng::seed_from_u64(seed);
        let mut busy: Vec<Vec<Range<Duration>>> = vec![vec![]; agents];
        let mut scheduled = Vec::with_capacity(calls);
        for kind in kinds(calls, &mut rng) {
            let call = (0..ATTEMPTS).find_map(|_| attempt(kind, duration, &mut busy, &mut rng));
            scheduled.push(call.ok_or(TrafficError::TooDense { agents, calls, duration })?);
        }
        scheduled.sort_by_key(|call| call.at);
        Ok(scheduled)
    }
}

impl ScheduledCall {
    /// When the call is over.
    pub fn end(&self) -> Duration {
        let talk = match self.kind {
            CallKind::EarlyHangUp => Duration::ZERO,
            // While one of them waits, nobody talks.
            CallKind::Hold | CallKind::Park => self.talk + self.talk / 6,
            CallKind::BlindTransfer => self.talk + self.talk / 10,
            CallKind::AttendedTransfer => self.talk + self.talk * 4 / 15,
            _ => self.talk,
        };
        self.at + self.ringing + talk
    }
}

/// Each kind as often as the deck says, in random order.
fn kinds(count: usize, rng: &mut StdRng) -> Vec<CallKind> {
    let mut kinds = Vec::new();
    while kinds.len() < count {
        let mut deck: Vec<CallKind> =
            DECK.iter().flat_map(|(kind, times)| std::iter::repeat_n(*kind, *times)).collect();
        deck.shuffle(rng);
        kinds.extend(deck);
    }
    kinds.truncate(count);
    kinds
}

/// Takes a time and an agent at random; `None` if the agent, or the colleague that the call needs, is busy then.
fn attempt(
    kind: CallKind,
    duration: Duration,
    busy: &mut [Vec<Range<Duration>>],
    rng: &mut StdRng,
) -> Option<ScheduledCall> {
    let longest = (duration.as_millis() as u64 / 2).clamp(TALK_MS.start / 2, TALK_MS.end);
    let shortest = TALK_MS.start.min(longest / 2);
    let call = ScheduledCall {
        at: Duration::ZERO,
        agent: rng.random_range(0..busy.len()),
        person: person(rng),
        kind,
        ringing: Duration::from_millis(rng.random_range(RINGING_MS)),
        talk: Duration::from_millis(rng.random_range(shortest..longest)),
        begins_ppm: rng.random_range(0..1_000_000),
    };
    let latest = duration.checked_sub(call.end())?;
    let at = Duration::from_millis(rng.random_range(0..=latest.as_millis() as u64));
    let call = ScheduledCall { at, ..call };
    let taken = call.at..call.end() + WRAP_UP;
    let colleague = (call.agent + 1) % busy.len();
    let mut people = vec![call.agent];
    if kind.needs_colleague() {
        people.push(colleague);
    }
    let is_free = |agent: &usize| {
        busy[*agent].iter().all(|other| other.end <= taken.start || taken.end <= other.start)
    };
    if !people.iter().all(is_free) {
        return None;
    }
    for agent in people {
        busy[agent].push(taken.clone());
    }
    Some(call)
}

fn person(rng: &mut StdRng) -> Customer {
    const FIRST: [&str; 6] = ["Helen", "George", "Nadia", "Frank", "Yuki", "Ines"];
    const LAST: [&str; 6] = ["Carter", "Mills", "Haddad", "Novak", "Tanaka", "Duarte"];
    let pick = |names: [&'static str; 6], rng: &mut StdRng| names[rng.random_range(0..6)];
    Customer {
        name: format!("{} {}", pick(FIRST, rng), pick(LAST, rng)),
        phone_number: format!("+1408555{:04}", rng.random_range(100..200)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn traffic(seed: u64) -> Traffic {
        Traffic { agents: 20, calls: 50, duration: Duration::from_secs(600), seed }
    }

    #[test]
    fn a_seed_gives_the_same_calls_every_time_and_another_one_others() {
        assert_eq!(traffic(7).schedule(), traffic(7).schedule());
        assert_ne!(traffic(7).schedule(), traffic(8).schedule());
    }

    #[test]
    fn the_mix_has_every_kind_and_nobody_is_in_two_calls_at_once() {
        for seed in 0..20 {
            let calls = traffic(seed).schedule().unwrap();
            assert_eq!(calls.len(), 50);
            let kinds: BTreeSet<CallKind> = calls.iter().map(|call| call.kind).collect();
            assert_eq!(kinds.len(), CallKind::ALL.len());
            assert!(calls.iter().all(|call| call.end() <= Duration::from_secs(600)));
            for (n, call) in calls.iter().enumerate() {
                let meets = |other: &ScheduledCall| {
                    other.agent == call.agent && other.at < call.end() && call.at < other.end()
                };
                assert!(!calls[n + 1..].iter().any(meets), "seed {seed}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let lone = Traffic { agents: 1, ..traffic(1) };
        assert_eq!(lone.schedule(), Err(TrafficError::TooFewAgents { agents: 1 }));
        let duration = Duration::from_secs(10);
        let short = Traffic { duration, ..traffic(1) };
        assert_eq!(short.schedule(), Err(TrafficError::TooShort { duration }));
        let dense = Traffic { agents: 2, calls: 500, ..traffic(1) };
        assert!(matches!(dense.schedule(), Err(TrafficError::TooDense { .. })));
    }
}
