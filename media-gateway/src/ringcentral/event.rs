//! Telephony session notifications.

use serde::Deserialize;

use super::model::{SessionParty, id};

/// What the notification channel tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notification {
    /// One or more parties of a call changed. May be repeated, late, or tell of one party only.
    Session(SessionEvent),
    /// Events may have been missed: what is known of every call has to be read again. From now on they come, unless
    /// [`Lost`](Self::Lost) follows.
    Missed,
    /// No events come, until [`Missed`](Self::Missed) says that they do.
    Lost,
}

/// The body of a telephony session event: usually one party, as it is at that moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionEvent {
    /// The call.
    #[serde(deserialize_with = "id")]
    pub telephony_session_id: String,
    /// Increases with every event of a call; the order of delivery may differ.
    pub sequence: u64,
    /// The parties that the event is about; the others of the call are unchanged.
    pub parties: Vec<SessionParty>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_tells_of_one_party() {
        let event: SessionEvent = serde_json::from_value(serde_json::json!({
            "sequence": 8, "sessionId": "429180487016", "telephonySessionId": "s-718107795d56",
            "serverId": "10.13.22.27.TAM", "eventTime": "2020-06-23T01:06:00.001Z",
            "parties": [{
                "accountId": "809646016", "extensionId": 809_646_016, "id": "p-718107795d56-3",
                "direction": "Inbound", "to": { "extensionId": "809646016" },
                "status": { "code": "Answered", "rcc": false }, "park": {}, "muted": false,
            }],
            "origin": { "type": "Call" },
        }))
        .unwrap();
        assert_eq!((event.telephony_session_id.as_str(), event.sequence), ("s-718107795d56", 8));
        let [party] = event.parties.as_slice() else { panic!("{event:?}") };
        assert_eq!((party.extension_id(), party.is_answered()), (Some("809646016"), true));
    }
}
