//! The transcribers, and which of them takes a party.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::ServiceExt;

use super::coalesce::{Coalescing, coalescing};

/// How long a transcriber that failed is passed over, while another one may do better.
const SHUNNED: Duration = Duration::from_secs(5);

/// A transcriber that is silent for this long, while connecting or later, is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// The ways to one or more transcribers. Clones share them.
#[derive(Clone, Debug)]
pub struct Transcribers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    channels: Vec<Channel>,
    placement: Mutex<Placement>,
}

/// A party's place at one transcriber. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Seat {
    transcribers: Transcribers,
    index: usize,
}

/// Places parties. Pure.
#[derive(Debug)]
struct Placement(Vec<Load>);

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    parties: usize,
    shunned_until: Option<Instant>,
}

impl Transcribers {
    /// Connects to each when the first party is placed there, and again whenever the connection is lost.
    ///
    /// # Panics
    /// When there is none.
    pub fn connect(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        let channels: Vec<Channel> = endpoints
            .into_iter()
            .map(|endpoint| {
                endpoint
                    .connect_timeout(PATIENCE)
                    .http2_keep_alive_interval(PATIENCE)
                    .keep_alive_timeout(PATIENCE)
                    .keep_alive_while_idle(true)
                    .connect_with_connector_lazy(connector())
            })
            .collect();
        assert!(!channels.is_empty(), "a party needs a transcriber");
        let placement = Mutex::new(Placement(vec![Load::default(); channels.len()]));
        Self(Arc::new(Shared { channels, placement }))
    }

    /// A place for a party.
    pub(super) fn seat(&self) -> Seat {
        let index = self.placement().place(Instant::now(), rand::random());
        Seat { transcribers: self.clone(), index }
    }

    fn placement(&self) -> MutexGuard<'_, Placement> {
        // Nothing panics while holding the lock; if something did, the counts would still be good.
        self.0.placement.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The way to its transcriber.
    pub(super) fn channel(&self) -> Channel {
        self.transcribers.0.channels[self.index].clone()
    }

    /// The number of its transcriber, in the order of the configuration.
    pub(super) fn number(&self) -> usize {
        self.index
    }

    /// The transcriber takes the party's audio.
    pub(super) fn succeeded(&self) {
        self.transcribers.placement().0[self.index].shunned_until = None;
    }

    /// The transcriber failed: the party moves on. `true` if to one that has not failed lately, so that there is
    /// nothing to wait for.
    pub(super) fn fail_over(&mut self) -> bool {
        let now = Instant::now();
        let mut placement = self.transcribers.placement();
        placement.fail(now, self.index);
        placement.leave(self.index);
        self.index = placement.place(now, rand::random());
        !placement.is_shunned(now, self.index)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.transcribers.placement().leave(self.index);
    }
}

impl Placement {
    /// The emptier of two at random among those that are well; if none is, the one that failed the longest ago.
    fn place(&mut self, now: Instant, random: u64) -> usize {
        let well: Vec<usize> = (0..self.0.len()).filter(|it| !self.is_shunned(now, *it)).collect();
        let chosen = if well.is_empty() {
            (0..self.0.len()).min_by_key(|it| self.0[*it].shunned_until).unwrap_or_default()
        } else {
            let first = well[(random as u32) as usize % well.len()];
            let second = well[(random >> 32) as usize % well.len()];
            if self.0[second].parties < self.0[first].parties { second } else { first }
        };
        self.0[chosen].parties += 1;
        chosen
    }

    fn fail(&mut self, now: Instant, index: usize) {
        self.0[index].shunned_until = Some(now + SHUNNED);
    }

    fn leave(&mut self, index: usize) {
        self.0[index].parties -= 1;
    }

    fn is_shunned(&self, now: Instant, index: usize) -> bool {
        self.0[index].shunned_until.is_some_and(|until| until > now)
    }
}

/// TCP connections that gather what many parties write.
fn connector() -> impl Service<
    Uri,
    Response = TokioIo<Coalescing>,
    Error: std::error::Error + Send + Sync + 'static,
    Future: Send,
> {
    let mut tcp = HttpConnector::new();
    // The endpoint's scheme may be https: TLS is not this connector's business.
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.map_response(|connection| TokioIo::new(coalescing(connection.into_inner())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(transcribers: usize) -> Placement {
        Placement(vec![Load::default(); transcribers])
    }

    #[test]
    fn parties_spread_over_the_transcribers() {
        let (mut placement, now) = (placement(4), Instant::now());
        // Every pair of choices comes up equally often.
        for _ in 0..100 {
            for pair in 0..16u64 {
                placement.place(now, (pair % 4) | ((pair / 4) << 32));
            }
        }
        for load in &placement.0 {
            assert!((380..=420).contains(&load.parties), "{placement:?}");
        }
    }

    #[test]
    fn a_failed_transcriber_is_passed_over_for_a_while() {
        let (mut placement, now) = (placement(2), Instant::now());
        placement.fail(now, 0);
        for random in [0, 1, 1 << 32, u64::MAX] {
            assert_eq!(placement.place(now, random), 1);
        }
        assert_eq!(placement.place(now + SHUNNED, 0), 0);
    }

    #[test]
    fn when_all_have_failed_they_take_turns() {
        let (mut placement, now) = (placement(3), Instant::now());
        let second = Duration::from_secs(1);
        for (step, failed) in (0..).zip([1, 0, 2]) {
            placement.fail(now + second * step, failed);
        }
        let now = now + second * 3;
        assert_eq!(placement.place(now, 7), 1);
        placement.fail(now, 1);
        assert_eq!(placement.place(now, 7), 0);
    }

    #[test]
    fn the_only_transcriber_is_tried_again() {
        let (mut placement, now) = (placement(1), Instant::now());
        let index = placement.place(now, 3);
        placement.fail(now, index);
        placement.leave(index);
        assert_eq!(placement.place(now, 3), 0);
        assert!(placement.is_shunned(now, 0));
        assert_eq!(placement.0[0].parties, 1);
    }
}
