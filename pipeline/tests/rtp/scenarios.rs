//! One thing that happens to a stream, and what becomes of the party's clock.

use crate::sender::{FRAME, G722, Heard, Listener, OPUS_16, PCMU, Sender};
use pipeline::codec::{Codec, CodecError};
use pipeline::rtp::{PayloadFormat, RtpReceiver, RtpRejected};
use std::time::Duration;

/// A party that has sent frames 0 to `frames - 1`, one every 20 ms.
fn talking(frames: u64) -> (Sender, Listener) {
    let mut sender = Sender::new(PCMU);
    let mut listener = Listener::new(PCMU);
    for number in 0..frames {
        assert!(listener.receive(number * 20, &sender.frame(number)));
    }
    assert_eq!(
        listener.news(),
        (0..frames).map(|number| Heard::frame(number * FRAME, number)).collect::<Vec<_>>()
    );
    (sender, listener)
}

/// The same after a pause of 20 ms and a frame 2, which ended at 80 ms: it is known to pause.
fn pausing() -> (Sender, Listener) {
    let (mut sender, mut listener) = talking(2);
    sender.timestamp += FRAME as u32;
    listener.receive(60, &sender.frame(2));
    assert_eq!(listener.news(), [Heard::frame(480, 2)]);
    (sender, listener)
}

#[test]
fn packets_in_order_pass_at_once() {
    let (mut sender, mut listener) = talking(1);
    assert!(listener.receive(20, &sender.frame(1)));
    assert_eq!(listener.news(), [Heard::frame(FRAME, 1)]);
    assert_eq!(listener.receiver.position().0, 2 * FRAME);
}

#[test]
fn sequence_and_timestamp_wrap() {
    let mut sender = Sender::new(PCMU);
    sender.sequence_number = u16::MAX - 3;
    sender.timestamp = u32::MAX - 500;
    let mut listener = Listener::new(PCMU);
    for number in 0..10 {
        listener.receive(number * 20, &sender.frame(number));
        assert_eq!(listener.news(), [Heard::frame(number * FRAME, number)]);
    }
}

#[test]
fn a_packet_overtaken_finds_its_place() {
    let (mut sender, mut listener) = talking(2);
    let (slow, fast) = (sender.frame(2), sender.frame(3));
    listener.receive(60, &fast);
    assert_eq!(listener.news(), []);
    listener.receive(90, &slow);
    assert_eq!(listener.news(), [Heard::frame(2 * FRAME, 2), Heard::frame(3 * FRAME, 3)]);
}

#[test]
fn duplicates_and_latecomers_are_dropped_and_counted() {
    let (mut sender, mut listener) = talking(2);
    let mut copy = sender.clone();
    copy.sequence_number -= 1;
    let now = listener.at(40);
    let duplicate = copy.frame(1);
    assert_eq!(listener.receiver.handle_datagram(now, &duplicate), Err(RtpRejected::Duplicate));

    let late = sender.frame(2);
    listener.receive(60, &sender.frame(3));
    listener.wait_until(160);
    let now = listener.at(160);
    assert_eq!(listener.receiver.handle_datagram(now, &late), Err(RtpRejected::Late));
    let stats = listener.receiver.stats();
    assert_eq!((stats.duplicates, stats.late, stats.lost), (1, 1, 1));
}

#[test]
fn a_long_hole_is_concealed_then_lost_and_moves_nothing() {
    let (mut sender, mut listener) = talking(5);
    sender.lose(10);
    listener.receive(300, &sender.frame(15));
    assert_eq!(listener.news(), []);
    listener.wait_until(399);
    assert_eq!(listener.news(), []);
    listener.wait_until(400);
    let news = listener.news();
    assert_eq!(news.len(), 3);
    assert!(matches!(news[0], Heard::Audio(800, 800, _)));
    assert_eq!(news[1..], [Heard::Lost(1600, 800), Heard::frame(2400, 15)]);
    let stats = listener.receiver.stats();
    assert_eq!((stats.lost, stats.concealed_samples, stats.lost_samples), (10, 800, 800));
}

#[test]
fn a_damaged_packet_is_a_lost_packet() {
    let (mut sender, mut listener) = talking(2);
    // 125 ms of audio that claims to last 20 ms.
    listener.receive(40, &sender.packet(FRAME as u32, &[0; 1000]));
    assert_eq!(listener.news(), []);
    listener.receive(60, &sender.frame(3));
    let news = listener.news();
    assert!(matches!(news[0], Heard::Audio(320, FRAME, _)));
    assert_eq!(news[1], Heard::frame(480, 3));
    let stats = listener.receiver.stats();
    assert_eq!((stats.undecodable, stats.lost, stats.concealed_samples), (1, 0, FRAME));
}

