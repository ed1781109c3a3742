//! What became of a call and of its legs.

use crate::kind::CallKind;
use crate::variant::Variant;
use serde::{Serialize, Serializer};

/// A call after its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallReport {
    /// The session.
    pub telephony_session_id: String,
    /// What happened in the call.
    #[serde(serialize_with = "as_text")]
    pub kind: CallKind,
    /// How its INVITEs came.
    #[serde(serialize_with = "as_text")]
    pub variant: Variant,
    /// Whether there was something to listen to, and the supervisor may.
    pub is_eligible: bool,
    /// Every INVITE to the supervisor's device, in order.
    pub legs: Vec<LegReport>,
    /// Whether a voice was heard on two legs at once.
    pub was_heard_twice: bool,
    /// Supervisor parties that were left behind unanswered when the call ended.
    pub ghosts: usize,
    /// Whether somebody deleted the session, and so dropped the customer's call.
    pub was_deleted: bool,
}

/// A leg after its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LegReport {
    /// Who could be heard on it.
    pub hears: Hears,
    /// What became of the INVITE.
    pub outcome: Outcome,
    /// RTP packets sent on all its media lines, without those that were planned to get lost.
    pub packets_sent: u64,
    /// How often the device brought the leg to another connection with a re-INVITE.
    pub moves: u64,
    /// RTP packets that came back, authentic ones only if they are encrypted.
    pub packets_received: u64,
}

/// Who can be heard on a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Hears {
    /// The customer.
    Customer,
    /// The agent.
    Agent,
    /// Both.
    Everyone,
    /// Nobody: it is an ordinary call to the device.
    Nobody,
}

/// What became of an INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The device answered with media that could be used.
    Answered,
    /// The device answered, with media that could not be used.
    Unusable,
    /// The device refused with this status.
    Refused(u16),
    /// The INVITE was taken back, and the device confirmed it.
    Cancelled,
    /// There was no answer in time, or the connection closed.
    NoResponse,
    /// The device was not registered any more.
    NotRegistered,
}

impl CallReport {
    /// The answered legs.
    pub fn answered(&self) -> impl Iterator<Item = &LegReport> {
        self.legs.iter().filter(|leg| leg.outcome == Outcome::Answered)
    }

    /// Whether both voices were heard, on one leg or on two.
    pub fn is_heard(&self) -> bool {
        let hears = |who| self.answered().any(|leg| leg.hears == who);
        hears(Hears::Everyone) || (hears(Hears::Customer) && hears(Hears::Agent))
    }
}

fn as_text<S: Serializer>(value: &impl ToString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}
