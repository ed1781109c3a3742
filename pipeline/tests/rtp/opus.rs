//! Opus through the receiver: both RTP clocks, and recovery from in-band FEC.

use crate::sender::{Listener, OPUS_16, OPUS_48, Sender};
use audiopus::coder::Encoder;
use audiopus::{Application, Bitrate, Channels, SampleRate};
use pipeline::codec::{Codec, Decoder};
use pipeline::rtp::{PartyAudio, PayloadFormat};
use std::f64::consts::TAU;

/// Samples in a 20 ms frame at 16 kHz.
const FRAME: usize = 320;

/// Something like speech: a gliding pitch with formants that move, in syllables.
fn babble(frames: usize) -> Vec<i16> {
    let mut turn = 0.0;
    (0..frames * FRAME)
        .map(|n| {
            let t = n as f64 / 16_000.0;
            let pitch = 130.0 + 50.0 * (TAU * 2.3 * t).sin();
            turn += pitch / 16_000.0;
            let formant = 700.0 + 400.0 * (TAU * 3.1 * t).sin();
            let voice: f64 = (1..20)
                .map(|harmonic| {
                    let distance = (f64::from(harmonic) * pitch - formant) / 300.0;
                    (TAU * turn * f64::from(harmonic)).sin() / (1.0 + distance * distance)
                })
                .sum();
            let syllable = 0.6 + 0.4 * (TAU * 4.0 * t).sin();
            (voice * syllable * 3500.0) as i16
        })
        .collect()
}

fn encode(pcm: &[i16], fec: bool) -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new(SampleRate::Hz16000, Channels::Mono, Application::Voip).unwrap();
    encoder.set_bitrate(Bitrate::BitsPerSecond(28_000)).unwrap();
    encoder.set_inband_fec(fec).unwrap();
    encoder.set_packet_loss_perc(25).unwrap();
    pcm.chunks(FRAME)
        .map(|frame| {
            let mut payload = vec![0; 400];
            let length = encoder.encode(frame, &mut payload).unwrap();
            payload.truncate(length);
            payload
        })
        .collect()
}

/// Sends the packets, without those that `lost` picks, and returns the listener at the end.
fn send(format: PayloadFormat, packets: &[Vec<u8>], lost: impl Fn(usize) -> bool) -> Listener {
    let mut sender = Sender::new(format);
    let mut listener = Listener::new(format);
    for (number, payload) in packets.iter().enumerate() {
        let datagram = sender.packet(format.clock_rate / 50, payload);
        if !lost(number) {
            listener.receive(number as u64 * 20, &datagram);
        }
    }
    listener.finish();
    listener
}

/// The party's audio from position 0; panics if any was lost or skipped.
fn pcm(listener: &Listener) -> Vec<i16> {
    let mut pcm = Vec::new();
    for audio in &listener.heard {
        assert_eq!(audio.position().0, pcm.len() as u64);
        match audio {
            PartyAudio::Frame { pcm: frame, .. } => pcm.extend(frame),
            PartyAudio::Lost { .. } => panic!("{audio:?}"),
        }
    }
    pcm
}

