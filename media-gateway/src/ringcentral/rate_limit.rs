//! RingCentral's rate limits. Pure: time is an argument.
//!
//! Limits count per group of methods in a sliding window. A 429 starts a penalty, and every request made during the
//! penalty restarts its clock: so a 429 silences its whole group, and the other groups go on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use reqwest::header::HeaderMap;

/// The window of the documented limits.
const DEFAULT_WINDOW: Duration = Duration::from_secs(60);

/// The penalty after a 429 that does not say how long.
const DEFAULT_PENALTY: Duration = Duration::from_secs(60);

/// The first pause after a 429 without any word on limits, which is that of a service behind the API. Doubled from one to
/// the next, up to the last.
const FIRST_SERVICE_PAUSE: Duration = Duration::from_secs(30);
const LAST_SERVICE_PAUSE: Duration = Duration::from_secs(240);

/// No pause is shorter or longer, whatever an answer says.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// The documented limits of light, medium, heavy and auth, which hold until an answer tells the app's own.
const DOCUMENTED: [usize; 4] = [50, 40, 10, 5];

/// Until an answer tells, more than the documented limit may be possible: then it is worth asking again soon.
const UNTOLD_PAUSE: Duration = Duration::from_secs(1);

/// Requests remembered in a group. When full, the oldest is forgotten, as if it had left the window.
const MAX_REMEMBERED: usize = 1024;

/// The methods that share a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Usually 50 in a minute: sessions, supervision, devices, the presence of an extension.
    Light,
    /// Usually 40: monitoring groups, the list of extensions.
    Medium,
    /// Usually 10: the presence and the active calls of an account, bulk assignment.
    Heavy,
    /// Usually 5: tokens.
    Auth,
}

/// What the headers of an answer say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    group: Option<Group>,
    limit: Option<usize>,
    remaining: Option<usize>,
    window: Option<Duration>,
    retry_after: Option<Duration>,
}

/// Which groups may send.
#[derive(Debug)]
pub(super) struct RateLimits([State; 4]);

#[derive(Debug)]
struct State {
    /// Our requests that one window may hold.
    capacity: usize,
    /// Whether an answer told so.
    is_told: bool,
    window: Duration,
    /// When the requests of the last window were sent.
    sent: VecDeque<Instant>,
    quiet_until: Option<Instant>,
    /// Service limits hit in a row.
    service_limits: u32,
}

impl RateLimits {
    /// Nothing sent yet.
    pub(super) fn new() -> Self {
        Self(DOCUMENTED.map(State::new))
    }

    /// Takes a request into account that is sent now.
    ///
    /// # Errors
    /// How long the group has to keep quiet. The request must not be sent.
    pub(super) fn admit(&mut self, group: Group, now: Instant) -> Result<(), Duration> {
        let state = self.state(group);
        state.forget_old(now);
        if let Some(until) = state.quiet_until.filter(|until| now < *until) {
            return Err(until - now);
        }
        if let Some(beyond) = state.sent.len().checked_sub(state.capacity)
            && let Some(leaves_next) = state.sent.get(beyond)
        {
            let wait = (*leaves_next + state.window).saturating_duration_since(now);
            return Err(if state.is_told { wait } else { wait.min(UNTOLD_PAUSE) });
        }
        if state.sent.len() == MAX_REMEMBERED {
            state.sent.pop_front();
        }
        state.sent.push_back(now);
        Ok(())
    }

    /// Takes the answer to a request that was sent then.
    pub(super) fn answered(&mut self, group: Group, sent: Instant, now: Instant, report: Report) {
        let state = self.state(group);
        state.service_limits = 0;
        state.forget_old(now);
        if let Some(window) = report.window {
            state.window = window;
        }
        // What remained was counted when the server took the request: those sent later come on top.
        if let Some(remaining) = report.remaining {
            let counted = state.sent.iter().filter(|at| **at <= sent).count();
            let limit = report.limit.unwrap_or(usize::MAX);
            state.capacity = counted.saturating_add(remaining).min(limit).max(1);
            state.is_told = true;
        }
    }

