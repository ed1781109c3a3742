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

/// Decodes one packet's payload.
type Decode = Box<dyn FnMut(&[u8]) -> anyhow::Result<()>>;

/// Processor seconds that decoding one of these packets takes on average: Opus by libopus at 16 kHz mono, as the gateway
/// does, and G.711 by its formula.
pub(super) fn cpu_s_per_packet<P: AsRef<[u8]>>(
    codec: Codec,
    payloads: &[P],
) -> anyhow::Result<f64> {
    let mut pcm = [0i16; FRAME];
    let mut decode: Decode = match codec {
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
    };
    let used = || cpu::this_thread_seconds().context("cannot read this thread's processor time");
    let start = used()?;
    let mut packets = 0;
    loop {
        for payload in payloads {
            decode(black_box(payload.as_ref()))?;
        }
        packets += payloads.len();
        let used = used()? - start;
        if used >= AT_LEAST {
            return Ok(used / packets as f64);
        }
    }
}
