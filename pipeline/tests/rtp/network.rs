//! A network that loses, delays, reorders and repeats, and one that sends anything at all.

use crate::sender::{FRAME, G722, Listener, OPUS_16, OPUS_48, PCMU, Sender, mark};
use pipeline::rtp::PartyAudio;
use proptest::prelude::*;

/// What the network does to one packet.
#[derive(Clone, Debug)]
struct Fate {
    lost: bool,
    delay_ms: u64,
    copy_after_ms: Option<u64>,
}

fn fate() -> impl Strategy<Value = Fate> {
    (prop::bool::weighted(0.15), 0_u64..80, prop::option::weighted(0.1, 0_u64..200))
        .prop_map(|(lost, delay_ms, copy_after_ms)| Fate { lost, delay_ms, copy_after_ms })
}

/// Fates of a stream, with one burst of losses somewhere in it. The first and the last packet
/// arrive, and the first at once, so that both ends of the party's clock are known.
fn fates() -> impl Strategy<Value = Vec<Fate>> {
    (prop::collection::vec(fate(), 2..200), any::<prop::sample::Index>(), 0_usize..60).prop_map(
        |(mut fates, burst, length)| {
            let start = burst.index(fates.len());
            fates.iter_mut().skip(start).take(length).for_each(|fate| fate.lost = true);
            let last = fates.len() - 1;
            fates[last].lost = false;
            fates[0] = Fate { lost: false, delay_ms: 0, copy_after_ms: None };
            fates
        },
    )
}

proptest! {
    #[test]
    fn every_sample_keeps_its_place(fates in fates(), sequence: u16, timestamp: u32) {
        let mut sender = Sender { sequence_number: sequence, timestamp, ..Sender::new(PCMU) };
        let mut arrivals = Vec::new();
        for (number, fate) in (0_u64..).zip(&fates) {
            let datagram = sender.frame(number);
            if !fate.lost {
                let at = number * 20 + fate.delay_ms;
                arrivals.push((at, number, datagram.clone()));
                arrivals.extend(fate.copy_after_ms.map(|after| (at + after, number, datagram)));
            }
        }
        arrivals.sort();

        let mut listener = Listener::new(PCMU);
        let mut taken = vec![false; fates.len()];
        for (at, number, datagram) in &arrivals {
            if listener.receive(*at, datagram) {
                prop_assert!(!taken[*number as usize], "frame {} was taken twice", number);
                taken[*number as usize] = true;
            }
        }
        listener.finish();

        // Every sample of the party's clock is told exactly once, whatever it is told to be.
        let mut clock: Vec<Option<i16>> = Vec::new();
        for audio in &listener.heard {
            prop_assert_eq!(audio.position().0, clock.len() as u64);
            match audio {
                PartyAudio::Frame { pcm, .. } => clock.extend(pcm.iter().copied().map(Some)),
                PartyAudio::Lost { samples, .. } => {
                    clock.resize(clock.len() + *samples as usize, None);
                }
            }
        }
        prop_assert_eq!(clock.len() as u64, fates.len() as u64 * FRAME);

        // What was taken sounds where it was sent, and only what came too late was not taken.
        for (number, frame) in (0_u64..).zip(clock.chunks(FRAME as usize)) {
            if taken[number as usize] {
                prop_assert!(
                    frame.iter().all(|&sample| sample == Some(mark(number))),
                    "frame {} is not its own",
                    number
                );
            }
        }
        let stats = listener.receiver.stats();
        let missing = taken.iter().filter(|&&taken| !taken).count() as u64;
        prop_assert_eq!(stats.lost, missing);
        prop_assert_eq!(stats.decoded, fates.len() as u64 - missing);
        prop_assert_eq!(stats.datagrams, arrivals.len() as u64);
        prop_assert_eq!(stats.datagrams, stats.decoded + stats.duplicates + stats.late);
    }

    #[test]
    fn anything_at_all_is_survived(
        format in prop::sample::select(vec![OPUS_48, OPUS_16, PCMU, G722]),
        datagrams in prop::collection::vec((0_u64..2000, hostile()), 0..100),
    ) {
        let mut listener = Listener::new(format);
        let mut ms = 0;
        for (pause, datagram) in datagrams {
            ms += if pause < 1500 { pause / 50 } else { pause };
            if pause % 7 == 0 {
                listener.receiver.handle_goodbye(1);
            }
            // The listener checks the order of what it is told.
            if pause % 2 == 0 {
                listener.receive(ms, &datagram);
            } else {
                listener.receive_unawares(ms, &datagram);
            }
        }
        listener.finish();
    }
}

/// Some words, what the sender does after them, and what the network does meanwhile.
#[derive(Clone, Debug)]
struct Sentence {
    fates: Vec<Fate>,
    /// The network stops here for so long, then delivers all at once.
    stall: Option<(prop::sample::Index, u64)>,
    pause_frames: u64,
    says_so: bool,
}

