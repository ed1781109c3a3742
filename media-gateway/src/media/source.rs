//! Who may send RTP to a port: forged packets would become words in a transcript. Pure.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long after the (re)start of a stream a source other than the one in the SDP may be learnt.
const LEARNING: Duration = Duration::from_secs(5);

/// Packets in a row from one source before it is believed.
const PROBATION: u32 = 4;

/// The source of a stream: the address in the SDP, or one that was learnt in time and then locked.
#[derive(Debug)]
pub struct SourceLock {
    described: SocketAddr,
    learning_until: Instant,
    locked: Option<SocketAddr>,
    candidate: Option<(SocketAddr, u32)>,
}

/// A datagram that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceRejected {
    /// From elsewhere, too late to be learnt, or while the right source is known.
    #[error("the datagram is not from the stream's source")]
    Foreign,
    /// The first packets of a source that may yet be believed.
    #[error("the source is not believed yet")]
    Probation,
}

impl SourceLock {
    /// Expects packets from the address in the SDP.
    pub fn new(now: Instant, described: SocketAddr) -> Self {
        Self { described, learning_until: now + LEARNING, locked: None, candidate: None }
    }

    /// Decides about a datagram that has this payload type, or is no RTP (`false`).
    pub fn admit(
        &mut self,
        now: Instant,
        source: SocketAddr,
        is_expected_rtp: bool,
    ) -> Result<(), SourceRejected> {
        let learning = now < self.learning_until;
        if source == self.described && (learning || self.locked.is_none_or(|it| it == source)) {
            // The described address wins over one that was learnt while learning goes on.
            self.locked = Some(source);
            return Ok(());
        }
        match self.locked {
            Some(locked) if locked == source => return Ok(()),
            Some(_) => return Err(SourceRejected::Foreign),
            None if !learning || !is_expected_rtp => return Err(SourceRejected::Foreign),
            None => {}
        }
        let packets = match self.candidate {
            Some((candidate, packets)) if candidate == source => packets + 1,
            Some(_) | None => 1,
        };
        self.candidate = Some((source, packets));
        if packets < PROBATION {
            return Err(SourceRejected::Probation);
        }
        self.locked = Some(source);
        Ok(())
    }

    /// Where to send to: the learnt source, else the described one.
    pub fn remote(&self) -> SocketAddr {
        self.locked.unwrap_or(self.described)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_described_source_is_believed_at_once_and_locks() {
        let now = Instant::now();
        let (sdp, other) = (address("192.0.2.1:5000"), address("192.0.2.66:5000"));
        let mut lock = SourceLock::new(now, sdp);
        assert_eq!(lock.admit(now, sdp, true), Ok(()));
        for _ in 0..10 {
            assert_eq!(lock.admit(now, other, true), Err(SourceRejected::Foreign));
        }
        assert_eq!(lock.admit(now + Duration::from_secs(600), sdp, true), Ok(()));
    }

    #[test]
    fn another_source_is_learnt_after_probation_only() {
        let now = Instant::now();
        let (sdp, nat) = (address("192.0.2.1:5000"), address("198.51.100.7:4000"));
        let mut lock = SourceLock::new(now, sdp);
        assert_eq!(lock.admit(now, nat, false), Err(SourceRejected::Foreign));
        for _ in 1..PROBATION {
            assert_eq!(lock.admit(now, nat, true), Err(SourceRejected::Probation));
        }
        assert_eq!(lock.admit(now, nat, true), Ok(()));
        assert_eq!(lock.remote(), nat);
        let later = now + LEARNING;
        assert_eq!(lock.admit(later, sdp, true), Err(SourceRejected::Foreign));
        assert_eq!(lock.admit(later, nat, true), Ok(()));
    }

    #[test]
    fn a_mixture_of_sources_never_passes_probation() {
        let now = Instant::now();
        let mut lock = SourceLock::new(now, address("192.0.2.1:5000"));
        for port in (6000..6100).flat_map(|port| [port, port + 1000]) {
            let source = SocketAddr::from(([198, 51, 100, 7], port));
            assert_eq!(lock.admit(now, source, true), Err(SourceRejected::Probation));
        }
    }

    #[test]
    fn nothing_is_learnt_after_the_window() {
        let now = Instant::now();
        let sdp = address("192.0.2.1:5000");
        let mut lock = SourceLock::new(now, sdp);
        let late = now + LEARNING;
        for _ in 0..10 {
            let foreign = lock.admit(late, address("192.0.2.1:5001"), true);
            assert_eq!(foreign, Err(SourceRejected::Foreign));
        }
        assert_eq!(lock.admit(late, sdp, true), Ok(()));
    }
}
