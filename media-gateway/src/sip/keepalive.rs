//! Keeps a flow open and notices when it is dead (RFC 5626 section 4.4.1): a double CRLF is the ping, a CRLF the pong.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt;
use rand::rngs::StdRng;

use super::{Flow, Transmit};

/// Asks the other side for a [`PONG`].
pub(super) const PING: &[u8] = b"\r\n\r\n";

/// Answers a [`PING`].
pub(super) const PONG: &[u8] = b"\r\n";

/// The longest time between pings, unless the registrar asks for less: NAT devices forget a silent UDP flow after
/// 30 s, and RFC 5626's 120 s for connections would leave a dead one unnoticed for longer than calls wait.
const INTERVAL: Duration = Duration::from_secs(30);

/// What a registrar's Flow-Timer can bring the interval down to.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);

/// RFC 5626 section 4.4.1: no pong for this long, and the flow has failed.
const PONG_TIMEOUT: Duration = Duration::from_secs(10);

/// Pings one flow.
#[derive(Debug)]
pub(super) struct KeepAlive {
    flow: Flow,
    interval: Duration,
    next_ping: Instant,
    /// When the flow counts as dead; absent unless a pong is owed.
    pong_due: Option<Instant>,
    /// Whether the other side is known to answer pings: by its Flow-Timer, or because it has done so.
    is_answering: bool,
}

impl KeepAlive {
    /// Starts with the registration. `flow_timer` is the registrar's Flow-Timer.
    pub(super) fn new(
        now: Instant,
        flow: Flow,
        flow_timer: Option<Duration>,
        random: &mut StdRng,
    ) -> Self {
        let interval =
            flow_timer.map_or(INTERVAL, |asked| asked.clamp(SHORTEST_INTERVAL, INTERVAL));
        let mut keep_alive = Self {
            flow,
            interval,
            next_ping: now,
            pong_due: None,
            is_answering: flow_timer.is_some() && flow.is_reliable(),
        };
        keep_alive.schedule(now, random);
        keep_alive
    }

    /// Something arrived on the flow, so it lives.
    pub(super) fn handle_received(&mut self, is_pong: bool) {
        self.is_answering |= is_pong && self.flow.is_reliable();
        self.pong_due = None;
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.pong_due.map_or(self.next_ping, |due| due.min(self.next_ping))
    }

    /// Sends what is due. `false`: the flow is dead.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        random: &mut StdRng,
        out: &mut VecDeque<Transmit>,
    ) -> bool {
        if self.pong_due.is_some_and(|due| due <= now) {
            return false;
        }
        if self.next_ping <= now {
            out.push_back(Transmit { flow: self.flow, bytes: Bytes::from_static(PING) });
            // A server that knows no pings is not dead for ignoring one.
            self.pong_due = self.is_answering.then(|| now + PONG_TIMEOUT);
            self.schedule(now, random);
        }
        true
    }

    /// Between 80 and 100 percent of the interval, so that clients that started together do not ping together.
    fn schedule(&mut self, now: Instant, random: &mut StdRng) {
        self.next_ping = now + self.interval.mul_f64(random.random_range(0.8..=1.0));
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::super::StreamId;
    use super::*;

    struct Harness {
        keep_alive: KeepAlive,
        random: StdRng,
        start: Instant,
        now: Instant,
    }

    impl Harness {
        fn new(flow: Flow, flow_timer: Option<u64>) -> Self {
            let (start, mut random) = (Instant::now(), StdRng::seed_from_u64(5));
            let flow_timer = flow_timer.map(Duration::from_secs);
            let keep_alive = KeepAlive::new(start, flow, flow_timer, &mut random);
            Self { keep_alive, random, start, now: start }
        }

        /// Goes on to the next timeout. Gives whether a ping was sent, or `None` if the flow is found dead.
        fn step(&mut self) -> Option<bool> {
            self.now = self.keep_alive.poll_timeout();
            let mut out = VecDeque::new();
            let alive = self.keep_alive.handle_timeout(self.now, &mut self.random, &mut out);
            assert!(out.iter().all(|transmit| transmit.bytes == PING));
            alive.then_some(!out.is_empty())
        }
    }

    fn tls() -> Flow {
        Flow::Stream(StreamId::tls(1))
    }

    #[test]
    fn pings_go_out_at_80_to_100_percent_of_the_interval() {
        for (flow_timer, interval) in [(None, 30), (Some(20), 20), (Some(3600), 30), (Some(0), 5)] {
            let mut harness = Harness::new(tls(), flow_timer);
            let mut gaps = Vec::new();
            for _ in 0..20 {
                let before = harness.now;
                assert_eq!(harness.step(), Some(true));
                harness.keep_alive.handle_received(true);
                gaps.push(harness.now - before);
            }
            let interval = Duration::from_secs(interval);
            assert!(gaps.iter().all(|gap| (interval.mul_f64(0.8)..=interval).contains(gap)));
            assert!(gaps.iter().any(|gap| *gap != gaps[0]), "no jitter: {gaps:?}");
        }
    }

    #[test]
    fn a_peer_that_stops_to_answer_is_dead_after_ten_seconds() {
        let mut harness = Harness::new(tls(), None);
        harness.step();
        harness.keep_alive.handle_received(true);
        assert_eq!(harness.step(), Some(true));
        let pinged = harness.now;
        assert_eq!(harness.step(), None);
        assert_eq!(harness.now - pinged, PONG_TIMEOUT);
        let mut promised = Harness::new(tls(), Some(30));
        assert_eq!((promised.step(), promised.step()), (Some(true), None), "by its Flow-Timer");
    }

    #[test]
    fn any_message_counts_as_life() {
        let mut harness = Harness::new(tls(), Some(30));
        for _ in 0..5 {
            assert_eq!(harness.step(), Some(true));
            harness.keep_alive.handle_received(false);
        }
    }

    #[test]
    fn a_peer_that_never_answers_is_pinged_without_being_given_up() {
        let udp = Flow::Udp(([192, 0, 2, 1], 5060).into());
        for (flow, flow_timer) in [(tls(), None), (udp, None), (udp, Some(30))] {
            let mut harness = Harness::new(flow, flow_timer);
            while harness.now - harness.start < Duration::from_secs(3600) {
                assert_eq!(harness.step(), Some(true));
            }
        }
    }
}
