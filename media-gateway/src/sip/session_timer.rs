//! Session timers (RFC 4028): how long a leg may stay up without a sign of life, and who gives it.
//!
//! Every leg has one. Where the other side knows nothing of session timers, we refresh, so that a leg whose BYE got lost
//! ends all the same.

use std::time::{Duration, Instant};

use super::message::{HeaderValues, Request, Response, ResponseBuilder, parameter};

/// The interval when the choice is ours, in seconds: what RFC 4028 section 4.2 recommends.
pub const DEFAULT_INTERVAL: u32 = 1800;

/// The shortest interval that is taken, in seconds: RFC 4028 section 4.2 allows no shorter one.
pub const SHORTEST_INTERVAL: u32 = 90;

/// The longest interval, in seconds: a longer one is shortened, so that no leg outlives its call by more than a day.
pub const LONGEST_INTERVAL: u32 = 86_400;

/// Before the session expires, the side that hears nothing sends BYE (RFC 4028 section 10): a third of the interval, at
/// most this.
const LONGEST_MARGIN: Duration = Duration::from_secs(32);

/// The Session-Expires of a request is below [`SHORTEST_INTERVAL`]: 422.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IntervalTooSmall;

/// Who sends the refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refresher {
    Local,
    Remote,
}

/// What both sides have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// In seconds.
    interval: u32,
    refresher: Refresher,
    /// The other side's Min-SE, in seconds.
    min_se: u32,
    peer_supports_timer: bool,
}

/// The running timer of an answered leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionTimer {
    pub(super) terms: Terms,
    /// When our next refresh is due; absent when the other side refreshes.
    pub(super) refresh_at: Option<Instant>,
    /// When the leg is given up.
    pub(super) expires_at: Instant,
}

impl Terms {
    /// What our 2xx to an INVITE or UPDATE of theirs agrees to (RFC 4028 section 9).
    pub(super) fn of_request(request: &Request) -> Result<Self, IntervalTooSmall> {
        let peer_supports_timer = ["Supported", "Require"]
            .iter()
            .flat_map(|name| request.values(name))
            .flat_map(|options| options.split(','))
            .any(|option| option.trim().eq_ignore_ascii_case("timer"));
        let min_se = seconds(request, "Min-SE").unwrap_or(0).max(SHORTEST_INTERVAL);
        let asked = seconds(request, "Session-Expires");
        let interval = match asked {
            Some(asked) if asked < SHORTEST_INTERVAL && peer_supports_timer => {
                return Err(IntervalTooSmall);
            }
            Some(asked) => asked.max(SHORTEST_INTERVAL),
            None => DEFAULT_INTERVAL.max(min_se),
        };
        let refresher = match (asked, refresher(request)) {
            _ if !peer_supports_timer => Refresher::Local,
            (_, Some("uas")) | (None, _) => Refresher::Local,
            (Some(_), _) => Refresher::Remote,
        };
        let interval = interval.min(LONGEST_INTERVAL);
        Ok(Self { interval, refresher, min_se, peer_supports_timer })
    }

    /// What a 2xx to our refresh makes of the terms (RFC 4028 section 7.2).
    pub(super) fn after_response(self, response: &Response) -> Self {
        let Some(interval) = seconds(response, "Session-Expires") else {
            return Self { refresher: Refresher::Local, ..self };
        };
        let refresher = match refresher(response) {
            Some("uac") => Refresher::Local,
            Some("uas") => Refresher::Remote,
            _ => self.refresher,
        };
        let interval = interval.clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
        Self { interval, refresher, ..self }
    }

    /// The terms after a 422 (RFC 4028 section 7.3); `None` if it asks for nothing that we had not offered.
    pub(super) fn after_too_small(self, response: &Response) -> Option<Self> {
        let min_se = seconds(response, "Min-SE")?;
        (self.interval < min_se && min_se <= LONGEST_INTERVAL).then_some(Self {
            interval: min_se,
            min_se,
            ..self
        })
    }

    /// Adds to a 2xx what it says of the session.
    pub(super) fn in_response(self, response: ResponseBuilder) -> ResponseBuilder {
        let refresher = match self.refresher {
            Refresher::Local => "uas",
            Refresher::Remote => "uac",
        };
        let expires = format!("{};refresher={refresher}", self.interval);
        let response = response.header("Supported", "timer").header("Session-Expires", &expires);
        if self.peer_supports_timer { response.header("Require", "timer") } else { response }
    }

