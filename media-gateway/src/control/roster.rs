//! Who is on a call, as far as events and looks at the session have told.

use sidetone_proto::{CallId, Party, PartyId, Role};

use super::action::Hold;
use crate::ringcentral::{Session, SessionParty};
use crate::supervision::normalise;

/// Parties of one call that are kept track of. Further ones are not taken note of: no call that can be supervised has
/// as many.
const CAPACITY: usize = 64;

/// The parties of a call.
///
/// Events are partial: one says nothing about the parties that it does not name. They also come late and twice, so of
/// each party the one with the highest sequence counts. A look at the session is complete, but may be older than an
/// event that came while it was under way.
#[derive(Debug, Default)]
pub(super) struct Roster {
    parties: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    party: SessionParty,
    /// Of the newest event about the party; 0 if there was none.
    sequence: u64,
    /// An event came since the last look was begun.
    is_newer_than_look: bool,
}

/// What an event changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing: it is late, or repeats what is known.
    Nothing,
    /// A party that is connected was put on hold, or taken off it.
    Hold,
    /// A party came, picked up, left, ….
    Other,
}

/// What the parties of a call call for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Everyone has left.
    Over,
    /// No monitored agent is on the call.
    Absent,
    /// Not everyone has picked up.
    Ringing,
    /// The agent, or everyone that the agent could talk to, is on hold or parked.
    OnHold,
    /// The agent, first, and the others who are connected talk.
    Talk(Vec<Party>),
}

impl Roster {
    /// An event tells of a party.
    pub(super) fn hear(&mut self, sequence: u64, party: SessionParty) -> Change {
        let is_full = self.parties.len() >= CAPACITY;
        let known = self.parties.iter_mut().find(|known| is_same(&known.party.id, &party.id));
        match known {
            Some(known) => {
                if sequence != 0 && sequence <= known.sequence {
                    return Change::Nothing;
                }
                known.sequence = known.sequence.max(sequence);
                known.is_newer_than_look = true;
                let before = std::mem::replace(&mut known.party, party);
                let is_connected = |it: &SessionParty| it.is_answered() || it.is_on_hold();
                match (before == known.party, is_connected(&before) && is_connected(&known.party)) {
                    (true, _) => Change::Nothing,
                    (false, true) => Change::Hold,
                    (false, false) => Change::Other,
                }
            }
            None if is_full => Change::Nothing,
            None => {
                self.parties.push(Known { party, sequence, is_newer_than_look: true });
                Change::Other
            }
        }
    }

    /// A look at the session is begun: events from now on may be newer than what it will tell.
    pub(super) fn begin_look(&mut self) {
        self.parties.iter_mut().for_each(|known| known.is_newer_than_look = false);
    }

    /// What a look told. `false`: events came meanwhile, and another look is due.
    pub(super) fn looked(&mut self, session: Session) -> bool {
        let mut heard: Vec<Known> = Vec::new();
        for party in session.parties.into_iter().take(CAPACITY) {
            let at = self.parties.iter().position(|known| is_same(&known.party.id, &party.id));
            heard.push(match at.map(|at| self.parties.swap_remove(at)) {
                Some(known) if known.is_newer_than_look => known,
                Some(known) => Known { party, ..known },
                None => Known { party, sequence: 0, is_newer_than_look: false },
            });
        }
        heard.extend(self.parties.extract_if(.., |known| known.is_newer_than_look));
        self.parties = heard;
        self.parties.iter().all(|known| !known.is_newer_than_look)
    }

    /// Who is on hold, while the plan is this one.
    pub(super) fn hold(&self, plan: &Plan) -> Hold {
        if *plan == Plan::OnHold {
            return Hold { is_everyone: true, parties: Vec::new() };
        }
        let waits = |party: &&SessionParty| party.is_on_hold() || party.is_parked();
        let parties = self.live().filter(waits).map(|party| PartyId::new(party.id.as_str()));
        Hold { is_everyone: false, parties: parties.collect() }
    }

    /// Our own party was deleted.
    pub(super) fn forget(&mut self, party: &str) {
        self.parties.retain(|known| !is_same(&known.party.id, party));
    }

    /// Everyone who takes part, supervisors and those who have left excepted.
    pub(super) fn live(&self) -> impl Iterator<Item = &SessionParty> {
        self.parties.iter().map(|known| &known.party).filter(|party| party.is_live())
    }

    /// Whether a party takes part.
    pub(super) fn is_live(&self, party: &str) -> bool {
        self.live().any(|it| is_same(&it.id, party))
    }

    /// The party of a monitored agent: of the one who had it before, or else of the first of `agents` who is on the
    /// call. Where an agent has several, the one who has picked up.
    pub(super) fn agent(&self, agents: &[String], before: Option<&str>) -> Option<&SessionParty> {
        let of = |agent: &str| {
            let own = |party: &&SessionParty| party.extension_id() == Some(agent);
            self.live().filter(own).max_by_key(|party| party.is_answered())
        };
        before
            .filter(|before| agents.iter().any(|agent| agent == before))
            .and_then(of)
            .or_else(|| agents.iter().find_map(|agent| of(agent)))
    }

    /// The supervisor's parties that belong to an extension and are still there.
    pub(super) fn supervisors(&self, owner: &str) -> impl Iterator<Item = &SessionParty> {
        self.parties.iter().map(|known| &known.party).filter(move |party| {
            party.is_supervising() && !party.is_over() && party.extension_id() == Some(owner)
        })
    }

    /// What to do, given whose calls are listened to.
    pub(super) fn plan(&self, call: &CallId, agents: &[String], before: Option<&str>) -> Plan {
        if self.live().next().is_none() {
            return Plan::Over;
        }
        let Some(agent) = self.agent(agents, before) else { return Plan::Absent };
        let others: Vec<&SessionParty> =
            self.live().filter(|party| party.id != agent.id && !party.is_ringing()).collect();
        if agent.is_ringing() || others.is_empty() {
            return Plan::Ringing;
        }
        let is_heard = |party: &&SessionParty| party.is_answered();
        if !agent.is_answered() || !others.iter().any(is_heard) {
            return Plan::OnHold;
        }
        let party = |party: &SessionParty, role| Party {
            call: call.clone(),
            id: PartyId::new(party.id.as_str()),
            role,
        };
        let others = others.into_iter().map(|it| party(it, Role::Customer));
        Plan::Talk([party(agent, Role::Agent)].into_iter().chain(others).collect())
    }
}

/// Whether two ids are one, in whatever form.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    normalise(one) == normalise(other)
}
