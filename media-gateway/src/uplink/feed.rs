//! Where a media stream puts audio and an uplink takes it: never blocks the one, wakes the other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pipeline::clock::SamplePosition;
use pipeline::rtp::PartyAudio;
use sidetone_proto::v1::{AudioAck, ConsentPhrases, ConsentSource, ConsentState, GapReason};
use tokio::sync::Notify;

use super::held::{Held, Kept, LineHold};
use super::ring::{AudioRing, Chunk};
use crate::metrics::{self, Share};

/// One party's audio on its way from the RTP socket to the uplink. Clones share it.
#[derive(Clone, Debug)]
pub struct Feed(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Datagrams that the stream has received, whatever was in them.
    datagrams: AtomicU64,
    /// Wakes the one stream of the one uplink.
    changed: Notify,
    /// Tells the uplink that the party has left.
    left: Notify,
}

#[derive(Debug)]
struct State {
    ring: AudioRing,
    rate: u32,
    /// Seconds of audio in the ring, as part of those in all rings.
    held: Share,
    /// Wall clock at sample 0, in milliseconds since the Unix epoch. Absent until the first audio.
    anchor_unix_ms: Option<i64>,
    finished: bool,
    /// What comes is dropped, or is for consent only: nobody has consented to its transcription.
    is_withheld: bool,
    /// RingCentral says that the party is on hold, or hears a hold's music.
    is_call_held: bool,
    /// The SDP of the party's line says so.
    line: LineHold,
    /// While what comes is kept from the transcriber because of a hold.
    hold: Option<Held>,
    /// What is dropped is all that came and will come: somebody has refused.
    is_discarded: bool,
    /// What the transcriber listens for, if for anything.
    phrases: Option<ConsentPhrases>,
    /// What the party has said about consent, until somebody asks.
    heard: Option<HeardConsent>,
    /// What the transcriber has told of that, in all.
    heard_phrases: ConsentState,
}

/// What a party has said about being transcribed, and how.
pub type HeardConsent = (ConsentState, ConsentSource);

/// What the uplink sends next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Audio, or its loss.
    Chunk(Chunk),
    /// The party has left at this position.
    End(SamplePosition),
    /// What was sent is to be forgotten.
    Discard,
    /// Wait.
    Nothing,
}

