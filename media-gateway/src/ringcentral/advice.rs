//! What to do about a refused supervise request.

use std::time::Duration;

use super::Error;

/// The next step after a refused supervise request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The call is not ready: look at the session and try again, while it lives.
    RetryLater,
    /// RingCentral is not well or can't be reached: try again soon, for as long as the call lives.
    Unavailable,
    /// RingCentral does not see the device: have it registered again, then retry.
    Reregister,
    /// This party does not take an agent's extension (a carrier leg): ask again without it.
    RetryWithoutAgent,
    /// A supervisor's party of an earlier attempt is stuck: delete it, then retry.
    CleanUp,
    /// Keep quiet for this long.
    Wait(Duration),
    /// The call is over.
    Gone,
    /// Retrying can't help until somebody changes the configuration.
    Misconfigured,
}

/// Reads a refusal.
pub fn advise(error: &Error) -> Advice {
    let (status, code, message, parameter) = match error {
        Error::RateLimited { retry_after } => return Advice::Wait(*retry_after),
        Error::Unreachable(_) | Error::Unreadable { .. } => return Advice::Unavailable,
        Error::Login { .. } => return Advice::Misconfigured,
        Error::Refused { status, code, message, parameter, .. } => {
            (*status, code.as_str(), message, parameter)
        }
    };
    let names = |what: &str| parameter == what || message.contains(what);
    match (status, code) {
        (_, "TAS-102" | "MBW-005") => Advice::RetryLater,
        (_, "TAS-120") => Advice::Reregister,
        (_, "MBW-002" | "CMN-408") => Advice::Misconfigured,
        (_, "CMN-101" | "CMN-102") if names("agentExtensionId") => Advice::RetryWithoutAgent,
        (_, "CMN-101" | "CMN-102") if names("deviceId") || names("supervisorDeviceId") => {
            Advice::Misconfigured
        }
        (409, _) => Advice::CleanUp,
        (404, _) => Advice::Gone,
        (408 | 425 | 500.., _) => Advice::Unavailable,
        _ => Advice::Misconfigured,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table() {
        let refused = |status, code: &str, parameter: &str| Error::Refused {
            request: "/supervise".into(),
            status,
            code: code.into(),
            message: format!("parameter [{parameter}]"),
            parameter: parameter.into(),
            request_id: "r".into(),
        };
        for (status, code, parameter, advice) in [
            (409, "TAS-102", "", Advice::RetryLater),
            (400, "TAS-120", "", Advice::Reregister),
            (400, "CMN-101", "agentExtensionId", Advice::RetryWithoutAgent),
            (404, "CMN-102", "agentExtensionId", Advice::RetryWithoutAgent),
            (404, "CMN-102", "deviceId", Advice::Misconfigured),
            (404, "CMN-102", "telephonySessionId", Advice::Gone),
            (403, "MBW-002", "", Advice::Misconfigured),
            (403, "CMN-408", "", Advice::Misconfigured),
            (403, "MBW-005", "", Advice::RetryLater),
            (409, "", "", Advice::CleanUp),
            (503, "", "", Advice::Unavailable),
            (503, "TAS-102", "", Advice::RetryLater),
            (400, "CMN-100", "", Advice::Misconfigured),
        ] {
            assert_eq!(advise(&refused(status, code, parameter)), advice, "{status} {code}");
        }
        let limited = Error::RateLimited { retry_after: Duration::from_secs(60) };
        assert_eq!(advise(&limited), Advice::Wait(Duration::from_secs(60)));
    }
}
