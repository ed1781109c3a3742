//! Hours of a sender whose clock runs a little fast or slow.

use crate::sender::{Heard, Listener, PCMU, Sender};
use std::time::Duration;

/// Samples in a packet of 60 ms.
const PACKET: u64 = 480;

/// Packets of three hours.
const PACKETS: u64 = 3 * 3600 * 1000 / 60;

#[test]
fn a_clock_that_is_off_makes_neither_gaps_nor_jumps() {
    for ppm in [-100_i64, 100] {
        // What takes the sender this long by its clock, by ours.
        let by_ours = |ms: u64| ms.saturating_add_signed(ms as i64 * -ppm / 1_000_000);
        let mut sender = Sender::new(PCMU);
        let mut listener = Listener::new(PCMU);
        for number in 0..PACKETS {
            // Up to 40 ms of jitter.
            let at = by_ours(number * 60) + number * 7919 % 41;
            listener.receive(at, &sender.packet(PACKET as u32, &[1; PACKET as usize]));
            let news = listener.news();
            assert!(
                matches!(news[..], [Heard::Audio(position, PACKET, _)] if position == number * PACKET),
                "packet {number} at {ppm} ppm: {news:?}"
            );
        }

        // Then silence for ten minutes: the party's clock stays where the sender's is.
        sender.payload_type = 13;
        let end = PACKETS * 60;
        listener.receive(by_ours(end), &sender.packet(0, &[70]));
        let pause = 600_000;
        listener.wait_until(by_ours(end + pause));
        let told = listener.receiver.position().to_ms(8000);
        // 100 to 200 ms behind by design, 60 ms by ten minutes at 100 ppm, 10 ms by jitter.
        let behind = (end + pause).abs_diff(told);
        assert!((30..=270).contains(&behind), "{behind} ms behind at {ppm} ppm");

        // And what follows is heard in its place.
        sender.payload_type = 0;
        sender.timestamp = sender.timestamp.wrapping_add((pause * 8) as u32);
        listener.news();
        listener.receive(by_ours(end + pause), &sender.packet(PACKET as u32, &[1; 480]));
        let news = listener.news();
        assert!(
            matches!(news[..], [Heard::Audio(position, PACKET, _)] if position == (end + pause) * 8),
            "{news:?}"
        );
        let stats = listener.receiver.stats();
        assert_eq!(
            (stats.lost_samples, stats.overlapped_samples, stats.timestamp_jumps),
            (0, 0, 0)
        );
        assert_eq!(listener.receiver.poll_timeout().map(|at| at > listener.at(end)), Some(true));
    }
}

#[test]
fn a_pause_of_an_hour_does_not_wear_out_the_clock() {
    let mut sender = Sender::new(PCMU);
    let mut listener = Listener::new(PCMU);
    listener.receive(0, &sender.frame(0));
    sender.payload_type = 13;
    listener.receive(20, &sender.packet(0, &[70]));
    let hour = Duration::from_secs(3600).as_millis() as u64;
    listener.wait_until(hour);
    // The sender is 100 ppm slow: an hour and 0.36 s have passed for us when an hour has for it.
    sender.payload_type = 0;
    sender.timestamp = sender.timestamp.wrapping_add(((hour - 20) * 8) as u32);
    listener.receive(hour + 360, &sender.frame(1));
    for number in 2..200 {
        listener.receive(hour + 360 + (number - 1) * 20, &sender.frame(number));
    }
    // What was told as silence by our clock hides 0.2 s at most; then audio goes on and stays.
    let stats = listener.receiver.stats();
    assert!(stats.overlapped_samples <= 300 * 8, "{stats:?}");
    assert_eq!(stats.timestamp_jumps, 0);
    let end = listener.receiver.position().to_ms(8000);
    assert_eq!(end, hour + 199 * 20);
}