impl Feed {
    /// A feed of audio at `rate` samples per second.
    pub fn new(rate: u32) -> Self {
        let state = State {
            ring: AudioRing::new(rate),
            rate,
            held: Share::of(metrics::RING_SECONDS),
            anchor_unix_ms: None,
            finished: false,
            is_withheld: false,
            is_call_held: false,
            line: LineHold::Open,
            hold: None,
            is_discarded: false,
            phrases: None,
            heard: None,
            heard_phrases: ConsentState::Unspecified,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            datagrams: AtomicU64::new(0),
            changed: Notify::new(),
            left: Notify::new(),
        }))
    }

    /// Takes what a receiver made of the party's packets. `arrived_unix_ms` is the wall clock now; the first frame
    /// anchors the party's clock with it.
    pub fn push(&self, audio: PartyAudio, rate: u32, arrived_unix_ms: i64) {
        let mut state = self.state();
        if state.is_discarded || (state.is_withheld && state.phrases.is_none()) {
            return;
        }
        let is_ready = match audio {
            PartyAudio::Frame { position, pcm } => {
                let frame = Kept { position, pcm, arrived_unix_ms };
                let frame = match &mut state.hold {
                    Some(held) => held.keep(frame),
                    None => Some(frame),
                };
                frame.is_some_and(|frame| state.push(frame, rate))
            }
            // Nothing that is to be heard is missing.
            PartyAudio::Lost { .. } if state.hold.is_some() => false,
            PartyAudio::Lost { position, samples } => {
                state.ring.push_lost(position, samples, GapReason::PacketLoss);
                metrics::gap(GapReason::PacketLoss, samples, rate);
                true
            }
        };
        // Most packets complete no frame: the uplink is not woken for them.
        if is_ready {
            let overflowed = state.ring.take_overflowed();
            metrics::gap(GapReason::TranscriberUnavailable, overflowed, rate);
            state.measure();
            drop(state);
            self.0.changed.notify_one();
        }
    }

    /// Has the transcriber listen for what the party says about consent. While audio is withheld, it goes out for that
    /// and for nothing else. Call it before the uplink is started.
    pub fn listen_for(&self, phrases: ConsentPhrases) {
        self.state().phrases = Some(phrases);
    }

    /// From now on audio is withheld, or taken. Withheld audio is dropped as if nothing were said, unless
    /// [phrases are listened for](Self::listen_for).
    pub fn withhold(&self, is_withheld: bool) {
        let mut state = self.state();
        state.is_withheld = is_withheld;
        state.ring.withhold(is_withheld);
    }

    /// Forgets all audio, here and in the transcriber, and takes no more.
    pub fn discard(&self) {
        let mut state = self.state();
        state.is_discarded = true;
        state.ring.discard();
        state.measure();
        drop(state);
        self.0.changed.notify_one();
    }

    /// The party has said something about consent.
    pub fn hear_consent(&self, state: ConsentState, source: ConsentSource) {
        self.state().hear((state, source));
    }

    /// The strongest of what the party has said about consent since this was last asked.
    pub fn take_consent(&self) -> Option<HeardConsent> {
        self.state().heard.take()
    }

    /// RingCentral says that the party is on hold, or is not any more, since then if that is known (milliseconds since
    /// the Unix epoch). What is heard on hold is not transcribed.
    pub fn hold(&self, is_held: bool, since_unix_ms: Option<i64>) {
        let mut state = self.state();
        state.is_call_held = is_held;
        if state.follow_hold(since_unix_ms) {
            drop(state);
            self.0.changed.notify_one();
        }
    }

    /// What the other side's SDP says of the party's line.
    pub fn hold_line(&self, line: LineHold) {
        let mut state = self.state();
        state.line = line;
        if state.follow_hold(None) {
            drop(state);
            self.0.changed.notify_one();
        }
    }

    /// Whether silence is to be expected, and why it is no reason for worry.
    pub fn is_on_hold(&self) -> bool {
        let state = self.state();
        state.is_call_held || state.line != LineHold::Open
    }

    /// How many datagrams the stream has received so far.
    pub(crate) fn note_datagrams(&self, count: u64) {
        self.0.datagrams.store(count, Ordering::Relaxed);
    }

    /// The same.
    pub(crate) fn datagrams(&self) -> u64 {
        self.0.datagrams.load(Ordering::Relaxed)
    }

    /// One past the newest sample.
    pub fn heard_until(&self) -> SamplePosition {
        self.state().ring.end()
    }

    /// Audio at or after a position that is still kept, as far as it fills frames.
    pub fn audio_since(&self, mut position: SamplePosition) -> Vec<Chunk> {
        let state = self.state();
        let mut chunks = Vec::new();
        while let Some(chunk) = state.ring.next_after(position) {
            position = chunk.end();
            chunks.push(chunk);
        }
        chunks
    }

    /// Wall clock at sample 0, in milliseconds since the Unix epoch, once there was audio.
    pub fn known_anchor(&self) -> Option<i64> {
        self.state().anchor_unix_ms
    }

    /// The party has left.
    pub fn finish(&self) {
        let mut state = self.state();
        state.ring.seal();
        state.finished = true;
        drop(state);
        self.0.changed.notify_one();
        self.0.left.notify_one();
    }

    /// Waits until a frame of audio is there. `None`: the party left without a sound.
    pub(super) async fn anchor(&self) -> Option<i64> {
        loop {
            {
                let state = self.state();
                if state.is_discarded {
                    return None;
                }
                if state.anchor_unix_ms.is_some() || state.finished {
                    return state.anchor_unix_ms;
                }
            }
            self.changed().await;
        }
    }

    /// Waits for the next push, or returns at once if there was one since the last wait.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Waits until the party has left. For one at a time.
    pub(super) async fn left(&self) {
        if !self.is_finished() {
            self.0.left.notified().await;
        }
    }

    pub(super) fn next_after(&self, sent: SamplePosition) -> Next {
        let state = self.state();
        if state.is_discarded {
            return Next::Discard;
        }
        match state.ring.next_after(sent) {
            Some(chunk) => Next::Chunk(chunk),
            None if state.finished => Next::End(state.ring.end()),
            None => Next::Nothing,
        }
    }

    pub(super) fn acknowledge(&self, ack: AudioAck) {
        let mut state = self.state();
        state.ring.acknowledge(SamplePosition(ack.sample_position), ack.next_segment);
        let heard = ack.heard_consent();
        if heard > state.heard_phrases {
            state.heard_phrases = heard;
            state.hear((heard, ConsentSource::Phrase));
        }
        let lag = state.ring.end().since(state.ring.resume_from().0);
        metrics::ACKNOWLEDGEMENT_LAG.record(lag as f64 / f64::from(state.rate));
        state.measure();
    }

    pub(super) fn resume_from(&self) -> (SamplePosition, u32) {
        self.state().ring.resume_from()
    }

    pub(super) fn phrases(&self) -> Option<ConsentPhrases> {
        self.state().phrases.clone()
    }

    pub(super) fn is_discarded(&self) -> bool {
        self.state().is_discarded
    }

    /// Whether the party has left, or its leg.
    pub(crate) fn is_finished(&self) -> bool {
        self.state().finished
    }

    /// The audio that was never acknowledged is given up: how much of it there is.
    pub(super) fn give_up(&self) -> (SamplePosition, SamplePosition) {
        let state = self.state();
        let ((from, _), to) = (state.ring.resume_from(), state.ring.end());
        metrics::gap(GapReason::TranscriberUnavailable, state.ring.held(), state.rate);
        (from, to)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding the lock; if something did, the audio is still worth having.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a frame into the ring. Whether there is something new to send.
    fn push(&mut self, Kept { position, pcm, arrived_unix_ms }: Kept, rate: u32) -> bool {
        let end = position.plus(pcm.len() as u64);
        self.anchor_unix_ms
            .get_or_insert_with(|| arrived_unix_ms.saturating_sub_unsigned(end.to_ms(rate)));
        self.ring.push(position, &pcm)
    }

    /// Begins or ends to keep audio back. On a silent line it is not: nothing comes, but for what has overtaken the news.
    fn follow_hold(&mut self, since_unix_ms: Option<i64>) -> bool {
        let is_held = self.is_call_held || self.line == LineHold::Music;
        match (is_held, self.hold.take()) {
            (true, held) => self.hold = Some(held.unwrap_or_else(|| Held::new(self.rate))),
            (false, Some(held)) => {
                let mut is_ready = false;
                for frame in held.end(since_unix_ms) {
                    is_ready |= self.push(frame, self.rate);
                }
                return is_ready;
            }
            (false, None) => {}
        }
        false
    }

    fn hear(&mut self, news: HeardConsent) {
        self.heard = self.heard.filter(|known| known.0 >= news.0).or(Some(news));
    }

    fn measure(&mut self) {
        self.held.set(self.ring.held() as f64 / f64::from(self.rate));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 8000;

    /// 20 ms that arrive on time.
    fn push(feed: &Feed, number: u64) {
        let frame =
            PartyAudio::Frame { position: SamplePosition(number * 160), pcm: vec![100; 160] };
        feed.push(frame, RATE, 1_000_000 + 20 * number as i64);
    }

    /// What the transcriber gets: from where to where, and whether it is a voice.
    fn sent(feed: &Feed) -> Vec<(u64, u64, bool)> {
        let mut sent: Vec<(u64, u64, bool)> = Vec::new();
        for chunk in feed.audio_since(SamplePosition(0)) {
            let (from, to) = (chunk.position().0, chunk.end().0);
            let Chunk::Frame { pcm, .. } = chunk else { panic!("a hold is no gap") };
            let is_voice = pcm.iter().all(|sample| *sample == 100);
            assert!(is_voice || pcm.iter().all(|sample| *sample == 0));
            match sent.last_mut() {
                Some((_, end, kind)) if (*end, *kind) == (from, is_voice) => *end = to,
                _ => sent.push((from, to, is_voice)),
            }
        }
        sent
    }

    #[test]
    fn a_hold_is_silence_and_the_voice_goes_on_in_its_place() {
        let feed = Feed::new(RATE);
        (0..100).for_each(|number| push(&feed, number));
        assert!(!feed.is_on_hold());
        feed.hold(true, None);
        assert!(feed.is_on_hold());
        (100..500).for_each(|number| push(&feed, number));
        feed.push(PartyAudio::Lost { position: SamplePosition(80_000), samples: 160 }, RATE, 0);
        // The news that the hold was over at frame 475 comes half a second late, and 250 ms more are given for the
        // clocks.
        feed.hold(false, Some(1_000_000 + 20 * 475));
        (501..600).for_each(|number| push(&feed, number));
        feed.finish();
        let from = 475 * 160 - 250 * 8;
        let from = (from as u64).div_ceil(160) * 160;
        let expected = [
            (0, 16_000, true),
            (16_000, 32_000, false),
            (from, 80_000, true),
            (80_160, 96_000, true),
        ];
        assert_eq!(sent(&feed), expected);
        assert_eq!(feed.known_anchor(), Some(1_000_000 - 20));
    }

    #[test]
    fn a_hold_without_news_of_its_end_in_time_loses_nothing_afterwards() {
        let feed = Feed::new(RATE);
        feed.hold(true, None);
        (0..1000).for_each(|number| push(&feed, number));
        feed.hold(false, None);
        (1000..1010).for_each(|number| push(&feed, number));
        feed.finish();
        assert_eq!(sent(&feed), [(0, 16_000, false), (160_000, 161_600, true)]);
    }

    #[test]
    fn music_is_kept_back_and_what_comes_on_a_silent_line_is_not() {
        let feed = Feed::new(RATE);
        feed.hold_line(LineHold::Silent);
        assert!(feed.is_on_hold());
        (0..10).for_each(|number| push(&feed, number));
        feed.hold_line(LineHold::Music);
        (10..20).for_each(|number| push(&feed, number));
        feed.hold_line(LineHold::Open);
        (20..30).for_each(|number| push(&feed, number));
        assert!(!feed.is_on_hold());
        feed.finish();
        assert_eq!(sent(&feed), [(0, 1600, true), (3200, 4800, true)]);
    }
}