#[test]
fn a_pause_of_the_sender_is_a_jump() {
    let (mut sender, mut listener) = talking(2);
    sender.timestamp += 1000;
    listener.receive(165, &sender.frame(2));
    assert_eq!(listener.news(), [Heard::frame(320 + 1000, 2)]);
    assert_eq!(listener.receiver.stats().lost_samples, 0);
}

#[test]
fn a_loss_within_a_pause_is_no_longer_than_the_lost_packets() {
    let (mut sender, mut listener) = talking(2);
    sender.timestamp += 8000;
    sender.lose(1);
    listener.receive(1060, &sender.frame(3));
    listener.wait_until(1160);
    assert_eq!(listener.news(), [Heard::Lost(8320, FRAME), Heard::frame(8480, 3)]);
}

#[test]
fn silence_follows_the_clock_until_audio_returns() {
    let (mut sender, mut listener) = pausing();
    assert_eq!(listener.receiver.poll_timeout(), Some(listener.at(360)));
    listener.wait_until(359);
    assert_eq!(listener.news(), []);
    listener.wait_until(360);
    assert_eq!(listener.news(), [Heard::Audio(640, 800, 0)]);
    listener.wait_until(1000);
    let silence = listener.news();
    assert_eq!(silence.first(), Some(&Heard::Audio(1440, 800, 0)));
    // 880 ms is where a frame of 100 ms ends that is 100 ms old by 1000 ms.
    assert_eq!(silence.last(), Some(&Heard::Audio(6240, 800, 0)));

    // A frame of 870 ms comes late: its first 10 ms were told as silence.
    sender.timestamp += 6960 - 640;
    listener.receive(1010, &sender.frame(3));
    assert_eq!(listener.news(), [Heard::Audio(7040, 80, crate::sender::mark(3))]);
    let stats = listener.receiver.stats();
    assert_eq!((stats.overlapped_samples, stats.silence_samples), (80, 8 * 800));
}

#[test]
fn a_sender_that_never_paused_is_waited_for() {
    let (_, mut listener) = talking(2);
    assert_eq!(listener.receiver.poll_timeout(), Some(listener.at(2020)));
    listener.wait_until(2019);
    assert_eq!(listener.news(), []);
    listener.wait_until(2020);
    let silence = listener.news();
    assert_eq!(silence.first(), Some(&Heard::Audio(320, 800, 0)));
    assert_eq!(silence.last(), Some(&Heard::Audio(320 + 17 * 800, 800, 0)));
}

#[test]
fn comfort_noise_is_silence_at_once() {
    let (mut sender, mut listener) = talking(2);
    let mut quiet = sender.clone();
    quiet.payload_type = 13;
    listener.receive(40, &quiet.packet(0, &[70, 10, 20]));
    // Nothing of it is heard; the clock goes on 100 ms behind.
    assert_eq!(listener.news(), []);
    assert_eq!(listener.receiver.poll_timeout(), Some(listener.at(240)));
    listener.wait_until(1000);
    let silence = listener.news();
    assert_eq!(silence.first(), Some(&Heard::Audio(320, 800, 0)));
    assert_eq!(silence.last(), Some(&Heard::Audio(320 + 7 * 800, 800, 0)));
    sender.sequence_number = quiet.sequence_number;
    sender.timestamp += 8000 - 320;
    listener.receive(1000, &sender.frame(3));
    assert_eq!(listener.news(), [Heard::frame(8000, 3)]);
    let stats = listener.receiver.stats();
    assert_eq!((stats.comfort_noise, stats.not_audio, stats.lost_samples), (1, 1, 0));
}

#[test]
fn silence_after_the_machine_slept_is_bounded() {
    let (_, mut listener) = talking(1);
    let day = listener.at(24 * 3_600_000);
    listener.receiver.handle_timeout(day);
    let told = listener.receiver.stats().silence_samples;
    assert!((23_200..=24_000).contains(&told), "{told}");
    let end = listener.receiver.position().to_ms(8000);
    assert!((86_399_800..=86_399_900).contains(&end), "{end}");
}

#[test]
fn a_burst_after_a_stall_is_heard_in_full() {
    let (mut sender, mut listener) = talking(2);
    listener.wait_until(1900);
    assert_eq!(listener.news(), []);
    // 93 frames were stuck in the network.
    for number in 2..95 {
        listener.receive(1900, &sender.frame(number));
    }
    let expected: Vec<_> = (2..95).map(|n| Heard::frame(n * FRAME, n)).collect();
    assert_eq!(listener.news(), expected);
    assert_eq!(listener.receiver.stats().timestamp_jumps, 0);
}

