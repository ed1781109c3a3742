//! Signalling says that a party is on hold, and that it is back.

use crate::sender::{FRAME, Heard, Listener, PCMU, Sender};

/// A party that has sent frames 0 to 4, one every 20 ms, and is on hold since 100 ms.
fn held() -> (Sender, Listener) {
    let mut sender = Sender::new(PCMU);
    let mut listener = Listener::new(PCMU);
    for number in 0..5 {
        listener.receive(number * 20, &sender.frame(number));
    }
    listener.news();
    listener.wait_until(100);
    listener.receiver.handle_hold(listener.at(100), true);
    (sender, listener)
}

#[test]
fn silence_passes_at_once_and_not_after_two_seconds() {
    let (_, mut listener) = held();
    listener.wait_until(1000);
    let news = listener.news();
    assert_eq!(news[0], Heard::Audio(5 * FRAME, 800, 0));
    assert_eq!(listener.receiver.position().0, 800 + 8 * 800);
    assert_eq!(listener.receiver.stats().lost_samples, 0);
}

#[test]
fn a_sender_whose_timestamps_went_on_is_heard_in_their_place() {
    let (mut sender, mut listener) = held();
    listener.wait_until(60_000);
    listener.news();
    listener.receiver.handle_hold(listener.at(60_000), false);
    sender.timestamp += 8 * (60_000 - 80) as u32;
    for number in 0..50 {
        listener.receive(60_020 + number * 20, &sender.frame(number));
        let position = 8 * 60_020 + number * FRAME;
        assert_eq!(listener.news(), [Heard::frame(position, number)], "{number}");
    }
    let stats = listener.receiver.stats();
    assert_eq!((stats.lost_samples, stats.overlapped_samples, stats.timestamp_jumps), (0, 0, 0));
}

#[test]
fn a_sender_whose_timestamps_stood_still_is_heard_from_its_first_packet() {
    // The news may come after the first packets.
    for news in [30_000, 30_100] {
        let (mut sender, mut listener) = held();
        let mut heard = Vec::new();
        listener.wait_until(30_000);
        listener.news();
        for number in 0..50 {
            let at = 30_000 + number * 20;
            if at == news {
                listener.receiver.handle_hold(listener.at(at), false);
            }
            listener.receive(at, &sender.frame(number));
            heard.extend(listener.news());
        }
        let expected: Vec<Heard> =
            (0..50).map(|number| Heard::frame(8 * 30_000 + number * FRAME, number)).collect();
        assert_eq!(heard, expected);
        let stats = listener.receiver.stats();
        assert_eq!((stats.lost_samples, stats.overlapped_samples), (0, 0));
        assert_eq!(stats.timestamp_jumps, 1);
    }
}

#[test]
fn packets_that_the_news_has_overtaken_move_nothing() {
    let (mut sender, mut listener) = held();
    for number in 5..8 {
        listener.receive(120 + (number - 5) * 20, &sender.frame(number));
        assert_eq!(listener.news(), [Heard::frame(number * FRAME, number)]);
    }
    listener.wait_until(565);
    assert_eq!(listener.news()[0], Heard::Audio(8 * FRAME, 800, 0));
    // One so late that silence has been told in its place.
    assert!(listener.receive(566, &sender.frame(8)));
    assert_eq!(listener.news(), []);
    assert_eq!(listener.receiver.stats().timestamp_jumps, 0);
    // After the hold a stall is a stall again.
    listener.receiver.handle_hold(listener.at(5000), false);
    sender.timestamp += 8 * (5000 - 180) as u32;
    listener.receive(5020, &sender.frame(9));
    assert_eq!(listener.news().last(), Some(&Heard::frame(8 * 5000, 9)));
    listener.wait_until(5200);
    listener.receive(5240, &sender.frame(10));
    assert_eq!(listener.news(), [Heard::frame(8 * 5020, 10)]);
}
