//! The rate limits: per group of methods, in a sliding window, with a penalty that every request prolongs.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The window, and the penalty for what does not fit into it.
const WINDOW: Duration = Duration::from_secs(60);

/// The methods that share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Light,
    Medium,
    Heavy,
    Auth,
}

/// How many requests of each group one minute may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Sessions, supervision, devices, the presence of an extension.
    pub light: u32,
    /// Monitoring groups, the list of extensions.
    pub medium: u32,
    /// The presence and the active calls of the account, bulk assignment.
    pub heavy: u32,
    /// Tokens.
    pub auth: u32,
}

/// What has been asked lately.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    limits: RateLimits,
    groups: [Usage; 4],
}

/// What the answer to a request says about the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    group: Group,
    limit: u32,
    remaining: u32,
    /// Present when the request is refused.
    pub(super) retry_after: Option<Duration>,
}

#[derive(Debug, Default)]
struct Usage {
    taken: VecDeque<Instant>,
    penalty_until: Option<Instant>,
}

impl RateLimits {
    /// Those of RingCentral's documentation.
    pub const fn documented() -> Self {
        Self { light: 50, medium: 40, heavy: 10, auth: 5 }
    }

    fn of(&self, group: Group) -> u32 {
        match group {
            Group::Light => self.light,
            Group::Medium => self.medium,
            Group::Heavy => self.heavy,
            Group::Auth => self.auth,
        }
    }
}

impl Default for RateLimits {
    /// Generous: nobody who tries something out meets them.
    fn default() -> Self {
        Self { light: 6_000, medium: 6_000, heavy: 6_000, auth: 600 }
    }
}

impl Limiter {
    pub(super) fn set(&mut self, limits: RateLimits) {
        *self = Self { limits, ..Self::default() };
    }

    /// Takes a request, or refuses it.
    pub(super) fn take(&mut self, group: Group, now: Instant) -> Verdict {
        let limit = self.limits.of(group);
        let usage = &mut self.groups[group as usize];
        while usage.taken.front().is_some_and(|taken| now >= *taken + WINDOW) {
            usage.taken.pop_front();
        }
        let taken = u32::try_from(usage.taken.len()).unwrap_or(u32::MAX);
        let is_penalised = usage.penalty_until.is_some_and(|until| now < until);
        if is_penalised || taken >= limit {
            return self.penalise(group, now);
        }
        usage.taken.push_back(now);
        Verdict { group, limit, remaining: limit - taken - 1, retry_after: None }
    }

    /// Starts the penalty, or starts it over.
    pub(super) fn penalise(&mut self, group: Group, now: Instant) -> Verdict {
        self.groups[group as usize].penalty_until = Some(now + WINDOW);
        let limit = self.limits.of(group);
        Verdict { group, limit, remaining: 0, retry_after: Some(WINDOW) }
    }
}

impl Verdict {
    /// Writes `X-Rate-Limit-*`, and `Retry-After` on a refusal.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let group = match self.group {
            Group::Light => "light",
            Group::Medium => "medium",
            Group::Heavy => "heavy",
            Group::Auth => "auth",
        };
        headers.insert("x-rate-limit-group", HeaderValue::from_static(group));
        for (name, number) in [
            ("x-rate-limit-limit", Some(u64::from(self.limit))),
            ("x-rate-limit-remaining", Some(u64::from(self.remaining))),
            ("x-rate-limit-window", Some(WINDOW.as_secs())),
            ("retry-after", self.retry_after.map(|after| after.as_secs())),
        ] {
            if let Some(number) = number {
                headers.insert(HeaderName::from_static(name), number.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_window_slides() {
        let start = Instant::now();
        let mut limiter = Limiter::default();
        limiter.set(RateLimits { heavy: 2, ..RateLimits::documented() });
        assert_eq!(limiter.take(Group::Heavy, start).remaining, 1);
        assert_eq!(limiter.take(Group::Heavy, start + 30 * SECOND).remaining, 0);
        assert_eq!(limiter.take(Group::Heavy, start + 60 * SECOND).retry_after, None);
        assert!(limiter.take(Group::Heavy, start + 61 * SECOND).retry_after.is_some());
        assert_eq!(limiter.take(Group::Light, start + 61 * SECOND).remaining, 49);
    }

    #[test]
    fn a_request_during_the_penalty_starts_it_over() {
        let start = Instant::now();
        let mut limiter = Limiter::default();
        limiter.set(RateLimits { heavy: 0, ..RateLimits::documented() });
        assert_eq!(limiter.take(Group::Heavy, start).retry_after, Some(WINDOW));
        limiter.limits.heavy = 9;
        assert!(limiter.take(Group::Heavy, start + 59 * SECOND).retry_after.is_some());
        assert!(limiter.take(Group::Heavy, start + 118 * SECOND).retry_after.is_some());
        assert_eq!(limiter.take(Group::Heavy, start + 178 * SECOND).retry_after, None);
    }
}
