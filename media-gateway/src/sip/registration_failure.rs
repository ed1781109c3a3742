//! Why a registration failed, and what to check.

use std::time::Duration;

use super::digest::ChallengeError;
use super::failover::Setback;
use super::registration::TRANSACTION_TIMEOUT;

/// Why the device is not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationFailure {
    /// The registrar never answered.
    #[error("the registrar did not answer within {} s", TRANSACTION_TIMEOUT.as_secs())]
    Timeout,
    /// 401 or 407 although a challenge was answered.
    #[error(
        "the registrar refused the credentials ({0}); check that authorization_id (not the phone number) and password \
         are those of the device's sip-info, and that domain has no port"
    )]
    Credentials(u16),
    /// The challenge can't be answered.
    #[error("the registrar's challenge can't be answered: {0}")]
    Challenge(#[from] ChallengeError),
    /// 403: RingCentral says so to wrong credentials, and to an instance id that another registration has taken over.
    #[error(
        "the registrar forbids it (403); check authorization_id and password, that the device is enabled, and that no \
         other gateway uses the same device or a copy of this state_directory"
    )]
    Forbidden,
    /// 404: no such address of record.
    #[error("the registrar does not know the device (404); check domain and user_name")]
    UnknownDevice,
    /// 603: RingCentral takes at most five instances of one device.
    #[error(
        "the registrar has too many registrations of this device (603 Too Many Contacts); stop other programs that use \
         it, and keep state_directory between starts: an abandoned slot is free again after one to two minutes"
    )]
    TooManyContacts,
    /// Another final response, such as 503.
    #[error("the registrar answered {code}")]
    Status {
        /// 300 to 699.
        code: u16,
        /// When to come back, as the registrar says.
        retry_after: Option<Duration>,
    },
    /// The flow that the registration was made on is closed.
    #[error("the connection to the registrar is closed")]
    FlowClosed,
    /// A keep-alive got no answer (RFC 5626 section 4.4.1).
    #[error("the connection to the registrar is dead: a keep-alive was not answered within 10 s")]
    FlowDead,
}

impl RegistrationFailure {
    /// Whether another proxy may do better.
    pub fn setback(&self) -> Setback {
        match self {
            Self::Credentials(_)
            | Self::Forbidden
            | Self::UnknownDevice
            | Self::TooManyContacts => Setback::Account,
            Self::Status { retry_after, .. } => Setback::Proxy { retry_after: *retry_after },
            Self::Timeout | Self::Challenge(_) | Self::FlowClosed | Self::FlowDead => {
                Setback::Proxy { retry_after: None }
            }
        }
    }
}
