//! Whether a call may be transcribed: what the operator's policy asks for, and what the parties have said. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sidetone_proto::{Role, v1};

use crate::media::ConsentKeys;

/// What has to happen before a call is transcribed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Nothing: the operator has the parties' consent already, or needs none.
    #[default]
    NotRequired,
    /// Monitoring must have been announced, or consent granted.
    Required,
}

/// What is known of the parties' consent to a call's transcription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody has said anything.
    #[default]
    Unknown,
    /// The parties were told, and nobody has objected.
    Announced,
    /// Somebody has agreed.
    Granted,
    /// Somebody has objected. Final, whatever the policy.
    Refused,
}

/// What follows from policy and state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Audio goes to the transcriber.
    Transcribe,
    /// Audio is kept back, and lost: it was said before anybody consented.
    Withhold,
    /// Nobody listens any more, and what was transcribed is to be deleted.
    StopAndPurge,
}

/// The consent to one call's transcription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    policy: Policy,
    state: State,
    source: Source,
}

/// The policy of the account, and of groups of agents that differ from it: `[consent]` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Of every agent who is in none of the groups.
    pub policy: Policy,
    /// By name. An agent in several groups has the strictest policy of them.
    pub groups: BTreeMap<String, GroupPolicy>,
}

/// Agents with a policy of their own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupPolicy {
    /// What holds for them.
    pub policy: Policy,
    /// Their extension ids.
    pub agents: Vec<String>,
}

/// How somebody has told of consent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Nobody has: it is what the policy says.
    #[default]
    Policy,
    /// An operator, or a program of theirs.
    Operator,
    /// A party, by a key.
    Key,
    /// A party, by a phrase.
    Phrase,
}

/// What the relay is told, to be shown and kept with the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// With the policy, while nobody has said anything.
    pub state: v1::ConsentState,
    /// How that became known.
    pub source: v1::ConsentSource,
}

/// What the parties of a call do or say to tell of consent: `[consent]` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The key by which a customer agrees, such as `1`. That of an agent, or on a leg with both voices, means nothing.
    pub granted_key: Option<char>,
    /// The key by which anyone objects, such as `9`.
    pub refused_key: Option<char>,
    /// By which the parties are told.
    pub announced_phrases: Phrases,
    /// By which somebody agrees.
    pub granted_phrases: Phrases,
    /// By which somebody objects.
    pub refused_phrases: Phrases,
}

/// Phrases, by who must say them. On a leg with both voices, and of a party whose role is unknown, only `anyone` counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Phrases {
    /// On the agent's leg.
    pub agent: Vec<String>,
    /// On the customer's leg.
    pub customer: Vec<String>,
    /// On any leg.
    pub anyone: Vec<String>,
}

impl Consent {
    /// Nobody has said anything yet.
    pub fn under(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// What is known.
    pub fn state(&self) -> State {
        self.state
    }

    /// How it became known.
    pub fn source(&self) -> Source {
        self.source
    }

    /// What the relay is to be told.
    pub fn notice(&self) -> Notice {
        let state = match (self.state, self.policy) {
            (State::Unknown, Policy::Required) => v1::ConsentState::Awaited,
            (State::Unknown, Policy::NotRequired) => v1::ConsentState::NotRequired,
            (State::Announced, _) => v1::ConsentState::Announced,
            (State::Granted, _) => v1::ConsentState::Granted,
            (State::Refused, _) => v1::ConsentState::Refused,
        };
        Notice { state, source: self.source.into() }
    }

    /// Takes note of what was said. A refusal is final, and an announcement takes back no agreement. Whether anything
    /// changed.
    pub fn learn(&mut self, state: State, source: Source) -> bool {
        let is_news = match (self.state, state) {
            (State::Refused, _) | (_, State::Unknown) => false,
            (State::Granted, State::Announced) => false,
            (known, new) => known != new,
        };
        if is_news {
            (self.state, self.source) = (state, source);
        }
        is_news
    }

    /// Another agent has joined the call, under this policy: the stricter one holds from now on.
    pub fn tighten(&mut self, policy: Policy) {
        if policy == Policy::Required {
            self.policy = policy;
        }
    }

    /// Whether nothing may be transcribed before somebody has said something.
    pub fn is_required(&self) -> bool {
        self.policy == Policy::Required
    }

    /// What to do now.
    pub fn decision(&self) -> Decision {
        match (self.policy, self.state) {
            (_, State::Refused) => Decision::StopAndPurge,
            (Policy::Required, State::Unknown) => Decision::Withhold,
            (Policy::NotRequired, _) | (_, State::Announced | State::Granted) => {
                Decision::Transcribe
            }
        }
    }
}

impl Policies {
    /// What holds for the calls of an agent, by extension id.
    pub fn of(&self, agent: &str) -> Policy {
        let own = self.groups.values().filter(|group| group.agents.iter().any(|it| it == agent));
        own.map(|group| group.policy)
            .reduce(|one, other| match one {
                Policy::Required => one,
                Policy::NotRequired => other,
            })
            .unwrap_or(self.policy)
    }
}

impl Rules {
    /// The keys that a party of this role can tell by.
    pub fn keys(&self, role: Role) -> Option<ConsentKeys> {
        let granted = self.granted_key.filter(|_| role == Role::Customer);
        let keys = ConsentKeys { granted, refused: self.refused_key };
        (keys.granted.is_some() || keys.refused.is_some()).then_some(keys)
    }

