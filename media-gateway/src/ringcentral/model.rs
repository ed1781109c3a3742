//! What RingCentral answers, as far as it is used. Unknown fields are ignored, missing ones are empty, and ids are
//! taken as numbers or strings: the same id is one in presence and the other in telephony sessions.

use std::fmt;

use serde::{Deserialize, Deserializer};

/// `GET …/extension/{id}/presence?detailedTelephonyState=true`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Presence {
    /// Absent when there are none.
    pub active_calls: Vec<ActiveCall>,
}

/// One call of an extension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ActiveCall {
    /// `CallConnected`, `Ringing`, `OnHold`, …: an open enumeration.
    pub telephony_status: String,
    /// The id that the telephony API knows the call by.
    #[serde(deserialize_with = "id")]
    pub telephony_session_id: String,
}

/// `GET …/telephony/sessions/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Session {
    /// Everyone who is or was on the call.
    pub parties: Vec<SessionParty>,
}

/// A party of a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionParty {
    /// `p-…-n`. The number says nothing.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// The party's **own** extension; a party outside the account has none. `to.extensionId` is somebody else's.
    #[serde(deserialize_with = "id")]
    extension_id: String,
    owner: Owner,
    status: Status,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Owner {
    #[serde(deserialize_with = "id")]
    extension_id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    code: String,
    reason: String,
    peer_id: Option<PeerId>,
}

/// Where a party that is `Gone` has gone to: an attended transfer, a pick-up of a parked call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerId {
    /// The other call.
    #[serde(deserialize_with = "id")]
    pub telephony_session_id: String,
    /// The party's id on it.
    #[serde(deserialize_with = "id")]
    pub party_id: String,
}

/// The answer to a supervise request.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SupervisorParty {
    /// The supervisor's new party: the `party-id` of the INVITE's `p-rc-api-ids`, not the monitored party.
    #[serde(deserialize_with = "id")]
    pub id: String,
}

/// `GET …/device/{id}/sip-info`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SipInfo {
    /// May carry a port, which does not belong to it.
    pub domain: String,
    /// One per region.
    #[serde(default)]
    pub outbound_proxies: Vec<OutboundProxy>,
    /// Such as `18002097562*102`.
    #[serde(deserialize_with = "id")]
    pub user_name: String,
    /// The SIP password.
    pub password: String,
    /// The digest's user name.
    #[serde(deserialize_with = "id")]
    pub authorization_id: String,
}

/// Where a device of a region registers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OutboundProxy {
    /// `NA`, `EMEA`, `APAC`, `LATAM`.
    pub region: String,
    /// `host:port` for TCP and UDP.
    pub proxy: String,
    /// `host:port` for TLS.
    #[serde(rename = "proxyTLS")]
    pub proxy_tls: String,
}

impl SessionParty {
    /// The party's own extension id, if it has one.
    pub fn extension_id(&self) -> Option<&str> {
        [&self.extension_id, &self.owner.extension_id]
            .into_iter()
            .find(|id| !id.is_empty())
            .map(String::as_str)
    }

    /// `Setup`, `Proceeding`, `Answered`, `Hold`, `Parked`, `Disconnected`, `Gone`, …: an open enumeration.
    pub fn code(&self) -> &str {
        &self.status.code
    }

    /// Whether the party has picked up and is neither held nor on its way out.
    pub fn is_answered(&self) -> bool {
        self.status.code == "Answered"
    }

    /// Whether the party is on hold: still on the call, and not to be heard.
    pub fn is_on_hold(&self) -> bool {
        self.status.code == "Hold"
    }

    /// Whether the party waits in a park location, with music.
    pub fn is_parked(&self) -> bool {
        self.status.code == "Parked"
    }

    /// Whether the party has yet to pick up.
    pub fn is_ringing(&self) -> bool {
        matches!(self.status.code.as_str(), "Setup" | "Proceeding")
    }

    /// Where a party that is `Gone` has gone to.
    pub fn moved_to(&self) -> Option<&PeerId> {
        self.status.peer_id.as_ref().filter(|_| self.status.code == "Gone")
    }

    /// Whether this is a supervisor's ear and not a participant.
    pub fn is_supervising(&self) -> bool {
        self.status.reason == "Supervising"
    }

    /// Whether the party has left the call, for good.
    pub fn is_over(&self) -> bool {
        matches!(self.status.code.as_str(), "Disconnected" | "Gone")
    }

    /// Whether the party takes part in the call: not gone, and not a supervisor.
    pub fn is_live(&self) -> bool {
        !self.is_over() && !self.is_supervising()
    }
}

impl fmt::Debug for SipInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SipInfo")
            .field("domain", &self.domain)
            .field("outbound_proxies", &self.outbound_proxies)
            .field("authorization_id", &self.authorization_id)
            .finish_non_exhaustive()
    }
}

/// An id written as a string, a number or null.
pub(super) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Text(String),
        Number(u64),
        Absent(()),
    }
    Ok(match Id::deserialize(deserializer)? {
        Id::Text(text) => text,
        Id::Number(number) => number.to_string(),
        Id::Absent(()) => String::new(),
    })
}