fn sentence() -> impl Strategy<Value = Sentence> {
    let stall = prop::option::weighted(0.3, (any::<prop::sample::Index>(), 100_u64..3000));
    (prop::collection::vec(fate(), 1..60), stall, 0_u64..150, any::<bool>()).prop_map(
        |(fates, stall, pause_frames, says_so)| Sentence { fates, stall, pause_frames, says_so },
    )
}

proptest! {
    /// Whatever the network and the clocks do, what is heard is heard in its place, and what is
    /// not heard is lost, silence, or counted as overlapped and then announced.
    #[test]
    fn time_is_accounted_for(
        sentences in prop::collection::vec(sentence(), 1..8),
        ppm in -200_i64..200,
    ) {
        let mut sender = Sender::new(PCMU);
        let start = sender.timestamp;
        let mut arrivals = Vec::new();
        let (mut number, mut clock_ms) = (0_u64, 0_u64);
        for sentence in &sentences {
            let stall = sentence.stall.map(|(index, length)| {
                let from = clock_ms + index.index(sentence.fates.len()) as u64 * 20;
                (from, from + length)
            });
            for fate in &sentence.fates {
                let place = u64::from(sender.timestamp.wrapping_sub(start));
                let datagram = sender.frame(number);
                let sent = clock_ms.saturating_add_signed(clock_ms as i64 * ppm / 1_000_000);
                let mut at = sent + fate.delay_ms;
                if let Some((from, to)) = stall && (from..to).contains(&at) {
                    at = to;
                }
                if number == 0 {
                    arrivals.push((sent, place, number, datagram));
                } else if !fate.lost {
                    arrivals.extend(fate.copy_after_ms.map(|after| {
                        (at + after, place, number, datagram.clone())
                    }));
                    arrivals.push((at, place, number, datagram));
                }
                number += 1;
                clock_ms += 20;
            }
            if sentence.says_so {
                let mut quiet = Sender { payload_type: 13, ..sender.clone() };
                arrivals.push((clock_ms, u64::MAX, number, quiet.packet(0, &[70])));
                sender.sequence_number = quiet.sequence_number;
            }
            sender.timestamp = sender.timestamp.wrapping_add((sentence.pause_frames * FRAME) as u32);
            clock_ms += sentence.pause_frames * 20;
        }
        arrivals.sort();

        let mut listener = Listener::new(PCMU);
        let mut taken = Vec::new();
        for (at, place, number, datagram) in &arrivals {
            if listener.receive(*at, datagram) && *place != u64::MAX {
                taken.push((*place, *number));
            }
        }
        listener.finish();

        let stats = *listener.receiver.stats();
        let told: u64 = listener.heard.iter().map(PartyAudio::samples).sum();
        prop_assert!(told <= listener.receiver.position().0);
        if stats.timestamp_jumps + stats.source_changes > 0 {
            // The party was placed anew by its time of arrival.
            return Ok(());
        }
        let mut unheard = 0;
        for (place, number) in taken {
            let own = listener.heard.iter().filter(|audio| {
                audio.position().0 < place + FRAME && audio.end().0 > place
            });
            let heard: u64 = own
                .filter_map(|audio| match audio {
                    PartyAudio::Frame { position, pcm } if pcm.contains(&mark(number)) => {
                        Some(audio.end().0.min(place + FRAME) - position.0.max(place))
                    }
                    PartyAudio::Frame { .. } | PartyAudio::Lost { .. } => None,
                })
                .sum();
            unheard += FRAME.saturating_sub(heard);
        }
        // A packet more than a hundred places late is not told from another stream's.
        unheard = unheard.saturating_sub(stats.strays * FRAME);
        // An announcement takes the place of up to a frame and what led up to it.
        prop_assert!(unheard <= stats.overlapped_samples + stats.lost_samples, "{} {:?}", unheard, stats);
        prop_assert!(unheard == 0 || stats.overlapped_samples > 0, "{} {:?}", unheard, stats);
    }
}

/// Bytes that range from noise to packets of which only the numbers are absurd.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..80);
    let header = (
        prop::sample::select(vec![0x80_u8, 0x80, 0x80, 0x90, 0xa0, 0xbf]),
        prop::sample::select(vec![0_u8, 9, 13, 109, 111, 111, 101, 0x80]),
        prop_oneof![0_u16..20, any::<u16>()],
        prop_oneof![(0_u32..40).prop_map(|n| n * 960), any::<u32>()],
        prop::sample::select(vec![1_u8, 1, 1, 2]),
        prop::collection::vec(any::<u8>(), 0..300),
    );
    let packet = header.prop_map(|(first, second, number, timestamp, ssrc, payload)| {
        let mut bytes = vec![first, second];
        bytes.extend(number.to_be_bytes());
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend([0, 0, 0, ssrc]);
        bytes.extend(payload);
        bytes
    });
    prop_oneof![1 => noise, 6 => packet]
}
