use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::v1;

/// Longest id that is accepted from the network, in bytes. RingCentral's are about 60.
const MAX_ID_LEN: usize = 256;

/// A call: RingCentral's telephony session id, such as `s-a0d17e3226ac5z18b67af8d17z38176bd0000`. Opaque.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(Arc<str>);

/// A party of a call: RingCentral's party id, such as `p-a0d17e3226ac5z18b67af8d17z38176bd0000-2`. Opaque.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartyId(Arc<str>);

/// Who speaks on a stream. Learnt by matching ids, never guessed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The party whose extension is the monitored agent's.
    Agent,
    /// The other live party.
    Customer,
    /// One leg carries both voices.
    Mixed,
    /// The ids on the leg matched no party of the call.
    Unknown,
}

/// The label that every frame of audio and every caption of a party carries.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Party {
    /// The call that the party is on.
    pub call: CallId,
    /// The party itself.
    pub id: PartyId,
    /// Who the party is.
    pub role: Role,
}

/// A label from the network that can't be a party's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidParty {
    /// The message has no label.
    #[error("the message carries no party label")]
    Missing,
    /// An id is empty, longer than 256 bytes or has control characters in it.
    #[error("{field} must be 1 to {MAX_ID_LEN} bytes without control characters")]
    Id {
        /// `call_id` or `party_id`.
        field: &'static str,
    },
    /// A role that this version does not know.
    #[error("unknown role {0}")]
    Role(i32),
}

macro_rules! id {
    ($id:ident) => {
        impl $id {
            /// Takes an id as it came from RingCentral.
            pub fn new(id: impl Into<Arc<str>>) -> Self {
                Self(id.into())
            }

            /// The id as RingCentral writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(CallId);
id!(PartyId);

impl CallId {
    /// Checks an id that came over gRPC.
    pub fn parse(id: &str) -> Result<Self, InvalidParty> {
        check(id, "call_id").map(Self::new)
    }
}

impl PartyId {
    /// Checks an id that came over gRPC.
    pub fn parse(id: &str) -> Result<Self, InvalidParty> {
        check(id, "party_id").map(Self::new)
    }
}

impl Role {
    /// As it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Agent => "agent",
            Role::Customer => "customer",
            Role::Mixed => "mixed",
            Role::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&Party> for v1::PartyLabel {
    fn from(party: &Party) -> Self {
        let role = match party.role {
            Role::Agent => v1::Role::Agent,
            Role::Customer => v1::Role::Customer,
            Role::Mixed => v1::Role::Mixed,
            Role::Unknown => v1::Role::Unspecified,
        };
        v1::PartyLabel {
            call_id: party.call.to_string(),
            party_id: party.id.to_string(),
            role: role.into(),
        }
    }
}

impl TryFrom<Option<v1::PartyLabel>> for Party {
    type Error = InvalidParty;

    fn try_from(label: Option<v1::PartyLabel>) -> Result<Self, InvalidParty> {
        let label = label.ok_or(InvalidParty::Missing)?;
        let role = v1::Role::try_from(label.role).map_err(|_| InvalidParty::Role(label.role))?;
        Ok(Party {
            call: CallId::parse(&label.call_id)?,
            id: PartyId::parse(&label.party_id)?,
            role: match role {
                v1::Role::Unspecified => Role::Unknown,
                v1::Role::Agent => Role::Agent,
                v1::Role::Customer => Role::Customer,
                v1::Role::Mixed => Role::Mixed,
            },
        })
    }
}

fn check<'a>(id: &'a str, field: &'static str) -> Result<&'a str, InvalidParty> {
    let acceptable = (1..=MAX_ID_LEN).contains(&id.len()) && !id.chars().any(char::is_control);
    if acceptable { Ok(id) } else { Err(InvalidParty::Id { field }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_survives_the_wire() {
        for role in [Role::Agent, Role::Customer, Role::Mixed, Role::Unknown] {
            let party = Party { call: CallId::new("s-1"), id: PartyId::new("p-1-2"), role };
            assert_eq!(Party::try_from(Some(v1::PartyLabel::from(&party))), Ok(party));
        }
    }

    #[test]
    fn hostile_labels_are_refused() {
        let label = |call: &str, party: &str, role| {
            Party::try_from(Some(v1::PartyLabel {
                call_id: call.to_owned(),
                party_id: party.to_owned(),
                role,
            }))
        };
        assert_eq!(Party::try_from(None), Err(InvalidParty::Missing));
        assert_eq!(label("", "p", 1), Err(InvalidParty::Id { field: "call_id" }));
        assert_eq!(label("s", "p\n", 1), Err(InvalidParty::Id { field: "party_id" }));
        assert_eq!(label("s", &"p".repeat(257), 1), Err(InvalidParty::Id { field: "party_id" }));
        assert_eq!(label("s", "p", 99), Err(InvalidParty::Role(99)));
    }
}
