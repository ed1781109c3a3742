//! Call monitoring groups: who may supervise whom. A supervisor hears only members marked `Monitored` of a group where it
//! is marked `Monitoring` itself.

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{ACCOUNT, path_segment};
use super::model::id;
use super::rate_limit::Group;
use super::transport::Request;
use super::{Client, Error};

/// A call monitoring group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MonitoringGroup {
    /// Such as `2300013`.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// As the portal shows it.
    pub name: String,
}

/// A member of a call monitoring group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupMember {
    /// The extension's id.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// Such as `108`.
    #[serde(deserialize_with = "id")]
    pub extension_number: String,
    /// What it may do; one member may do both.
    pub permissions: Vec<GroupPermission>,
}

/// What a member of a call monitoring group may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupPermission {
    /// Supervise the calls of monitored members.
    Monitoring,
    /// Be supervised.
    Monitored,
    /// Something that this client does not know.
    #[serde(other)]
    Unknown,
}

/// What an extension is to be in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assignment {
    /// The extension's id.
    pub id: String,
    /// Everything that it may do.
    pub permissions: Vec<GroupPermission>,
}

/// A change of a group's members. An extension belongs in one of the lists only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BulkAssignment {
    /// New members.
    pub added: Vec<Assignment>,
    /// Members whose permissions change.
    pub updated: Vec<Assignment>,
    /// The extension ids of members that leave.
    pub removed: Vec<String>,
}

impl GroupMember {
    /// Whether the member may supervise.
    pub fn is_monitoring(&self) -> bool {
        self.permissions.contains(&GroupPermission::Monitoring)
    }

    /// Whether the member may be supervised.
    pub fn is_monitored(&self) -> bool {
        self.permissions.contains(&GroupPermission::Monitored)
    }
}

impl Client {
    /// The call monitoring groups of the account, or those that an extension is in.
    pub async fn monitoring_groups(
        &self,
        member: Option<&str>,
    ) -> Result<Vec<MonitoringGroup>, Error> {
        let member = member.map(|id| format!("memberExtensionId={}&", path_segment(id)));
        let path = format!("{ACCOUNT}/call-monitoring-groups?{}", member.unwrap_or_default());
        self.pages(Group::Medium, &path).await
    }

    /// Creates a group of that name, without members.
    pub async fn create_monitoring_group(&self, name: &str) -> Result<MonitoringGroup, Error> {
        let path = format!("{ACCOUNT}/call-monitoring-groups");
        let request = Request::new(Group::Medium, Method::POST, path);
        self.json(request.json(json!({ "name": name }))).await
    }

    /// Gives a group another name.
    pub async fn rename_monitoring_group(&self, group: &str, name: &str) -> Result<(), Error> {
        let request = Request::new(Group::Medium, Method::PUT, group_path(group));
        self.send(&request.json(json!({ "name": name }))).await.map(drop)
    }

    /// Deletes a group. Its members can't be supervised any more, unless they are in another.
    pub async fn delete_monitoring_group(&self, group: &str) -> Result<(), Error> {
        self.send(&Request::new(Group::Medium, Method::DELETE, group_path(group))).await.map(drop)
    }

    /// The members of a group.
    pub async fn monitoring_group_members(&self, group: &str) -> Result<Vec<GroupMember>, Error> {
        self.pages(Group::Medium, &format!("{}/members?", group_path(group))).await
    }

    /// Changes the members of a group.
    pub async fn assign_monitoring_group(
        &self,
        group: &str,
        change: &BulkAssignment,
    ) -> Result<(), Error> {
        let removed: Vec<_> = change.removed.iter().map(|id| json!({ "id": id })).collect();
        let body = json!({
            "addedExtensions": change.added,
            "updatedExtensions": change.updated,
            "removedExtensions": removed,
        });
        let path = format!("{}/bulk-assign", group_path(group));
        self.send(&Request::new(Group::Heavy, Method::POST, path).json(body)).await.map(drop)
    }
}

fn group_path(group: &str) -> String {
    format!("{ACCOUNT}/call-monitoring-groups/{}", path_segment(group))
}
