//! Call monitoring groups. The core keeps them; the handlers stand between it and HTTP, and tell the switchboard whom the
//! supervisor may listen to now.

use super::Cloud;
use super::directory::extension_number;
use super::pages::PageQuery;
use crate::account::Account;
use crate::api_error::ApiError;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Groups of an account; when reached, no more are created.
const MAX_GROUPS: usize = 500;
/// Characters of a group's name.
const MAX_NAME_LEN: usize = 100;

/// The groups, by id.
#[derive(Debug)]
pub(super) struct MonitoringGroups {
    groups: BTreeMap<u64, Group>,
    next_id: u64,
}

#[derive(Debug, Default)]
struct Group {
    name: String,
    members: BTreeMap<String, BTreeSet<Permission>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Permission {
    Monitoring,
    Monitored,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct BulkAssign {
    added_extensions: Vec<Assignment>,
    updated_extensions: Vec<Assignment>,
    removed_extensions: Vec<Assignment>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Assignment {
    id: String,
    #[serde(default)]
    permissions: BTreeSet<Permission>,
}

#[derive(Deserialize)]
pub(super) struct Named {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemberQuery {
    member_extension_id: Option<String>,
}

type Page = Result<Query<PageQuery>, QueryRejection>;

impl MonitoringGroups {
    /// One group: the supervisor, and the agents that the account has as monitored.
    pub(super) fn new(account: &Account) -> Self {
        let mut group = Group { name: "Sales".to_owned(), ..Group::default() };
        let supervisor = account.supervisor_extension_id.clone();
        group.members.insert(supervisor, BTreeSet::from([Permission::Monitoring]));
        for agent in account.agents.iter().filter(|agent| agent.monitored) {
            let monitored = BTreeSet::from([Permission::Monitored]);
            group.members.insert(agent.extension_id.clone(), monitored);
        }
        let first = 2_300_013;
        Self { groups: BTreeMap::from([(first, group)]), next_id: first + 1 }
    }

    /// Whether a supervisor may listen to an extension.
    fn allows(&self, supervisor: &str, extension: &str) -> bool {
        self.groups.values().any(|group| {
            let has = |member: &str, permission| {
                group.members.get(member).is_some_and(|held| held.contains(&permission))
            };
            has(supervisor, Permission::Monitoring) && has(extension, Permission::Monitored)
        })
    }

    fn create(&mut self, name: &str) -> Result<Value, ApiError> {
        if self.groups.len() >= MAX_GROUPS {
            return Err(ApiError::InvalidParameter("name"));
        }
        let name = valid(name)?;
        let id = self.next_id;
        self.next_id += 1;
        self.groups.insert(id, Group { name, ..Group::default() });
        self.show(id)
    }

    fn rename(&mut self, id: &str, name: &str) -> Result<Value, ApiError> {
        let name = valid(name)?;
        let id = self.find(id)?;
        if let Some(group) = self.groups.get_mut(&id) {
            group.name = name;
        }
        self.show(id)
    }

    fn delete(&mut self, id: &str) -> Result<(), ApiError> {
        let id = self.find(id)?;
        self.groups.remove(&id);
        Ok(())
    }

    fn list(&self, member: Option<&str>) -> Vec<Value> {
        let is_in = |group: &Group| member.is_none_or(|member| group.members.contains_key(member));
        let ids = self.groups.iter().filter(|(_, group)| is_in(group)).map(|(id, _)| *id);
        ids.filter_map(|id| self.show(id).ok()).collect()
    }

    fn members(&self, id: &str, account: &Account) -> Result<Vec<Value>, ApiError> {
        let group = &self.groups[&self.find(id)?];
        let show = |(extension, permissions): (&String, &BTreeSet<Permission>)| {
            json!({
                "id": extension,
                "extensionNumber": extension_number(account, extension),
                "permissions": permissions,
            })
        };
        Ok(group.members.iter().map(show).collect())
    }

    /// Does all of a change or, when any of it is impossible, nothing.
    fn assign(&mut self, id: &str, change: BulkAssign, account: &Account) -> Result<(), ApiError> {
        let id = self.find(id)?;
        let group = self.groups.get_mut(&id).ok_or(ApiError::NotFound("groupId"))?;
        let is_member = |assignment: &Assignment| group.members.contains_key(&assignment.id);
        let is_extension =
            |assignment: &Assignment| extension_number(account, &assignment.id).is_some();
        let has_permission = |assignment: &Assignment| !assignment.permissions.is_empty();
        for (parameter, is_valid) in [
            (
                "addedExtensions",
                change
                    .added_extensions
                    .iter()
                    .all(|it| !is_member(it) && is_extension(it) && has_permission(it)),
            ),
            (
                "updatedExtensions",
                change.updated_extensions.iter().all(|it| is_member(it) && has_permission(it)),
            ),
            ("removedExtensions", change.removed_extensions.iter().all(is_member)),
        ] {
            if !is_valid {
                return Err(ApiError::InvalidParameter(parameter));
            }
        }
        for assignment in change.added_extensions.into_iter().chain(change.updated_extensions) {
            group.members.insert(assignment.id, assignment.permissions);
        }
        for removed in change.removed_extensions {
            group.members.remove(&removed.id);
        }
        Ok(())
    }

    fn show(&self, id: u64) -> Result<Value, ApiError> {
        let group = self.groups.get(&id).ok_or(ApiError::NotFound("groupId"))?;
        Ok(json!({
            "uri": format!("/restapi/v1.0/account/~/call-monitoring-groups/{id}"),
            "id": id.to_string(),
            "name": group.name,
            "site": {"id": "main-site", "name": "Main Site"},
        }))
    }

    fn find(&self, id: &str) -> Result<u64, ApiError> {
        let id = id.parse().ok().filter(|id| self.groups.contains_key(id));
        id.ok_or(ApiError::NotFound("groupId"))
    }
}

pub(super) async fn list(
    State(cloud): State<Cloud>,
    member: Result<Query<MemberQuery>, QueryRejection>,
    page: Page,
) -> Result<Json<Value>, ApiError> {
    let Query(member) = member.map_err(|_| ApiError::InvalidParameter("memberExtensionId"))?;
    let records = cloud.groups().list(member.member_extension_id.as_deref());
    paged(page, records)
}

pub(super) async fn create(
    State(cloud): State<Cloud>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let named: Named = read(&body)?;
    cloud.groups().create(&named.name).map(Json)
}

pub(super) async fn rename(
    State(cloud): State<Cloud>,
    Path(group): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let named: Named = read(&body)?;
    cloud.groups().rename(&group, &named.name).map(Json)
}

pub(super) async fn delete(
    State(cloud): State<Cloud>,
    Path(group): Path<String>,
) -> Result<StatusCode, ApiError> {
    cloud.groups().delete(&group)?;
    tell_switchboard(&cloud);
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn members(
    State(cloud): State<Cloud>,
    Path(group): Path<String>,
    page: Page,
) -> Result<Json<Value>, ApiError> {
    let account = cloud.switchboard().account().clone();
    let records = cloud.groups().members(&group, &account)?;
    paged(page, records)
}

pub(super) async fn bulk_assign(
    State(cloud): State<Cloud>,
    Path(group): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let change: BulkAssign = read(&body)?;
    let account = cloud.switchboard().account().clone();
    cloud.groups().assign(&group, change, &account)?;
    tell_switchboard(&cloud);
    Ok(StatusCode::NO_CONTENT)
}

fn tell_switchboard(cloud: &Cloud) {
    let account = cloud.switchboard().account().clone();
    for agent in account.agents {
        let supervisor = &account.supervisor_extension_id;
        let is_monitored = cloud.groups().allows(supervisor, &agent.extension_id);
        cloud.switchboard().set_monitored(&agent.extension_id, is_monitored);
    }
}

fn valid(name: &str) -> Result<String, ApiError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME_LEN {
        return Err(ApiError::InvalidParameter("name"));
    }
    Ok(name.to_owned())
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|_| ApiError::InvalidParameter("body"))
}

fn paged(page: Page, records: Vec<Value>) -> Result<Json<Value>, ApiError> {
    let Query(page) = page.map_err(|_| ApiError::InvalidParameter("page"))?;
    Ok(Json(page.of(records)))
}
