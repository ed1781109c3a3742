//! What stands before every handler: faults on demand, and the rate limits.

use super::Cloud;
use super::faults::{Fault, Kind};
use super::rate_limit::{Group, Verdict};
use crate::api_error::ApiError;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::time::Instant;

/// A group's gate.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) cloud: Cloud,
    pub(super) group: Group,
}

/// Lets a request through, unless it is one too many or a fault waits for it.
pub(super) async fn pass(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let Gate { cloud, group } = gate;
    let now = Instant::now();
    let verdict = cloud.limiter().take(group, now);
    if verdict.retry_after.is_some() {
        return limited(&verdict);
    }
    let is_supervise =
        request.method() == Method::POST && request.uri().path().ends_with("/supervise");
    let kind = match (group, is_supervise) {
        (Group::Auth, _) => Kind::Token,
        (_, true) => Kind::Supervise,
        (_, false) => Kind::Protected,
    };
    let fault = cloud.faults().take(kind, now);
    let mut response = match fault {
        Some(Fault::RateLimited) => return limited(&cloud.limiter().penalise(group, now)),
        // The limits of a service behind the API are not those of the group.
        Some(Fault::ServiceLimited) => return ApiError::RateLimited.into_response(),
        Some(fault) => fault.error().into_response(),
        None => next.run(request).await,
    };
    verdict.write(response.headers_mut());
    response
}

fn limited(verdict: &Verdict) -> Response {
    let mut response = ApiError::RateLimited.into_response();
    verdict.write(response.headers_mut());
    response
}