    /// Takes a 429, and says how long the group keeps quiet now.
    pub(super) fn refused(&mut self, group: Group, now: Instant, report: Report) -> Duration {
        let state = self.state(group);
        let is_service = report.remaining.is_none() && report.group.is_none();
        let penalty = match (report.retry_after, is_service) {
            (Some(told), _) => told,
            (None, false) => DEFAULT_PENALTY,
            (None, true) => {
                let doubled = FIRST_SERVICE_PAUSE * 2u32.pow(state.service_limits.min(8));
                state.service_limits += 1;
                doubled.min(LAST_SERVICE_PAUSE)
            }
        };
        let penalty = penalty.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        self.silence(group, now + penalty);
        // An app may have other groups than the documented ones.
        if let Some(named) = report.group.filter(|named| *named != group) {
            self.silence(named, now + penalty);
        }
        penalty
    }

    fn silence(&mut self, group: Group, until: Instant) {
        let state = self.state(group);
        state.quiet_until = state.quiet_until.max(Some(until));
    }

    fn state(&mut self, group: Group) -> &mut State {
        &mut self.0[group as usize]
    }
}

impl State {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            is_told: false,
            window: DEFAULT_WINDOW,
            sent: VecDeque::new(),
            quiet_until: None,
            service_limits: 0,
        }
    }

    fn forget_old(&mut self, now: Instant) {
        while self.sent.front().is_some_and(|sent| now >= *sent + self.window) {
            self.sent.pop_front();
        }
    }
}

