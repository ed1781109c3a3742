//! The account's extensions and devices, the presence of everybody, and the open calls.

use super::Cloud;
use super::pages::PageQuery;
use super::telephony::PresenceQuery;
use crate::account::Account;
use crate::api_error::ApiError;
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Instant;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExtensionQuery {
    extension_number: Option<String>,
}

type Page = Result<Query<PageQuery>, QueryRejection>;

pub(super) async fn devices(
    State(cloud): State<Cloud>,
    Path(extension): Path<String>,
    page: Page,
) -> Result<Json<Value>, ApiError> {
    let account = cloud.switchboard().account().clone();
    let extension = resolve(&account, &extension)?;
    let records = device_ids(&account)
        .filter(|(_, owner)| *owner == extension)
        .map(|(device, owner)| show_device(&cloud, &account, &device, &owner))
        .collect();
    Ok(Json(self::page(page)?.of(records)))
}

pub(super) async fn device(
    State(cloud): State<Cloud>,
    Path(device): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let account = cloud.switchboard().account().clone();
    let mut devices = device_ids(&account);
    let found = devices.find(|(id, _)| *id == device).ok_or(ApiError::NotFound("deviceId"))?;
    Ok(Json(show_device(&cloud, &account, &found.0, &found.1)))
}

pub(super) async fn extensions(
    State(cloud): State<Cloud>,
    query: Result<Query<ExtensionQuery>, QueryRejection>,
    page: Page,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|_| ApiError::InvalidParameter("extensionNumber"))?;
    let account = cloud.switchboard().account().clone();
    let wanted = query.extension_number;
    let records = people(&account)
        .filter(|person| wanted.as_deref().is_none_or(|number| person.number == number))
        .map(|person| person.show())
        .collect();
    Ok(Json(self::page(page)?.of(records)))
}

pub(super) async fn extension(
    State(cloud): State<Cloud>,
    Path(extension): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let account = cloud.switchboard().account().clone();
    let id = resolve(&account, &extension)?;
    let person = people(&account).find(|person| person.id == id);
    person.map(|person| Json(person.show())).ok_or(ApiError::NotFound("extensionId"))
}

pub(super) async fn account_presence(
    State(cloud): State<Cloud>,
    query: Result<Query<PresenceQuery>, QueryRejection>,
    page: Page,
) -> Result<Json<Value>, ApiError> {
    let Query(query) = query.map_err(|_| ApiError::InvalidParameter("detailedTelephonyState"))?;
    let switchboard = cloud.switchboard();
    let records = people(switchboard.account())
        .filter_map(|person| switchboard.presence(person.id, query.is_detailed()).ok())
        .collect();
    Ok(Json(self::page(page)?.of(records)))
}

pub(super) async fn active_calls(
    State(cloud): State<Cloud>,
    page: Page,
) -> Result<Json<Value>, ApiError> {
    let records = cloud.call_log().active(None, Instant::now());
    Ok(Json(self::page(page)?.of(records)))
}

pub(super) async fn extension_active_calls(
    State(cloud): State<Cloud>,
    Path(extension): Path<String>,
    page: Page,
) -> Result<Json<Value>, ApiError> {
    let extension = resolve(cloud.switchboard().account(), &extension)?;
    let records = cloud.call_log().active(Some(&extension), Instant::now());
    Ok(Json(self::page(page)?.of(records)))
}

/// An id as a JSON number where it is one: so the real service writes ids outside of telephony sessions.
pub(super) fn number(id: &str) -> Value {
    id.parse::<u64>().map_or_else(|_| json!(id), |number| json!(number))
}

/// The extension id that a path means: `~` is the supervisor's own.
pub(super) fn resolve(account: &Account, extension: &str) -> Result<String, ApiError> {
    let id = if extension == "~" { &account.supervisor_extension_id } else { extension };
    let is_known = people(account).any(|person| person.id == id);
    if is_known { Ok(id.to_owned()) } else { Err(ApiError::NotFound("extensionId")) }
}

/// The number of an extension.
pub(super) fn extension_number(account: &Account, id: &str) -> Option<String> {
    people(account).find(|person| person.id == id).map(|person| person.number.to_owned())
}

struct Person<'a> {
    id: &'a str,
    number: &'a str,
    name: &'a str,
}

impl Person<'_> {
    fn show(&self) -> Value {
        json!({
            "id": number(self.id),
            "extensionNumber": self.number,
            "name": self.name,
            "type": "User",
            "status": "Enabled",
        })
    }
}

fn people(account: &Account) -> impl Iterator<Item = Person<'_>> {
    let supervisor = Person {
        id: &account.supervisor_extension_id,
        number: &account.supervisor_extension_number,
        name: "Supervisor",
    };
    let agents = account.agents.iter().map(|agent| Person {
        id: &agent.extension_id,
        number: &agent.extension_number,
        name: &agent.name,
    });
    std::iter::once(supervisor).chain(agents)
}

/// Every device and its owner: the supervisor's, and a desk phone for each agent.
fn device_ids(account: &Account) -> impl Iterator<Item = (String, String)> + use<'_> {
    let supervisor =
        (account.supervisor_device_id.clone(), account.supervisor_extension_id.clone());
    let agents = account
        .agents
        .iter()
        .map(|agent| (format!("7{}", agent.extension_id), agent.extension_id.clone()));
    std::iter::once(supervisor).chain(agents)
}

fn show_device(cloud: &Cloud, account: &Account, device: &str, owner: &str) -> Value {
    let is_supervisors = device == account.supervisor_device_id;
    let is_online = !is_supervisors || cloud.sip.registration().is_some();
    json!({
        "id": device,
        "type": if is_supervisors { "OtherPhone" } else { "HardPhone" },
        "name": if is_supervisors { "Existing device" } else { "Desk phone" },
        "sku": "DV-1",
        "status": if is_online { "Online" } else { "Offline" },
        "extension": {
            "id": number(owner),
            "extensionNumber": extension_number(account, owner),
        },
    })
}

fn page(page: Page) -> Result<PageQuery, ApiError> {
    page.map(|Query(page)| page).map_err(|_| ApiError::InvalidParameter("page"))
}
