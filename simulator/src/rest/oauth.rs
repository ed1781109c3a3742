//! The JWT grant and the access tokens it gives.

use super::Cloud;
use crate::account::Account;
use crate::api_error::ApiError;
use axum::Json;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How long an access token is good for.
const TOKEN_LIFETIME: Duration = Duration::from_secs(7199);
/// Sessions of one user with one app; when full, the oldest token dies.
const MAX_SESSIONS: usize = 5;

/// The access tokens that are good now.
pub(super) struct Tokens {
    issued: VecDeque<(String, Instant)>,
    rng: StdRng,
}

impl Tokens {
    pub(super) fn new(seed: u64) -> Self {
        Self { issued: VecDeque::new(), rng: StdRng::seed_from_u64(seed) }
    }

    fn issue(&mut self, now: Instant) -> String {
        if self.issued.len() == MAX_SESSIONS {
            self.issued.pop_front();
        }
        let token = format!("SIM{:032x}", self.rng.random::<u128>());
        self.issued.push_back((token.clone(), now + TOKEN_LIFETIME));
        token
    }

    fn check(&self, token: &str, now: Instant) -> Result<(), ApiError> {
        match self.issued.iter().find(|(issued, _)| issued == token) {
            None => Err(ApiError::UnknownToken),
            Some((_, expires_at)) if *expires_at <= now => Err(ApiError::ExpiredToken),
            Some(_) => Ok(()),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct TokenRequest {
    grant_type: String,
    assertion: Option<String>,
}

/// `POST /restapi/oauth/token`: the JWT bearer grant (RFC 7523).
pub(super) async fn token(
    State(cloud): State<Cloud>,
    headers: HeaderMap,
    form: Result<Form<TokenRequest>, FormRejection>,
) -> Result<Json<Value>, ApiError> {
    let account = cloud.switchboard().account().clone();
    if !is_client(&headers, &account) {
        return Err(ApiError::InvalidClient);
    }
    let Form(request) = form.map_err(|_| ApiError::UnsupportedGrant)?;
    if request.grant_type != JWT_BEARER {
        return Err(ApiError::UnsupportedGrant);
    }
    if request.assertion.as_deref() != Some(account.jwt.as_str()) {
        return Err(ApiError::UnknownJwt);
    }
    let token = cloud.tokens().issue(Instant::now());
    Ok(Json(json!({
        "access_token": token,
        "token_type": "bearer",
        "expires_in": TOKEN_LIFETIME.as_secs(),
        "scope": "ReadAccounts CallControl ReadPresence",
        "owner_id": account.supervisor_extension_id,
    })))
}

/// Lets a request through only with an access token that is good now.
pub(super) async fn require_token(
    State(cloud): State<Cloud>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let token = credentials(request.headers(), "Bearer").ok_or(ApiError::UnreadableToken)?;
    cloud.tokens().check(token, Instant::now())?;
    Ok(next.run(request).await)
}

fn is_client(headers: &HeaderMap, account: &Account) -> bool {
    let expected = format!("{}:{}", account.client_id, account.client_secret);
    credentials(headers, "Basic")
        .and_then(|encoded| BASE64.decode(encoded).ok())
        .is_some_and(|given| given == expected.as_bytes())
}

/// The credentials of an Authorization header of that scheme.
fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (given, credentials) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then_some(credentials.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_expire_and_the_oldest_session_is_evicted() {
        let now = Instant::now();
        let mut tokens = Tokens::new(1);
        let first = tokens.issue(now);
        assert_eq!(tokens.check(&first, now), Ok(()));
        assert_eq!(tokens.check(&first, now + TOKEN_LIFETIME), Err(ApiError::ExpiredToken));
        for _ in 0..MAX_SESSIONS {
            tokens.issue(now);
        }
        assert_eq!(tokens.check(&first, now), Err(ApiError::UnknownToken));
    }
}
