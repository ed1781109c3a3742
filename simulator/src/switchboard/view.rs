//! Sessions, parties and presence in the words of RingCentral's REST API.
//!
//! The same id is a number in presence and a string in telephony sessions: that is how the real
//! service answers.

use super::{Session, Side, SupervisorParty, Target};
use crate::account::{Account, Agent};
use crate::timestamp;
use serde_json::{Value, json};

/// The customer's phone number: fictional, by the rules for numbers in films.
pub(super) const CUSTOMER_NUMBER: &str = "+14085550100";
const CUSTOMER_NAME: &str = "Helen Carter";

pub(super) fn session(account: &Account, session: &Session) -> Value {
    let mut parties: Vec<Value> = [Side::Customer, Side::Agent]
        .into_iter()
        .map(|side| party(account, session, side))
        .collect();
    parties
        .extend(session.supervisors.iter().map(|party| supervisor_party(account, session, party)));
    json!({
        "creationTime": timestamp::rfc3339(session.started),
        "id": session.id(),
        "origin": {"type": "Call"},
        "parties": parties,
    })
}

pub(super) fn supervisor_party(
    account: &Account,
    session: &Session,
    party: &SupervisorParty,
) -> Value {
    let agent = &session.agent;
    let (to_extension, to_name, to_number) = match party.target {
        Target::Party(Side::Customer) => (None, CUSTOMER_NAME, CUSTOMER_NUMBER),
        _ => (Some(&agent.extension_id), agent.name.as_str(), agent.extension_number.as_str()),
    };
    let mut to = json!({"name": to_name, "phoneNumber": to_number});
    if let Some(id) = to_extension {
        to["extensionId"] = json!(id);
    }
    let code = match (session.is_ended, party.is_answered) {
        (true, _) => "Disconnected",
        (false, true) => "Answered",
        (false, false) => "Proceeding",
    };
    json!({
        "id": party.id,
        "direction": "Outbound",
        "accountId": account.account_id,
        "extensionId": account.supervisor_extension_id,
        "muted": false,
        "standAlone": false,
        "owner": {
            "accountId": account.account_id,
            "extensionId": account.supervisor_extension_id,
        },
        "from": {
            "deviceId": account.supervisor_device_id,
            "extensionId": account.supervisor_extension_id,
            "name": "Supervisor",
            "phoneNumber": account.supervisor_extension_number,
        },
        "to": to,
        "status": {"code": code, "reason": "Supervising"},
    })
}

pub(super) fn presence(agent: &Agent, calls: &[&Session], is_detailed: bool) -> Value {
    let status = if calls.is_empty() { "NoCall" } else { "CallConnected" };
    let mut presence = json!({
        "extension": {
            "id": number(&agent.extension_id),
            "extensionNumber": agent.extension_number,
        },
        "presenceStatus": if calls.is_empty() { "Available" } else { "Busy" },
        "telephonyStatus": status,
        "userStatus": "Available",
        "dndStatus": "TakeAllCalls",
    });
    if is_detailed && !calls.is_empty() {
        let calls: Vec<Value> = calls.iter().map(|session| active_call(session)).collect();
        presence["activeCalls"] = json!(calls);
    }
    presence
}

pub(super) fn party(account: &Account, session: &Session, side: Side) -> Value {
    let agent = &session.agent;
    let code = if session.is_ended { "Disconnected" } else { "Answered" };
    let mut party = json!({
        "id": session.party_id(side.number()),
        "accountId": account.account_id,
        "direction": match side { Side::Customer => "Outbound", Side::Agent => "Inbound" },
        "muted": false,
        "standAlone": false,
        "park": {},
        "from": {"phoneNumber": CUSTOMER_NUMBER, "name": CUSTOMER_NAME},
        // Both parties are calls to the agent: only `extensionId` below tells them apart.
        "to": {
            "phoneNumber": agent.phone_number,
            "name": agent.name,
            "extensionId": agent.extension_id,
        },
        "status": {"code": code, "rcc": false},
    });
    if side == Side::Agent {
        party["extensionId"] = json!(agent.extension_id);
    }
    party
}

fn active_call(session: &Session) -> Value {
    let agent = &session.agent;
    json!({
        "id": session.body.replace('z', ""),
        "direction": "Inbound",
        "fromName": CUSTOMER_NAME,
        "from": CUSTOMER_NUMBER,
        "toName": agent.name,
        "to": agent.phone_number,
        "telephonyStatus": "CallConnected",
        "startTime": timestamp::presence(session.started),
        "partyId": session.party_id(Side::Agent.number()),
        "telephonySessionId": session.id(),
    })
}

/// An id as a JSON number where it is one.
fn number(id: &str) -> Value {
    id.parse::<u64>().map_or_else(|_| json!(id), |number| json!(number))
}
