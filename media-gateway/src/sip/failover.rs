//! Which outbound proxy to try, and when: fail-over between proxies, and a jittered back-off once all have failed.

use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;

/// The wait after the first round in which every proxy failed; doubled with every further round.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait between rounds: calls under way are to be back within ten seconds of a proxy.
const LAST_WAIT: Duration = Duration::from_secs(8);

/// The same for refusals that concern the account: no proxy will say otherwise soon, registrars free an abandoned
/// slot after one to two minutes, and guessing at credentials gets an address banned.
const FIRST_ACCOUNT_WAIT: Duration = Duration::from_secs(60);
const LAST_ACCOUNT_WAIT: Duration = Duration::from_secs(15 * 60);

/// A lost connection, and the next proxy of a round, are tried within this time: clients of a proxy that dies must not
/// all come back at one moment.
const SPREAD: Duration = Duration::from_secs(1);

/// No Retry-After keeps us away for longer.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// How long a proxy that is not the preferred one is kept while it works, and how long a way back waits for a moment
/// without calls.
const FAIL_BACK: Duration = Duration::from_secs(30 * 60);
const FAIL_BACK_RETRY: Duration = Duration::from_secs(30);

/// The proxies, the preferred one first, and which one's turn it is.
///
/// When the one in use is lost, it is tried once more before the next. One that works is kept for half an hour; then, as
/// soon as no call is up, the preferred one is tried again. Time and randomness come from the caller.
#[derive(Clone, Debug)]
pub struct Failover {
    proxies: Vec<String>,
    current: usize,
    /// Attempts that failed since the last success.
    failures: u32,
    /// Refusals of the account since the last success.
    refusals: u32,
    is_registered: bool,
    /// The longest Retry-After of this round.
    retry_after: Duration,
    /// When to try; absent while an attempt runs or has succeeded.
    next: Option<Instant>,
    /// When to go back to the preferred proxy; absent while that one is in use, or none works.
    fail_back: Option<Instant>,
}

/// Why the device is not, or no longer, registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setback {
    /// The proxy can't be reached, does not answer or can't serve. Another one may.
    Proxy {
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
    /// The account is refused: every proxy of the provider would.
    Account,
}

impl Failover {
    /// The first attempt is due at once. Each proxy is `host:port`; without one nothing is ever due.
    pub fn new(proxies: Vec<String>, now: Instant) -> Self {
        Self {
            next: (!proxies.is_empty()).then_some(now),
            proxies,
            current: 0,
            failures: 0,
            refusals: 0,
            is_registered: false,
            retry_after: Duration::ZERO,
            fail_back: None,
        }
    }

    /// The proxy in use, or the next one to be tried.
    pub fn proxy(&self) -> &str {
        self.proxies.get(self.current).map_or("", String::as_str)
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) and [`fails_back`](Self::fails_back).
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next.into_iter().chain(self.fail_back).min()
    }

    /// Whether it is time to leave the proxy in use for the preferred one, which is then the next to be tried. Report
    /// the connection as lost. `is_idle`: nothing would be missed meanwhile.
    pub fn fails_back(&mut self, now: Instant, is_idle: bool) -> bool {
        if self.fail_back.is_none_or(|at| at > now) {
            return false;
        }
        if is_idle {
            (self.current, self.fail_back) = (0, None);
        } else {
            self.fail_back = Some(now + FAIL_BACK_RETRY);
        }
        is_idle
    }

    /// The proxy to connect to now, if it is time. Tell how that ends.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<&str> {
        self.next.take_if(|at| *at <= now)?;
        Some(self.proxy())
    }

    /// The device is registered through the current proxy.
    pub fn succeeded(&mut self, now: Instant) {
        (self.failures, self.refusals, self.retry_after) = (0, 0, Duration::ZERO);
        self.is_registered = true;
        if self.current != 0 {
            self.fail_back.get_or_insert(now + FAIL_BACK);
        }
    }

    /// The attempt, or the registration, has failed. Gives the wait until the next attempt.
    pub fn failed(&mut self, now: Instant, setback: Setback, random: &mut StdRng) -> Duration {
        let was_registered = std::mem::take(&mut self.is_registered);
        self.fail_back = None;
        let wait = match setback {
            Setback::Account => {
                self.refusals += 1;
                jittered(back_off(FIRST_ACCOUNT_WAIT, LAST_ACCOUNT_WAIT, self.refusals), random)
            }
            Setback::Proxy { .. } if was_registered => SPREAD.mul_f64(random.random()),
            Setback::Proxy { retry_after } => {
                self.failures += 1;
                let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
                self.retry_after = self.retry_after.max(asked);
                let count = self.proxies.len().max(1);
                self.current = (self.current + 1) % count;
                let (round, of_round) =
                    (self.failures / count as u32, self.failures % count as u32);
                if of_round > 0 {
                    SPREAD.mul_f64(random.random())
                } else {
                    let asked = std::mem::take(&mut self.retry_after);
                    jittered(back_off(FIRST_WAIT, LAST_WAIT, round), random).max(asked)
                }
            }
        };
        self.next = (!self.proxies.is_empty()).then(|| now + wait);
        wait
    }

    /// Tries the current proxy again at once, whatever was planned.
    pub fn retry_now(&mut self, now: Instant) {
        self.next = (!self.proxies.is_empty()).then_some(now);
    }

    /// Nothing is tried any more.
    pub fn stop(&mut self) {
        (self.next, self.fail_back) = (None, None);
    }
}

