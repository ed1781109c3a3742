//! A network that loses, delays, reorders and repeats, and one that sends anything at all.

use crate::sender::{FRAME, Listener, OPUS_48, PCMU, Sender, mark};
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
        opus: bool,
        datagrams in prop::collection::vec((0_u64..2000, hostile()), 0..100),
    ) {
        let format = if opus { OPUS_48 } else { PCMU };
        let mut listener = Listener::new(format);
        let mut ms = 0;
        for (pause, datagram) in datagrams {
            ms += if pause < 1500 { pause / 50 } else { pause };
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

/// Bytes that range from noise to packets of which only the numbers are absurd.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..80);
    let header = (
        prop::sample::select(vec![0x80_u8, 0x80, 0x80, 0x90, 0xa0, 0xbf]),
        prop::sample::select(vec![0_u8, 111, 111, 101, 0x80]),
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