#[test]
fn a_burst_after_silence_was_told_is_announced_as_lost() {
    let (mut sender, mut listener) = pausing();
    listener.wait_until(1000);
    assert_eq!(listener.news().last(), Some(&Heard::Audio(6240, 800, 0)));
    for number in 3..50 {
        listener.receive(1000, &sender.frame(number));
    }
    let news = listener.news();
    assert_eq!(news[0], Heard::Lost(7040, FRAME));
    assert_eq!(news[1], Heard::frame(7200, 44));
    assert_eq!(news.last(), Some(&Heard::frame(640 + 46 * FRAME, 49)));
    let stats = listener.receiver.stats();
    assert_eq!((stats.overlapped_samples, stats.lost_samples), (40 * FRAME, FRAME));
    assert_eq!(stats.timestamp_jumps, 0);
    // From now on it is given the time of one that never pauses.
    assert_eq!(listener.receiver.poll_timeout(), Some(listener.at(3000)));
}

#[test]
fn a_sender_that_stopped_its_timestamps_is_placed_anew() {
    let (mut sender, mut listener) = talking(2);
    for (number, ms) in (2..).zip((5000..6000).step_by(20)) {
        listener.receive(ms, &sender.frame(number));
    }
    let end = listener.receiver.position().to_ms(8000);
    assert!((5900..=6000).contains(&end), "{end}");
    assert_eq!(listener.receiver.stats().timestamp_jumps, 1);
}

#[test]
fn timestamps_that_jump_are_placed_by_arrival() {
    for jump in [8000 * 11, 0x7000_0000, -8000, i32::MIN] {
        let (mut sender, mut listener) = talking(5);
        sender.timestamp = sender.timestamp.wrapping_add_signed(jump);
        listener.receive(140, &sender.frame(5));
        listener.receive(160, &sender.frame(6));
        let expected = [Heard::frame(140 * 8, 5), Heard::frame(160 * 8, 6)];
        assert_eq!(listener.news(), expected, "after a jump of {jump}");
        assert_eq!(listener.receiver.stats().timestamp_jumps, 1);
    }
}

#[test]
fn a_new_source_is_believed_after_five_packets_and_loses_none() {
    let (_, mut listener) = talking(5);
    let mut other = Sender::new(PCMU);
    (other.ssrc, other.sequence_number, other.timestamp) = (7, 40_000, 0xffff_fff0);
    for number in 0..9 {
        listener.receive(100 + number * 20, &other.frame(number));
        assert_eq!(listener.news(), [], "packet {number}");
    }
    // 200 ms after the last packet of the old source, which came at 80 ms.
    listener.receive(280, &other.frame(9));
    let expected: Vec<_> =
        (0..10).map(|number| Heard::frame((100 + number * 20) * 8, number)).collect();
    assert_eq!(listener.news(), expected);
    assert_eq!(listener.receiver.stats().source_changes, 1);
}

#[test]
fn a_new_source_is_believed_at_once_when_the_old_is_gone() {
    let (_, mut listener) = talking(2);
    listener.wait_until(1500);
    listener.news();
    let mut other = Sender::new(PCMU);
    other.ssrc = 7;
    listener.receive(1500, &other.frame(0));
    assert_eq!(listener.news(), [Heard::frame(1500 * 8, 0)]);
}

#[test]
fn a_goodbye_lets_the_next_source_in_at_once() {
    let (mut sender, mut listener) = talking(2);
    let mut other = Sender::new(PCMU);
    other.ssrc = 7;
    // Somebody else's goodbye says nothing, and a source that goes on has not left.
    listener.receiver.handle_goodbye(7);
    listener.receiver.handle_goodbye(sender.ssrc);
    listener.receive(40, &sender.frame(2));
    listener.receive(50, &other.frame(0));
    assert_eq!(listener.news(), [Heard::frame(320, 2)]);
    listener.receiver.handle_goodbye(sender.ssrc);
    listener.receive(70, &other.frame(1));
    assert_eq!(listener.news(), [Heard::frame(480, 0), Heard::frame(640, 1)]);
    assert_eq!(listener.receiver.stats().source_changes, 1);
}

#[test]
fn an_intruder_beside_the_party_is_never_heard() {
    let (mut sender, mut listener) = talking(1);
    let mut intruder = Sender::new(PCMU);
    intruder.ssrc = 7;
    for number in 1..100 {
        listener.receive(number * 20, &sender.frame(number));
        listener.receive(number * 20 + 10, &intruder.frame(50));
    }
    let expected: Vec<_> = (1..100).map(|n| Heard::frame(n * FRAME, n)).collect();
    assert_eq!(listener.news(), expected);
}

#[test]
fn a_restarted_sequence_is_another_source() {
    let (mut sender, mut listener) = talking(2);
    sender.sequence_number = 30_000;
    for number in 2..13 {
        listener.receive(number * 20, &sender.frame(number));
    }
    let expected: Vec<_> = (2..13).map(|n| Heard::frame(n * FRAME, n)).collect();
    assert_eq!(listener.news(), expected);
    assert_eq!(listener.receiver.stats().source_changes, 1);
}