    /// The headers of a refresh of ours.
    pub(super) fn in_request(self) -> [(&'static str, String); 3] {
        let refresher = match self.refresher {
            Refresher::Local => "uac",
            Refresher::Remote => "uas",
        };
        [
            ("Supported", "timer".to_owned()),
            ("Session-Expires", format!("{};refresher={refresher}", self.interval)),
            ("Min-SE", self.min_se.to_string()),
        ]
    }
}

impl SessionTimer {
    /// The session is refreshed now: a 2xx was sent or received.
    pub(super) fn start(now: Instant, terms: Terms) -> Self {
        let interval = Duration::from_secs(terms.interval.into());
        Self {
            terms,
            refresh_at: (terms.refresher == Refresher::Local).then(|| now + interval / 2),
            expires_at: now + interval - LONGEST_MARGIN.min(interval / 3),
        }
    }
}

/// A header that begins with a number of seconds.
fn seconds(message: &impl HeaderValues, name: &str) -> Option<u32> {
    message.value(name)?.split(';').next()?.trim().parse().ok()
}

/// The `refresher` of Session-Expires in lower case, if it is one that RFC 4028 knows.
fn refresher(message: &impl HeaderValues) -> Option<&'static str> {
    let value = parameter(message.value("Session-Expires")?, "refresher")?;
    ["uac", "uas"].into_iter().find(|known| value.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::super::framing::parse_datagram;
    use super::super::message::Message;
    use super::*;

    fn message(start: &str, lines: &str) -> Message {
        let text = format!(
            "{start}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:c@d>;tag=2\r\nCall-ID: c\r\nCSeq: 1 UPDATE\r\n{lines}\r\n"
        );
        parse_datagram(text.as_bytes()).unwrap().unwrap()
    }

    fn of_request(lines: &str) -> Result<Terms, IntervalTooSmall> {
        match message("UPDATE sip:c@d SIP/2.0", lines) {
            Message::Request(request) => Terms::of_request(&request),
            Message::Response(response) => panic!("{response:?}"),
        }
    }

    fn response(lines: &str) -> Response {
        match message("SIP/2.0 200 OK", lines) {
            Message::Response(response) => response,
            Message::Request(request) => panic!("{request:?}"),
        }
    }

    /// RFC 4028 section 9, table 2, and what is refused or corrected.
    #[test]
    fn the_callee_agrees_as_the_caller_can() {
        use Refresher::{Local, Remote};
        for (lines, interval, refresher) in [
            ("", 1800, Local),
            ("Supported: timer\r\n", 1800, Local),
            ("Min-SE: 3600\r\n", 3600, Local),
            (
                "Supported: replaces, Timer\r\nSession-Expires: 14400;refresher=uac\r\n",
                14400,
                Remote,
            ),
            ("k: timer\r\nx: 90 ; Refresher=UAS\r\n", 90, Local),
            ("Require: timer\r\nSession-Expires: 300\r\n", 300, Remote),
            ("Supported: my-timer\r\nSession-Expires: 300;refresher=uac\r\n", 300, Local),
            ("Session-Expires: 20\r\n", 90, Local),
            ("Supported: timer\r\nSession-Expires: 4294967295\r\n", 86_400, Remote),
            ("Supported: timer\r\nSession-Expires: 99999999999\r\n", 1800, Local),
            ("Supported: timer\r\nMin-SE: 4294967295\r\n", 86_400, Local),
        ] {
            let terms = of_request(lines).unwrap();
            assert_eq!((terms.interval, terms.refresher), (interval, refresher), "{lines}");
        }
        for seconds in [0, 89] {
            let lines = format!("Supported: timer\r\nSession-Expires: {seconds}\r\n");
            assert_eq!(of_request(&lines), Err(IntervalTooSmall));
        }
    }

    #[test]
    fn the_response_to_a_refresh_has_the_last_word() {
        let terms =
            of_request("Supported: timer\r\nSession-Expires: 300;refresher=uas\r\n").unwrap();
        let after = |lines: &str| {
            let Terms { interval, refresher, .. } = terms.after_response(&response(lines));
            (interval, refresher)
        };
        assert_eq!(after(""), (300, Refresher::Local));
        assert_eq!(after("Session-Expires: 200\r\n"), (200, Refresher::Local));
        assert_eq!(after("Session-Expires: 200;refresher=uas\r\n"), (200, Refresher::Remote));
        assert_eq!(after("Session-Expires: 1;refresher=uac\r\n"), (90, Refresher::Local));
        let longer = terms.after_too_small(&response("Min-SE: 600\r\n")).unwrap();
        assert_eq!(longer.in_request()[1].1, "600;refresher=uac");
        assert_eq!(longer.in_request()[2].1, "600");
        for unhelpful in ["", "Min-SE: 300\r\n", "Min-SE: 4294967295\r\n"] {
            assert_eq!(terms.after_too_small(&response(unhelpful)), None, "{unhelpful}");
        }
    }

    #[test]
    fn the_leg_is_given_up_shortly_before_the_session_expires() {
        let now = Instant::now();
        for (interval, refresher, refresh, expires) in [
            (14_400, "uac", None, 14_368),
            (1800, "uas", Some(900), 1768),
            (90, "uas", Some(45), 60),
        ] {
            let lines = format!(
                "Supported: timer\r\nSession-Expires: {interval};refresher={refresher}\r\n"
            );
            let timer = SessionTimer::start(now, of_request(&lines).unwrap());
            assert_eq!(timer.refresh_at, refresh.map(|after| now + Duration::from_secs(after)));
            assert_eq!(timer.expires_at, now + Duration::from_secs(expires));
        }
    }
}
