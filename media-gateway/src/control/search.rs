//! The way through the agents' presence: thirty at a time, again and again, so that no call stays unnoticed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::ringcentral::{Advice, PRESENCE_BATCH};

/// Between two requests while notifications come: a safety net for calls of which none did.
const SAFETY_INTERVAL: Duration = Duration::from_secs(5);

/// Between two requests of a hurried round. A minute of them leaves half of RingCentral's usual limit to the calls.
const HURRIED_INTERVAL: Duration = Duration::from_millis(250);

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(8);

/// Which agents to look at, and when.
#[derive(Debug)]
pub(super) struct Search {
    agents: Arc<[String]>,
    interval: Duration,
    /// The first agent of the next request.
    next: usize,
    /// Agents that are still to be read without a long pause in between.
    hurried: usize,
    /// When the next request is due; `None` while one is under way.
    due: Option<Instant>,
    retry: Duration,
    /// Whether notifications come, so that looking is only a safety net.
    is_notified: bool,
}

impl Search {
    /// Begins with a hurried round. `interval` lies between two requests while no notifications come.
    pub(super) fn new(now: Instant, agents: Arc<[String]>, interval: Duration) -> Self {
        Self {
            hurried: agents.len(),
            agents,
            interval,
            next: 0,
            due: Some(now),
            retry: FIRST_RETRY,
            is_notified: false,
        }
    }

    /// When [`begin`](Self::begin) gives something.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.filter(|_| !self.agents.is_empty())
    }

    /// The agents to look at now, if it is time. Tell how that ends.
    pub(super) fn begin(&mut self, now: Instant) -> Option<Vec<String>> {
        self.poll_timeout().filter(|due| *due <= now)?;
        self.due = None;
        let count = self.agents.len().min(PRESENCE_BATCH);
        let batch = self.agents.iter().cycle().skip(self.next).take(count);
        Some(batch.cloned().collect())
    }

    /// That many agents have been looked at.
    pub(super) fn succeeded(&mut self, now: Instant, count: usize) {
        self.retry = FIRST_RETRY;
        self.next = (self.next + count) % self.agents.len().max(1);
        self.hurried = self.hurried.saturating_sub(count);
        self.due = Some(now + if self.hurried > 0 { HURRIED_INTERVAL } else { self.pause() });
    }

    /// The same agents have to be looked at again.
    pub(super) fn failed(&mut self, now: Instant, advice: Advice) {
        let pause = match advice {
            Advice::Wait(pause) => pause,
            _ => self.retry,
        };
        self.retry = (self.retry * 2).min(LAST_RETRY);
        self.due = Some(now + pause);
    }

    /// Notifications come, or come no longer.
    pub(super) fn notified(&mut self, now: Instant, is_notified: bool) {
        self.is_notified = is_notified;
        if !is_notified {
            self.due = self.due.map(|due| due.min(now + self.interval));
        }
    }

    /// Something may have been missed of every agent: a hurried round begins.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.hurried = self.agents.len();
        self.due = self.due.map(|due| due.min(now));
    }

    fn pause(&self) -> Duration {
        if self.is_notified { self.interval.max(SAFETY_INTERVAL) } else { self.interval }
    }
}
