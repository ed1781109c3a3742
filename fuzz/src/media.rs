//! Media: descriptions, packets and what is in them.

use std::time::{Duration, Instant};

use media_gateway::sdp::{Description, LocalMedia, SessionVersion};
use pipeline::clock::SamplePosition;
use pipeline::codec::{Codec, Decoder, MAX_PACKET_MS};
use pipeline::rtp::{PayloadFormat, RtpReceiver};

use super::next_datagram;

const FORMATS: [PayloadFormat; 4] = [
    PayloadFormat { codec: Codec::Opus, payload_type: 111, clock_rate: 48_000 },
    PayloadFormat { codec: Codec::Opus, payload_type: 109, clock_rate: 16_000 },
    PayloadFormat { codec: Codec::Pcmu, payload_type: 0, clock_rate: 8_000 },
    PayloadFormat { codec: Codec::Pcma, payload_type: 8, clock_rate: 8_000 },
];

/// Reads an offer and answers what can be taken of it. The answer must read back, with as many m-lines.
pub fn sdp(data: &[u8]) {
    let Ok(offer) = Description::parse(data) else { return };
    let take = |format: &PayloadFormat| LocalMedia { port: 10_000, format: *format };
    let media: Vec<Option<LocalMedia>> =
        offer.media.iter().map(|line| line.formats.first().map(take)).collect();
    let session = SessionVersion { id: 1, version: 1 };
    let answer = offer.answer(session, [127, 0, 0, 1].into(), &media);
    let read = Description::parse(answer.as_bytes())
        .unwrap_or_else(|error| panic!("our answer can't be read: {error}\n{answer}"));
    assert_eq!(read.media.len(), offer.media.len(), "{answer}");
    for (line, taken) in read.media.iter().zip(&media) {
        assert_eq!(line.remote.port() != 0, taken.is_some(), "{answer}");
    }
}

/// Receives datagrams as far apart as the byte before each says, in a format that the first byte picks. The party's
/// clock must never run backwards.
pub fn rtp(data: &[u8]) {
    let Some((format, mut input)) = data.split_first() else { return };
    let format = FORMATS[usize::from(*format) % FORMATS.len()];
    let mut receiver = RtpReceiver::new(format).expect("the format is one that we offer");
    let mut now = Instant::now();
    let mut told = SamplePosition::ZERO;
    while let Some((delay, datagram)) = next_datagram(&mut input) {
        now += Duration::from_millis(u64::from(delay) * 2);
        while let Some(at) = receiver.poll_timeout().filter(|at| *at <= now) {
            receiver.handle_timeout(at);
            told = hear(&mut receiver, told, format);
        }
        let _ = receiver.handle_datagram(now, datagram);
        told = hear(&mut receiver, told, format);
    }
    receiver.finish();
    hear(&mut receiver, told, format);
}

/// Decodes, conceals and recovers with a decoder that the first byte picks. What is decoded must be as long as
/// announced.
pub fn codec(data: &[u8]) {
    let Some((format, mut input)) = data.split_first() else { return };
    let codec = FORMATS[usize::from(*format) % FORMATS.len()].codec;
    let mut decoder = Decoder::new(codec).expect("memory for a decoder");
    let most = codec.samples_in_ms(MAX_PACKET_MS);
    while let Some((lost, payload)) = next_datagram(&mut input) {
        let concealed = decoder.conceal(u64::from(lost) * 10);
        assert!(concealed.len() as u64 <= most);
        let recoverable = decoder.recoverable(payload);
        if recoverable > 0
            && let Ok(pcm) = decoder.recover(payload)
        {
            assert!(pcm.len() as u64 <= recoverable);
        }
        let announced = decoder.duration(payload);
        match decoder.decode(payload) {
            Ok(pcm) => assert_eq!(Ok(pcm.len() as u64), announced),
            Err(_) => continue,
        }
        assert!(announced.is_ok_and(|samples| samples <= most));
    }
}

/// Takes the audio that is ready. Gives how far it reaches.
fn hear(
    receiver: &mut RtpReceiver,
    mut told: SamplePosition,
    format: PayloadFormat,
) -> SamplePosition {
    while let Some(audio) = receiver.poll_audio() {
        assert!(audio.position() >= told, "{audio:?} comes before {told}");
        assert!(audio.samples() > 0, "{audio:?} is nothing");
        if let pipeline::rtp::PartyAudio::Frame { pcm, .. } = &audio {
            assert!(pcm.len() as u64 <= format.codec.samples_in_ms(MAX_PACKET_MS));
        }
        told = audio.end();
    }
    told
}
