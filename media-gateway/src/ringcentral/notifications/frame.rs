//! What RingCentral sends: every frame is a JSON array of a head and, mostly, a body.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

use crate::ringcentral::SessionEvent;

/// A recovery token longer than this is not kept.
const MAX_WSC_LEN: usize = 4096;

/// The characters of a refusal that are kept.
const MAX_REFUSAL_LEN: usize = 200;

/// The documented values, which hold where a connection names none.
const RECOVERY_TIMEOUT_SECONDS: u64 = 180;
const ABSOLUTE_TIMEOUT_SECONDS: u64 = 24 * 3600;

/// A frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Frame {
    pub(super) wsc: Option<Wsc>,
    pub(super) content: Content,
}

/// The token that a lost connection's session is recovered with.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Wsc {
    pub(super) token: String,
    pub(super) sequence: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// The first frame of a connection.
    ConnectionDetails(ConnectionDetails),
    /// The connection is refused, or about to be ended.
    Error(Refusal),
    /// The answer to a request of ours.
    Answer { message_id: String, outcome: Result<(), Refusal> },
    /// A telephony session event.
    Event { uuid: String, event: SessionEvent },
    /// A heartbeat, or something that is not for us.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectionDetails {
    /// Whether the session of the connection before goes on.
    pub(super) is_recovered: bool,
    /// How long after a loss the session can be recovered.
    pub(super) recovery_timeout: Duration,
    /// How long the connection may last.
    pub(super) absolute_timeout: Duration,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u64,
    pub(super) code: String,
    pub(super) message: String,
}

impl Frame {
    /// Reads a frame; `None` when it is not one, such as an answer in several parts.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts: Vec<Value> = serde_json::from_str(text).ok()?;
        let head = parts.first_mut()?.take();
        let body = parts.get_mut(1).map(Value::take).unwrap_or_default();
        let content = match head["type"].as_str()? {
            "ConnectionDetails" => Content::ConnectionDetails(details(&head, &body)),
            "Error" => Content::Error(refusal(&head, &body)),
            "ClientRequest" => Content::Answer {
                message_id: head["messageId"].as_str().unwrap_or_default().to_owned(),
                outcome: match head["status"].as_u64() {
                    Some(200..=299) => Ok(()),
                    _ => Err(refusal(&head, &body)),
                },
            },
            "ServerNotification" => event(body).unwrap_or(Content::Other),
            _ => Content::Other,
        };
        Some(Self { wsc: wsc(&head["wsc"]), content })
    }
}

impl fmt::Debug for Wsc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wsc").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

fn wsc(value: &Value) -> Option<Wsc> {
    let token = value["token"].as_str().filter(|token| token.len() <= MAX_WSC_LEN)?.to_owned();
    Some(Wsc { token, sequence: value["sequence"].as_u64().unwrap_or_default() })
}

fn details(head: &Value, body: &Value) -> ConnectionDetails {
    let seconds = |name: &str, default: u64| {
        Duration::from_secs(body[name].as_u64().unwrap_or(default).min(ABSOLUTE_TIMEOUT_SECONDS))
    };
    let state = body["recoveryState"].as_str().or_else(|| head["recoveryState"].as_str());
    ConnectionDetails {
        is_recovered: state == Some("Successful"),
        recovery_timeout: seconds("recoveryTimeout", RECOVERY_TIMEOUT_SECONDS),
        absolute_timeout: seconds("absoluteTimeout", ABSOLUTE_TIMEOUT_SECONDS),
    }
}

fn refusal(head: &Value, body: &Value) -> Refusal {
    let text = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        text.chars().filter(|it| !it.is_control()).take(MAX_REFUSAL_LEN).collect()
    };
    Refusal {
        status: head["status"].as_u64().unwrap_or_default(),
        code: text(&body["errorCode"]),
        message: text(&body["message"]),
    }
}

fn event(mut body: Value) -> Option<Content> {
    let filter = body["event"].as_str()?.split('?').next()?;
    if !filter.ends_with("/telephony/sessions") {
        return None;
    }
    let uuid = body["uuid"].as_str().unwrap_or_default().to_owned();
    let event: SessionEvent = serde_json::from_value(body["body"].take()).ok()?;
    (!event.telephony_session_id.is_empty()).then_some(Content::Event { uuid, event })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_details_are_read() {
        let frame = Frame::read(
            r#"[{"type":"ConnectionDetails","messageId":"1","status":200,"wsc":{"token":"RTFh","sequence":1}},
                {"recoveryTimeout":90,"absoluteTimeout":86400,"recoveryState":"Successful"}]"#,
        )
        .unwrap();
        assert_eq!(frame.wsc, Some(Wsc { token: "RTFh".into(), sequence: 1 }));
        let details = ConnectionDetails {
            is_recovered: true,
            recovery_timeout: Duration::from_secs(90),
            absolute_timeout: Duration::from_secs(86_400),
        };
        assert_eq!(frame.content, Content::ConnectionDetails(details));
    }

    #[test]
    fn what_is_not_a_frame_is_nothing() {
        for text in [
            "",
            "{}",
            "[]",
            "[1]",
            "[[\"type\"]]",
            r#"[{"type":7}]"#,
            r#"[{"type":"ClientRequest"},--Boundary_1 Content-Type: application/json]"#,
        ] {
            assert_eq!(Frame::read(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_not_of_telephony_sessions_is_left_alone() {
        for body in [
            r#"{}"#,
            r#"{"event":"/restapi/v1.0/account/1/presence","body":{"telephonySessionId":"s-1"}}"#,
            r#"{"event":"/restapi/v1.0/account/1/telephony/sessions","body":{}}"#,
            r#"{"event":"/restapi/v1.0/account/1/telephony/sessions","body":{"telephonySessionId":"s-1","parties":7}}"#,
        ] {
            let frame = Frame::read(&format!(r#"[{{"type":"ServerNotification"}},{body}]"#));
            assert_eq!(frame.map(|frame| frame.content), Some(Content::Other), "{body}");
        }
    }

    #[test]
    fn a_recovery_token_is_not_shown() {
        let wsc = Wsc { token: "RTFh".into(), sequence: 1 };
        assert!(!format!("{wsc:?}").contains("RTFh"));
    }
}
