//! RTCP (RFC 3550 section 6): reports about what is received out, reports and goodbyes in.

use super::Reception;
use std::time::{Duration, Instant};

/// The least time between two reports (RFC 3550 section 6.2). With two participants on 64 kbit/s
/// the bandwidth would allow more, so this is what counts.
const INTERVAL: Duration = Duration::from_secs(5);

/// What makes up for the timer reconsideration of large sessions: e - 3/2 (section 6.3.1).
const COMPENSATION: f64 = std::f64::consts::E - 1.5;

/// Why a datagram is not a compound RTCP packet (RFC 3550 appendix A.2). It is dropped as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RtcpRejected {
    /// Another version, or a first packet that is neither a sender's nor a receiver's report.
    #[error("datagram is not a compound RTCP packet; drop it")]
    NotRtcp,
    /// A packet ends before its length or its count of sources says.
    #[error("RTCP packet ends before its header says; drop the datagram")]
    Truncated,
}

/// Our half of the RTCP of one stream: when to report, and what the other side said.
#[derive(Debug)]
pub struct RtcpSession {
    ssrc: u32,
    cname: String,
    report_at: Instant,
    /// The last sender's report: who, the middle of its NTP time, and when it came.
    heard: Option<(u32, u32, Instant)>,
}

impl RtcpSession {
    /// A session of the source `ssrc`, which is also that of the packets of silence that we send.
    /// `cname` names us, with nothing that would tell who we are (RFC 7022). `random` is from 0 to 1.
    #[must_use]
    pub fn new(now: Instant, ssrc: u32, cname: String, random: f64) -> Self {
        // The first report comes after half the interval.
        Self { ssrc, cname, report_at: now + interval(random) / 2, heard: None }
    }

    /// Reads a compound packet that arrived at `now`. Gives the sources that said goodbye.
    ///
    /// # Errors
    /// Why the datagram was dropped.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        datagram: &[u8],
    ) -> Result<Vec<u32>, RtcpRejected> {
        // All of it is checked before any of it is believed.
        let mut heard = self.heard;
        let mut goodbyes = Vec::new();
        let mut rest = datagram;
        let mut is_first = true;
        while !rest.is_empty() {
            let (header, body) = rest.split_first_chunk::<4>().ok_or(RtcpRejected::Truncated)?;
            let [first, packet_type, high, low] = *header;
            let is_report = matches!(packet_type, SENDER_REPORT | RECEIVER_REPORT);
            if first >> 6 != 2 || (is_first && (!is_report || first & PADDING_BIT != 0)) {
                return Err(RtcpRejected::NotRtcp);
            }
            let len = usize::from(u16::from_be_bytes([high, low])) * 4;
            let (body, after) = body.split_at_checked(len).ok_or(RtcpRejected::Truncated)?;
            match packet_type {
                SENDER_REPORT => {
                    let words = [0, 1, 2].map(|index| word(body, index));
                    let [Some(ssrc), Some(seconds), Some(fraction)] = words else {
                        return Err(RtcpRejected::Truncated);
                    };
                    heard = Some((ssrc, seconds << 16 | fraction >> 16, now));
                }
                GOODBYE => {
                    for index in 0..usize::from(first & COUNT_MASK) {
                        goodbyes.push(word(body, index).ok_or(RtcpRejected::Truncated)?);
                    }
                }
                // Reports about us, names, and what is for applications.
                _ => {}
            }
            rest = after;
            is_first = false;
        }
        if is_first {
            return Err(RtcpRejected::Truncated);
        }
        self.heard = heard;
        Ok(goodbyes)
    }

    /// When [`report`](Self::report) is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.report_at
    }

    /// The compound packet to send now: a receiver's report, and our name. `random`, from 0 to 1,
    /// spreads the next one.
    pub fn report(&mut self, now: Instant, reception: Option<Reception>, random: f64) -> Vec<u8> {
        self.report_at = now + interval(random);
        self.compound(now, reception, false)
    }

    /// The compound packet that says goodbye.
    #[must_use]
    pub fn goodbye(&self, now: Instant, reception: Option<Reception>) -> Vec<u8> {
        self.compound(now, reception, true)
    }

    fn compound(&self, now: Instant, reception: Option<Reception>, is_last: bool) -> Vec<u8> {
        let mut compound = Vec::new();
        let block = reception.map(|reception| self.block(now, reception));
        let mut words = vec![self.ssrc];
        words.extend(block.iter().flatten());
        push_packet(&mut compound, RECEIVER_REPORT, usize::from(block.is_some()), &words);

        // One chunk of one item, ended by at least one zero byte (section 6.5).
        let name = &self.cname.as_bytes()[..self.cname.len().min(u8::MAX.into())];
        let mut item = vec![CNAME, name.len() as u8];
        item.extend_from_slice(name);
        item.resize((item.len() / 4 + 1) * 4, 0);
        let item = (0..item.len() / 4).filter_map(|index| word(&item, index));
        let chunk: Vec<u32> = std::iter::once(self.ssrc).chain(item).collect();
        push_packet(&mut compound, SOURCE_DESCRIPTION, 1, &chunk);

        if is_last {
            push_packet(&mut compound, GOODBYE, 1, &[self.ssrc]);
        }
        compound
    }

    fn block(&self, now: Instant, reception: Reception) -> [u32; 6] {
        let heard = self.heard.filter(|(ssrc, ..)| *ssrc == reception.ssrc);
        let delay = heard.map_or(0, |(_, _, at)| {
            let delay = now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000;
            u32::try_from(delay).unwrap_or(u32::MAX)
        });
        [
            reception.ssrc,
            u32::from(reception.fraction_lost) << 24 | reception.lost & 0x00ff_ffff,
            reception.highest_sequence_number,
            reception.jitter,
            heard.map_or(0, |(_, time, _)| time),
            delay,
        ]
    }
}

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;

