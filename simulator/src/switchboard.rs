//! The state of the cloud's calls: sessions, parties and supervision, without input or output.

mod change;
mod view;

use crate::account::{Account, Agent};
use crate::api_error::ApiError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;
use tokio::sync::broadcast;

use change::CHANGE_CAPACITY;
pub(crate) use change::SessionChange;

/// Ended sessions that can still be looked up; when full, the oldest becomes unknown.
const ENDED_SESSIONS_KEPT: usize = 100;
/// Supervisor parties in one session; when full, further requests are refused.
const MAX_SUPERVISORS: usize = 16;

/// Which voices a supervise request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// Both parties of the session.
    Session,
    /// One of them.
    Party(Side),
}

/// One end of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// The customer, on the public network.
    Customer,
    /// The agent, an extension of the account.
    Agent,
}

/// The body of both supervise requests.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SuperviseRequest {
    mode: Option<String>,
    supervisor_device_id: Option<String>,
    agent_extension_id: Option<String>,
    agent_extension_number: Option<String>,
    auto_answer: Option<bool>,
    #[serde(rename = "mediaSDP")]
    media_sdp: Option<String>,
}

/// An accepted supervise request: what the INVITE that follows says.
#[derive(Clone, Debug)]
pub(crate) struct Supervision {
    /// The supervisor's new party.
    pub(crate) party_id: String,
    /// What it listens to.
    pub(crate) target: Target,
    /// RingCentral's own headers.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The user part of From.
    pub(crate) caller: String,
    /// Whether the offer says that we send only.
    pub(crate) is_send_only: bool,
    /// The REST response.
    pub(crate) response: Value,
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
    agent: Agent,
    started: SystemTime,
    is_ended: bool,
    sequence: u64,
    /// The number of the next party.
    next_party: u32,
    supervisors: Vec<SupervisorParty>,
}

struct SupervisorParty {
    id: String,
    target: Target,
    is_answered: bool,
}

impl Side {
    /// The number of the party: the caller comes first.
    fn number(self) -> u32 {
        match self {
            Side::Customer => 1,
            Side::Agent => 2,
        }
    }
}

impl Session {
    fn id(&self) -> String {
        format!("s-{}", self.body)
    }

    fn party_id(&self, number: u32) -> String {
        format!("p-{}-{number}", self.body)
    }

    fn side_of(&self, party_id: &str) -> Option<Side> {
        [Side::Customer, Side::Agent]
            .into_iter()
            .find(|side| self.party_id(side.number()) == party_id)
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
        let on_calls = self.sessions.values_mut().map(|session| &mut session.agent);
        for agent in known.chain(on_calls).filter(|agent| agent.extension_id == extension_id) {
            agent.monitored = is_monitored;
        }
    }

    fn announce(&mut self, session_id: &str) {
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        for side in [Side::Customer, Side::Agent] {
            session.sequence += 1;
            let party = view::party(&self.account, session, side);
            let change = SessionChange {
                telephony_session_id: session_id.to_owned(),
                sequence: session.sequence,
                extension_id: party["extensionId"].as_str().map(str::to_owned),
                body: serde_json::json!({
                    "sequence": session.sequence,
                    "telephonySessionId": session_id,
                    "parties": [party],
                }),
            };
            let _ = self.changes.send(change);
        }
    }

    /// Puts a call between a customer and an agent on the line, already answered. The session's
    /// id; `None` when the account has no such agent.
    pub(crate) fn place(&mut self, agent_extension_id: &str, now: SystemTime) -> Option<String> {
        let agent = self.account.agent(agent_extension_id)?.clone();
        let body = format!(
            "{:013x}z{:011x}z{:08x}0000",
            self.rng.random_range(0..1u64 << 52),
            self.rng.random_range(0..1u64 << 44),
            self.rng.random::<u32>()
        );
        let session = Session {
            body,
            agent,
            started: now,
            is_ended: false,
            sequence: 1,
            next_party: 3,
            supervisors: vec![],
        };
        let id = session.id();
        self.sessions.insert(id.clone(), session);
        self.announce(&id);
        Some(id)
    }

