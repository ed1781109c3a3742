//! The state of the cloud's calls: sessions, parties and supervision, without input or output.

mod change;
mod party;
mod supervise;
mod view;

use crate::account::Account;
use crate::api_error::ApiError;
use crate::script::{Change, Line, Step};
use crate::variant::Variant;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;
use tokio::sync::broadcast;

use change::CHANGE_CAPACITY;
use party::{SessionParty, SupervisorParty};

pub(crate) use change::SessionChange;
pub(crate) use party::{Cast, Code, Direction, Member};
pub(crate) use supervise::Supervision;

/// Ended sessions that can still be looked up; when full, the oldest becomes unknown.
const ENDED_SESSIONS_KEPT: usize = 100;

/// Which voices a supervise request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// Everyone in the session.
    Session,
    /// One of them.
    Party(Side),
}

/// One end of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// The customer, or whoever the agent calls.
    Customer,
    /// The agent, or whoever has taken the call over.
    Agent,
}

/// Every call of the account.
pub(crate) struct Switchboard {
    account: Account,
    sessions: HashMap<String, Session>,
    ended: VecDeque<String>,
    rng: StdRng,
    changes: broadcast::Sender<SessionChange>,
}

struct Session {
    /// What all ids of the session have in common: the id without `s-`.
    body: String,
    cast: Cast,
    variant: Variant,
    /// Who called whom, once somebody has.
    dialled: Option<(Member, Member)>,
    started: SystemTime,
    sequence: u64,
    /// The number of the last party.
    last_number: u32,
    /// In the order in which they joined.
    parties: Vec<SessionParty>,
    supervisors: Vec<SupervisorParty>,
    /// The agent's call to the colleague in an attended transfer.
    consultation: Option<String>,
    is_consultation: bool,
}

impl Session {
    fn id(&self) -> String {
        format!("s-{}", self.body)
    }

    fn party_id(&self, number: u32) -> String {
        format!("p-{}-{number}", self.body)
    }

    /// The number of a party that is no supervisor.
    fn number_of(&self, party_id: &str) -> Option<u32> {
        let numbers = self.parties.iter().map(|party| party.number);
        numbers.into_iter().find(|number| self.party_id(*number) == party_id)
    }

    fn supervisor_number(&self, party_id: &str) -> Option<u32> {
        let numbers = self.supervisors.iter().map(|party| party.number);
        numbers.into_iter().find(|number| self.party_id(*number) == party_id)
    }

    fn take_number(&mut self) -> u32 {
        self.last_number += 1;
        self.last_number
    }

    fn party(&self, number: u32) -> Option<&SessionParty> {
        self.parties.iter().find(|party| party.number == number)
    }

    /// Which of the two recorded voices a party has.
    fn side(&self, number: u32) -> Option<Side> {
        let (_, dialled) = self.dialled?;
        Cast::side(self.party(number)?.member, dialled)
    }

    fn is_live(&self, number: u32) -> bool {
        self.party(number).is_some_and(SessionParty::is_live)
    }

    /// Whether the party is on the public network.
    fn is_public(&self, number: u32) -> bool {
        self.party(number).is_some_and(|party| self.cast.extension(party.member).is_none())
    }

    fn has(&self, member: Member) -> bool {
        self.parties.iter().any(|party| party.member == member && party.is_live())
    }

    /// Whether everyone has left.
    fn is_over(&self) -> bool {
        !self.parties.is_empty() && self.parties.iter().all(|party| !party.is_live())
    }

    /// The latest of the voice's parties: it counts after a transfer, and after being parked.
    fn speaker(&self, side: Side) -> Option<&SessionParty> {
        self.parties.iter().rev().find(|party| self.side(party.number) == Some(side))
    }
}

impl Switchboard {
    pub(crate) fn new(account: Account, seed: u64) -> Self {
        Self {
            account,
            sessions: HashMap::new(),
            ended: VecDeque::new(),
            rng: StdRng::seed_from_u64(seed),
            changes: broadcast::Sender::new(CHANGE_CAPACITY),
        }
    }

