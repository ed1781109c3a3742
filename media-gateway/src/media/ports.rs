//! The ports of m-lines: at random, and never the one that another call has just left.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::socket::MediaSocket;

/// RTP ports are even, at random, and out of the way of what systems hand out to clients.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// How long a pair rests after its stream. What the old call's far side still sends must not reach a new call.
const REST: Duration = Duration::from_secs(30);

/// Attempts to find a free pair of ports.
const BIND_ATTEMPTS: u32 = 100;

/// How often the sockets are read, all at the same moments: to wake up for each packet costs more than all else that is
/// done for it, and nobody sees a caption that is 20 ms later on average.
const TICK: Duration = Duration::from_millis(40);

/// The pairs of ports on one address. Clones share them.
#[derive(Clone, Debug)]
pub struct MediaPorts {
    ip: IpAddr,
    /// The first tick of all.
    first_tick: Instant,
    resting: Arc<Mutex<Resting>>,
}

/// A pair of bound sockets: RTP on an even port, RTCP on the next (RFC 3550 section 11). Dropping it lets the pair rest.
#[derive(Debug)]
pub struct MediaPort {
    pub(super) rtp: MediaSocket,
    pub(super) rtcp: MediaSocket,
    port: u16,
    first_tick: Instant,
    resting: Arc<Mutex<Resting>>,
}

impl MediaPorts {
    /// Ports on an address, unspecified for all interfaces.
    pub fn new(ip: IpAddr) -> Self {
        Self { ip, first_tick: Instant::now(), resting: Arc::default() }
    }

    /// Binds a free pair.
    ///
    /// # Errors
    /// The last error of the system, when no pair was free or the address is not ours.
    pub fn bind(&self) -> io::Result<MediaPort> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..BIND_ATTEMPTS {
            let port = rand::rng().random_range(PORTS) & !1;
            if lock(&self.resting).contains(Instant::now(), port) {
                continue;
            }
            match self.bind_pair(port) {
                Ok(pair) => return Ok(pair),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn bind_pair(&self, port: u16) -> io::Result<MediaPort> {
        let rtp = MediaSocket::bind(SocketAddr::new(self.ip, port))?;
        let rtcp = MediaSocket::bind(SocketAddr::new(self.ip, port + 1))?;
        let (first_tick, resting) = (self.first_tick, self.resting.clone());
        Ok(MediaPort { rtp, rtcp, port, first_tick, resting })
    }
}

impl MediaPort {
    /// The RTP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// When to read the sockets.
    pub(super) fn ticks(&self) -> Interval {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.first_tick).as_nanos() % TICK.as_nanos();
        let next = now + TICK - Duration::from_nanos(passed as u64);
        let mut ticks = interval_at(next.into(), TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks
    }
}

impl Drop for MediaPort {
    fn drop(&mut self) {
        lock(&self.resting).add(Instant::now(), self.port);
    }
}

/// Ports that rest, and until when. There are never more than there are ports.
#[derive(Debug, Default)]
struct Resting(VecDeque<(Instant, u16)>);

impl Resting {
    fn add(&mut self, now: Instant, port: u16) {
        self.0.push_back((now + REST, port));
    }

    fn contains(&mut self, now: Instant, port: u16) -> bool {
        while self.0.front().is_some_and(|(until, _)| *until <= now) {
            self.0.pop_front();
        }
        self.0.iter().any(|(_, resting)| *resting == port)
    }
}

fn lock(resting: &Mutex<Resting>) -> std::sync::MutexGuard<'_, Resting> {
    // Nothing panics while holding the lock; a list of ports is good in any state.
    resting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_rests_for_its_time() {
        let now = Instant::now();
        let mut resting = Resting::default();
        resting.add(now, 10_000);
        resting.add(now + Duration::from_secs(10), 10_002);
        assert!(resting.contains(now, 10_000));
        assert!(!resting.contains(now, 10_004));
        assert!(!resting.contains(now + REST, 10_000));
        assert!(resting.contains(now + REST, 10_002));
        assert!(!resting.contains(now + REST * 2, 10_002));
        assert!(resting.0.is_empty());
    }

    #[test]
    fn a_pair_is_bound_and_rests_when_it_is_dropped() {
        let ports = MediaPorts::new(IpAddr::from([127, 0, 0, 1]));
        let pair = ports.bind().unwrap();
        assert_eq!(pair.rtp.local_addr().unwrap().port(), pair.port());
        assert_eq!(pair.rtcp.local_addr().unwrap().port(), pair.port() + 1);
        assert_eq!(pair.port() % 2, 0);
        let port = pair.port();
        assert!(!lock(&ports.resting).contains(Instant::now(), port));
        drop(pair);
        assert!(lock(&ports.resting).contains(Instant::now(), port));
    }
}
