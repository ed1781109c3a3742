use std::time::Duration;

use bytes::Bytes;
use pipeline::codec;
use pipeline::rtp::PayloadFormat;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rtp::header::Header;
use rtp::packet::Packet;
use simulator::Codec;
use webrtc_util::marshal::Marshal;

/// The audio of one packet.
const FRAME: Duration = Duration::from_millis(20);

/// Packets that are lost in a row, in a burst: 100 ms.
const BURST: u32 = 5;

/// How a network treats packets.
#[derive(Clone, Copy, Debug)]
pub(super) enum Network {
    /// Each packet is lost with this probability, in percent.
    Random(f64),
    /// Packets are lost in bursts, this share of all, in percent.
    Bursts(f64),
    /// None is lost; each is delayed by up to this much, in ms.
    Jitter(u64),
}

/// A party's packets as they arrive.
pub(super) struct Packets {
    pub(super) format: PayloadFormat,
    /// When, since the first was sent, in order.
    pub(super) arrivals: Vec<(Duration, Bytes)>,
}

impl Network {
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let random = [0.0, 1.0, 5.0, 10.0, 20.0].map(Self::Random);
        let bursts = [1.0, 5.0, 10.0].map(Self::Bursts);
        random.into_iter().chain(bursts).chain([Self::Jitter(80)])
    }

    /// Whether another run may bring something else.
    pub(super) fn depends_on_luck(self) -> bool {
        self.loss_percent() > 0.0 || self.jitter_ms() > 0
    }

    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Random(_) | Self::Jitter(_) => "random",
            Self::Bursts(_) => "burst",
        }
    }

    pub(super) fn loss_percent(self) -> f64 {
        match self {
            Self::Random(percent) | Self::Bursts(percent) => percent,
            Self::Jitter(_) => 0.0,
        }
    }

    pub(super) fn jitter_ms(self) -> u64 {
        match self {
            Self::Random(_) | Self::Bursts(_) => 0,
            Self::Jitter(ms) => ms,
        }
    }
}

impl Packets {
    /// Sends payloads of 20 ms through a network. The first and the last arrive, so that the call has its length.
    pub(super) fn new(codec: Codec, payloads: &[Bytes], network: Network, seed: u64) -> Self {
        let (codec, payload_type, clock_rate) = match codec {
            Codec::Opus => (codec::Codec::Opus, 111, 48_000),
            Codec::Pcmu => (codec::Codec::Pcmu, 0, 8_000),
        };
        let format = PayloadFormat { codec, payload_type, clock_rate };
        let mut random = StdRng::seed_from_u64(seed);
        let mut burst = 0;
        let mut arrivals = Vec::new();
        for (number, payload) in (0u32..).zip(payloads) {
            let is_bound = number == 0 || number as usize == payloads.len() - 1;
            let is_lost = match network {
                Network::Random(percent) => random.random_bool(percent / 100.0),
                Network::Bursts(percent) => {
                    if burst == 0 && random.random_bool(starts_burst(percent)) {
                        burst = BURST;
                    }
                    let is_in_burst = burst > 0;
                    burst = burst.saturating_sub(1);
                    is_in_burst
                }
                Network::Jitter(_) => false,
            };
            if is_lost && !is_bound {
                continue;
            }
            let delay = Duration::from_millis(random.random_range(0..=network.jitter_ms()));
            let datagram = datagram(format, number, payload.clone());
            arrivals.push((FRAME * number + delay, datagram));
        }
        arrivals.sort_by_key(|(at, _)| *at);
        Self { format, arrivals }
    }
}

/// The probability with which a packet between two bursts begins one, so that `percent` of all are lost.
fn starts_burst(percent: f64) -> f64 {
    let share = percent / 100.0;
    share / (f64::from(BURST) * (1.0 - share) + share)
}

fn datagram(format: PayloadFormat, number: u32, payload: Bytes) -> Bytes {
    let ticks = format.clock_rate / 1_000 * FRAME.as_millis() as u32;
    let header = Header {
        version: 2,
        payload_type: format.payload_type,
        sequence_number: number as u16,
        timestamp: number.wrapping_mul(ticks),
        ssrc: 1,
        ..Header::default()
    };
    Packet { header, payload }.marshal().expect("a packet without extensions has room for itself")
}
