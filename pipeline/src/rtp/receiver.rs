//! The RTP receiver of one party: a state machine of datagrams and time.

use super::arrival::ArrivalClock;
use super::candidate::Candidate;
use super::datagram::{RtpHeader, RtpRejected};
use super::reorder::Misplaced;
use super::source::{Arrived, Content, Pauses, Source};
use super::telephone_event::KeyDetector;
use super::timeline::Timeline;
use super::{PartyAudio, PayloadFormat, Reception, RtpStats};
use crate::clock::SamplePosition;
use crate::codec::{Codec, CodecError, Decoder};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// The payload type of comfort noise, which needs no SDP (RFC 3551 table 4).
const COMFORT_NOISE: u8 = 13;

/// Opus payloads of up to this many bytes say that the sender is in DTX (RFC 6716 section 2.1.9).
const MAX_DTX_BYTES: usize = 2;

/// Silence by the clock stays this far behind, so that a packet that is merely late keeps its
/// place.
const SILENCE_LAG_MS: u64 = 100;

/// Silence by the clock comes in frames of this length.
const SILENCE_FRAME_MS: u64 = 100;

/// Silence that is due is told up to this length; before it the clock jumps. It bounds the work
/// after the machine slept.
const MAX_SILENCE_MS: u64 = 3000;

/// The most audio that is invented for one hole. The rest is lost.
const MAX_CONCEALED_MS: u64 = 100;

/// A timestamp further ahead than this, beyond the time that passed, is not a pause.
const MAX_LEAD: Duration = Duration::from_secs(10);

/// How long packets may come with timestamps that the clock has passed. A burst after a network
/// stall catches up sooner; a sender that stopped its timestamps during a pause never does.
const MAX_OVERLAP: Duration = Duration::from_millis(500);

/// Receives one party: restores the order of its packets, decodes them, fills in what is missing,
/// and places every sample on the party's clock.
///
/// After each `handle_*` call take what is ready with [`poll_audio`](Self::poll_audio), and call
/// [`handle_timeout`](Self::handle_timeout) when [`poll_timeout`](Self::poll_timeout) says so. When
/// both a datagram and a timeout are due, the datagram goes first: a timeout may decide that the
/// party is silent.
///
/// - The first audio packet is at position 0. Positions never run backwards.
/// - A packet in order is decoded at once. Behind a hole packets wait 100 ms, up to 300 ms where
///   packets were found to come that late, or until 32 of them wait. The hole is then filled: by
///   Opus FEC just before the next packet, before that by concealment of at most 100 ms, between
///   the two by [`PartyAudio::Lost`].
/// - A timestamp ahead without missing packets is silence that the party did not send: positions
///   jump.
/// - When no audio comes, frames of silence follow the time of arrival, 100 ms behind: at once
///   when the sender said so (comfort noise, Opus DTX), after 300 ms when it was seen to pause,
///   else after 2 s. Audio that comes for a stretch already told is dropped, and the first packet
///   after it is told as lost.
/// - Comfort noise and other payload types (telephone-event) are time passing and never decoded.
///   Keys are read from telephone-events only when [asked for](Self::listen_for_keys).
/// - Another SSRC takes over after 5 packets in order with the present source silent for 200 ms,
///   or at once after 1 s or its [goodbye](Self::handle_goodbye). It is placed by its time of
///   arrival, as is a timestamp that jumps back or more than 10 s ahead of time.
#[derive(Debug)]
pub struct RtpReceiver {
    format: PayloadFormat,
    decoder: Decoder,
    source: Option<Source>,
    candidate: Option<Candidate>,
    timeline: Timeline,
    arrivals: Option<ArrivalClock>,
    /// From the beginning of a hold until audio is heard after its end.
    hold: Option<Hold>,
    keys: Option<KeyDetector>,
    finished: bool,
    stats: RtpStats,
}

/// The sender was told to be silent.
#[derive(Clone, Copy, Debug)]
struct Hold {
    since: Instant,
    is_over: bool,
}

