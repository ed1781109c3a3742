//! Calls as people and other services see them.

use serde::{Deserialize, Serialize};
use sidetone_proto::{CallId, PartyId, Role};

use super::consent;

/// A call, what is being done about it, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallView {
    /// RingCentral's telephony session id.
    pub call_id: CallId,
    /// The extension id of the agent for whom it is listened to, once known.
    pub agent: Option<String>,
    /// How far it is.
    pub stage: Stage,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_unix_ms: i64,
    /// More about the stage, such as RingCentral's refusal.
    pub why: Option<String>,
    /// Everyone who is on the call, supervisors left out.
    pub parties: Vec<PartyView>,
    /// What the parties have said to being transcribed.
    pub consent: consent::State,
    /// How that became known.
    pub consent_source: consent::Source,
    /// Whether audio is kept back until somebody consents.
    pub is_withheld: bool,
    /// Whether all voices come on one leg.
    pub is_mixed: bool,
}

/// A party of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartyView {
    /// RingCentral's party id.
    pub party_id: PartyId,
    /// Who it is.
    pub role: Role,
    /// In RingCentral's words: `Answered`, `Hold`, ….
    pub status: String,
    /// Whether a leg of its own carries its voice.
    pub is_heard: bool,
}

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The session has not been read yet.
    Looking,
    /// Not everyone has picked up.
    Ringing,
    /// Somebody is on hold; legs that are up stay.
    OnHold,
    /// Legs are being asked for.
    Joining,
    /// Every voice is heard.
    Listening,
    /// RingCentral refused, and is asked again.
    Retrying,
    /// No monitored agent is on the call, for now.
    AgentAbsent,
    /// Somebody has stopped it.
    Stopped,
    /// A party has refused to be transcribed.
    ConsentRefused,
    /// It can't be listened to until somebody mends what `why` says, or asks again.
    GivenUp,
    /// Everyone has left; the last legs are ending.
    Ended,
}
