//! Whether a call may be transcribed: what the operator's policy asks for, and what the parties have said. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
}

/// The policy of the account, and of groups of agents that differ from it: `[consent]` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
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

/// What in a call changes its consent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The key by which a party agrees, such as `1`.
    pub grant_digit: Option<char>,
    /// The key by which a party objects, such as `9`.
    pub refuse_digit: Option<char>,
    /// What an agent or a prompt says when monitoring is announced. Compared word by word, without case or punctuation.
    pub announcements: Vec<String>,
}

impl Consent {
    /// Nobody has said anything yet.
    pub fn under(policy: Policy) -> Self {
        Self { policy, state: State::Unknown }
    }

    /// What is known.
    pub fn state(&self) -> State {
        self.state
    }

    /// Takes note of what was said. A refusal is final, and an announcement takes back no agreement. Whether anything
    /// changed.
    pub fn learn(&mut self, state: State) -> bool {
        let is_news = match (self.state, state) {
            (State::Refused, _) | (_, State::Unknown) => false,
            (State::Granted, State::Announced) => false,
            (known, new) => known != new,
        };
        if is_news {
            self.state = state;
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
    /// What a key that a party pressed says.
    pub fn digit(&self, digit: char) -> Option<State> {
        match digit {
            _ if Some(digit) == self.refuse_digit => Some(State::Refused),
            _ if Some(digit) == self.grant_digit => Some(State::Granted),
            _ => None,
        }
    }

    /// What an utterance says.
    pub fn utterance(&self, text: &str) -> Option<State> {
        let said = words(text);
        let announced = self.announcements.iter().map(|phrase| words(phrase)).any(|phrase| {
            !phrase.is_empty() && said.windows(phrase.len()).any(|window| window == phrase)
        });
        announced.then_some(State::Announced)
    }
}

fn words(text: &str) -> Vec<String> {
    let separates = |letter: char| !letter.is_alphanumeric() && letter != '\'';
    text.split(separates).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
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
                assert_eq!(consent.learn(state), state != State::Unknown);
                assert_eq!(consent.decision(), decision, "{policy:?} {state:?}");
            }
        }
    }

    #[test]
    fn a_refusal_is_final_and_an_agreement_outlives_an_announcement() {
        let mut consent = Consent::under(Policy::Required);
        assert!(consent.learn(State::Granted));
        assert!(!consent.learn(State::Announced));
        assert_eq!(consent.state(), State::Granted);
        assert!(consent.learn(State::Refused));
        for state in [State::Unknown, State::Announced, State::Granted, State::Refused] {
            assert!(!consent.learn(state));
        }
        assert_eq!(consent.decision(), Decision::StopAndPurge);
    }

    #[test]
    fn a_group_overrides_the_account_and_the_strictest_group_holds() {
        let policies: Policies = toml::from_str(
            "policy = \"not_required\"\n\
             [groups.europe]\npolicy = \"required\"\nagents = [\"1\", \"2\"]\n\
             [groups.sales]\npolicy = \"not_required\"\nagents = [\"2\", \"3\"]\n",
        )
        .unwrap();
        let of = ["1", "2", "3", "4"].map(|agent| policies.of(agent));
        let (yes, no) = (Policy::Required, Policy::NotRequired);
        assert_eq!(of, [yes, yes, no, no]);
        assert!(toml::from_str::<Policies>("polcy = \"required\"").is_err());
    }

    #[test]
    fn digits_and_phrases_change_consent() {
        let rules = Rules {
            grant_digit: Some('1'),
            refuse_digit: Some('9'),
            announcements: vec!["this call may be monitored".into(), String::new()],
        };
        assert_eq!(
            ['1', '9', '5'].map(|digit| rules.digit(digit)),
            [Some(State::Granted), Some(State::Refused), None]
        );
        for (text, state) in [
            ("Hello! This call, may be MONITORED for quality.", Some(State::Announced)),
            ("this call may not be monitored", None),
            ("monitored this call may be", None),
            ("", None),
        ] {
            assert_eq!(rules.utterance(text), state, "{text}");
        }
        assert_eq!(Rules::default().utterance("anything"), None);
        assert_eq!(Rules::default().digit('1'), None);
    }
}
