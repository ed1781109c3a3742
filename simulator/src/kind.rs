//! The kinds of calls that a contact centre has.

use crate::plan::UnknownName;
use std::fmt;
use std::str::FromStr;

/// What happens in a call: who calls whom, and what becomes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CallKind {
    /// A customer calls an agent directly.
    #[default]
    Inbound,
    /// A customer calls a queue, hears its greeting, and is put through to an agent.
    Queue,
    /// An agent calls a customer.
    Outbound,
    /// An agent calls another extension: the agent's party is `Answered` before anybody picks up.
    Internal,
    /// The agent puts the customer on hold for a sixth of the talk. Music plays on both legs meanwhile.
    Hold,
    /// The agent hands the call over to a colleague without asking.
    BlindTransfer,
    /// The agent asks a colleague on another line, and then hands the call over.
    AttendedTransfer,
    /// The agent parks the customer, and picks the call up again as a new party.
    Park,
    /// A third participant joins half-way.
    Conference,
    /// The customer gives up before anybody answers.
    EarlyHangUp,
    /// Nobody answers, and the customer leaves a message.
    Voicemail,
}

impl CallKind {
    /// All kinds, in the order of their documentation.
    pub const ALL: [CallKind; 11] = [
        CallKind::Inbound,
        CallKind::Queue,
        CallKind::Outbound,
        CallKind::Internal,
        CallKind::Hold,
        CallKind::BlindTransfer,
        CallKind::AttendedTransfer,
        CallKind::Park,
        CallKind::Conference,
        CallKind::EarlyHangUp,
        CallKind::Voicemail,
    ];

    /// The name on command lines and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            CallKind::Inbound => "inbound",
            CallKind::Queue => "queue",
            CallKind::Outbound => "outbound",
            CallKind::Internal => "internal",
            CallKind::Hold => "hold",
            CallKind::BlindTransfer => "blind-transfer",
            CallKind::AttendedTransfer => "attended-transfer",
            CallKind::Park => "park",
            CallKind::Conference => "conference",
            CallKind::EarlyHangUp => "early-hang-up",
            CallKind::Voicemail => "voicemail",
        }
    }

    /// Whether both sides come to talk, so that there is something to listen to.
    pub const fn is_answered(self) -> bool {
        !matches!(self, CallKind::EarlyHangUp | CallKind::Voicemail)
    }

    /// Whether somebody is put on hold or parked, and hears music.
    pub(crate) const fn makes_wait(self) -> bool {
        matches!(self, CallKind::Hold | CallKind::AttendedTransfer | CallKind::Park)
    }

    /// Whether a second extension takes part.
    pub(crate) const fn needs_colleague(self) -> bool {
        matches!(self, CallKind::Internal | CallKind::BlindTransfer | CallKind::AttendedTransfer)
    }
}

impl FromStr for CallKind {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| UnknownName {
            given: name.into(),
            kind: "call kind",
            choices: "inbound, queue, outbound, internal, hold, blind-transfer, \
                      attended-transfer, park, conference, early-hang-up, voicemail",
        })
    }
}

impl fmt::Display for CallKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