/// The item that names a source (section 6.5.1).
const CNAME: u8 = 1;

const PADDING_BIT: u8 = 0x20;
const COUNT_MASK: u8 = 0x1f;

fn push_packet(compound: &mut Vec<u8>, packet_type: u8, count: usize, words: &[u32]) {
    let [high, low] = (words.len() as u16).to_be_bytes();
    compound.extend([0x80 | count as u8, packet_type, high, low]);
    compound.extend(words.iter().flat_map(|word| word.to_be_bytes()));
}

fn word(body: &[u8], index: usize) -> Option<u32> {
    let bytes = body.get(index * 4..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

fn interval(random: f64) -> Duration {
    INTERVAL.mul_f64((random.clamp(0.0, 1.0) + 0.5) / COMPENSATION)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OURS: u32 = 0x0000_5eed;
    const THEIRS: u32 = 0xdead_beef;

    fn session(now: Instant) -> RtcpSession {
        RtcpSession::new(now, OURS, "c".repeat(16), 0.5)
    }

    /// A sender's report without blocks, sent at the NTP time 0x11223344.55667788.
    fn sender_report() -> Vec<u8> {
        let mut packet = vec![0x80, 200, 0, 6];
        packet.extend(THEIRS.to_be_bytes());
        packet.extend([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
        packet.extend([0; 12]);
        packet
    }

    fn goodbye(sources: &[u32]) -> Vec<u8> {
        let mut packet = vec![0x80 | sources.len() as u8, 203, 0, sources.len() as u8];
        packet.extend(sources.iter().flat_map(|ssrc| ssrc.to_be_bytes()));
        packet
    }

    #[test]
    fn a_report_says_what_was_received_and_who_we_are() {
        let start = Instant::now();
        let mut session = session(start);
        session.handle_datagram(start, &sender_report()).unwrap();
        let reception = Reception {
            ssrc: THEIRS,
            fraction_lost: 25,
            lost: 300,
            highest_sequence_number: 0x0001_0203,
            jitter: 77,
        };
        let now = start + Duration::from_millis(1500);
        let packet = session.report(now, Some(reception), 0.5);
        let mut expected = vec![0x81, 201, 0, 7];
        expected.extend(OURS.to_be_bytes());
        expected.extend(THEIRS.to_be_bytes());
        expected.extend([25, 0, 1, 44, 0, 1, 2, 3, 0, 0, 0, 77]);
        // The report that was heard, 1.5 s ago.
        expected.extend([0x33, 0x44, 0x55, 0x66, 0, 1, 0x80, 0]);
        expected.extend([0x81, 202, 0, 6]);
        expected.extend(OURS.to_be_bytes());
        expected.extend([1, 16]);
        expected.extend([b'c'; 16]);
        expected.extend([0, 0]);
        assert_eq!(packet, expected);

        let last = session.goodbye(now, None);
        assert_eq!(last[..8], [&[0x80, 201, 0, 1], &OURS.to_be_bytes()[..]].concat());
        assert_eq!(last[last.len() - 8..], [&[0x81, 203, 0, 1], &OURS.to_be_bytes()[..]].concat());
        // The other side reads it as ours.
        let mut other = RtcpSession::new(now, THEIRS, String::new(), 0.0);
        assert_eq!(other.handle_datagram(now, &last), Ok(vec![OURS]));
    }

    #[test]
    fn another_sources_report_is_not_answered() {
        let now = Instant::now();
        let mut session = session(now);
        session.handle_datagram(now, &sender_report()).unwrap();
        let reception =
            Reception { ssrc: 1, fraction_lost: 0, lost: 0, highest_sequence_number: 0, jitter: 0 };
        assert_eq!(session.report(now, Some(reception), 0.5)[24..32], [0; 8]);
    }

    #[test]
    fn reports_are_spread_around_five_seconds() {
        let start = Instant::now();
        for (random, seconds) in [(0.0, 2.05), (0.5, 4.10), (1.0, 6.16)] {
            let mut session = RtcpSession::new(start, OURS, String::new(), random);
            let first = session.poll_timeout() - start;
            assert!((first.as_secs_f64() - seconds / 2.0).abs() < 0.01, "{first:?}");
            session.report(start, None, random);
            let next = session.poll_timeout() - start;
            assert!((next.as_secs_f64() - seconds).abs() < 0.01, "{next:?}");
        }
    }

    #[test]
    fn goodbyes_are_heard() {
        let now = Instant::now();
        let mut session = session(now);
        let both = [sender_report(), goodbye(&[THEIRS, 7])].concat();
        assert_eq!(session.handle_datagram(now, &both), Ok(vec![THEIRS, 7]));
        let none = [vec![0x80, 201, 0, 1, 0, 0, 0, 1], goodbye(&[])].concat();
        assert_eq!(session.handle_datagram(now, &none), Ok(Vec::new()));
    }

    #[test]
    fn malformed_datagrams_are_dropped_as_a_whole() {
        let now = Instant::now();
        let mut session = session(now);
        let cut = |packet: Vec<u8>, len: usize| packet[..len].to_vec();
        let mut padded = sender_report();
        padded[0] |= PADDING_BIT;
        let mut many = goodbye(&[1, 2]);
        many[0] = 0x80 | 31;
        for (datagram, reason) in [
            (vec![], RtcpRejected::Truncated),
            (b"hello".to_vec(), RtcpRejected::NotRtcp),
            (vec![0x80], RtcpRejected::Truncated),
            (goodbye(&[THEIRS]), RtcpRejected::NotRtcp),
            (padded, RtcpRejected::NotRtcp),
            (cut(sender_report(), 20), RtcpRejected::Truncated),
            (vec![0x80, 200, 0, 1, 0, 0, 0, 1], RtcpRejected::Truncated),
            (vec![0x80, 201, 0xff, 0xff, 0, 0, 0, 1], RtcpRejected::Truncated),
            ([sender_report(), cut(goodbye(&[THEIRS]), 6)].concat(), RtcpRejected::Truncated),
            ([sender_report(), many].concat(), RtcpRejected::Truncated),
            ([sender_report(), vec![0; 4]].concat(), RtcpRejected::NotRtcp),
        ] {
            assert_eq!(session.handle_datagram(now, &datagram), Err(reason), "{datagram:?}");
        }
        assert!(session.heard.is_none());
    }

    proptest! {
        #[test]
        fn anything_at_all_is_survived(
            mut datagram in prop::collection::vec(any::<u8>(), 0..200),
            packet_type in 199_u8..210,
        ) {
            let now = Instant::now();
            let mut session = session(now);
            let _ = session.handle_datagram(now, &datagram);
            if let [first, second, high, low, ..] = &mut datagram[..] {
                (*first, *second, *high, *low) = (0x80 | *first & 0x1f, packet_type, 0, *low % 16);
            }
            if let Ok(goodbyes) = session.handle_datagram(now, &datagram) {
                prop_assert!(goodbyes.len() <= datagram.len() / 4);
            }
        }
    }
}
