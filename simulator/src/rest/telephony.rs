//! Presence, sessions, supervision and the supervisor's device.

use super::Cloud;
use crate::api_error::ApiError;
use crate::conversation::CallCommand;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

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
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|_| ApiError::InvalidParameter("detailedTelephonyState"))?;
    cloud.switchboard().presence(&extension, query.is_detailed()).map(Json)
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
    cloud.switchboard().remove_supervisor(&session, &party)?;
    if let Some(line) = cloud.line(&session) {
        // A call that has just ended has hung up its legs by itself.
        let _ = line.send(CallCommand::Drop { party_id: party }).await;
    }
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
    let proxy = cloud.sip_address.to_string();
    Ok(Json(json!({
        "domain": account.sip_domain,
        "outboundProxies": [{"region": "NA", "proxy": proxy}],
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
    let supervision = cloud.switchboard().supervise(session, party, &request, is_registered)?;
    let response = supervision.response.clone();
    let line = cloud.line(session).ok_or(ApiError::WrongState)?;
    line.send(CallCommand::Supervise(Box::new(supervision)))
        .await
        .map_err(|_| ApiError::WrongState)?;
    Ok((StatusCode::CREATED, Json(response)))
}
