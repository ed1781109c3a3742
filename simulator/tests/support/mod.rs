//! A supervisor's gateway in miniature: a REST client and a SIP device that answers.

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part")]

mod device;
mod rest;

pub use device::{Device, Leg, Manner, Transport};
pub use rest::{Rest, client};

use rtp::packet::Packet;
use simulator::{Account, Audio, CallPlan, Codec, Shape, Simulator, SimulatorConfig};
use std::f64::consts::TAU;
use std::net::Ipv4Addr;

pub const CUSTOMER_HZ: f64 = 440.0;
pub const AGENT_HZ: f64 = 1000.0;

pub async fn start(seed: u64) -> Simulator {
    Simulator::start(SimulatorConfig {
        rest_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        sip_listen: (Ipv4Addr::LOCALHOST, 0).into(),
        account: Account::demo(),
        seed,
    })
    .await
    .unwrap()
}

/// A sine at a quarter of full scale, 16 kHz.
pub fn tone(frequency: f64, milliseconds: u32) -> Audio {
    let samples = (0..16 * milliseconds)
        .map(|n| ((TAU * frequency * f64::from(n) / 16_000.0).sin() * 8_000.0) as i16);
    Audio::from_samples(samples.collect(), 16_000).unwrap()
}

/// A call whose parties are told apart by their pitch.
pub fn plan(shape: Shape, codec: Codec, milliseconds: u32) -> CallPlan {
    CallPlan {
        shape,
        codec,
        ..CallPlan::new(
            &Account::demo().agents[0].extension_id,
            tone(CUSTOMER_HZ, milliseconds),
            tone(AGENT_HZ, milliseconds),
        )
    }
}

/// The share of a signal's power that lies at one frequency.
pub fn share_of(samples: &[i16], sample_rate: u32, frequency: f64) -> f64 {
    let coefficient = 2.0 * (TAU * frequency / f64::from(sample_rate)).cos();
    let (mut s1, mut s2) = (0.0, 0.0);
    for sample in samples {
        (s1, s2) = (f64::from(*sample) + coefficient * s1 - s2, s1);
    }
    let power = s1 * s1 + s2 * s2 - coefficient * s1 * s2;
    let total: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    2.0 * power / (samples.len() as f64 * total)
}

/// Decodes packets; the samples and their rate.
pub fn decode(packets: &[Packet]) -> (Vec<i16>, u32) {
    let payload_type = packets[0].header.payload_type;
    if payload_type == 0 {
        let expand = |code: &u8| {
            let code = !code;
            let magnitude = ((i32::from(code & 0x0f) << 3) + 0x84) << (code >> 4 & 7);
            (if code & 0x80 != 0 { 0x84 - magnitude } else { magnitude - 0x84 }) as i16
        };
        return (
            packets.iter().flat_map(|packet| packet.payload.iter().map(expand)).collect(),
            8_000,
        );
    }
    assert_eq!(payload_type, 111);
    let rate = audiopus::SampleRate::Hz16000;
    let mut decoder = audiopus::coder::Decoder::new(rate, audiopus::Channels::Mono).unwrap();
    let mut samples = Vec::new();
    for packet in packets {
        let mut frame = vec![0i16; 320];
        let payload = packet.payload.as_ref().try_into().unwrap();
        let output = frame.as_mut_slice().try_into().unwrap();
        assert_eq!(decoder.decode(Some(payload), output, false).unwrap(), 320);
        samples.extend(frame);
    }
    (samples, 16_000)
}