fn correlation(a: &[i16], b: &[i16]) -> f64 {
    let product = |a: &[i16], b: &[i16]| -> f64 {
        a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    product(a, b) / (product(a, a) * product(b, b)).sqrt().max(1.0)
}

/// How much what was told for the lost frames resembles what was sent, on average.
fn likeness(packets: &[Vec<u8>], lost: impl Fn(usize) -> bool + Copy) -> (f64, Listener) {
    let whole = pcm(&send(OPUS_48, packets, |_| false));
    let listener = send(OPUS_48, packets, lost);
    let patched = pcm(&listener);
    let frames: Vec<f64> = whole
        .chunks(FRAME)
        .zip(patched.chunks(FRAME))
        .enumerate()
        .filter(|&(number, _)| lost(number))
        .map(|(_, (sent, told))| correlation(sent, told))
        .collect();
    (frames.iter().sum::<f64>() / frames.len() as f64, listener)
}

#[test]
fn both_clock_rates_decode_to_the_same_audio() {
    let packets = encode(&babble(100), false);
    let standard = pcm(&send(OPUS_48, &packets, |_| false));
    let ringcentral = pcm(&send(OPUS_16, &packets, |_| false));
    assert_eq!(standard.len(), 100 * FRAME);
    assert_eq!(standard, ringcentral);
    assert!(standard.iter().any(|sample| sample.unsigned_abs() > 3000));
}

#[test]
fn a_lost_frame_is_recovered_from_the_next_packet() {
    let voice = babble(300);
    let (repeating, plain) = (encode(&voice, true), encode(&voice, false));
    // The encoder repeats only frames that it takes for active speech.
    let victims: Vec<_> =
        (20..290).step_by(10).map(|from| next_redundant(&repeating, from) - 1).collect();
    let lost = |number: usize| victims.contains(&number);
    let (recovered, with_fec) = likeness(&repeating, lost);
    let (concealed, without_fec) = likeness(&plain, lost);

    let missing = (0..300).filter(|&number| lost(number)).count() * FRAME;
    let (with, without) = (with_fec.receiver.stats(), without_fec.receiver.stats());
    assert_eq!((with.recovered_samples, with.concealed_samples), (missing as u64, 0));
    assert_eq!((without.recovered_samples, without.concealed_samples), (0, missing as u64));
    assert!(recovered > 0.9, "recovered frames are like those sent by {recovered:.2}");
    assert!(recovered > concealed + 0.1, "recovered {recovered:.2}, concealed {concealed:.2}");
}

/// The first packet from `from` on that repeats the frame before it.
fn next_redundant(packets: &[Vec<u8>], from: usize) -> usize {
    let decoder = Decoder::new(Codec::Opus).unwrap();
    (from..packets.len()).find(|&n| decoder.recoverable(&packets[n]) == FRAME as u64).unwrap()
}

#[test]
fn a_longer_hole_is_concealed_up_to_its_last_frame() {
    let packets = encode(&babble(60), true);
    let end = next_redundant(&packets, 30);
    let listener = send(OPUS_48, &packets, |number| (end - 3..end).contains(&number));
    let stats = listener.receiver.stats();
    assert_eq!(stats.concealed_samples, 2 * FRAME as u64);
    assert_eq!(stats.recovered_samples, FRAME as u64);
    assert_eq!(pcm(&listener).len(), 60 * FRAME);
}

#[test]
fn what_lies_between_concealment_and_recovery_is_lost() {
    let packets = encode(&babble(60), true);
    let end = next_redundant(&packets, 40);
    let listener = send(OPUS_48, &packets, |number| (end - 10..end).contains(&number));
    let lost: Vec<_> = listener
        .heard
        .iter()
        .filter(|audio| matches!(audio, PartyAudio::Lost { .. }))
        .map(|audio| (audio.position().0, audio.samples()))
        .collect();
    // 200 ms are missing: 100 are concealed, the last 20 recovered.
    assert_eq!(lost, [((end as u64 - 5) * FRAME as u64, 4 * FRAME as u64)]);
    assert_eq!(listener.receiver.position().0, 60 * FRAME as u64);
}

#[test]
fn redundancy_is_announced_exactly_when_it_is_there() {
    let packets = encode(&babble(120), true);
    let (mut announced, mut silent) = (0, 0);
    for n in 1..packets.len() {
        // libopus falls back to concealment where a packet repeats nothing.
        let mut libopus =
            audiopus::coder::Decoder::new(SampleRate::Hz16000, Channels::Mono).unwrap();
        let mut concealing = Decoder::new(Codec::Opus).unwrap();
        let (mut pcm, mut redundant) = (vec![0; FRAME], vec![0; FRAME]);
        for packet in &packets[..n - 1] {
            let packet = audiopus::packet::Packet::try_from(packet).unwrap();
            libopus.decode(Some(packet), (&mut pcm).try_into().unwrap(), false).unwrap();
        }
        for packet in &packets[..n - 1] {
            concealing.decode(packet).unwrap();
        }
        let packet = audiopus::packet::Packet::try_from(&packets[n]).unwrap();
        libopus.decode(Some(packet), (&mut redundant).try_into().unwrap(), true).unwrap();
        let concealed = concealing.conceal(FRAME as u64);
        if concealing.recoverable(&packets[n]) > 0 {
            assert_ne!(redundant, concealed, "packet {n} repeats nothing");
            announced += 1;
        } else {
            assert_eq!(redundant, concealed, "packet {n} repeats the frame before it");
            silent += 1;
        }
    }
    assert!(announced > 60 && silent > 0, "{announced} announced, {silent} not");
}

#[test]
fn dtx_is_silence_at_once_and_its_pauses_are_not_losses() {
    let mut pcm = babble(50);
    pcm.extend(vec![0; 150 * FRAME]);
    pcm.extend(babble(50));
    let mut encoder = Encoder::new(SampleRate::Hz16000, Channels::Mono, Application::Voip).unwrap();
    encoder.set_dtx(true).unwrap();
    let (mut sender, mut listener) = (Sender::new(OPUS_48), Listener::new(OPUS_48));
    let (mut sent, mut is_quiet) = (0, false);
    for (number, frame) in (0..).zip(pcm.chunks(FRAME)) {
        let mut payload = vec![0; 400];
        let length = encoder.encode(frame, &mut payload).unwrap();
        // In DTX a sender transmits only what is longer than 2 bytes, and the first that is not.
        if length > 2 || !is_quiet {
            listener.receive(number * 20, &sender.packet(960, &payload[..length]));
            sent += 1;
        } else {
            sender.timestamp += 960;
        }
        is_quiet = length <= 2;
    }
    listener.finish();
    assert!((60..200).contains(&sent), "{sent} packets: DTX does nothing");
    let stats = listener.receiver.stats();
    assert_eq!((stats.lost, stats.lost_samples, stats.overlapped_samples), (0, 0, 0));
    assert!(stats.silence_samples > 16_000, "{stats:?}");
    assert_eq!(listener.receiver.position().0, 250 * FRAME as u64);
}
