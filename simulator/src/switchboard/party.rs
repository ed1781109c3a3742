//! Who is on a call, and in which state.

use super::{Side, Target};
use crate::account::{Agent, Customer};

/// The extension of the account's call queue.
pub(super) const QUEUE_EXTENSION_ID: &str = "62226587900";
/// What callers see of the queue.
pub(super) const QUEUE_NAME: &str = "Customer service";
/// The number that callers of the queue dial.
pub(super) const QUEUE_NUMBER: &str = "+18005550190";

/// The people of a call.
#[derive(Clone)]
pub(crate) struct Cast {
    /// The agent whose call it is.
    pub(crate) agent: Agent,
    /// Who the agent calls, or hands the call over to.
    pub(crate) colleague: Option<Agent>,
    /// Who calls, or is called.
    pub(crate) customer: Customer,
}

/// A part in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Member {
    /// The customer, on the public network.
    Customer,
    /// A third participant, on the public network.
    Guest,
    /// The call queue, while it greets.
    Queue,
    /// The agent.
    Agent,
    /// Another extension of the account.
    Colleague,
}

/// Which way a party's call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The party is called.
    Inbound,
    /// The party calls.
    Outbound,
}

/// `status.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The call is being set up.
    Setup,
    /// It rings.
    Proceeding,
    /// The party talks.
    Answered,
    /// The party has left.
    Disconnected,
    /// The party goes on in another session.
    Gone,
    /// The party waits in a park location.
    Parked,
    /// The party holds the call.
    Hold,
    /// The caller speaks to a machine.
    VoiceMail,
}

/// A party of a session, other than a supervisor.
pub(crate) struct SessionParty {
    /// The last part of the party's id.
    pub(super) number: u32,
    pub(super) member: Member,
    pub(super) direction: Direction,
    pub(super) code: Code,
    pub(super) reason: Option<&'static str>,
    /// The session and the party in which a `Gone` party goes on.
    pub(super) peer: Option<(String, String)>,
}

/// A supervisor's ear.
pub(crate) struct SupervisorParty {
    pub(super) number: u32,
    pub(super) target: Target,
    /// The number of the monitored party.
    pub(super) monitored: Option<u32>,
    pub(super) is_answered: bool,
}

impl Code {
    /// As RingCentral writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Code::Setup => "Setup",
            Code::Proceeding => "Proceeding",
            Code::Answered => "Answered",
            Code::Disconnected => "Disconnected",
            Code::Gone => "Gone",
            Code::Parked => "Parked",
            Code::Hold => "Hold",
            Code::VoiceMail => "VoiceMail",
        }
    }

    /// Whether the party has left the session.
    pub(crate) fn is_over(self) -> bool {
        matches!(self, Code::Disconnected | Code::Gone)
    }
}

impl SessionParty {
    /// Whether the party still takes part.
    pub(super) fn is_live(&self) -> bool {
        !self.code.is_over()
    }
}

impl Cast {
    /// The extension behind a part; nobody on the public network has one.
    pub(super) fn extension(&self, member: Member) -> Option<&str> {
        match member {
            Member::Customer | Member::Guest => None,
            Member::Queue => Some(QUEUE_EXTENSION_ID),
            Member::Agent => Some(&self.agent.extension_id),
            Member::Colleague => self.colleague.as_ref().map(|it| it.extension_id.as_str()),
        }
    }

    /// The agent's data behind a part.
    pub(super) fn agent(&self, member: Member) -> Option<&Agent> {
        match member {
            Member::Agent => Some(&self.agent),
            Member::Colleague => self.colleague.as_ref(),
            Member::Customer | Member::Guest | Member::Queue => None,
        }
    }

    /// Which of the two recorded voices a part has in a call to `dialled`.
    pub(super) fn side(member: Member, dialled: Member) -> Option<Side> {
        match member {
            Member::Customer => Some(Side::Customer),
            Member::Agent => Some(Side::Agent),
            // Who is called by the agent is the other side; who takes the call over speaks for the agent.
            Member::Colleague if dialled == Member::Colleague => Some(Side::Customer),
            Member::Colleague => Some(Side::Agent),
            Member::Guest | Member::Queue => None,
        }
    }
}
