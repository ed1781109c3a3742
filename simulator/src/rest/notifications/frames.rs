//! The frames of a notification connection: JSON arrays of a head and, mostly, a body.

use serde_json::{Value, json};
use std::time::Duration;

const ABSOLUTE_TIMEOUT_SECONDS: u64 = 86_400;
/// Without a message for this long a connection is ended.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(1800);
/// Event filters of a subscription.
const MAX_FILTERS: usize = 1000;

/// Which telephony session events a subscriber wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// All of the account.
    Account,
    /// Those of the parties of one extension, given by id.
    Extension(String),
}

/// What a client says.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    /// With its own frame, which is echoed.
    Heartbeat(String),
    /// `filters` is absent when one of them is not valid.
    Subscribe { message_id: String, filters: Option<Vec<Filter>> },
    /// Any other REST request.
    Other { message_id: String },
}

impl Filter {
    fn read(text: &str) -> Option<Self> {
        let path = text.split('?').next()?.strip_prefix("/restapi/v1.0/account/~/")?;
        if path == "telephony/sessions" {
            return Some(Self::Account);
        }
        let id = path.strip_prefix("extension/")?.strip_suffix("/telephony/sessions")?;
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        is_id.then(|| Self::Extension(id.to_owned()))
    }

    /// Whether an event of that party is wanted; a party on the public network has no extension.
    pub(super) fn takes(&self, extension: Option<&str>) -> bool {
        match self {
            Self::Account => true,
            Self::Extension(id) => extension == Some(id),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Account => "/restapi/v1.0/account/~/telephony/sessions".to_owned(),
            Self::Extension(id) => {
                format!("/restapi/v1.0/account/~/extension/{id}/telephony/sessions")
            }
        }
    }
}

impl Request {
    /// Reads a frame; `None` when it is not one.
    pub(super) fn read(text: &str) -> Option<Self> {
        let parts: Vec<Value> = serde_json::from_str(text).ok()?;
        let head = parts.first()?;
        let message_id = head["messageId"].as_str().unwrap_or_default().to_owned();
        match head["type"].as_str()? {
            "Heartbeat" => Some(Self::Heartbeat(text.to_owned())),
            "ClientRequest" => {
                let is_subscription = head["method"] == "POST"
                    && head["path"] == "/restapi/v1.0/subscription"
                    && parts.get(1).is_some();
                Some(match is_subscription {
                    true => Self::Subscribe { message_id, filters: filters(&parts[1]) },
                    false => Self::Other { message_id },
                })
            }
            _ => None,
        }
    }
}

/// The first frame. `recovery` is the outcome of a recovery that was asked for.
pub(super) fn connection_details(
    message_id: &str,
    wsc: &(String, u64),
    recovery: Option<&str>,
    recovery_timeout: Duration,
    recovery_buffer: usize,
) -> String {
    let mut body = json!({
        "maxConnectionsPerSession": 50,
        "recoveryBufferSize": recovery_buffer,
        "recoveryTimeout": recovery_timeout.as_secs(),
        "idleTimeout": IDLE_TIMEOUT.as_secs(),
        "absoluteTimeout": ABSOLUTE_TIMEOUT_SECONDS,
        "maxActiveRequests": 10,
    });
    if let Some(state) = recovery {
        body["recoveryState"] = json!(state);
    }
    let head = json!({
        "type": "ConnectionDetails", "messageId": message_id, "status": 200, "wsc": show_wsc(wsc),
    });
    json!([head, body]).to_string()
}

/// The connection is refused, or is about to be ended.
pub(super) fn error(status: u16, (code, message): (&str, &str)) -> String {
    let head = json!({"type": "Error", "messageId": "", "status": status});
    json!([head, {"errorCode": code, "message": message}]).to_string()
}

pub(super) fn refused(message_id: &str, status: u16, (code, message): (&str, &str)) -> String {
    let head = json!({"type": "ClientRequest", "messageId": message_id, "status": status});
    json!([head, {"errorCode": code, "message": message}]).to_string()
}

pub(super) fn subscribed(
    message_id: &str,
    wsc: &(String, u64),
    id: &str,
    filters: &[Filter],
) -> String {
    let filters: Vec<String> = filters.iter().map(Filter::show).collect();
    let head = json!({
        "type": "ClientRequest", "messageId": message_id, "status": 200, "wsc": show_wsc(wsc),
    });
    let body = json!({
        "id": id,
        "uri": format!("/restapi/v1.0/subscription/{id}"),
        "status": "Active",
        "eventFilters": filters,
        "expiresIn": 604_799,
        "deliveryMode": {"transportType": "WebSocket", "encryption": false},
    });
    json!([head, body]).to_string()
}

pub(super) fn event(message_id: u64, wsc: &(String, u64), body: &Value) -> String {
    let head = json!({
        "type": "ServerNotification", "messageId": message_id.to_string(), "status": 200,
        "wsc": show_wsc(wsc),
    });
    json!([head, body]).to_string()
}

fn filters(body: &Value) -> Option<Vec<Filter>> {
    let filters = body["eventFilters"].as_array()?;
    if filters.is_empty() || filters.len() > MAX_FILTERS {
        return None;
    }
    filters.iter().map(|filter| Filter::read(filter.as_str()?)).collect()
}

fn show_wsc((token, sequence): &(String, u64)) -> Value {
    json!({"token": token, "sequence": sequence})
}
