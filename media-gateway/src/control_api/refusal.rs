//! What a request that is not carried out is answered with.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::control::ControlError;
use crate::ringcentral;

/// Why a request was not carried out, as it is written in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// For programs, such as `unknown_call`.
    pub code: String,
    /// For people: what happened, and what to do next.
    pub message: String,
}

/// A refusal: its status, what it says, and after how many seconds another try makes sense.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    problem: Problem,
    retry_after: Option<u64>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let problem = Problem { code: code.to_owned(), message: message.into() };
        Self { status, problem, retry_after: None }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn unauthorized() -> Self {
        let message = "the bearer token is missing or wrong; send the token of [control]";
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// The same words for every id, so that nobody learns from them which calls there are.
    pub(super) fn unknown_call() -> Self {
        let message = "no such call is followed; list the calls for those that are";
        Self::new(StatusCode::NOT_FOUND, "unknown_call", message)
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let message = error.to_string();
        match error {
            ControlError::Closed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "going_down", message)
            }
            ControlError::UnknownCall(_) => Self::unknown_call(),
            ControlError::TooManyCalls => {
                Self::new(StatusCode::CONFLICT, "too_many_calls", message)
            }
            ControlError::InvalidId(_) => Self::bad_request(message),
        }
    }
}

impl From<ringcentral::Error> for Refusal {
    fn from(error: ringcentral::Error) -> Self {
        if let ringcentral::Error::RateLimited { retry_after } = &error {
            let seconds = retry_after.as_secs().saturating_add(1);
            let status = StatusCode::TOO_MANY_REQUESTS;
            return Self {
                retry_after: Some(seconds),
                ..Self::new(status, "rate_limited", error.to_string())
            };
        }
        let message = format!("the agent could not be looked up: {error}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ringcentral", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.problem)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
