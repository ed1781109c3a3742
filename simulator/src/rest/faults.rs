//! Refusals on demand: what the real service has been seen to do, by name.

use crate::api_error::ApiError;
use crate::plan::UnknownName;
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Faults that wait for their requests. When full, the oldest is forgotten.
const CAPACITY: usize = 1024;

/// A refusal of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A supervise request: the call is in no state for it, `TAS-102`.
    WrongState,
    /// A supervise request: the device is not seen, `TAS-120`.
    DeviceNotRegistered,
    /// A supervise request: the agent's extension is not known to this party, `CMN-102`.
    UnknownAgent,
    /// A supervise request: the groups don't allow it, `MBW-002`.
    NotPermitted,
    /// A supervise request: the agent is between two calls, `MBW-005`.
    NotConnected,
    /// A supervise request: an earlier supervisor is in the way, 409.
    AlreadySupervised,
    /// Any request: 503.
    Unavailable,
    /// Any request: 429 with the penalty of its group.
    RateLimited,
    /// Any request: 429 without a word on limits.
    ServiceLimited,
    /// Any request with an access token: the token is not known any more, 401.
    TokenRefused,
}

/// What a request is, as far as faults care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Supervise,
    Protected,
    Token,
}

/// The faults that wait, and an outage.
#[derive(Debug, Default)]
pub(super) struct Faults {
    queue: VecDeque<Fault>,
    unavailable_until: Option<Instant>,
}

impl Fault {
    /// All faults, in the order of their documentation.
    pub const ALL: [Fault; 10] = [
        Fault::WrongState,
        Fault::DeviceNotRegistered,
        Fault::UnknownAgent,
        Fault::NotPermitted,
        Fault::NotConnected,
        Fault::AlreadySupervised,
        Fault::Unavailable,
        Fault::RateLimited,
        Fault::ServiceLimited,
        Fault::TokenRefused,
    ];

    /// The name on command lines: RingCentral's code, or else the status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fault::WrongState => "TAS-102",
            Fault::DeviceNotRegistered => "TAS-120",
            Fault::UnknownAgent => "CMN-102",
            Fault::NotPermitted => "MBW-002",
            Fault::NotConnected => "MBW-005",
            Fault::AlreadySupervised => "409",
            Fault::Unavailable => "503",
            Fault::RateLimited => "429",
            Fault::ServiceLimited => "429-service",
            Fault::TokenRefused => "401",
        }
    }

    /// What the request is answered.
    pub(super) fn error(self) -> ApiError {
        match self {
            Fault::WrongState => ApiError::WrongState,
            Fault::DeviceNotRegistered => ApiError::DeviceNotRegistered,
            Fault::UnknownAgent => ApiError::NotFound("agentExtensionId"),
            Fault::NotPermitted => ApiError::NotPermitted,
            Fault::NotConnected => ApiError::NotConnected,
            Fault::AlreadySupervised => ApiError::AlreadySupervised,
            Fault::Unavailable => ApiError::Unavailable,
            Fault::RateLimited | Fault::ServiceLimited => ApiError::RateLimited,
            Fault::TokenRefused => ApiError::UnknownToken,
        }
    }

    fn meets(self, kind: Kind) -> bool {
        match self {
            Fault::WrongState
            | Fault::DeviceNotRegistered
            | Fault::UnknownAgent
            | Fault::NotPermitted
            | Fault::NotConnected
            | Fault::AlreadySupervised => kind == Kind::Supervise,
            Fault::Unavailable | Fault::RateLimited | Fault::ServiceLimited => true,
            Fault::TokenRefused => kind != Kind::Token,
        }
    }
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        if self.queue.len() == CAPACITY {
            self.queue.pop_front();
        }
        self.queue.push_back(fault);
    }

    pub(super) fn set_unavailable(&mut self, now: Instant, duration: Duration) {
        self.unavailable_until = Some(now + duration);
    }

    /// The first fault that waits for such a request; it strikes once.
    pub(super) fn take(&mut self, kind: Kind, now: Instant) -> Option<Fault> {
        if self.unavailable_until.is_some_and(|until| now < until) {
            return Some(Fault::Unavailable);
        }
        let position = self.queue.iter().position(|fault| fault.meets(kind))?;
        self.queue.remove(position)
    }
}

impl FromStr for Fault {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL.into_iter().find(|fault| fault.as_str() == name).ok_or_else(|| UnknownName {
            given: name.into(),
            kind: "fault",
            choices: "TAS-102, TAS-120, CMN-102, MBW-002, MBW-005, 409, 503, 429, 429-service, 401",
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_waits_for_a_request_of_its_kind_and_strikes_once() {
        let now = Instant::now();
        let mut faults = Faults::default();
        faults.add(Fault::WrongState);
        faults.add(Fault::TokenRefused);
        assert_eq!(faults.take(Kind::Token, now), None);
        assert_eq!(faults.take(Kind::Protected, now), Some(Fault::TokenRefused));
        assert_eq!(faults.take(Kind::Supervise, now), Some(Fault::WrongState));
        assert_eq!(faults.take(Kind::Supervise, now), None);
        faults.set_unavailable(now, Duration::from_secs(60));
        for (seconds, fault) in
            [(0, Some(Fault::Unavailable)), (59, Some(Fault::Unavailable)), (60, None)]
        {
            assert_eq!(faults.take(Kind::Token, now + Duration::from_secs(seconds)), fault);
        }
    }

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        for fault in Fault::ALL {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        assert!("TAS-999".parse::<Fault>().is_err());
    }
}
