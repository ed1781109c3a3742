//! What RingCentral's REST answers when it does not do what it was asked.

use serde_json::{Value, json};
use thiserror::Error;

/// A refused REST request. The message is RingCentral's; the code is what clients branch on.
///
/// The codes are those that users of the supervise API report. The status of `TAS-102`, `TAS-120`,
/// `MBW-002` and `MBW-005`, and the code that comes with 409, are reported by nobody and chosen here.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum ApiError {
    /// The app's client id or secret is wrong.
    #[error("Invalid client")]
    InvalidClient,
    /// The JWT is not the account's, or the refresh token is spent or was never issued.
    #[error("Token is not found")]
    UnknownGrant,
    /// The grant type is neither the JWT bearer grant nor the refresh grant.
    #[error("Unsupported grant type")]
    UnsupportedGrant,
    /// There is no access token, or it cannot be read.
    #[error("Cannot parse the access token")]
    UnreadableToken,
    /// The access token has been revoked or never existed.
    #[error("Token not found")]
    UnknownToken,
    /// The access token has expired.
    #[error("Access token expired")]
    ExpiredToken,
    /// A parameter is missing or malformed.
    #[error("Parameter [{0}] value is invalid")]
    InvalidParameter(&'static str),
    /// A parameter names something that does not exist.
    #[error("Resource for parameter [{0}] is not found")]
    NotFound(&'static str),
    /// The supervisor's groups do not allow it to monitor this agent.
    #[error("The supervisor is not permitted to monitor this extension")]
    NotPermitted,
    /// The call is not in a state in which it can be supervised.
    #[error("Incorrect State [WrongState]")]
    WrongState,
    /// The supervisor's device is not registered.
    #[error("Can't find registered deviceId")]
    DeviceNotRegistered,
    /// This party, or the session, is supervised already, if only by a leg that never came up.
    #[error("The party is supervised already")]
    AlreadySupervised,
    /// The agent is between two calls.
    #[error("Your call cannot be connected")]
    NotConnected,
    /// Too many requests.
    #[error("Request rate exceeded")]
    RateLimited,
    /// The service is down for a while.
    #[error("Service is temporary unavailable")]
    Unavailable,
}

impl ApiError {
    /// The HTTP status.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::UnknownGrant
            | Self::UnsupportedGrant
            | Self::InvalidParameter(_)
            | Self::WrongState
            | Self::DeviceNotRegistered => 400,
            Self::InvalidClient
            | Self::UnreadableToken
            | Self::UnknownToken
            | Self::ExpiredToken => 401,
            Self::NotPermitted | Self::NotConnected => 403,
            Self::NotFound(_) => 404,
            Self::AlreadySupervised => 409,
            Self::RateLimited => 429,
            Self::Unavailable => 503,
        }
    }

    /// RingCentral's error code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::InvalidClient => "OAU-146",
            Self::UnknownGrant | Self::UnknownToken => "OAU-213",
            Self::UnsupportedGrant => "OAU-151",
            Self::UnreadableToken => "OAU-149",
            Self::ExpiredToken => "OAU-128",
            Self::InvalidParameter(_) => "CMN-101",
            Self::NotFound(_) => "CMN-102",
            Self::NotPermitted => "MBW-002",
            Self::WrongState => "TAS-102",
            Self::DeviceNotRegistered => "TAS-120",
            Self::AlreadySupervised => "TAS-409",
            Self::NotConnected => "MBW-005",
            Self::RateLimited => "CMN-301",
            Self::Unavailable => "CMN-201",
        }
    }

    /// The body of the response.
    pub(crate) fn body(&self) -> Value {
        let (code, message) = (self.code(), self.to_string());
        let mut error = json!({"errorCode": code, "message": message});
        if let Self::InvalidParameter(parameter) | Self::NotFound(parameter) = self {
            error["parameterName"] = json!(parameter);
        }
        let mut body = json!({"errorCode": code, "message": message, "errors": [error]});
        // The token endpoint adds the fields of OAuth (RFC 6749 section 5.2).
        let oauth = match self {
            Self::InvalidClient => Some("invalid_client"),
            Self::UnknownGrant => Some("invalid_grant"),
            Self::UnsupportedGrant => Some("unsupported_grant_type"),
            _ => None,
        };
        if let Some(oauth) = oauth {
            body["error"] = json!(oauth);
            body["error_description"] = json!(message);
        }
        body
    }
}