    /// The phrases that a party of this role can tell by.
    pub fn phrases(&self, role: Role) -> Option<v1::ConsentPhrases> {
        let phrases = v1::ConsentPhrases {
            announced: self.announced_phrases.of(role),
            granted: self.granted_phrases.of(role),
            refused: self.refused_phrases.of(role),
        };
        (phrases != v1::ConsentPhrases::default()).then_some(phrases)
    }
}

impl Phrases {
    fn of(&self, role: Role) -> Vec<String> {
        let own = match role {
            Role::Agent => self.agent.as_slice(),
            Role::Customer => self.customer.as_slice(),
            Role::Mixed | Role::Unknown => &[],
        };
        [own, &self.anyone].concat()
    }

    /// All of them, whoever must say them.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.agent.iter().chain(&self.customer).chain(&self.anyone)
    }
}

impl From<Source> for v1::ConsentSource {
    fn from(source: Source) -> Self {
        match source {
            Source::Policy => Self::Policy,
            Source::Operator => Self::Operator,
            Source::Key => Self::Key,
            Source::Phrase => Self::Phrase,
        }
    }
}

impl State {
    /// What a party has said, if it has.
    pub fn said(state: v1::ConsentState) -> Option<Self> {
        match state {
            v1::ConsentState::Announced => Some(Self::Announced),
            v1::ConsentState::Granted => Some(Self::Granted),
            v1::ConsentState::Refused => Some(Self::Refused),
            v1::ConsentState::Unspecified
            | v1::ConsentState::Awaited
            | v1::ConsentState::NotRequired => None,
        }
    }
}

impl From<v1::ConsentSource> for Source {
    fn from(source: v1::ConsentSource) -> Self {
        match source {
            v1::ConsentSource::Operator => Self::Operator,
            v1::ConsentSource::Key => Self::Key,
            v1::ConsentSource::Phrase => Self::Phrase,
            v1::ConsentSource::Policy | v1::ConsentSource::Unspecified => Self::Policy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_follows_from_policy_and_state() {
        use Decision::{StopAndPurge, Transcribe, Withhold};
        for (state, required, not_required) in [
            (State::Unknown, Withhold, Transcribe),
            (State::Announced, Transcribe, Transcribe),
            (State::Granted, Transcribe, Transcribe),
            (State::Refused, StopAndPurge, StopAndPurge),
        ] {
            for (policy, decision) in
                [(Policy::Required, required), (Policy::NotRequired, not_required)]
            {
                let mut consent = Consent::under(policy);
                assert_eq!(consent.learn(state, Source::Operator), state != State::Unknown);
                assert_eq!(consent.decision(), decision, "{policy:?} {state:?}");
            }
        }
    }

    #[test]
    fn a_refusal_is_final_and_an_agreement_outlives_an_announcement() {
        let mut consent = Consent::under(Policy::Required);
        assert!(consent.learn(State::Granted, Source::Key));
        assert!(!consent.learn(State::Announced, Source::Phrase));
        assert_eq!((consent.state(), consent.source()), (State::Granted, Source::Key));
        assert!(consent.learn(State::Refused, Source::Phrase));
        for state in [State::Unknown, State::Announced, State::Granted, State::Refused] {
            assert!(!consent.learn(state, Source::Operator));
        }
        assert_eq!(consent.decision(), Decision::StopAndPurge);
        let notice = consent.notice();
        assert_eq!(notice.state, v1::ConsentState::Refused);
        assert_eq!(notice.source, v1::ConsentSource::Phrase);
    }

    #[test]
    fn a_group_overrides_the_account_and_the_strictest_group_holds() {
        let (yes, no) = (Policy::Required, Policy::NotRequired);
        let group = |policy, agents: [&str; 2]| {
            let agents = agents.map(str::to_owned).into();
            GroupPolicy { policy, agents }
        };
        let groups = BTreeMap::from([
            ("europe".to_owned(), group(yes, ["1", "2"])),
            ("sales".to_owned(), group(no, ["2", "3"])),
        ]);
        let policies = Policies { policy: no, groups };
        assert_eq!(["1", "2", "3", "4"].map(|agent| policies.of(agent)), [yes, yes, no, no]);
    }

    #[test]
    fn keys_and_phrases_count_by_who_says_them() {
        let phrases = |agent: &[&str], customer: &[&str], anyone: &[&str]| {
            let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            Phrases { agent: own(agent), customer: own(customer), anyone: own(anyone) }
        };
        let rules = Rules {
            granted_key: Some('1'),
            refused_key: Some('9'),
            announced_phrases: phrases(&["a"], &[], &[]),
            granted_phrases: phrases(&[], &["b"], &[]),
            refused_phrases: phrases(&[], &["c"], &["d"]),
        };
        let keys = |granted| Some(ConsentKeys { granted, refused: Some('9') });
        for (role, granted, announced, agreed, refused) in [
            (Role::Agent, None, &["a"][..], &[][..], &["d"][..]),
            (Role::Customer, Some('1'), &[], &["b"], &["c", "d"]),
            (Role::Mixed, None, &[], &[], &["d"]),
            (Role::Unknown, None, &[], &[], &["d"]),
        ] {
            assert_eq!(rules.keys(role), keys(granted), "{role}");
            let phrases = rules.phrases(role).unwrap();
            let lists = (phrases.announced, phrases.granted, phrases.refused);
            let own = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
            assert_eq!(lists, (own(announced), own(agreed), own(refused)), "{role}");
        }
        assert_eq!(Rules::default().keys(Role::Customer), None);
        assert_eq!(Rules::default().phrases(Role::Customer), None);
        let grant_only = Rules { granted_key: Some('1'), ..Rules::default() };
        assert_eq!(grant_only.keys(Role::Agent), None);
    }
}
