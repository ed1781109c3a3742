//! The token endpoint: the JWT and refresh grants, revocation, and the tokens of notification connections.

use super::Cloud;
use super::tokens::Granted;
use crate::account::Account;
use crate::api_error::ApiError;
use axum::Json;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Request, State};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Instant;

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const REFRESH_TOKEN: &str = "refresh_token";

#[derive(Deserialize)]
pub(super) struct TokenRequest {
    grant_type: String,
    assertion: Option<String>,
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RevokeRequest {
    token: String,
}

/// `POST /restapi/oauth/token`: the JWT bearer grant (RFC 7523), and the refresh of what it gave.
pub(super) async fn token(
    State(cloud): State<Cloud>,
    headers: HeaderMap,
    form: Result<Form<TokenRequest>, FormRejection>,
) -> Result<Json<Value>, ApiError> {
    let account = authenticated(&cloud, &headers)?;
    let Form(request) = form.map_err(|_| ApiError::UnsupportedGrant)?;
    let now = Instant::now();
    let granted = match request.grant_type.as_str() {
        JWT_BEARER if request.assertion.as_deref() == Some(account.jwt.as_str()) => {
            cloud.tokens().grant(now)
        }
        REFRESH_TOKEN => cloud
            .tokens()
            .refresh(&request.refresh_token.unwrap_or_default(), now)
            .ok_or(ApiError::UnknownGrant)?,
        JWT_BEARER => return Err(ApiError::UnknownGrant),
        _ => return Err(ApiError::UnsupportedGrant),
    };
    Ok(Json(answer(&granted, &account)))
}

/// `POST /restapi/oauth/revoke`: ends the auth session of a token, whichever of its tokens it is.
pub(super) async fn revoke(
    State(cloud): State<Cloud>,
    headers: HeaderMap,
    form: Result<Form<RevokeRequest>, FormRejection>,
) -> Result<StatusCode, ApiError> {
    authenticated(&cloud, &headers)?;
    let Form(request) = form.map_err(|_| ApiError::InvalidParameter("token"))?;
    cloud.tokens().revoke(&request.token);
    Ok(StatusCode::OK)
}

/// `POST /restapi/oauth/wstoken`: a token for one notification connection.
pub(super) async fn web_socket_token(
    State(cloud): State<Cloud>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let token = credentials(&headers, "Bearer").ok_or(ApiError::UnreadableToken)?;
    let issued = cloud.tokens().issue_web_socket_token(token, Instant::now())?;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    Ok(Json(json!({
        "ws_access_token": issued.token,
        "uri": format!("ws://{host}/ws"),
        "expires_in": issued.expires_in.as_secs(),
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

fn answer(granted: &Granted, account: &Account) -> Value {
    let mut answer = json!({
        "access_token": granted.access_token,
        "token_type": "bearer",
        "expires_in": granted.expires_in.as_secs(),
        "scope": "ReadAccounts CallControl ReadPresence ReadCallLog EditExtensions WebSocketsSubscription",
        "owner_id": account.supervisor_extension_id,
    });
    if let Some((token, expires_in)) = &granted.refresh {
        answer["refresh_token"] = json!(token);
        answer["refresh_token_expires_in"] = json!(expires_in.as_secs());
    }
    answer
}

fn authenticated(cloud: &Cloud, headers: &HeaderMap) -> Result<Account, ApiError> {
    let account = cloud.switchboard().account().clone();
    let expected = format!("{}:{}", account.client_id, account.client_secret);
    let is_client = credentials(headers, "Basic")
        .and_then(|encoded| BASE64.decode(encoded).ok())
        .is_some_and(|given| given == expected.as_bytes());
    if is_client { Ok(account) } else { Err(ApiError::InvalidClient) }
}

/// The client id of a request that an app makes for itself.
pub(super) fn client_id(headers: &HeaderMap) -> Option<String> {
    let decoded = BASE64.decode(credentials(headers, "Basic")?).ok()?;
    let (client_id, _) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(client_id.to_owned())
}

/// The credentials of an Authorization header of that scheme.
pub(super) fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (given, credentials) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    given.eq_ignore_ascii_case(scheme).then_some(credentials.trim())
}
