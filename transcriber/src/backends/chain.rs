//! Which backend is to be asked: the order that the operator wrote down, less those that fail at present.

use std::time::Duration;

use tokio::time::Instant;

/// A backend's place in the order.
pub type BackendId = usize;

/// How long a backend that failed is left alone, at first ...
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// ... and at most: each further failure doubles it.
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// The backends in their order, and how each is doing. One for the whole process: what one party finds out helps all.
#[derive(Debug)]
pub struct Chain {
    links: Vec<Link>,
}

#[derive(Debug)]
struct Link {
    /// It is part of this process: what it fails on is the audio, and the next utterance is another matter.
    is_local: bool,
    /// How often it has failed since it last worked.
    failures: u32,
    /// It was picked since its last pause was over.
    on_trial: bool,
    /// When it may be tried again. Of no meaning while `failures` is 0.
    retry_at: Instant,
}

impl Chain {
    /// A chain of backends, all of them thought to work. Of each: whether it is part of this process, and so always
    /// worth asking.
    pub fn new(are_local: impl IntoIterator<Item = bool>, now: Instant) -> Self {
        let link = |is_local| Link { is_local, failures: 0, on_trial: false, retry_at: now };
        Self { links: are_local.into_iter().map(link).collect() }
    }

    /// The backend to ask: the first that works, or that was left alone for long enough, and was not `tried` already. An
    /// utterance that goes to one of the latter is its trial; there is no other before the next pause is over.
    pub fn pick(&mut self, now: Instant, tried: impl Fn(BackendId) -> bool) -> Option<BackendId> {
        let (id, link) = self
            .links
            .iter_mut()
            .enumerate()
            .find(|(id, link)| !tried(*id) && (link.failures == 0 || link.retry_at <= now))?;
        if link.failures > 0 {
            link.on_trial = true;
            link.retry_at = now + pause(link.failures);
        }
        Some(id)
    }

    /// A backend has failed, or was late. Returns whether that is news. When many parties find out together, it has failed
    /// once.
    pub fn failed(&mut self, id: BackendId, now: Instant) -> bool {
        let link = &mut self.links[id];
        if link.is_local || link.failures > 0 && !link.on_trial {
            return false;
        }
        link.on_trial = false;
        link.failures = link.failures.saturating_add(1);
        link.retry_at = now + pause(link.failures);
        link.failures == 1
    }

    /// A backend has answered in time. Returns whether that is news.
    pub fn worked(&mut self, id: BackendId) -> bool {
        let link = &mut self.links[id];
        link.on_trial = false;
        std::mem::take(&mut link.failures) > 0
    }

    /// The first that works; the last if none does.
    pub fn serving(&self) -> BackendId {
        let first = self.links.iter().position(|link| link.failures == 0);
        first.unwrap_or(self.links.len().saturating_sub(1))
    }

    /// Whether a backend is part of this process.
    pub fn is_local(&self, id: BackendId) -> bool {
        self.links[id].is_local
    }

    /// Whether there is one that may be worth waiting for, after all have failed.
    pub fn may_recover(&self) -> bool {
        self.links.iter().any(|link| !link.is_local)
    }
}

fn pause(failures: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    FIRST_PAUSE.saturating_mul(doubled).min(LAST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn remote(backends: usize, now: Instant) -> Chain {
        Chain::new(vec![false; backends], now)
    }

    #[test]
    fn the_first_that_works_is_asked() {
        let now = Instant::now();
        let mut chain = remote(3, now);
        assert_eq!(chain.pick(now, |_| false), Some(0));
        assert_eq!(chain.pick(now, |id| id == 0), Some(1));
        assert!(chain.failed(0, now));
        assert_eq!((chain.pick(now, |_| false), chain.serving()), (Some(1), 1));
        assert!(chain.failed(1, now) && chain.failed(2, now));
        assert_eq!((chain.pick(now, |_| false), chain.serving()), (None, 2));
    }

    #[test]
    fn what_failed_is_tried_once_in_growing_pauses() {
        let mut now = Instant::now();
        let mut chain = remote(2, now);
        chain.failed(0, now);
        for pause in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(
                chain.pick(now + secs(pause) - Duration::from_millis(1), |_| false),
                Some(1)
            );
            now += secs(pause);
            assert_eq!(chain.pick(now, |_| false), Some(0), "after {pause} s");
            assert_eq!(chain.pick(now, |_| false), Some(1), "one utterance is enough");
            assert!(!chain.failed(0, now), "no news");
        }
        assert!(chain.worked(0));
        assert_eq!(chain.pick(now, |_| false), Some(0));
        assert!(!chain.worked(0));
        // It begins afresh.
        assert!(chain.failed(0, now));
        assert_eq!(chain.pick(now + secs(1), |_| false), Some(0));
    }

    #[test]
    fn many_parties_that_lose_it_together_lose_it_once() {
        let now = Instant::now();
        let mut chain = remote(2, now);
        for _ in 0..50 {
            chain.failed(0, now);
        }
        assert_eq!(chain.pick(now + secs(1), |_| false), Some(0));
    }

    #[test]
    fn a_trial_that_comes_to_nothing_leaves_the_next_one_possible() {
        let now = Instant::now();
        let mut chain = remote(2, now);
        chain.failed(0, now);
        assert_eq!(chain.pick(now + secs(1), |_| false), Some(0));
        assert_eq!(chain.pick(now + secs(2), |_| false), Some(0));
    }

    #[test]
    fn the_one_in_this_process_is_always_worth_asking() {
        let now = Instant::now();
        let mut chain = Chain::new([false, true], now);
        assert!(!chain.failed(1, now));
        chain.failed(0, now);
        assert_eq!((chain.pick(now, |_| false), chain.serving()), (Some(1), 1));
        assert!(chain.may_recover());
        assert!(!Chain::new([true], now).may_recover());
    }
}
