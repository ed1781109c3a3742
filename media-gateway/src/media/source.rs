//! Who may send RTP to a port: forged packets would become words in a transcript. Pure.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pipeline::rtp::RtpHeader;

/// How long after the (re)start of a stream a source other than the one in the SDP may be learnt.
const LEARNING: Duration = Duration::from_secs(5);

/// Packets in order from one source before it is believed.
const PROBATION: u32 = 4;

/// Sources on probation at a time, so that one that sends junk does not keep out the right one. When full the one that
/// came first is forgotten.
const MAX_CANDIDATES: usize = 8;

/// The source of a stream: the address in the SDP, or one that was learnt in time and then locked.
///
/// Only for RTP without protection: of SRTP the key proves who sends.
#[derive(Debug)]
pub struct SourceLock {
    described: SocketAddr,
    learning_until: Instant,
    locked: Option<SocketAddr>,
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    source: SocketAddr,
    ssrc: u32,
    next_sequence_number: u16,
    packets: u32,
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
        Self { described, learning_until: now + LEARNING, locked: None, candidates: Vec::new() }
    }

    /// Decides about a datagram with this header; `None` if it is not RTP of the payload type that was agreed on.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn admit(
        &mut self,
        now: Instant,
        source: SocketAddr,
        header: Option<&RtpHeader>,
    ) -> Result<(), SourceRejected> {
        let learning = now < self.learning_until;
        if source == self.described && (learning || self.locked.is_none_or(|it| it == source)) {
            // The described address wins over one that was learnt while learning goes on.
            self.locked = Some(source);
            return Ok(());
        }
        match (self.locked, header) {
            (Some(locked), _) if locked == source => Ok(()),
            (None, Some(header)) if learning => self.probe(source, header),
            _ => Err(SourceRejected::Foreign),
        }
    }

    /// Notes that a packet from here proved to be the other side's by its key. What we send goes here from now on.
    pub fn authenticated(&mut self, source: SocketAddr) {
        self.locked = Some(source);
    }

    /// Where to send to: the learnt source, else the described one.
    pub fn remote(&self) -> SocketAddr {
        self.locked.unwrap_or(self.described)
    }

    /// The address in the SDP.
    pub fn described(&self) -> SocketAddr {
        self.described
    }

    fn probe(&mut self, source: SocketAddr, header: &RtpHeader) -> Result<(), SourceRejected> {
        let next_sequence_number = header.sequence_number.wrapping_add(1);
        let known = self.candidates.iter_mut().find(|candidate| candidate.source == source);
        let packets = match known {
            Some(candidate) => {
                let follows = candidate.ssrc == header.ssrc
                    && candidate.next_sequence_number == header.sequence_number;
                candidate.packets = if follows { candidate.packets + 1 } else { 1 };
                (candidate.ssrc, candidate.next_sequence_number) =
                    (header.ssrc, next_sequence_number);
                candidate.packets
            }
            None => {
                if self.candidates.len() == MAX_CANDIDATES {
                    self.candidates.remove(0);
                }
                let ssrc = header.ssrc;
                self.candidates.push(Candidate { source, ssrc, next_sequence_number, packets: 1 });
                1
            }
        };
        if packets < PROBATION {
            return Err(SourceRejected::Probation);
        }
        self.locked = Some(source);
        self.candidates.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn header(number: u16) -> RtpHeader {
        let mut datagram = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
        datagram[2..4].copy_from_slice(&number.to_be_bytes());
        RtpHeader::parse(&datagram).unwrap()
    }

    #[test]
    fn the_described_source_is_believed_at_once_and_locks() {
        let now = Instant::now();
        let (sdp, other) = (address("192.0.2.1:5000"), address("192.0.2.66:5000"));
        let mut lock = SourceLock::new(now, sdp);
        assert_eq!(lock.admit(now, sdp, Some(&header(0))), Ok(()));
        for number in 0..10 {
            let foreign = lock.admit(now, other, Some(&header(number)));
            assert_eq!(foreign, Err(SourceRejected::Foreign));
        }
        let later = now + Duration::from_secs(600);
        assert_eq!(lock.admit(later, sdp, Some(&header(1))), Ok(()));
    }

    #[test]
    fn another_source_is_learnt_after_probation_only() {
        let now = Instant::now();
        let (sdp, nat) = (address("192.0.2.1:5000"), address("198.51.100.7:4000"));
        let mut lock = SourceLock::new(now, sdp);
        assert_eq!(lock.admit(now, nat, None), Err(SourceRejected::Foreign));
        // A hole in the numbers starts the probation again.
        for number in [0, 1, 2, 65_534, 65_535, 0] {
            let probation = lock.admit(now, nat, Some(&header(number)));
            assert_eq!(probation, Err(SourceRejected::Probation));
        }
        assert_eq!(lock.admit(now, nat, Some(&header(1))), Ok(()));
        assert_eq!(lock.remote(), nat);
        let later = now + LEARNING;
        assert_eq!(lock.admit(later, sdp, Some(&header(2))), Err(SourceRejected::Foreign));
        assert_eq!(lock.admit(later, nat, Some(&header(2))), Ok(()));
    }

    #[test]
    fn the_described_source_wins_over_one_that_was_quicker() {
        let now = Instant::now();
        let (sdp, quick) = (address("192.0.2.1:5000"), address("198.51.100.7:4000"));
        let mut lock = SourceLock::new(now, sdp);
        for number in 0..4 {
            let _ = lock.admit(now, quick, Some(&header(number)));
        }
        assert_eq!(lock.remote(), quick);
        assert_eq!(lock.admit(now, sdp, Some(&header(0))), Ok(()));
        assert_eq!(lock.remote(), sdp);
        assert_eq!(lock.admit(now, quick, Some(&header(4))), Err(SourceRejected::Foreign));
    }

    #[test]
    fn junk_beside_the_right_source_does_not_keep_it_out() {
        let now = Instant::now();
        let (nat, junk) = (address("198.51.100.7:4000"), address("203.0.113.9:9"));
        let mut lock = SourceLock::new(now, address("192.0.2.1:5000"));
        for number in 0..3 {
            for noise in 0..50 {
                let noise = header(number * 7919 + noise * 17);
                assert_eq!(lock.admit(now, junk, Some(&noise)), Err(SourceRejected::Probation));
            }
            let probation = lock.admit(now, nat, Some(&header(number)));
            assert_eq!(probation, Err(SourceRejected::Probation));
        }
        assert_eq!(lock.admit(now, nat, Some(&header(3))), Ok(()));
    }

    #[test]
    fn many_sources_never_pass_probation() {
        let now = Instant::now();
        let mut lock = SourceLock::new(now, address("192.0.2.1:5000"));
        for number in 0..10 {
            for port in 6000..6100 {
                let source = SocketAddr::from(([198, 51, 100, 7], port));
                let probation = lock.admit(now, source, Some(&header(number)));
                assert_eq!(probation, Err(SourceRejected::Probation));
            }
        }
        assert_eq!(lock.candidates.len(), MAX_CANDIDATES);
    }

    #[test]
    fn nothing_is_learnt_after_the_window() {
        let now = Instant::now();
        let sdp = address("192.0.2.1:5000");
        let mut lock = SourceLock::new(now, sdp);
        let late = now + LEARNING;
        for number in 0..10 {
            let foreign = lock.admit(late, address("192.0.2.1:5001"), Some(&header(number)));
            assert_eq!(foreign, Err(SourceRejected::Foreign));
        }
        assert_eq!(lock.admit(late, sdp, Some(&header(0))), Ok(()));
    }
}
