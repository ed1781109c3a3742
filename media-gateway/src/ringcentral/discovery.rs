//! What an account consists of: its extensions, their devices, and who is on a call.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use tokio::time::sleep;
use tracing::warn;

use super::client::{ACCOUNT, path_segment};
use super::model::{Presence, id};
use super::rate_limit::Group;
use super::transport::Request;
use super::{Client, Error};

/// The records of one page.
const PER_PAGE: u32 = 100;

/// The pages that are read of a list; what lies beyond is left out, with a warning.
const MAX_PAGES: u32 = 100;

/// A phone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Device {
    /// Equal to the SIP authorization id of a phone that registers by SIP.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// `OtherPhone` is what a gateway needs ("Existing Phone" in the portal); an open enumeration.
    #[serde(rename = "type")]
    pub kind: String,
    /// As the portal shows it.
    pub name: String,
    /// `Online` while the phone is registered, else `Offline`.
    pub status: String,
    /// Whose phone it is.
    pub extension: ExtensionRef,
}

/// An extension, as other things refer to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExtensionRef {
    /// Such as `62226587016`.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// Such as `108`.
    #[serde(deserialize_with = "id")]
    pub extension_number: String,
}

/// A user, or something else with an extension number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Extension {
    /// Such as `62226587016`.
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// Such as `108`.
    #[serde(deserialize_with = "id")]
    pub extension_number: String,
    /// As the portal shows it.
    pub name: String,
    /// `User`, `Department`, …: an open enumeration.
    #[serde(rename = "type")]
    pub kind: String,
    /// `Enabled`, `Disabled`, …: an open enumeration.
    pub status: String,
}

/// The calls of one extension in the presence of the account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ExtensionPresence {
    /// Whose calls.
    pub extension: ExtensionRef,
    /// The calls.
    #[serde(flatten)]
    pub presence: Presence,
}

/// A record of the call log that is still open. It comes 3 to 10 s late, and stays up to two minutes after the end: read
/// the session before acting on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ActiveCallRecord {
    /// The id that the telephony API knows the call by.
    #[serde(deserialize_with = "id")]
    pub telephony_session_id: String,
    /// `In Progress` while it lasts: an open enumeration.
    pub result: String,
    /// `Inbound` or `Outbound`, as the extension sees it.
    pub direction: String,
    /// Whose call; empty where the request was for one extension.
    pub extension: ExtensionRef,
}

#[derive(Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Page<T> {
    #[serde(default, deserialize_with = "list")]
    records: Vec<T>,
    #[serde(default)]
    paging: Paging,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Paging {
    total_pages: u32,
}

impl Client {
    /// The devices of an extension; `~` is the supervisor's own.
    pub async fn devices(&self, extension: &str) -> Result<Vec<Device>, Error> {
        let path = format!("{ACCOUNT}/extension/{}/device?", path_segment(extension));
        self.pages(Group::Light, &path).await
    }

    /// One device.
    pub async fn device(&self, device: &str) -> Result<Device, Error> {
        let path = format!("{ACCOUNT}/device/{}", path_segment(device));
        self.json(Request::get(Group::Light, path)).await
    }

    /// An extension by its id; `~` is the supervisor's own.
    pub async fn extension(&self, extension: &str) -> Result<Extension, Error> {
        let path = format!("{ACCOUNT}/extension/{}", path_segment(extension));
        self.json(Request::get(Group::Light, path)).await
    }

    /// An extension by its number, such as `108`; `None` if nobody has it.
    pub async fn extension_by_number(&self, number: &str) -> Result<Option<Extension>, Error> {
        let path = format!("{ACCOUNT}/extension?extensionNumber={}&", path_segment(number));
        let found: Vec<Extension> = self.pages(Group::Medium, &path).await?;
        Ok(found.into_iter().find(|extension| extension.extension_number == number))
    }

    /// Every extension of the account.
    pub async fn extensions(&self) -> Result<Vec<Extension>, Error> {
        self.pages(Group::Medium, &format!("{ACCOUNT}/extension?")).await
    }

    /// The calls of every extension. Ten requests a minute at most: for start-up, not for polling.
    pub async fn account_presence(&self) -> Result<Vec<ExtensionPresence>, Error> {
        let path = format!("{ACCOUNT}/presence?detailedTelephonyState=true&sipData=true&");
        self.pages(Group::Heavy, &path).await
    }

    /// The open records of an extension's call log, or of the account's. Ten requests a minute at most.
    pub async fn active_calls(
        &self,
        extension: Option<&str>,
    ) -> Result<Vec<ActiveCallRecord>, Error> {
        let extension = extension.map(|id| format!("/extension/{}", path_segment(id)));
        let path =
            format!("{ACCOUNT}{}/active-calls?view=Detailed&", extension.unwrap_or_default());
        self.pages(Group::Heavy, &path).await
    }

    /// Every record of a list. `path` ends in what comes before another parameter. From the second page on a rate limit is
    /// waited for: starting over would meet it again.
    pub(super) async fn pages<T: DeserializeOwned>(
        &self,
        group: Group,
        path: &str,
    ) -> Result<Vec<T>, Error> {
        let mut records = Vec::new();
        let mut number = 1;
        loop {
            let path = format!("{path}page={number}&perPage={PER_PAGE}");
            let page: Page<T> = match self.json(Request::get(group, path)).await {
                Err(Error::RateLimited { retry_after }) if number > 1 => {
                    sleep(retry_after).await;
                    continue;
                }
                page => page?,
            };
            let is_last = page.records.is_empty() || number >= page.paging.total_pages;
            records.extend(page.records);
            if is_last {
                return Ok(records);
            }
            if number == MAX_PAGES {
                warn!(records = records.len(), "the list is too long, leaving the rest out");
                return Ok(records);
            }
            number += 1;
        }
    }
}

/// A list, or null.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}
