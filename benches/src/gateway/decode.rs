//! The yardstick: decoding and nothing else.

use std::hint::black_box;

use anyhow::Context;
use audiopus::coder::Decoder;
use audiopus::packet::Packet;
use audiopus::{Channels, MutSignals, SampleRate};
use pipeline::codec::g711;
use simulator::Codec;

use crate::cpu;

/// For how long packets are decoded at least, in processor seconds.
const AT_LEAST: f64 = 1.0;

/// Samples of 20 ms at 16 kHz.
const FRAME: usize = 320;

/// How often every stream decodes a packet between two looks at the clock.
const ROUNDS: usize = 50;

/// Decodes one packet's payload.
type Decode = Box<dyn FnMut(&[u8]) -> anyhow::Result<()>>;

/// Processor seconds that decoding one of these packets takes on average: Opus by libopus at 16 kHz mono, as the gateway
/// does, and G.711 by its formula.
///
/// So many streams take turns, each at a place of its own in the recording, as they do in the gateway: a decoder whose
/// state never leaves the innermost cache is quicker than any that serves calls.
pub(super) fn cpu_s_per_packet<P: AsRef<[u8]>>(
    codec: Codec,
    payloads: &[P],
    streams: usize,
) -> anyhow::Result<f64> {
    let mut decoders = (0..streams).map(|_| decoder(codec)).collect::<anyhow::Result<Vec<_>>>()?;
    let used = || cpu::this_thread_seconds().context("cannot read this thread's processor time");
    let start = used()?;
    let (mut number, mut packets) = (0_usize, 0);
    loop {
        for (stream, decode) in decoders.iter_mut().enumerate() {
            let place = stream * payloads.len() / streams + number;
            decode(black_box(payloads[place % payloads.len()].as_ref()))?;
        }
        (number, packets) = (number + 1, packets + streams);
        if number.is_multiple_of(ROUNDS) {
            let used = used()? - start;
            if used >= AT_LEAST {
                return Ok(used / packets as f64);
            }
        }
    }
}

fn decoder(codec: Codec) -> anyhow::Result<Decode> {
    let mut pcm = [0i16; FRAME];
    Ok(match codec {
        Codec::Opus => {
            let mut decoder = Decoder::new(SampleRate::Hz16000, Channels::Mono)?;
            Box::new(move |payload| {
                let packet = Packet::try_from(payload)?;
                decoder.decode(Some(packet), MutSignals::try_from(&mut pcm[..])?, false)?;
                black_box(&pcm);
                Ok(())
            })
        }
        Codec::Pcmu => Box::new(move |payload| {
            for (sample, code) in pcm.iter_mut().zip(payload) {
                *sample = g711::decode_mu_law(*code);
            }
            black_box(&pcm);
            Ok(())
        }),
    })
}