impl RtpReceiver {
    /// A receiver that waits for its first packet.
    ///
    /// # Errors
    /// [`CodecError::UnsupportedClockRate`] unless the clock rate [fits](Codec::fits_clock) the
    /// codec; [`CodecError::DecoderUnavailable`] when memory runs out.
    pub fn new(format: PayloadFormat) -> Result<Self, CodecError> {
        let PayloadFormat { codec, clock_rate, .. } = format;
        if !codec.fits_clock(clock_rate) {
            return Err(CodecError::UnsupportedClockRate { codec, clock_rate });
        }
        Ok(Self {
            format,
            decoder: Decoder::new(codec)?,
            source: None,
            candidate: None,
            timeline: Timeline::default(),
            arrivals: None,
            hold: None,
            keys: None,
            finished: false,
            stats: RtpStats::default(),
        })
    }

    /// From now on, tells of the keys that the party presses: telephone-events (RFC 4733) of this
    /// payload type.
    pub fn listen_for_keys(&mut self, payload_type: u8) {
        self.keys = Some(KeyDetector::new(payload_type));
    }

    /// The next key that the party has pressed: `0` to `9`, `*`, `#`, `A` to `D`.
    pub fn poll_key(&mut self) -> Option<char> {
        self.keys.as_mut()?.poll_key()
    }

    /// Takes a datagram that arrived at `now`.
    ///
    /// # Errors
    /// Why the datagram was dropped; see [`RtpRejected`]. The receiver goes on.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<(), RtpRejected> {
        self.stats.datagrams += 1;
        if self.finished {
            return Err(RtpRejected::Finished);
        }
        let (header, payload) = read(datagram).inspect_err(|_| self.stats.rejected += 1)?;
        let (ssrc, number) = (header.ssrc, header.sequence_number);
        // Whoever is not the party has no say. Before it has said anything, nobody knows.
        if let Some(keys) = &mut self.keys
            && self.source.as_ref().is_none_or(|source| source.ssrc == ssrc)
        {
            keys.handle_packet(&header, payload);
        }
        let content = self.content(header.payload_type, payload);
        let arrived = Arrived { at: now, timestamp: header.timestamp, content };