impl Report {
    /// Reads `X-Rate-Limit-*` and `Retry-After`. What can't be read counts as absent.
    pub(super) fn read(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let number = |name: &str| text(name)?.parse().ok();
        let seconds = |name: &str| {
            let seconds = text(name)?.parse().ok()?;
            Some(Duration::from_secs(seconds).clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
        };
        let group = text("X-Rate-Limit-Group").and_then(|name| {
            let named = |it: &(&str, Group)| name.eq_ignore_ascii_case(it.0);
            [
                ("light", Group::Light),
                ("medium", Group::Medium),
                ("heavy", Group::Heavy),
                ("auth", Group::Auth),
            ]
            .iter()
            .find(|it| named(it))
            .map(|it| it.1)
        });
        Self {
            group,
            limit: number("X-Rate-Limit-Limit"),
            remaining: number("X-Rate-Limit-Remaining"),
            window: seconds("X-Rate-Limit-Window"),
            retry_after: seconds("Retry-After"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn remaining(remaining: usize) -> Report {
        Report { group: Some(Group::Light), remaining: Some(remaining), ..Report::default() }
    }

    #[test]
    fn a_429_silences_its_group_and_no_other() {
        let start = Instant::now();
        let mut limits = RateLimits::new();
        let report = Report { retry_after: Some(17 * SECOND), ..remaining(0) };
        assert_eq!(limits.refused(Group::Light, start, report), 17 * SECOND);
        assert_eq!(limits.admit(Group::Light, start + 16 * SECOND), Err(SECOND));
        assert_eq!(limits.admit(Group::Heavy, start + SECOND), Ok(()));
        assert_eq!(limits.admit(Group::Light, start + 17 * SECOND), Ok(()));
    }

    #[test]
    fn a_late_429_prolongs_the_silence_and_an_early_one_does_not_shorten_it() {
        let start = Instant::now();
        let mut limits = RateLimits::new();
        limits.refused(Group::Light, start, remaining(0));
        let short = Report { retry_after: Some(SECOND), ..remaining(0) };
        limits.refused(Group::Light, start + SECOND, short);
        assert_eq!(limits.admit(Group::Light, start + 2 * SECOND), Err(58 * SECOND));
        limits.refused(Group::Light, start + 2 * SECOND, remaining(0));
        assert_eq!(limits.admit(Group::Light, start + 60 * SECOND), Err(2 * SECOND));
    }

    #[test]
    fn a_service_limit_is_waited_for_longer_each_time() {
        let now = Instant::now();
        let mut limits = RateLimits::new();
        let mut pause = || limits.refused(Group::Light, now, Report::default()).as_secs();
        assert_eq!([pause(), pause(), pause(), pause(), pause()], [30, 60, 120, 240, 240]);
        limits.answered(Group::Light, now, now, Report::default());
        assert_eq!(limits.refused(Group::Light, now, Report::default()).as_secs(), 30);
    }

    #[test]
    fn nothing_is_sent_that_would_not_be_taken() {
        let start = Instant::now();
        let mut limits = RateLimits::new();
        let at = |seconds: u32| start + seconds * SECOND;
        for second in 0..3 {
            limits.admit(Group::Light, at(second)).unwrap();
        }
        limits.answered(Group::Light, at(2), at(3), remaining(0));
        // Room comes back one by one, as requests leave the window.
        assert_eq!(limits.admit(Group::Light, at(10)), Err(50 * SECOND));
        assert_eq!(limits.admit(Group::Light, at(60)), Ok(()));
        assert_eq!(limits.admit(Group::Light, at(60)), Err(SECOND));
    }

    #[test]
    fn requests_under_way_count_too() {
        let start = Instant::now();
        let mut limits = RateLimits::new();
        limits.admit(Group::Light, start).unwrap();
        for _ in 0..9 {
            limits.admit(Group::Light, start + SECOND).unwrap();
        }
        // The server had seen only the first, and would take nine more: those are on their way.
        limits.answered(Group::Light, start, start + 2 * SECOND, remaining(9));
        assert_eq!(limits.admit(Group::Light, start + 2 * SECOND), Err(58 * SECOND));
    }

    #[test]
    fn the_documented_limits_hold_until_others_are_told() {
        let now = Instant::now();
        let mut limits = RateLimits::new();
        let admitted = (0..60).filter(|_| limits.admit(Group::Auth, now).is_ok()).count();
        assert_eq!(admitted, 5);
        assert_eq!(limits.admit(Group::Auth, now), Err(UNTOLD_PAUSE));
        let told = Report { limit: Some(8), remaining: Some(1000), ..Report::default() };
        limits.answered(Group::Auth, now, now, told);
        let admitted = (0..60).filter(|_| limits.admit(Group::Auth, now).is_ok()).count();
        assert_eq!(admitted, 3, "no more than the limit, whatever is said to remain");
        assert_eq!(limits.admit(Group::Auth, now), Err(60 * SECOND));
    }

    #[test]
    fn memory_is_bounded() {
        let now = Instant::now();
        let mut limits = RateLimits::new();
        limits.admit(Group::Light, now).unwrap();
        limits.answered(Group::Light, now, now, remaining(usize::MAX));
        for _ in 0..5 * MAX_REMEMBERED {
            limits.admit(Group::Light, now).unwrap();
        }
        assert_eq!(limits.state(Group::Light).sent.len(), MAX_REMEMBERED);
    }

    #[test]
    fn headers_are_read_and_nonsense_is_not() {
        let read = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| {
                (name.parse().unwrap(), reqwest::header::HeaderValue::from_static(value))
            });
            Report::read(&headers.collect())
        };
        let report = read(&[
            ("x-rate-limit-group", "Heavy"),
            ("x-rate-limit-remaining", "3"),
            ("x-rate-limit-window", "60"),
            ("retry-after", "99999999"),
        ]);
        assert_eq!(report.group, Some(Group::Heavy));
        assert_eq!((report.remaining, report.window), (Some(3), Some(60 * SECOND)));
        assert_eq!(report.retry_after, Some(LONGEST_PAUSE));
        let nonsense = read(&[("x-rate-limit-group", "?"), ("retry-after", "soon")]);
        assert_eq!(nonsense, Report::default());
    }
}
