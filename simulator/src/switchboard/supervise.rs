//! Supervise requests: what is checked, what is answered, and what the INVITE says.

use super::party::{Code, Member, SupervisorParty};
use super::view;
use super::{Side, Switchboard, Target};
use crate::account::{Account, Agent};
use crate::api_error::ApiError;
use crate::variant::Variant;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::RngExt;
use serde::Deserialize;
use serde_json::Value;
use std::time::SystemTime;

/// Supervisor parties in one session; when full, further requests are refused.
const MAX_SUPERVISORS: usize = 16;
/// Participants of a session that can still be supervised party by party.
const MAX_PARTICIPANTS: usize = 2;

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

#[derive(Clone, Copy)]
enum NamedAgent<'a> {
    Id(&'a str),
    Number(&'a str),
}

impl Switchboard {
    /// Takes a supervise request; `party_id` is the monitored party, or `None` for the session.
    pub(crate) fn supervise(
        &mut self,
        session_id: &str,
        party_id: Option<&str>,
        request: &SuperviseRequest,
        is_registered: bool,
        now: SystemTime,
    ) -> Result<Supervision, ApiError> {
        let nonce: u128 = self.rng.random();
        let session =
            self.sessions.get_mut(session_id).ok_or(ApiError::NotFound("telephonySessionId"))?;
        let monitored = match party_id {
            None => None,
            Some(id) => Some(session.number_of(id).ok_or(ApiError::NotFound("partyId"))?),
        };
        request.check_form(&self.account)?;
        if session.is_over() {
            return Err(ApiError::WrongState);
        }
        let agent = match request.agent(monitored.is_some())? {
            // After a transfer the call is the colleague's.
            Some(named) => [Member::Agent, Member::Colleague]
                .into_iter()
                .filter(|member| session.has(*member))
                .filter_map(|member| session.cast.agent(member))
                .find(|agent| named.is(agent))
                .ok_or(ApiError::NotFound(named.parameter()))?,
            // The customer's leg belongs to no extension: who asks for it need not name one.
            None if monitored.is_some_and(|number| session.is_public(number)) => {
                &session.cast.agent
            }
            None => return Err(ApiError::InvalidParameter("agentExtensionId")),
        };
        if !agent.monitored {
            return Err(ApiError::NotPermitted);
        }
        let caller_of_agent = agent.phone_number.clone();
        let target = match monitored.map(|number| session.side(number)) {
            None => Target::Session,
            Some(Some(side)) => Target::Party(side),
            // Nobody listens to a greeting.
            Some(None) => return Err(ApiError::WrongState),
        };
        let participants: Vec<_> = session.parties.iter().filter(|party| party.is_live()).collect();
        let is_answered = participants.len() >= 2
            && participants.iter().all(|party| party.code == Code::Answered);
        if !is_answered
            || (monitored.is_some() && participants.len() > MAX_PARTICIPANTS)
            || session.is_consultation
            || session.supervisors.len() >= MAX_SUPERVISORS
            || monitored.is_some_and(|number| !session.is_live(number))
        {
            return Err(ApiError::WrongState);
        }
        if !is_registered {
            return Err(ApiError::DeviceNotRegistered);
        }
        if session.supervisors.iter().any(|supervisor| supervisor.monitored == monitored) {
            return Err(ApiError::AlreadySupervised);
        }
        let number = session.take_number();
        let party = SupervisorParty { number, target, monitored, is_answered: false };
        let party_id = session.party_id(number);
        let mut headers =
            vec![("p-rc-api-ids", format!("party-id={party_id};session-id={}", session.id()))];
        if let Some(monitored) = monitored
            && session.variant != Variant::Cancelled
        {
            let (party, id) = (session.party_id(monitored), session.id());
            headers.push((
                "p-rc-api-monitoring-ids",
                match session.variant {
                    Variant::ReorderedIds => format!(" party-id = {party} ;  session-id = {id} "),
                    _ => format!("session-id={id}; party-id={party}"),
                },
            ));
        }
        if request.auto_answer != Some(false) {
            let token = BASE64.encode(nonce.to_be_bytes());
            headers.push(("Alert-Info", "Auto Answer".into()));
            headers.push(("Call-Info", format!("<{token}>;purpose=info;Answer-After=0")));
        }
        let supervision = Supervision {
            party_id,
            target,
            headers,
            caller: match target {
                Target::Party(Side::Agent) => caller_of_agent,
                _ => session.cast.customer.phone_number.clone(),
            },
            is_send_only: request.media_sdp.as_deref() == Some("sendOnly"),
            response: view::supervisor_party(&self.account, session, &party),
        };
        session.supervisors.push(party);
        self.announce_supervisor(session_id, number, now);
        Ok(supervision)
    }

    /// Leaves a supervisor's party on the agent whose INVITE was never answered.
    pub(crate) fn add_ghost(&mut self, session_id: &str, now: SystemTime) {
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        let agent = session.parties.iter().find(|party| party.member == Member::Agent);
        let Some(monitored) = agent.map(|party| party.number) else { return };
        let number = session.take_number();
        session.supervisors.push(SupervisorParty {
            number,
            target: Target::Party(Side::Agent),
            monitored: Some(monitored),
            is_answered: false,
        });
        self.announce_supervisor(session_id, number, now);
    }

    /// The supervisor's device has answered.
    pub(crate) fn supervisor_answered(
        &mut self,
        session_id: &str,
        party_id: &str,
        now: SystemTime,
    ) {
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        let Some(number) = session.supervisor_number(party_id) else { return };
        for supervisor in &mut session.supervisors {
            supervisor.is_answered |= supervisor.number == number;
        }
        self.announce_supervisor(session_id, number, now);
    }

    /// Removes a supervisor's party, because its leg has ended or because a DELETE asks for it.
    pub(crate) fn remove_supervisor(
        &mut self,
        session_id: &str,
        party_id: &str,
        now: SystemTime,
    ) -> Result<(), ApiError> {
        let session =
            self.sessions.get_mut(session_id).ok_or(ApiError::NotFound("telephonySessionId"))?;
        if session.number_of(party_id).is_some() {
            // The real service allows it for supervised and parked parties only.
            return Err(ApiError::WrongState);
        }
        let number = session.supervisor_number(party_id).ok_or(ApiError::NotFound("partyId"))?;
        let position = session.supervisors.iter().position(|party| party.number == number);
        let removed = session.supervisors.remove(position.ok_or(ApiError::NotFound("partyId"))?);
        let mut party = view::supervisor_party(&self.account, session, &removed);
        party["status"]["code"] = Code::Disconnected.as_str().into();
        let extension = Some(self.account.supervisor_extension_id.clone());
        self.announce(session_id, extension, &party, now);
        Ok(())
    }

    /// The supervisor parties of a session whose INVITE was never answered.
    pub(crate) fn ghosts(&self, session_id: &str) -> usize {
        let session = self.sessions.get(session_id);
        session.map_or(0, |it| it.supervisors.iter().filter(|party| !party.is_answered).count())
    }

    fn announce_supervisor(&mut self, session_id: &str, number: u32, now: SystemTime) {
        let Some(session) = self.sessions.get(session_id) else { return };
        let party = session.supervisors.iter().find(|party| party.number == number);
        let Some(party) = party.map(|it| view::supervisor_party(&self.account, session, it)) else {
            return;
        };
        let extension = Some(self.account.supervisor_extension_id.clone());
        self.announce(session_id, extension, &party, now);
    }
}

impl SuperviseRequest {
    /// What can be checked without the call.
    fn check_form(&self, account: &Account) -> Result<(), ApiError> {
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
        Ok(())
    }

    /// The agent that the request names. Only the session's request takes a number for an id.
    fn agent(&self, is_of_party: bool) -> Result<Option<NamedAgent<'_>>, ApiError> {
        match (&self.agent_extension_id, &self.agent_extension_number) {
            (Some(id), _) => Ok(Some(NamedAgent::Id(id))),
            (None, Some(_)) if is_of_party => Err(ApiError::InvalidParameter("agentExtensionId")),
            (None, Some(number)) => Ok(Some(NamedAgent::Number(number))),
            (None, None) => Ok(None),
        }
    }
}

impl NamedAgent<'_> {
    fn is(self, agent: &Agent) -> bool {
        match self {
            NamedAgent::Id(id) => id == agent.extension_id,
            NamedAgent::Number(number) => number == agent.extension_number,
        }
    }

    fn parameter(self) -> &'static str {
        match self {
            NamedAgent::Id(_) => "agentExtensionId",
            NamedAgent::Number(_) => "agentExtensionNumber",
        }
    }
}
