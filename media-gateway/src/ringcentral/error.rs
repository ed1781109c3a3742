//! Why a request to RingCentral failed.

use std::time::Duration;

/// A request that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// RingCentral could not be reached, or broke off.
    #[error("could not reach RingCentral ({0}); check [ringcentral] server and the network")]
    Unreachable(#[source] reqwest::Error),
    /// The answer is not what the documentation says.
    #[error("RingCentral's answer to {request} could not be read: {reason}")]
    Unreadable {
        /// The path.
        request: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// Too many requests: nothing more of this group may be sent for a while.
    #[error("RingCentral's rate limit is reached; waiting {} s", retry_after.as_secs())]
    RateLimited {
        /// How long to keep quiet.
        retry_after: Duration,
    },
    /// The client id, secret or JWT is refused.
    #[error(
        "RingCentral refused the login ({code}: {message}); check client_id, client_secret and jwt"
    )]
    Login {
        /// Such as `OAU-213`.
        code: String,
        /// In RingCentral's words.
        message: String,
    },
    /// Any other refusal.
    #[error(
        "RingCentral refused {request}: HTTP {status}, {code}: {message} (request id {request_id})"
    )]
    Refused {
        /// The path.
        request: String,
        /// The HTTP status.
        status: u16,
        /// Such as `TAS-102`; empty if there is none.
        code: String,
        /// In RingCentral's words.
        message: String,
        /// `parameterName` of the first nested error.
        parameter: String,
        /// `RCRequestId`, which RingCentral's support asks for.
        request_id: String,
    },
}

impl Error {
    /// RingCentral's error code, if it gave one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Error::Login { code, .. } | Error::Refused { code, .. } => Some(code),
            Error::Unreachable(_) | Error::Unreadable { .. } | Error::RateLimited { .. } => None,
        }
    }

    /// Whether what was asked for does not exist (any more).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Refused { status: 404, .. })
    }
}
