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
    /// When it happened, in RFC 3339.
    pub event_time: String,
    /// The parties that the event is about; the others of the call are unchanged.
    pub parties: Vec<SessionParty>,
}

impl SessionEvent {
    /// When it happened, in milliseconds since the Unix epoch, if it says so.
    pub fn unix_ms(&self) -> Option<i64> {
        unix_ms(&self.event_time)
    }
}

/// Reads a time in RFC 3339 in UTC, such as `2020-06-23T01:06:00.001Z`.
fn unix_ms(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let is_possible = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && fraction.bytes().all(|byte| byte.is_ascii_digit());
    if !is_possible {
        return None;
    }
    let ms = format!("{fraction:0<3}").get(..3)?.parse::<i64>().ok()?;
    // Years that begin in March have the leap day at their end.
    let (march_year, march_month) =
        if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = march_year / 4 - march_year / 100 + march_year / 400;
    let days = march_year * 365 + leap_days + (march_month * 153 + 2) / 5 + day - 1 - 719_468;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms)
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let numbers: Option<Vec<i64>> =
        text.split(separator).map(|number| number.parse::<u32>().ok().map(i64::from)).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_times_are_read_and_nonsense_is_none() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2020-06-23T01:06:00.001Z", Some(1_592_874_360_001)),
            ("2024-02-29T23:59:59.9Z", Some(1_709_251_199_900)),
            ("2000-03-01T00:00:00.123456Z", Some(951_868_800_123)),
            ("", None),
            ("2020-06-23", None),
            ("2020-13-23T01:06:00Z", None),
            ("2020-06-23T01:06Z", None),
            ("2020-06-23T01:06:00.xZ", None),
            ("99999999999-06-23T01:06:00Z", None),
        ] {
            assert_eq!(unix_ms(text), ms, "{text}");
        }
    }

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