    /// The account that the calls belong to.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Every change of a session from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<SessionChange> {
        self.changes.subscribe()
    }

    /// Whether the supervisor may listen to an extension, from now on.
    pub(crate) fn set_monitored(&mut self, extension_id: &str, is_monitored: bool) {
        let known = self.account.agents.iter_mut();
        let on_calls = self.sessions.values_mut().flat_map(|session| {
            let Cast { agent, colleague, .. } = &mut session.cast;
            [Some(agent), colleague.as_mut()].into_iter().flatten()
        });
        for agent in known.chain(on_calls).filter(|agent| agent.extension_id == extension_id) {
            agent.monitored = is_monitored;
        }
    }

    /// Opens a session that nobody is in yet; its id.
    pub(crate) fn open(&mut self, cast: Cast, variant: Variant, now: SystemTime) -> String {
        let body = format!(
            "{:013x}z{:011x}z{:08x}0000",
            self.rng.random_range(0..1u64 << 52),
            self.rng.random_range(0..1u64 << 44),
            self.rng.random::<u32>()
        );
        let session = Session {
            body,
            cast,
            variant,
            dialled: None,
            started: now,
            sequence: 1,
            last_number: 0,
            parties: vec![],
            supervisors: vec![],
            consultation: None,
            is_consultation: false,
        };
        let id = session.id();
        self.sessions.insert(id.clone(), session);
        id
    }

    /// Does one step of a call's script. The ids of the supervisor parties whose legs end with it: whose party has left,
    /// and all of them when it was the agent, because the right to listen is the agent's.
    pub(crate) fn apply(&mut self, session_id: &str, step: &Step, now: SystemTime) -> Vec<String> {
        let Some((here, there)) = self.lines(session_id, step.line, now) else { return vec![] };
        match step.change {
            Change::Join(member, direction, code) => {
                self.join(&here, member, direction, code, now);
                vec![]
            }
            Change::Status(index, code, reason) => {
                self.set_status(&here, index, code, reason, None, now)
            }
            Change::Gone(index, into, reason) => {
                let peer = there.and_then(|id| {
                    let session = self.sessions.get(&id)?;
                    let party = session.parties.get(into.checked_sub(1)?)?;
                    Some((id.clone(), session.party_id(party.number)))
                });
                self.set_status(&here, index, Code::Gone, Some(reason), peer, now)
            }
        }
    }

    /// Whether both voices can be heard: nobody rings, holds or is parked.
    pub(crate) fn is_talking(&self, session_id: &str) -> bool {
        self.sessions.get(session_id).is_some_and(|session| {
            [Side::Customer, Side::Agent]
                .into_iter()
                .all(|side| session.speaker(side).is_some_and(|party| party.code == Code::Answered))
        })
    }

    /// Whether somebody is on hold or parked.
    pub(crate) fn is_waiting(&self, session_id: &str) -> bool {
        let waits = |party: &SessionParty| matches!(party.code, Code::Hold | Code::Parked);
        self.sessions.get(session_id).is_some_and(|session| session.parties.iter().any(waits))
    }

    /// What the `i=` line of a party's media says: the session's id in base64, and the party.
    pub(crate) fn media_information(&self, session_id: &str, side: Side) -> Option<String> {
        let session = self.sessions.get(session_id)?;
        let party = format!("{}-{}", session.body, session.speaker(side)?.number);
        Some(format!("{} party-id={party}", BASE64.encode(session_id)))
    }

    /// The parties have hung up, in a consultation too.
    pub(crate) fn end(&mut self, session_id: &str, now: SystemTime) {
        let Some(session) = self.sessions.get(session_id) else { return };
        if session.is_over() {
            return;
        }
        let consultation = session.consultation.clone();
        let count = session.parties.len();
        for index in 1..=count {
            let is_live = self
                .sessions
                .get(session_id)
                .is_some_and(|session| session.parties[index - 1].is_live());
            if is_live {
                self.set_status(session_id, index, Code::Disconnected, None, None, now);
            }
        }
        self.ended.push_back(session_id.to_owned());
        if self.ended.len() > ENDED_SESSIONS_KEPT
            && let Some(oldest) = self.ended.pop_front()
        {
            self.sessions.remove(&oldest);
        }
        if let Some(consultation) = consultation {
            self.end(&consultation, now);
        }
    }

    /// The session as REST shows it.
    pub(crate) fn session(&self, session_id: &str) -> Result<Value, ApiError> {
        let session =
            self.sessions.get(session_id).ok_or(ApiError::NotFound("telephonySessionId"))?;
        Ok(view::session(&self.account, session))
    }

    /// One party of a session as REST shows it.
    pub(crate) fn party(&self, session_id: &str, party_id: &str) -> Result<Value, ApiError> {
        let session = self.session(session_id)?;
        let mut parties = session["parties"].as_array().into_iter().flatten();
        let party = parties.find(|party| party["id"] == party_id);
        party.cloned().ok_or(ApiError::NotFound("partyId"))
    }

    /// The presence of an extension; its calls are listed if the client asks for detail.
    pub(crate) fn presence(
        &self,
        extension_id: &str,
        is_detailed: bool,
    ) -> Result<Value, ApiError> {
        let number = if extension_id == self.account.supervisor_extension_id {
            &self.account.supervisor_extension_number
        } else {
            let agent = self.account.agent(extension_id);
            &agent.ok_or(ApiError::NotFound("extensionId"))?.extension_number
        };
        let mut sessions: Vec<&Session> = self.sessions.values().collect();
        sessions.sort_by_key(|session| (session.started, &session.body));
        let calls = sessions
            .into_iter()
            .flat_map(|session| view::active_calls(&self.account, session, extension_id))
            .collect();
        Ok(view::presence(extension_id, number, calls, is_detailed))
    }

    /// The session that a line of a script means, and the other one.
    fn lines(
        &mut self,
        session_id: &str,
        line: Line,
        now: SystemTime,
    ) -> Option<(String, Option<String>)> {
        let session = self.sessions.get(session_id)?;
        let consultation = session.consultation.clone();
        match (line, consultation) {
            (Line::Call, consultation) => Some((session_id.to_owned(), consultation)),
            (Line::Consultation, Some(id)) => Some((id, Some(session_id.to_owned()))),
            (Line::Consultation, None) => {
                let (cast, variant) = (session.cast.clone(), session.variant);
                let id = self.open(cast, variant, now);
                self.sessions.get_mut(&id)?.is_consultation = true;
                self.sessions.get_mut(session_id)?.consultation = Some(id.clone());
                Some((id, Some(session_id.to_owned())))
            }
        }
    }

    fn join(
        &mut self,
        session_id: &str,
        member: Member,
        direction: Direction,
        code: Code,
        now: SystemTime,
    ) {
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        let number = session.take_number();
        let party = SessionParty { number, member, direction, code, reason: None, peer: None };
        // The first party calls; whom, says the second.
        let caller = session.parties.first().map_or(member, |first| first.member);
        if session.parties.len() < 2 {
            session.dialled = Some((caller, member));
        }
        session.parties.push(party);
        let index = session.parties.len();
        self.announce_party(session_id, index, now);
    }

    /// `index` counts the parties that are no supervisors, from 1.
    fn set_status(
        &mut self,
        session_id: &str,
        index: usize,
        code: Code,
        reason: Option<&'static str>,
        peer: Option<(String, String)>,
        now: SystemTime,
    ) -> Vec<String> {
        let Some(session) = self.sessions.get_mut(session_id) else { return vec![] };
        let Some(party) = index.checked_sub(1).and_then(|at| session.parties.get_mut(at)) else {
            return vec![];
        };
        (party.code, party.reason, party.peer) = (code, reason, peer);
        let (number, is_agents) = (party.number, code.is_over() && party.member == Member::Agent);
        let dropped = session
            .supervisors
            .iter()
            .filter(|_| code.is_over())
            .filter(|supervisor| is_agents || supervisor.monitored == Some(number))
            .map(|supervisor| session.party_id(supervisor.number))
            .collect();
        self.announce_party(session_id, index, now);
        dropped
    }

    fn announce_party(&mut self, session_id: &str, index: usize, now: SystemTime) {
        let Some(session) = self.sessions.get(session_id) else { return };
        let Some(party) = session.parties.get(index - 1) else { return };
        let extension = session.cast.extension(party.member).map(str::to_owned);
        let party = view::party(&self.account, session, party);
        self.announce(session_id, extension, &party, now);
    }

    fn announce(
        &mut self,
        session_id: &str,
        extension_id: Option<String>,
        party: &Value,
        now: SystemTime,
    ) {
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        let change = SessionChange::new(&self.account, session, extension_id, party, now);
        // Without a subscriber nobody needs to know.
        let _ = self.changes.send(change);
    }
}

#[cfg(test)]
mod tests;