#[test]
fn telephone_events_are_time_passing() {
    let (mut sender, mut listener) = talking(2);
    let mut keypad = sender.clone();
    keypad.payload_type = 101;
    for ms in [40, 60, 80] {
        listener.receive(ms, &keypad.packet(0, &[5, 0x0a, 0, 160]));
    }
    sender.sequence_number = keypad.sequence_number;
    sender.timestamp += 3 * FRAME as u32;
    listener.receive(100, &sender.frame(5));
    assert_eq!(listener.news(), [Heard::frame(5 * FRAME, 5)]);
    let stats = listener.receiver.stats();
    assert_eq!((stats.not_audio, stats.lost), (3, 0));
}

#[test]
fn keys_are_told_once_and_only_when_asked_for() {
    let press = |listener: &mut Listener, sender: &Sender, ssrc: u32| {
        let mut keypad = sender.clone();
        (keypad.payload_type, keypad.ssrc) = (101, ssrc);
        let timestamp = keypad.timestamp;
        for (ms, end) in [(40, 0), (60, 0), (80, 0x80), (100, 0x80), (120, 0x80)] {
            keypad.timestamp = timestamp;
            listener.receive(ms, &keypad.packet(0, &[5, 0x0a | end, 0, 160]));
        }
        std::iter::from_fn(|| listener.receiver.poll_key()).collect::<String>()
    };
    let (sender, mut listener) = talking(2);
    assert_eq!(press(&mut listener, &sender, sender.ssrc), "");
    let (sender, mut listener) = talking(2);
    listener.receiver.listen_for_keys(101);
    assert_eq!(press(&mut listener, &sender, sender.ssrc ^ 1), "", "another source has no say");
    assert_eq!(press(&mut listener, &sender, sender.ssrc), "5");
    assert_eq!(listener.receiver.stats().undecodable, 0);
}

#[test]
fn the_dtmf_artefact_of_ringcentral_is_not_opus() {
    let mut sender = Sender::new(OPUS_16);
    let mut listener = Listener::new(OPUS_16);
    assert!(listener.receive(0, &sender.packet(320, &[0x0b, 0x8a, 0x03, 0xc0])));
    assert_eq!(listener.receiver.stats().not_audio, 1);
    assert_eq!(listener.receiver.poll_timeout(), None);
}

#[test]
fn keepalives_without_payload_are_not_audio() {
    let (mut sender, mut listener) = talking(2);
    assert!(listener.receive(30, &sender.packet(0, &[])));
    listener.receive(40, &sender.frame(2));
    assert_eq!(listener.news(), [Heard::frame(320, 2)]);
}

#[test]
fn the_end_releases_what_waits() {
    let (mut sender, mut listener) = talking(2);
    sender.lose(1);
    listener.receive(60, &sender.frame(3));
    listener.finish();
    let news = listener.news();
    assert!(matches!(news[0], Heard::Audio(320, FRAME, _)));
    assert_eq!(news[1..], [Heard::frame(480, 3)]);
    let now = listener.at(80);
    let refused = listener.receiver.handle_datagram(now, &sender.frame(4));
    assert_eq!(refused, Err(RtpRejected::Finished));
    listener.receiver.handle_timeout(now + Duration::from_secs(10));
    assert_eq!(listener.receiver.poll_audio(), None);
}

#[test]
fn g722_has_two_samples_to_a_tick() {
    let mut sender = Sender::new(G722);
    let mut listener = Listener::new(G722);
    let silence = Codec::G722.silence();
    assert_eq!(silence.len() as u64, FRAME);
    for number in 0..3 {
        listener.receive(number * 20, &sender.packet(FRAME as u32, &silence));
    }
    sender.lose(1);
    listener.receive(80, &sender.packet(FRAME as u32, &silence));
    listener.wait_until(180);
    // A pause of 20 ms.
    sender.timestamp += FRAME as u32;
    listener.receive(200, &sender.packet(FRAME as u32, &silence));
    let positions: Vec<_> =
        listener.heard.iter().map(|it| (it.position().0, it.samples())).collect();
    assert_eq!(positions, [(0, 320), (320, 320), (640, 320), (960, 320), (1280, 320), (1920, 320)]);
    assert_eq!(listener.receiver.stats().concealed_samples, 320);
}

#[test]
fn a_clock_that_does_not_fit_the_codec_is_refused() {
    for (codec, clock_rate) in [
        (Codec::Opus, 0),
        (Codec::Opus, 8000),
        (Codec::Pcma, 44_100),
        (Codec::Pcmu, 16_000),
        (Codec::G722, 16_000),
    ] {
        let format = PayloadFormat { codec, payload_type: 111, clock_rate };
        assert_eq!(
            RtpReceiver::new(format).err(),
            Some(CodecError::UnsupportedClockRate { codec, clock_rate })
        );
    }
}
