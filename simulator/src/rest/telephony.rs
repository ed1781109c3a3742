//! Presence, sessions, supervision and the supervisor's device.

use super::Cloud;
use crate::api_error::ApiError;
use crate::conversation::CallCommand;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long an INVITE that comes before the answer to its request may take to be answered.
const REPLY_LIMIT: Duration = Duration::from_secs(2);
/// Extensions of one presence request.
const MAX_BATCH: usize = 30;
/// The JSON form of an answer about several resources.
const MULTIPART_JSON: &str = "application/vnd.ringcentral.multipart+json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PresenceQuery {
    #[serde(default)]
    detailed_telephony_state: bool,
}

impl PresenceQuery {
    /// Whether calls are to be listed.
    pub(super) fn is_detailed(&self) -> bool {
        self.detailed_telephony_state
    }
}

pub(super) async fn presence(
    State(cloud): State<Cloud>,
    Path(extension): Path<String>,
    query: Result<Query<PresenceQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|_| ApiError::InvalidParameter("detailedTelephonyState"))?;
    if extension.contains(',') {
        return presences(&cloud, &extension, query.is_detailed(), &headers);
    }
    let presence = cloud.switchboard().presence(&extension, query.is_detailed())?;
    Ok(Json(presence).into_response())
}

/// The presence of several extensions. The real service can answer in a multipart body, too; nobody here asks for one.
fn presences(
    cloud: &Cloud,
    extensions: &str,
    is_detailed: bool,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let accepted = headers.get(ACCEPT).and_then(|form| form.to_str().ok()).unwrap_or_default();
    if !accepted.contains(MULTIPART_JSON) {
        return Err(ApiError::InvalidParameter("Accept"));
    }
    let extensions: Vec<&str> = extensions.split(',').collect();
    if extensions.len() > MAX_BATCH {
        return Err(ApiError::InvalidParameter("extensionId"));
    }
    let switchboard = cloud.switchboard();
    let part = |id: &&str| {
        let (status, body) = match switchboard.presence(id, is_detailed) {
            Ok(presence) => (200, presence),
            Err(error) => (error.status(), error.body()),
        };
        json!({"resourceId": id, "status": status, "body": body})
    };
    let parts: Vec<Value> = extensions.iter().map(part).collect();
    let form = [(CONTENT_TYPE, MULTIPART_JSON)];
    Ok((StatusCode::MULTI_STATUS, form, json!(parts).to_string()).into_response())
}

pub(super) async fn session(
    State(cloud): State<Cloud>,
    Path(session): Path<String>,
) -> Result<Json<Value>, ApiError> {
    cloud.switchboard().session(&session).map(Json)
}

pub(super) async fn party(
    State(cloud): State<Cloud>,
    Path((session, party)): Path<(String, String)>,
) -> Result<Json<Value>, ApiError> {
    cloud.switchboard().party(&session, &party).map(Json)
}

pub(super) async fn supervise_session(
    State(cloud): State<Cloud>,
    Path(session): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    supervise(&cloud, &session, None, &body).await
}

pub(super) async fn supervise_party(
    State(cloud): State<Cloud>,
    Path((session, party)): Path<(String, String)>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    supervise(&cloud, &session, Some(&party), &body).await
}

/// Removes a supervisor's party; its leg ends with CANCEL or BYE.
pub(super) async fn delete_party(
    State(cloud): State<Cloud>,
    Path((session, party)): Path<(String, String)>,
) -> Result<StatusCode, ApiError> {
    cloud.switchboard().remove_supervisor(&session, &party, SystemTime::now())?;
    if let Some(line) = cloud.line(&session) {
        // A call that has just ended has hung up its legs by itself.
        let _ = line.send(CallCommand::Drop { party_id: party }).await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the whole call, for the customer too.
pub(super) async fn delete_session(
    State(cloud): State<Cloud>,
    Path(session): Path<String>,
) -> Result<StatusCode, ApiError> {
    cloud.switchboard().session(&session)?;
    let line = cloud.line(&session).ok_or(ApiError::WrongState)?;
    line.send(CallCommand::Delete).await.map_err(|_| ApiError::WrongState)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn sip_info(
    State(cloud): State<Cloud>,
    Path(device): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let switchboard = cloud.switchboard();
    let account = switchboard.account();
    if device != account.supervisor_device_id {
        return Err(ApiError::NotFound("deviceId"));
    }
    let (proxy, proxy_tls) = (cloud.sip_address.to_string(), cloud.sip_tls_address.to_string());
    Ok(Json(json!({
        "domain": account.sip_domain,
        "outboundProxies": [{"region": "NA", "proxy": proxy, "proxyTLS": proxy_tls}],
        "userName": account.sip_user_name,
        "password": account.sip_password,
        "authorizationId": account.supervisor_device_id,
    })))
}

async fn supervise(
    cloud: &Cloud,
    session: &str,
    party: Option<&str>,
    body: &[u8],
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let request = serde_json::from_slice(body).map_err(|_| ApiError::InvalidParameter("body"))?;
    let is_registered = cloud.sip.registration().is_some();
    let line = cloud.line(session);
    let now = SystemTime::now();
    let supervision =
        cloud.switchboard().supervise(session, party, &request, is_registered, now)?;
    let response = supervision.response.clone();
    let line = line.ok_or(ApiError::WrongState)?;
    let (reply, may_reply) = oneshot::channel();
    line.send(CallCommand::Supervise(Box::new(supervision), reply))
        .await
        .map_err(|_| ApiError::WrongState)?;
    // The call decides whether its INVITE comes before the answer; without a word from it, that was soon enough.
    let _ = timeout(REPLY_LIMIT, may_reply).await;
    Ok((StatusCode::CREATED, Json(response)))
}