        match &mut self.source {
            None => self.start(ssrc, vec![(number, arrived)]),
            Some(source) if source.ssrc == ssrc => {
                match source.insert(number, arrived, self.format.clock_rate) {
                    Ok(()) => self.candidate = None,
                    Err(Misplaced::Duplicate) => {
                        self.stats.duplicates += 1;
                        return Err(RtpRejected::Duplicate);
                    }
                    Err(Misplaced::Late) => {
                        self.stats.late += 1;
                        return Err(RtpRejected::Late);
                    }
                    Err(Misplaced::Stray(arrived)) => self.consider(now, ssrc, number, arrived),
                }
            }
            Some(_) => self.consider(now, ssrc, number, arrived),
        }
        self.release(now);
        Ok(())
    }

    /// The source with this SSRC said goodbye (RTCP BYE, RFC 3550 section 6.6). That ends nothing;
    /// but unless it is heard again, the next source is believed at its first packet.
    pub fn handle_goodbye(&mut self, ssrc: u32) {
        if let Some(source) = self.source.as_mut().filter(|source| source.ssrc == ssrc) {
            source.left = true;
        }
    }

    /// Signalling says that the sender is silent from now on (a hold), or that it is not any more. During a hold silence
    /// passes by the clock at once. Audio after it goes on where the clock is, whether or not the sender's timestamps
    /// went on meanwhile.
    pub fn handle_hold(&mut self, now: Instant, is_held: bool) {
        match (&mut self.hold, is_held) {
            (Some(hold), _) => hold.is_over = !is_held,
            (None, true) => self.hold = Some(Hold { since: now, is_over: false }),
            (None, false) => {}
        }
        if let Some(source) = self.source.as_mut().filter(|_| is_held) {
            source.pauses = Pauses::Now;
        }
    }

    /// Does what is due at `now`: gives up holes and lets silence pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.finished {
            return;
        }
        self.release(now);
        self.pass_silence(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.finished {
            return None;
        }
        let hole = self.source.as_ref().and_then(|source| source.reorder.deadline());
        hole.into_iter().chain(self.silence_due()).min()
    }

    /// The next stretch of the party's clock that is ready.
    pub fn poll_audio(&mut self) -> Option<PartyAudio> {
        self.timeline.pop()
    }

    /// Ends the stream: what is held is released, and nothing more is taken.
    pub fn finish(&mut self) {
        self.release_all();
        self.finished = true;
    }

    /// One past the last sample that was told, taken or not.
    #[must_use]
    pub fn position(&self) -> SamplePosition {
        self.timeline.end()
    }

    /// The figures of a reception report about the present source (RFC 3550 section 6.4.1), if
    /// there is one. Losses since the last call are those of the report.
    pub fn reception(&mut self) -> Option<Reception> {
        let source = self.source.as_mut()?;
        Some(source.reception.report(source.ssrc))
    }

    /// What has happened so far.
    #[must_use]
    pub fn stats(&self) -> &RtpStats {
        &self.stats
    }

    fn content(&mut self, payload_type: u8, payload: &[u8]) -> Content {
        // RingCentral's 16 kHz Opus carries DTMF as a payload that is not Opus.
        let dtmf = self.format.codec == Codec::Opus
            && self.format.clock_rate == 16_000
            && matches!(*payload, [0..=0x0b, 0x8a, 0x03, 0xc0]);
        if payload_type == self.format.payload_type && !payload.is_empty() && !dtmf {
            return Content::Audio(Bytes::copy_from_slice(payload));
        }
        self.stats.not_audio += 1;
        if payload_type == COMFORT_NOISE {
            self.stats.comfort_noise += 1;
            return Content::ComfortNoise;
        }
        Content::Other
    }

    /// A packet that is not of the present source: perhaps of its successor.
    fn consider(&mut self, now: Instant, ssrc: u32, number: u16, packet: Arrived) {
        self.stats.strays += 1;
        match &mut self.candidate {
            Some(candidate) => candidate.push(ssrc, number, packet),
            None => self.candidate = Some(Candidate::new(ssrc, number, packet)),
        }
        let Some(source) = &self.source else { return };
        if let Some(candidate) = self.candidate.take_if(|it| it.takes_over(now, source)) {
            self.start(candidate.ssrc, candidate.packets);
        }
    }

    /// Begins to hear the source of these packets, which are in order, at the first that is audio.
    /// Its place on the party's clock is when that packet arrived. Without audio nothing begins.
    fn start(&mut self, ssrc: u32, mut packets: Vec<(u16, Arrived)>) {
        let playable = |(_, packet): &(u16, Arrived)| {
            matches!(&packet.content, Content::Audio(payload)
                if self.decoder.duration(payload).is_ok())
        };
        let Some(first) = packets.iter().position(playable) else {
            let is_audio =
                |(_, packet): &&(u16, Arrived)| matches!(packet.content, Content::Audio(_));
            self.stats.undecodable += packets.iter().filter(is_audio).count() as u64;
            return;
        };
        packets.drain(..first);
        if self.source.is_some() {
            self.release_all();
            self.decoder.reset();
            self.stats.source_changes += 1;
        }
        let (number, Arrived { at, timestamp, .. }) = packets[0];
        let ticks = self.ticks_in(self.place(at).0);
        let mut source = Source::new(ssrc, number, timestamp, at, ticks);
        for (number, packet) in packets {
            let placed = source.insert(number, packet, self.format.clock_rate);
            debug_assert!(placed.is_ok(), "packets in order are neither late nor strays");
        }
        self.source = Some(source);
    }

    fn release(&mut self, now: Instant) {
        while let Some(source) = &mut self.source
            && let Some((missing, packet)) = source.reorder.pop(now)
        {
            self.play(missing, packet);
        }
    }

    fn release_all(&mut self) {
        while let Some(source) = &mut self.source
            && let Some((missing, packet)) = source.reorder.pop_any()
        {
            self.play(missing, packet);
        }
    }

    /// Puts the next packet on the timeline, `missing` packets after the last.
    fn play(&mut self, missing: u64, packet: Arrived) {
        let Some(mut source) = self.source.take() else { return };
        self.stats.lost += missing;
        source.missing += missing;
        match packet.content {
            Content::Audio(payload) => {
                let continued = self.position_of(&source) == self.timeline.end();
                self.follow_timestamp(&mut source, packet.at, packet.timestamp);
                self.fill_hole(&mut source, continued, &payload);
                self.play_audio(&mut source, packet.at, &payload);
            }
            Content::ComfortNoise => source.pauses = Pauses::Now,
            Content::Other => {}
        }
        self.source = Some(source);
    }

    /// Moves the source to a packet's timestamp, or to its time of arrival if that is absurd.
    fn follow_timestamp(&mut self, source: &mut Source, at: Instant, timestamp: u32) {
        let lead = timestamp.wrapping_sub(source.next_timestamp) as i32;
        let passed = at.saturating_duration_since(source.played_at) + MAX_LEAD;
        let most = passed.as_millis() * u128::from(self.format.clock_rate) / 1000;
        match u64::try_from(lead) {
            Ok(lead) if u128::from(lead) <= most => {
                source.next_ticks = source.next_ticks.saturating_add(lead);
                if lead > 0 && source.missing == 0 {
                    source.pauses = Pauses::Sometimes;
                }
            }
            _ => self.place_by_arrival(source, at),
        }
        source.next_timestamp = timestamp;
        source.played_at = at;
    }

    fn play_audio(&mut self, source: &mut Source, at: Instant, payload: &[u8]) {
        let pcm = match self.decoder.decode(payload) {
            Ok(pcm) => pcm,
            Err(_) => {
                self.stats.undecodable += 1;
                source.missing = 1;
                return;
            }
        };
        self.stats.decoded += 1;
        source.frame = pcm.len() as u64;
        if self.format.codec == Codec::Opus && payload.len() <= MAX_DTX_BYTES {
            source.pauses = Pauses::Now;
        } else if source.pauses == Pauses::Now {
            source.pauses = Pauses::Sometimes;
        }
        self.push_audio(source, at, pcm);
        let ticks = self.ticks_in(source.frame);
        source.next_ticks = source.next_ticks.saturating_add(ticks);
        source.next_timestamp = source.next_timestamp.wrapping_add(ticks as u32);
    }

    /// Puts audio where the source stands, unless the clock has passed that.
    fn push_audio(&mut self, source: &mut Source, at: Instant, pcm: Vec<i16>) {
        let mut end = self.position_of(source).plus(source.frame);
        let overlapped_since = source.overlapped_since;
        if end <= self.timeline.end() {
            let since = match self.hold {
                Some(hold) => hold.since,
                None => {
                    // What was told as silence was a stall, so this sender does not pause.
                    source.pauses = Pauses::Never;
                    *source.overlapped_since.get_or_insert(at)
                }
            };
            if at.saturating_duration_since(since) < MAX_OVERLAP {
                self.stats.overlapped_samples += source.frame;
                return;
            }
            self.place_by_arrival(source, at);
            end = self.position_of(source).plus(source.frame);
        }
        source.overlapped_since = None;
        self.hold = self.hold.filter(|hold| !hold.is_over);
        let position = self.position_of(source);
        let rate = self.format.codec.sample_rate();
        self.arrivals
            .get_or_insert_with(|| ArrivalClock::new(at, position, rate))
            .observe(at, position);
        if overlapped_since.is_some() {
            self.lose_until(end);
        } else {
            self.stats.overlapped_samples += self.timeline.push(position, pcm);
        }
    }

    /// Fills the timeline up to the packet that `source` stands at. `continued` says that the
    /// timeline ends with what the decoder decoded last, so that concealment fits to it.
    fn fill_hole(&mut self, source: &mut Source, continued: bool, payload: &[u8]) {
        let start = self.position_of(source);
        let hole = start.since(self.timeline.end());
        let missing = std::mem::take(&mut source.missing);
        if hole == 0 || missing == 0 {
            self.timeline.skip_to(start);
            return;
        }
        let frame = match source.frame {
            0 => self.decoder.duration(payload).unwrap_or(hole),
            frame => frame,
        };
        // What the missing packets cannot have filled was silence. It came first: packets are
        // missing next to the one that follows them.
        let absent = hole.min(missing.saturating_mul(frame));
        self.timeline.skip_to(SamplePosition(start.0 - absent));

        let recoverable = match self.decoder.recoverable(payload) {
            recoverable if recoverable <= absent => recoverable,
            _ => 0,
        };
        if continued && absent == hole && source.frame > 0 {
            let most = self.format.codec.samples_in_ms(MAX_CONCEALED_MS);
            let pcm = self.decoder.conceal((absent - recoverable).min(most));
            self.stats.concealed_samples += pcm.len() as u64;
            self.timeline.push(self.timeline.end(), pcm);
        }
        self.lose_until(SamplePosition(start.0 - recoverable));
        if recoverable > 0
            && let Ok(pcm) = self.decoder.recover(payload)
        {
            self.stats.recovered_samples += pcm.len() as u64;
            self.timeline.push(self.timeline.end(), pcm);
        }
        self.lose_until(start);
    }

    fn lose_until(&mut self, position: SamplePosition) {
        let samples = position.since(self.timeline.end());
        self.stats.lost_samples += samples;
        self.timeline.lose(samples);
    }

    /// Lets silence pass by the clock while no audio arrives.
    fn pass_silence(&mut self, now: Instant) {
        if self.silence_due().is_none_or(|due| due > now) {
            return;
        }
        let Some(arrivals) = &self.arrivals else { return };
        let codec = self.format.codec;
        let frame = codec.samples_in_ms(SILENCE_FRAME_MS);
        let until = arrivals.position_at(now).0.saturating_sub(codec.samples_in_ms(SILENCE_LAG_MS));
        self.timeline
            .skip_to(SamplePosition(until.saturating_sub(codec.samples_in_ms(MAX_SILENCE_MS))));
        while self.timeline.end().0 + frame <= until {
            self.timeline.push(self.timeline.end(), vec![0; frame as usize]);
            self.stats.silence_samples += frame;
        }
    }

    fn silence_due(&self) -> Option<Instant> {
        let (source, arrivals) = (self.source.as_ref()?, self.arrivals.as_ref()?);
        if source.reorder.deadline().is_some() {
            // There is audio, but it waits behind a hole.
            return None;
        }
        let ahead = self.format.codec.samples_in_ms(SILENCE_LAG_MS + SILENCE_FRAME_MS);
        let frame_at = arrivals.instant_of(self.timeline.end().plus(ahead))?;
        Some(frame_at.max(source.silent_from()))
    }

    /// Puts the source where the clock is by its time of arrival.
    fn place_by_arrival(&mut self, source: &mut Source, at: Instant) {
        source.next_ticks = self.ticks_in(self.place(at).0);
        source.missing = 0;
        self.stats.timestamp_jumps += 1;
    }

    fn place(&self, at: Instant) -> SamplePosition {
        let arrival = self.arrivals.map_or(SamplePosition::ZERO, |clock| clock.position_at(at));
        arrival.max(self.timeline.end())
    }

    fn position_of(&self, source: &Source) -> SamplePosition {
        let rate = self.format.codec.sample_rate();
        SamplePosition(scale(source.next_ticks, rate, self.format.clock_rate))
    }

    fn ticks_in(&self, samples: u64) -> u64 {
        scale(samples, self.format.clock_rate, self.format.codec.sample_rate())
    }
}

fn read(datagram: &[u8]) -> Result<(RtpHeader, &[u8]), RtpRejected> {
    let header = RtpHeader::parse(datagram)?;
    Ok((header, header.payload(datagram)?))
}

fn scale(count: u64, to: u32, from: u32) -> u64 {
    u64::try_from(u128::from(count) * u128::from(to) / u128::from(from)).unwrap_or(u64::MAX)
}
