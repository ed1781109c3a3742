//! Sessions, parties and presence in the words of RingCentral's REST API.
//!
//! The same id is a number in presence and a string in telephony sessions: that is how the real
//! service answers.

use super::party::{
    Code, Direction, Member, QUEUE_EXTENSION_ID, QUEUE_NAME, QUEUE_NUMBER, SessionParty,
    SupervisorParty,
};
use super::{Session, Side, Target};
use crate::account::{Account, Customer};
use crate::timestamp;
use serde_json::{Value, json};

pub(super) fn session(account: &Account, session: &Session) -> Value {
    let mut parties: Vec<Value> =
        session.parties.iter().map(|party| self::party(account, session, party)).collect();
    parties
        .extend(session.supervisors.iter().map(|party| supervisor_party(account, session, party)));
    json!({
        "creationTime": timestamp::rfc3339(session.started),
        "id": session.id(),
        "origin": {"type": "Call"},
        "parties": parties,
    })
}

pub(super) fn party(account: &Account, session: &Session, party: &SessionParty) -> Value {
    let (caller, dialled) = session.dialled.unwrap_or((party.member, party.member));
    // Who takes the call over was called by the cloud; all others belong to the call as it was dialled: both parties of
    // a call to an agent are calls to that agent, and only `extensionId` below tells them apart.
    let callee = match party.member {
        Member::Colleague | Member::Guest => party.member,
        _ => dialled,
    };
    let mut status = json!({"code": party.code.as_str(), "rcc": false});
    if let Some(reason) = party.reason {
        status["reason"] = json!(reason);
    }
    if let Some((session_id, party_id)) = &party.peer {
        status["peerId"] = json!({
            "sessionId": legacy_id(session_id),
            "telephonySessionId": session_id,
            "partyId": party_id,
        });
    }
    let park = if party.code == Code::Parked { json!({"id": "*801"}) } else { json!({}) };
    let mut value = json!({
        "id": session.party_id(party.number),
        "accountId": account.account_id,
        "direction": match party.direction {
            Direction::Inbound => "Inbound",
            Direction::Outbound => "Outbound",
        },
        "muted": false,
        "standAlone": false,
        "missedCall": party.reason == Some("Cancelled") && party.direction == Direction::Inbound,
        "park": park,
        "from": address(session, caller),
        "to": address(session, callee),
        "status": status,
    });
    if let Some(extension) = session.cast.extension(party.member) {
        value["extensionId"] = json!(extension);
    }
    if dialled == Member::Queue && party.member == Member::Agent {
        value["queueCall"] = json!(true);
    }
    value
}

pub(super) fn supervisor_party(
    account: &Account,
    session: &Session,
    party: &SupervisorParty,
) -> Value {
    let to = match party.target {
        Target::Party(Side::Customer) => session.speaker(Side::Customer),
        _ => session.speaker(Side::Agent),
    };
    let code = match (session.is_over(), party.is_answered) {
        (true, _) => Code::Disconnected,
        (false, true) => Code::Answered,
        (false, false) => Code::Proceeding,
    };
    json!({
        "id": session.party_id(party.number),
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
        "to": address(session, to.map_or(Member::Agent, |party| party.member)),
        "status": {"code": code.as_str(), "reason": "Supervising"},
    })
}

pub(super) fn presence(
    extension_id: &str,
    extension_number: &str,
    calls: Vec<Value>,
    is_detailed: bool,
) -> Value {
    let status = calls.first().map_or(&Value::Null, |call| &call["telephonyStatus"]);
    let mut presence = json!({
        "extension": {"id": number(extension_id), "extensionNumber": extension_number},
        "presenceStatus": if calls.is_empty() { "Available" } else { "Busy" },
        "telephonyStatus": status.as_str().unwrap_or("NoCall"),
        "userStatus": "Available",
        "dndStatus": "TakeAllCalls",
    });
    if is_detailed && !calls.is_empty() {
        presence["activeCalls"] = json!(calls);
    }
    presence
}

/// The parties of an extension in a session, as active calls. A supervisor calls the agent, as it seems.
pub(super) fn active_calls(account: &Account, session: &Session, extension_id: &str) -> Vec<Value> {
    let own = session.parties.iter().filter(|party| {
        party.is_live() && session.cast.extension(party.member) == Some(extension_id)
    });
    let mut calls: Vec<Value> = own
        .map(|party| {
            let (caller, dialled) = session.dialled.unwrap_or((party.member, party.member));
            let (status, direction) = match (party.code, party.direction) {
                (Code::Hold, Direction::Inbound) => ("OnHold", "Inbound"),
                (Code::Hold, Direction::Outbound) => ("OnHold", "Outbound"),
                (Code::Parked, _) => ("ParkedCall", "Inbound"),
                (Code::Setup | Code::Proceeding, Direction::Inbound) => ("Ringing", "Inbound"),
                (_, Direction::Inbound) => ("CallConnected", "Inbound"),
                (_, Direction::Outbound) => ("CallConnected", "Outbound"),
            };
            let ends = [address(session, caller), address(session, dialled)];
            active_call(session, party.number, status, direction, ends)
        })
        .collect();
    if extension_id == account.supervisor_extension_id && !session.is_over() {
        let agent = session.speaker(Side::Agent).map_or(Member::Agent, |party| party.member);
        let from = json!({
            "phoneNumber": account.supervisor_extension_number,
            "name": "Supervisor",
        });
        let mut to = address(session, agent);
        if let Some(agent) = session.cast.agent(agent) {
            to["phoneNumber"] = json!(agent.extension_number);
        }
        calls.extend(session.supervisors.iter().filter(|party| party.is_answered).map(|party| {
            let ends = [from.clone(), to.clone()];
            active_call(session, party.number, "CallConnected", "Outbound", ends)
        }));
    }
    calls
}

/// The id that the older interfaces know the session by: a number.
pub(super) fn legacy_session_id(session: &Session) -> String {
    legacy_id(&session.id())
}

fn active_call(
    session: &Session,
    party: u32,
    status: &str,
    direction: &str,
    [from, to]: [Value; 2],
) -> Value {
    json!({
        "id": session.body.replace('z', ""),
        "direction": direction,
        "fromName": from["name"],
        "from": from["phoneNumber"],
        "toName": to["name"],
        "to": to["phoneNumber"],
        "telephonyStatus": status,
        "sessionId": legacy_session_id(session),
        "startTime": timestamp::presence(session.started),
        "partyId": session.party_id(party),
        "telephonySessionId": session.id(),
    })
}

/// A party's end of a call, as `from` and `to` show it.
fn address(session: &Session, member: Member) -> Value {
    match (session.cast.agent(member), member) {
        (Some(agent), _) => json!({
            "phoneNumber": agent.phone_number,
            "name": agent.name,
            "extensionId": agent.extension_id,
        }),
        (None, Member::Queue) => json!({
            "phoneNumber": QUEUE_NUMBER,
            "name": QUEUE_NAME,
            "extensionId": QUEUE_EXTENSION_ID,
        }),
        (None, member) => {
            let guest = Customer::guest();
            let person = if member == Member::Guest { &guest } else { &session.cast.customer };
            json!({"phoneNumber": person.phone_number, "name": person.name})
        }
    }
}

fn legacy_id(session_id: &str) -> String {
    let digits: String = session_id.chars().filter(char::is_ascii_digit).take(12).collect();
    format!("1{digits:0>11}")
}

/// An id as a JSON number where it is one.
fn number(id: &str) -> Value {
    id.parse::<u64>().map_or_else(|_| json!(id), |number| json!(number))
}