/// `first`, doubled with each of the attempts after the first, at most `last`.
fn back_off(first: Duration, last: Duration, attempt: u32) -> Duration {
    first.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX)).min(last)
}

/// Between half of a wait and all of it (RFC 5626 section 4.5).
fn jittered(wait: Duration, random: &mut StdRng) -> Duration {
    wait.mul_f64(random.random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const DOWN: Setback = Setback::Proxy { retry_after: None };

    struct Harness {
        failover: Failover,
        random: StdRng,
        now: Instant,
    }

    impl Harness {
        fn new(proxies: &[&str], seed: u64) -> Self {
            let now = Instant::now();
            let proxies = proxies.iter().map(|proxy| (*proxy).to_owned()).collect();
            let random = StdRng::seed_from_u64(seed);
            Self { failover: Failover::new(proxies, now), random, now }
        }

        /// Lets time pass until the next attempt. Gives its proxy, and the milliseconds waited.
        fn attempt(&mut self) -> (String, u128) {
            let due = self.failover.poll_timeout().expect("an attempt is due");
            let waited = due.saturating_duration_since(self.now).as_millis();
            if waited > 0 {
                assert_eq!(self.failover.handle_timeout(due - Duration::from_millis(1)), None);
            }
            self.now = due;
            let proxy = self.failover.handle_timeout(due).expect("it is time").to_owned();
            assert_eq!(self.failover.poll_timeout(), None, "one attempt at a time");
            (proxy, waited)
        }

        fn fail(&mut self, setback: Setback) {
            let wait = self.failover.failed(self.now, setback, &mut self.random);
            assert_eq!(self.failover.poll_timeout(), Some(self.now + wait));
        }
    }

    #[test]
    fn one_proxy_is_tried_with_doubling_waits() {
        let mut harness = Harness::new(&["a:1"], 1);
        assert_eq!(harness.attempt(), ("a:1".into(), 0));
        for longest in [1000, 2000, 4000, 8000, 8000, 8000] {
            harness.fail(DOWN);
            let (_, waited) = harness.attempt();
            assert!((longest / 2..=longest).contains(&waited), "{waited} of {longest}");
        }
        harness.failover.succeeded(harness.now);
        harness.fail(DOWN);
        assert!(harness.attempt().1 <= 1000, "a lost connection is tried again soon");
        harness.fail(DOWN);
        assert!((500..=1000).contains(&harness.attempt().1), "and the back-off starts anew");
    }

    #[test]
    fn the_next_proxy_is_tried_soon_and_kept_while_it_works() {
        let mut harness = Harness::new(&["a:1", "b:1", "c:1"], 2);
        assert_eq!(harness.attempt().0, "a:1");
        harness.fail(DOWN);
        let (proxy, waited) = harness.attempt();
        assert!(proxy == "b:1" && waited <= 1000, "{proxy} after {waited}");
        harness.failover.succeeded(harness.now);
        assert_eq!(harness.failover.proxy(), "b:1");
        harness.fail(DOWN);
        assert_eq!(harness.attempt().0, "b:1", "it may be back at once");
        harness.fail(DOWN);
        assert_eq!(harness.attempt().0, "c:1");
        harness.fail(DOWN);
        assert_eq!(harness.attempt().0, "a:1");
        harness.fail(DOWN);
        let (proxy, waited) = harness.attempt();
        assert!(proxy == "b:1" && (500..=1000).contains(&waited), "{proxy} after {waited}");
    }

    #[test]
    fn a_refused_account_waits_long_and_does_not_change_the_proxy() {
        let mut harness = Harness::new(&["a:1", "b:1"], 3);
        harness.attempt();
        for longest in [60, 120, 240, 480, 900, 900] {
            harness.fail(Setback::Account);
            let (proxy, waited) = harness.attempt();
            assert_eq!(proxy, "a:1");
            assert!((longest * 500..=longest * 1000).contains(&waited), "{waited} of {longest} s");
        }
    }

    #[test]
    fn retry_after_is_honoured_once_every_proxy_has_failed() {
        let mut harness = Harness::new(&["a:1", "b:1"], 4);
        harness.attempt();
        harness.fail(Setback::Proxy { retry_after: Some(Duration::from_secs(20)) });
        assert!(harness.attempt().1 <= 1000, "another proxy is not meant");
        harness.fail(DOWN);
        assert_eq!(harness.attempt().1, 20_000);
        harness.fail(DOWN);
        harness.attempt();
        harness.fail(Setback::Proxy { retry_after: Some(Duration::from_secs(86_400)) });
        assert_eq!(harness.attempt().1, 300_000, "but not for ever");
    }

    #[test]
    fn gateways_that_lose_a_proxy_together_do_not_return_together() {
        let waits: std::collections::BTreeSet<u128> = (0..50)
            .map(|seed| {
                let mut harness = Harness::new(&["a:1"], seed);
                harness.attempt();
                harness.failover.succeeded(harness.now);
                harness.fail(DOWN);
                harness.attempt().1
            })
            .collect();
        assert!(waits.len() > 40 && waits.last() > Some(&800), "{waits:?}");
    }

    #[test]
    fn a_request_to_retry_comes_before_the_plan() {
        let mut harness = Harness::new(&["a:1"], 6);
        harness.attempt();
        harness.fail(Setback::Account);
        harness.failover.retry_now(harness.now);
        assert_eq!(harness.attempt().1, 0);
        harness.fail(DOWN);
        harness.failover.stop();
        assert_eq!(harness.failover.poll_timeout(), None);
        assert_eq!(Harness::new(&[], 7).failover.poll_timeout(), None);
    }

    #[test]
    fn the_preferred_proxy_is_tried_again_after_half_an_hour_without_calls() {
        let mut harness = Harness::new(&["a:1", "b:2"], 5);
        harness.attempt();
        harness.fail(DOWN);
        assert_eq!(harness.attempt().0, "b:2");
        harness.failover.succeeded(harness.now);
        let half_an_hour = harness.now + FAIL_BACK;
        // Refreshes put nothing off.
        harness.failover.succeeded(harness.now + Duration::from_secs(90));
        assert_eq!(harness.failover.poll_timeout(), Some(half_an_hour));
        assert!(!harness.failover.fails_back(half_an_hour - Duration::from_millis(1), true));
        assert!(!harness.failover.fails_back(half_an_hour, false), "a call is up");
        harness.now = harness.failover.poll_timeout().unwrap();
        assert!(harness.failover.fails_back(harness.now, true));
        // The connection to the one in use is closed, and the preferred one's turn comes at once.
        harness.fail(DOWN);
        let (proxy, waited) = harness.attempt();
        assert!(proxy == "a:1" && waited <= 1000, "{proxy} after {waited} ms");
        // It is still down, and the other one serves on.
        harness.fail(DOWN);
        assert_eq!(harness.attempt().0, "b:2");
        harness.failover.succeeded(harness.now);
        assert_eq!(harness.failover.poll_timeout(), Some(harness.now + FAIL_BACK));
    }

    #[test]
    fn who_is_with_the_preferred_proxy_stays() {
        let mut harness = Harness::new(&["a:1", "b:2"], 6);
        harness.attempt();
        harness.failover.succeeded(harness.now);
        assert_eq!(harness.failover.poll_timeout(), None);
        assert!(!harness.failover.fails_back(harness.now + 10 * FAIL_BACK, true));
    }
}
