//! A capture of an RTP stream, for sipp to play: a tone as PCMU, in pcap's format.

/// Of the tone.
pub const FREQUENCY: f64 = 440.0;

/// Samples in a packet: 20 ms at 8 kHz.
const PACKET_SAMPLES: usize = 160;

/// The capture's bytes: link type Ethernet, one frame per packet, 20 ms apart.
///
/// sipp replaces addresses and ports by those of the call, and keeps the rest. `after` is where in the stream it begins,
/// in seconds.
pub fn tone(after: f64, seconds: f64) -> Vec<u8> {
    let mut pcap = Vec::new();
    // Magic, version 2.4, zone, accuracy, longest frame, Ethernet.
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1u32] {
        pcap.extend(word.to_le_bytes());
    }
    let packets = |seconds: f64| (seconds * 8000.0) as usize / PACKET_SAMPLES;
    for number in 0..packets(seconds) {
        let frame = frame(packets(after) + number);
        let micros = number as u32 * 20_000;
        let len = frame.len() as u32;
        for word in [micros / 1_000_000, micros % 1_000_000, len, len] {
            pcap.extend(word.to_le_bytes());
        }
        pcap.extend(frame);
    }
    pcap
}

/// One packet in Ethernet, IPv4 and UDP.
fn frame(number: usize) -> Vec<u8> {
    let mut rtp = vec![0x80, 0];
    rtp.extend((number as u16).to_be_bytes());
    rtp.extend((number as u32 * PACKET_SAMPLES as u32).to_be_bytes());
    rtp.extend(0x5ea1_0001u32.to_be_bytes());
    let first = number * PACKET_SAMPLES;
    rtp.extend((first..first + PACKET_SAMPLES).map(|at| {
        let angle = at as f64 * FREQUENCY * std::f64::consts::TAU / 8000.0;
        mu_law((angle.sin() * 8000.0) as i16)
    }));
    let udp_len = rtp.len() as u16 + 8;
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00, 0x45, 0]);
    frame.extend((udp_len + 20).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    for word in [40_000u16, 40_000, udp_len, 0] {
        frame.extend(word.to_be_bytes());
    }
    frame.extend(rtp);
    frame
}

/// G.711.
fn mu_law(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80 } else { 0 };
    let magnitude = u32::from(sample.unsigned_abs().min(32_635)) + 132;
    let exponent = magnitude.ilog2() - 7;
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | (exponent << 4) as u8 | mantissa as u8)
}
