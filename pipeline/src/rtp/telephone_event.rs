//! Keys that a party presses, as RTP telephone-events (RFC 4733).

use std::collections::VecDeque;

use super::datagram::RtpHeader;

/// Keys that wait to be taken. When full, further ones are forgotten: nobody presses so many at once.
const KEY_CAPACITY: usize = 16;

/// Event numbers of keys: 0 to 9, `*`, `#` and A to D (RFC 4733 section 3.2).
const KEYS: &[u8; 16] = b"0123456789*#ABCD";

/// Finds the keys in a stream of telephone-events: each once, at the first packet that tells of it.
///
/// All packets of an event have the timestamp at which it began, and its last one is sent three times (RFC 4733 section
/// 2.5.1). A key that is held for longer than a packet can say goes on as another event that begins where the first one
/// ends (section 2.5.1.3).
#[derive(Clone, Debug)]
pub(super) struct KeyDetector {
    payload_type: u8,
    last: Option<Event>,
    keys: VecDeque<char>,
}

/// The newest event.
#[derive(Clone, Copy, Debug)]
struct Event {
    ssrc: u32,
    code: u8,
    began: u32,
    /// In ticks, as far as it has been told.
    duration: u16,
    has_ended: bool,
}

impl KeyDetector {
    /// Expects telephone-events under this payload type.
    pub(super) fn new(payload_type: u8) -> Self {
        Self { payload_type, last: None, keys: VecDeque::new() }
    }

    /// Looks at a packet of the party's.
    pub(super) fn handle_packet(&mut self, header: &RtpHeader, payload: &[u8]) {
        let &[code, flags, high, low, ..] = payload else { return };
        if header.payload_type != self.payload_type {
            return;
        }
        let event = Event {
            ssrc: header.ssrc,
            code,
            began: header.timestamp,
            duration: u16::from_be_bytes([high, low]),
            has_ended: flags & END_BIT != 0,
        };
        match &mut self.last {
            Some(last) if last.ssrc == event.ssrc && last.began == event.began => {
                last.duration = last.duration.max(event.duration);
                last.has_ended |= event.has_ended;
            }
            // A packet of an older event that was overtaken.
            Some(last)
                if last.ssrc == event.ssrc && (event.began.wrapping_sub(last.began) as i32) < 0 => {
            }
            last => {
                let goes_on = last.is_some_and(|last| last.is_continued_by(&event));
                *last = Some(event);
                let key = KEYS.get(usize::from(code)).map(|key| char::from(*key));
                if let Some(key) = key.filter(|_| !goes_on && self.keys.len() < KEY_CAPACITY) {
                    self.keys.push_back(key);
                }
            }
        }
    }

    /// The next key that was pressed.
    pub(super) fn poll_key(&mut self) -> Option<char> {
        self.keys.pop_front()
    }
}

impl Event {
    fn is_continued_by(&self, next: &Event) -> bool {
        let is_same = self.ssrc == next.ssrc && self.code == next.code;
        // The packet that would have told the whole duration may be lost.
        let most = self.began.wrapping_add(u32::from(u16::MAX));
        is_same && !self.has_ended && next.began == most
    }
}

const END_BIT: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: u8 = 101;

    fn packet(payload_type: u8, ssrc: u32, timestamp: u32) -> RtpHeader {
        let mut datagram = vec![0x80, payload_type, 0, 1];
        datagram.extend(timestamp.to_be_bytes());
        datagram.extend(ssrc.to_be_bytes());
        RtpHeader::parse(&datagram).unwrap()
    }

    /// The packets of one key: three that go on, and the last one three times.
    fn press(detector: &mut KeyDetector, code: u8, began: u32) {
        for (flags, duration) in
            [(10, 160), (10, 320), (10, 480), (0x8a, 640), (0x8a, 640), (0x8a, 640)]
        {
            let [high, low] = u16::to_be_bytes(duration);
            detector.handle_packet(&packet(EVENTS, 7, began), &[code, flags, high, low]);
        }
    }

    fn keys(detector: &mut KeyDetector) -> String {
        std::iter::from_fn(|| detector.poll_key()).collect()
    }

    #[test]
    fn every_key_is_told_once() {
        let mut detector = KeyDetector::new(EVENTS);
        for (number, code) in (0..16).enumerate() {
            press(&mut detector, code, (u32::MAX - 4000).wrapping_add(2000 * number as u32));
        }
        assert_eq!(keys(&mut detector), "0123456789*#ABCD");
        // The same key again is another event; flash is none of the keys.
        press(&mut detector, 1, 40_000);
        press(&mut detector, 1, 42_000);
        press(&mut detector, 16, 44_000);
        assert_eq!(keys(&mut detector), "11");
    }

    #[test]
    fn lost_reordered_and_foreign_packets_change_nothing() {
        let mut detector = KeyDetector::new(EVENTS);
        // All that is left of it is a repetition of its end.
        detector.handle_packet(&packet(EVENTS, 7, 1000), &[1, 0x8a, 2, 128]);
        press(&mut detector, 2, 5000);
        detector.handle_packet(&packet(EVENTS, 7, 1000), &[1, 0x8a, 2, 128]);
        detector.handle_packet(&packet(96, 7, 9000), &[3, 10, 0, 160]);
        for short in [&[][..], &[4], &[4, 10, 0]] {
            detector.handle_packet(&packet(EVENTS, 7, 9000), short);
        }
        assert_eq!(keys(&mut detector), "12");
    }

    #[test]
    fn a_key_that_is_held_for_long_is_one_key() {
        let mut detector = KeyDetector::new(EVENTS);
        detector.handle_packet(&packet(EVENTS, 7, 100), &[5, 10, 0xff, 0xff]);
        detector.handle_packet(&packet(EVENTS, 7, 100 + 0xffff), &[5, 10, 0, 160]);
        detector.handle_packet(&packet(EVENTS, 7, 100 + 0xffff), &[5, 0x8a, 1, 64]);
        assert_eq!(keys(&mut detector), "5");
        // Another key that begins there is another key.
        detector.handle_packet(&packet(EVENTS, 7, 900_000), &[5, 10, 0xff, 0xff]);
        detector.handle_packet(&packet(EVENTS, 7, 900_000 + 0xffff), &[6, 10, 0, 160]);
        assert_eq!(keys(&mut detector), "56");
    }

    #[test]
    fn a_flood_fills_no_memory() {
        let mut detector = KeyDetector::new(EVENTS);
        for number in 0..1000 {
            press(&mut detector, 1, number * 1000);
        }
        assert_eq!(keys(&mut detector).len(), KEY_CAPACITY);
    }
}