    /// Takes a supervise request; `party_id` is the monitored party, or `None` for the session.
    pub(crate) fn supervise(
        &mut self,
        session_id: &str,
        party_id: Option<&str>,
        request: &SuperviseRequest,
        is_registered: bool,
    ) -> Result<Supervision, ApiError> {
        let nonce: u128 = self.rng.random();
        let session =
            self.sessions.get_mut(session_id).ok_or(ApiError::NotFound("telephonySessionId"))?;
        let target = match party_id {
            None => Target::Session,
            Some(id) => Target::Party(session.side_of(id).ok_or(ApiError::NotFound("partyId"))?),
        };
        request.check(&self.account, &session.agent, target)?;
        if session.is_ended || session.supervisors.len() >= MAX_SUPERVISORS {
            return Err(ApiError::WrongState);
        }
        if !is_registered {
            return Err(ApiError::DeviceNotRegistered);
        }
        if session.supervisors.iter().any(|supervisor| supervisor.target == target) {
            return Err(ApiError::AlreadySupervised);
        }
        let party = SupervisorParty {
            id: session.party_id(session.next_party),
            target,
            is_answered: false,
        };
        session.next_party += 1;
        let mut headers =
            vec![("p-rc-api-ids", format!("party-id={};session-id={}", party.id, session.id()))];
        if let Target::Party(side) = target {
            let monitored = session.party_id(side.number());
            headers.push((
                "p-rc-api-monitoring-ids",
                format!("session-id={}; party-id={monitored}", session.id()),
            ));
        }
        if request.auto_answer != Some(false) {
            let token = BASE64.encode(nonce.to_be_bytes());
            headers.push(("Alert-Info", "Auto Answer".into()));
            headers.push(("Call-Info", format!("<{token}>;purpose=info;Answer-After=0")));
        }
        let supervision = Supervision {
            party_id: party.id.clone(),
            target,
            headers,
            caller: match target {
                Target::Party(Side::Agent) => session.agent.phone_number.clone(),
                _ => view::CUSTOMER_NUMBER.into(),
            },
            is_send_only: request.media_sdp.as_deref() == Some("sendOnly"),
            response: view::supervisor_party(&self.account, session, &party),
        };
        session.supervisors.push(party);
        Ok(supervision)
    }

    /// What the `i=` line of a party's media says: the session's id in base64, and the party.
    pub(crate) fn media_information(&self, session_id: &str, side: Side) -> Option<String> {
        let session = self.sessions.get(session_id)?;
        let party = format!("{}-{}", session.body, side.number());
        Some(format!("{} party-id={party}", BASE64.encode(session_id)))
    }

    /// The supervisor's device has answered.
    pub(crate) fn supervisor_answered(&mut self, session_id: &str, party_id: &str) {
        let session = self.sessions.get_mut(session_id);
        let mut supervisors = session.into_iter().flat_map(|session| &mut session.supervisors);
        if let Some(supervisor) = supervisors.find(|supervisor| supervisor.id == party_id) {
            supervisor.is_answered = true;
        }
    }

    /// Removes a supervisor's party, because its leg has ended or because a DELETE asks for it.
    pub(crate) fn remove_supervisor(
        &mut self,
        session_id: &str,
        party_id: &str,
    ) -> Result<(), ApiError> {
        let session =
            self.sessions.get_mut(session_id).ok_or(ApiError::NotFound("telephonySessionId"))?;
        if session.side_of(party_id).is_some() {
            // The real service allows it for supervised and parked parties only.
            return Err(ApiError::WrongState);
        }
        let position = session.supervisors.iter().position(|party| party.id == party_id);
        session.supervisors.remove(position.ok_or(ApiError::NotFound("partyId"))?);
        Ok(())
    }

    /// The parties have hung up.
    pub(crate) fn end(&mut self, session_id: &str) {
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        if std::mem::replace(&mut session.is_ended, true) {
            return;
        }
        self.announce(session_id);
        self.ended.push_back(session_id.to_owned());
        if self.ended.len() > ENDED_SESSIONS_KEPT
            && let Some(oldest) = self.ended.pop_front()
        {
            self.sessions.remove(&oldest);
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
        let agent = self.account.agent(extension_id).ok_or(ApiError::NotFound("extensionId"))?;
        let mut calls: Vec<&Session> = self
            .sessions
            .values()
            .filter(|session| !session.is_ended && session.agent.extension_id == extension_id)
            .collect();
        calls.sort_by_key(|session| (session.started, session.body.clone()));
        Ok(view::presence(agent, &calls, is_detailed))
    }
}

impl SuperviseRequest {
    fn check(&self, account: &Account, agent: &Agent, target: Target) -> Result<(), ApiError> {
        if self.mode.as_deref() != Some("Listen") {
            return Err(ApiError::InvalidParameter("mode"));
        }
        match self.supervisor_device_id.as_deref() {
            None => return Err(ApiError::InvalidParameter("supervisorDeviceId")),
            Some(id) if id != account.supervisor_device_id => {
                return Err(ApiError::NotFound("deviceId"));
            }
            Some(_) => {}
        }
        if !matches!(self.media_sdp.as_deref(), None | Some("sendOnly" | "sendRecv")) {
            return Err(ApiError::InvalidParameter("mediaSDP"));
        }
        match (&self.agent_extension_id, &self.agent_extension_number, target) {
            (Some(id), _, _) if *id != agent.extension_id => {
                return Err(ApiError::NotFound("agentExtensionId"));
            }
            (None, Some(number), Target::Session) if *number != agent.extension_number => {
                return Err(ApiError::NotFound("agentExtensionNumber"));
            }
            (Some(_), _, _) | (None, Some(_), Target::Session) => {}
            (None, _, _) => return Err(ApiError::InvalidParameter("agentExtensionId")),
        }
        if agent.monitored { Ok(()) } else { Err(ApiError::NotPermitted) }
    }
}
