//! What the control plane asks for, and what it is told in return.

use sidetone_proto::{CallId, PartyId};

use super::consent::{Notice, Source, State};
use super::roster::is_same;
use crate::ringcentral::{Advice, Error, advise};
use crate::sip::LegId;
use crate::supervision::{SuperviseRequest, Target};

/// Something for the shell to do. The first four are REST requests, whose results the board waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the presence of some agents, for [`Board::handle_presence`](super::Board::handle_presence).
    Presence {
        /// Their extension ids, as many as one request may have.
        agents: Vec<String>,
    },
    /// Read a session, for [`Board::handle_session`](super::Board::handle_session).
    Look {
        /// Which.
        call: CallId,
    },
    /// Enter a supervise request and make it, for [`Board::handle_supervised`](super::Board::handle_supervised).
    Supervise {
        /// What is asked for.
        request: SuperviseRequest,
        /// Whether the request names the agent's extension; a carrier's leg may refuse that.
        names_agent: bool,
    },
    /// Delete a supervisor's party of our own, for [`Board::handle_deleted`](super::Board::handle_deleted).
    DeleteParty {
        /// The call that it is stuck on.
        call: CallId,
        /// As the session names it.
        party: String,
    },
    /// Hang up a leg.
    HangUp {
        /// Which.
        leg: LegId,
    },
    /// Register the device anew.
    Reregister,
    /// From now on a call's audio goes to the transcriber, or is kept back.
    Forward {
        /// Which call's.
        call: CallId,
        /// Whether it is kept back.
        is_withheld: bool,
    },
    /// Somebody on a call was put on hold, or taken off it.
    Hold {
        /// Which call.
        call: CallId,
        /// Who is on hold now.
        hold: Hold,
        /// Since when, in milliseconds since the Unix epoch, if RingCentral has said so.
        since_unix_ms: Option<i64>,
    },
    /// Tell the relay of the consent to a call's transcription. After a refusal, forget what was heard.
    Consent {
        /// Which call's.
        call: CallId,
        /// What it is told.
        notice: Notice,
    },
    /// No further leg of the call will come: its transcript ends.
    Release {
        /// Which.
        call: CallId,
    },
}

/// Whose audio is not to be transcribed: RingCentral plays music to whoever waits, as if the others said it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hold {
    /// The whole conversation pauses.
    pub is_everyone: bool,
    /// Otherwise these only.
    pub parties: Vec<PartyId>,
}

/// What became of a supervise request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An INVITE will come.
    Accepted {
        /// Our new party.
        supervisor: String,
    },
    /// RingCentral refused it.
    Refused(Refusal),
    /// This gateway made no request: it is full, or going down.
    Denied {
        /// In words.
        why: String,
    },
}

/// Why a request failed, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The next step.
    pub advice: Advice,
    /// In words, for people.
    pub why: String,
}

/// What happens to legs, and on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegNews {
    /// A leg that a supervise request asked for is answered.
    Up {
        /// The call.
        call: CallId,
        /// Whom it is about.
        target: Target,
        /// The leg.
        leg: LegId,
        /// Our own party, if the INVITE names it.
        supervisor: Option<String>,
    },
    /// The INVITE of a supervise request came, and could not be answered.
    Failed {
        /// The call.
        call: CallId,
        /// Whom it was about.
        target: Target,
        /// In words.
        why: String,
    },
    /// A leg is over.
    Ended {
        /// The leg.
        leg: LegId,
    },
    /// Nothing has arrived on any leg of a call for a while.
    Silent {
        /// The call.
        call: CallId,
    },
    /// A party has told of consent, by a key or a phrase.
    Consent {
        /// The call.
        call: CallId,
        /// What it said.
        state: State,
        /// How.
        source: Source,
    },
    /// Two legs of a call that should carry one party each carry the same audio.
    SameAudio {
        /// The call.
        call: CallId,
    },
}

impl Hold {
    /// Whether what comes on a party's leg belongs to the hold.
    pub fn covers(&self, party: &PartyId) -> bool {
        self.is_everyone || self.parties.iter().any(|it| is_same(it.as_str(), party.as_str()))
    }
}

impl Action {
    /// Whether it is a REST request, whose result the board waits for.
    pub fn is_request(&self) -> bool {
        matches!(
            self,
            Action::Presence { .. }
                | Action::Look { .. }
                | Action::Supervise { .. }
                | Action::DeleteParty { .. }
        )
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        Self { advice: advise(error), why: error.to_string() }
    }
}
