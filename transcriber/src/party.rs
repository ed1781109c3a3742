//! One party's stream: audio in, captions out, and how far the audio need not be kept any more.

mod outgoing;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use caption_publisher::Publisher;
use pipeline::captions::{Caption, CaptionAssembler, Meaning};
use pipeline::resample::Resampler;
use pipeline::speech::{Endpointing, SAMPLE_RATE, Segmenter, SpeechEvent, Window, millis, samples};
use sidetone_proto::v1;
use sidetone_proto::v1::party_audio::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_stream::{Stream, StreamExt};
use tracing::{debug, info, warn};

use self::outgoing::{Delivery, kept};
use crate::backends::Recognition;
use crate::ledger::{Item, Ledger, ResumePoint};
use crate::queue::Purpose;
use crate::redaction::{Gate, Redaction};
use crate::start::{Start, check_position};
use crate::workers::Recognised;

/// Finals and gaps that the relay has not stored yet. When there are more, no audio is taken until the relay has
/// caught up: it waits in the gateway's ring.
pub const UNSTORED_CAPACITY: usize = 16;

/// As [`UNSTORED_CAPACITY`], where the publisher keeps them on disk: 40 minutes of a party's speech and more.
const SPOOLED_CAPACITY: usize = 500;

/// How long a gateway that went away in the middle of an utterance may take to come back: as long as its ring of audio
/// lasts, and its pause between two attempts. Then the utterance is captioned as far as it was heard. Were it done
/// earlier, that would be all there ever is of it: the relay takes an utterance once.
const RETURN_GRACE: Duration = Duration::from_secs(35);

/// Why a stream can't go on.
#[derive(Debug, thiserror::Error)]
pub enum PartyError {
    /// The gateway broke the contract; what it says is meant for its log.
    #[error("{0}")]
    Contract(String),
    /// The process is going down.
    #[error("the transcriber is shutting down")]
    ShuttingDown,
}

/// The state of one party's stream.
pub struct PartyStream {
    start: Start,
    resampler: Resampler,
    /// One past the last sample that arrived, in samples at the party's rate.
    received: u64,
    segmenter: Segmenter,
    captions: CaptionAssembler,
    /// Drafted utterances that there is no final of yet.
    unfinished: BTreeMap<u32, Unfinished>,
    /// The last thing that text goes through.
    gate: Gate,
    /// Of finals that are in the gate.
    timings: BTreeMap<u32, v1::FinalTiming>,
    /// The gateway has said that there is no more.
    is_complete: bool,
    /// Utterances on which the recogniser failed: from where to where, in samples at 16 kHz.
    failed: BTreeMap<u32, (u64, u64)>,
    recognition: Recognition,
    /// Whether what arrives is for consent only.
    is_withheld: bool,
    /// Utterances that are for consent only, until they are closed. None is so in part: it is cut where that changes.
    withheld: BTreeSet<u32>,
    /// The strongest of what the party has said about being transcribed.
    heard: Option<Meaning>,
    publisher: Publisher,
    ledger: Ledger,
    deliveries: JoinSet<Delivery>,
    acknowledged: v1::AudioAck,
}

/// What is known of an utterance until there is a final of it.
#[derive(Default)]
struct Unfinished {
    /// Of its last draft, in samples at 16 kHz.
    speech_end: u64,
    timing: v1::FinalTiming,
}

/// Whether more audio comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audio {
    /// The gateway is there.
    Coming,
    /// The gateway went away in the middle of an utterance, and has until then to come back.
    BrokenOff(Instant),
    /// No more.
    Over,
}

impl PartyStream {
    /// Opens a stream.
    pub fn open(
        mut start: Start,
        endpointing: Endpointing,
        recognition: Recognition,
        publisher: Publisher,
        redaction: &Redaction,
    ) -> Result<Self, PartyError> {
        let received = start.sample_position;
        let resume =
            ResumePoint { position: start.to_16k(received), next_segment: start.next_segment };
        let kept = kept(&start, &publisher);
        if let Some(last) = kept.last() {
            start.skip_to(samples(last.end_ms), last.segment + 1);
        }
        let position = start.to_16k(start.sample_position);
        let mut stream = Self {
            resampler: Resampler::new(start.sample_rate, SAMPLE_RATE as u32)
                .map_err(|error| PartyError::Contract(error.to_string()))?,
            received,
            segmenter: Segmenter::new(endpointing, position, start.next_segment),
            captions: CaptionAssembler::from_segment(start.next_segment),
            unfinished: BTreeMap::new(),
            gate: redaction.gate(start.next_segment),
            timings: BTreeMap::new(),
            is_complete: false,
            failed: BTreeMap::new(),
            recognition,
            is_withheld: false,
            withheld: BTreeSet::new(),
            heard: None,
            publisher,
            ledger: Ledger::default(),
            deliveries: JoinSet::new(),
            acknowledged: v1::AudioAck {
                sample_position: received,
                next_segment: resume.next_segment,
                heard_consent: v1::ConsentState::Unspecified.into(),
            },
            start,
        };
        kept.into_iter().for_each(|last| stream.await_kept(last, resume));
        Ok(stream)
    }

    /// Runs the stream until everything in `audio` is captioned and stored; acknowledgements go to `acks`.
    ///
    /// `audio` ends without `PartyEnd` when the gateway has gone. Drop this future when the gateway comes back on another
    /// connection. If it does not, what it sent is captioned to its end.
    pub async fn run(
        mut self,
        mut audio: impl Stream<Item = Message> + Unpin,
        acks: mpsc::Sender<v1::AudioAck>,
    ) -> Result<(), PartyError> {
        let mut state = Audio::Coming;
        // Not sent yet: a gateway that is slow to read holds up nothing but its own acknowledgements.
        let mut due = None;
        while state != Audio::Over || !self.ledger.is_empty() {
            let has_room = self.has_room();
            let come_back = match state {
                Audio::BrokenOff(deadline) => Some(deadline),
                Audio::Coming | Audio::Over => None,
            };
            let judgement = self.gate.next_timeout(self.is_speaking()).map(Instant::from_std);
            tokio::select! {
                message = audio.next(), if state == Audio::Coming && has_room => {
                    state = self.take(message)?;
                }
                () = until(come_back) => {
                    self.finish();
                    state = Audio::Over;
                }
                recognised = self.recognition.next() => self.take_recognised(recognised),
                () = until(judgement) => {
                    let is_speaking = self.is_speaking();
                    let out = self.gate.handle_timeout(Instant::now().into_std(), is_speaking);
                    self.send(out);
                }
                Some(delivery) = self.deliveries.join_next() => {
                    self.take_delivery(delivery.map_err(|_| PartyError::ShuttingDown)?)?;
                }
                permit = acks.reserve(), if due.is_some() => {
                    if let (Ok(permit), Some(ack)) = (permit, due.take()) {
                        permit.send(ack);
                    }
                }
            }
            if self.is_complete && self.unfinished.is_empty() {
                let out = self.gate.finish(Instant::now().into_std());
                self.send(out);
            }
            due = self.progress().or(due);
            self.tell_who_recognises();
        }
        // All that is left is silence.
        let end = v1::AudioAck { sample_position: self.received, ..self.acknowledged };
        let _ = acks.send(end).await;
        Ok(())
    }

    /// Takes a message from the gateway, and says whether there will be another.
    fn take(&mut self, message: Option<Message>) -> Result<Audio, PartyError> {
        match message {
            Some(Message::Start(_)) => {
                return Err(PartyError::Contract("a second PartyStart".to_owned()));
            }
            Some(Message::Frame(frame)) => self.take_frame(&frame)?,
            Some(Message::Lost(lost)) => self.take_lost(&lost)?,
            Some(Message::End(end)) => {
                self.advance_to(end.sample_position)?;
                self.finish();
                self.is_complete = true;
                return Ok(Audio::Over);
            }
            Some(Message::Discard(_)) => {
                info!("the party's audio is discarded");
                self.discard();
                return Ok(Audio::Over);
            }
            None => {
                let is_speaking = self.segmenter.is_in_utterance();
                info!(is_speaking, "gateway went away without ending the party");
                if is_speaking {
                    return Ok(Audio::BrokenOff(Instant::now() + RETURN_GRACE));
                }
                return Ok(Audio::Over);
            }
        }
        Ok(Audio::Coming)
    }

    fn take_frame(&mut self, frame: &v1::AudioFrame) -> Result<(), PartyError> {
        if !frame.pcm.len().is_multiple_of(2)
            || frame.pcm.len() > 2 * self.start.sample_rate as usize
        {
            let problem = "a frame is up to a second of 16-bit samples".to_owned();
            return Err(PartyError::Contract(problem));
        }
        self.advance_to(frame.sample_position)?;
        self.withhold(frame.for_consent_only);
        let pcm: Vec<i16> = frame
            .pcm
            .chunks_exact(2)
            .skip(usize::try_from(self.unheeded()).unwrap_or(usize::MAX))
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect();
        self.received += frame.pcm.len() as u64 / 2;
        let samples = self.resampler.push(&pcm);
        let events = self.segmenter.push(&samples);
        self.take_speech(events);
        Ok(())
    }

    /// What arrives from now on is for consent only, or is to be captioned: the utterance is cut.
    fn withhold(&mut self, is_withheld: bool) {
        if is_withheld == self.is_withheld {
            return;
        }
        self.flush_resampler();
        let position = self.received + self.unheeded();
        let events = self.segmenter.cut_at(self.start.to_16k(position));
        self.take_speech(events);
        self.is_withheld = is_withheld;
    }

    fn take_lost(&mut self, lost: &v1::LostAudio) -> Result<(), PartyError> {
        let end = lost.sample_position.saturating_add(lost.samples);
        check_position(end)?;
        self.advance_to(lost.sample_position)?;
        let from = lost.sample_position + self.unheeded();
        if end > from && !self.is_withheld {
            let span = (self.start.to_16k(from), self.start.to_16k(end));
            let reason = v1::GapReason::try_from(lost.reason).unwrap_or_default();
            self.ledger.owe(Item::Gap(span.0), self.now());
            self.deliver_gap(span, reason);
        }
        self.advance_to(end)
    }

    /// Hears silence up to a position of the party's.
    fn advance_to(&mut self, position: u64) -> Result<(), PartyError> {
        check_position(position)?;
        if position < self.received {
            return Err(PartyError::Contract(format!(
                "position {position} is before {}, which was already sent",
                self.received
            )));
        }
        if position > self.received {
            self.flush_resampler();
            let events = self.segmenter.skip_to(self.start.to_16k(position));
            self.take_speech(events);
            self.received = position;
        }
        Ok(())
    }

    fn finish(&mut self) {
        self.flush_resampler();
        let events = self.segmenter.finish();
        self.take_speech(events);
    }

    fn flush_resampler(&mut self) {
        let tail = self.resampler.flush();
        let events = self.segmenter.push(&tail);
        self.take_speech(events);
    }

    fn take_speech(&mut self, events: Vec<SpeechEvent>) {
        for event in events {
            if let SpeechEvent::Partial(window) | SpeechEvent::Draft(window) = &event
                && self.is_withheld
            {
                self.withheld.insert(window.segment);
            }
            match event {
                SpeechEvent::Partial(window) => self.recognition.request(Purpose::Partial, window),
                SpeechEvent::Draft(window) => {
                    let resume =
                        ResumePoint { position: window.start, next_segment: window.segment };
                    self.ledger.owe(Item::Final(window.segment), resume);
                    self.captions.draft_requested(&window);
                    self.unfinished.entry(window.segment).or_default().speech_end =
                        window.speech_end;
                    self.recognition.request(Purpose::Draft, window);
                }
                SpeechEvent::End { segment } => {
                    self.recognition.ended(segment);
                    self.note_endpoint(segment);
                    let caption = self.captions.ended(segment);
                    self.publish(segment, caption);
                }
            }
        }
        self.recognition.hear(self.segmenter.open_utterance());
    }

    fn note_endpoint(&mut self, segment: u32) {
        let position = self.segmenter.position();
        if let Some(Unfinished { speech_end, timing }) = self.unfinished.get_mut(&segment) {
            timing.endpoint_ms = whole_ms(millis(position.saturating_sub(*speech_end)));
        }
    }

    fn take_recognised(&mut self, recognised: Recognised) {
        let Recognised { purpose, window, hypothesis, spent } = recognised;
        let segment = window.segment;
        if let (Purpose::Draft, Some(of)) = (purpose, self.unfinished.get_mut(&segment)) {
            of.timing.queue_ms = whole_ms(spent.queue.as_millis());
            of.timing.inference_ms = whole_ms(spent.inference.as_millis());
        }
        let caption = match (purpose, hypothesis) {
            (Purpose::Partial, Some(hypothesis)) => {
                self.captions.partial_recognised(&window, &hypothesis)
            }
            (Purpose::Partial, None) => None,
            (Purpose::Draft, Some(hypothesis)) => {
                self.captions.draft_recognised(window, hypothesis)
            }
            (Purpose::Draft, None) => self.draft_failed(window),
        };
        self.publish(segment, caption);
        for reason in self.captions.take_rejected() {
            debug!(segment, ?reason, "hypothesis not believed");
        }
    }

    fn draft_failed(&mut self, window: Window) -> Option<Caption> {
        warn!(segment = window.segment, "an utterance could not be recognised");
        if self.captions.is_open(window.segment) {
            self.failed.insert(window.segment, (window.speech_start, window.speech_end));
        }
        self.captions.draft_failed(window)
    }

    /// Whether more audio may be taken.
    fn has_room(&self) -> bool {
        let is_on_disk = self.publisher.has_room_on_disk();
        let capacity = if is_on_disk { SPOOLED_CAPACITY } else { UNSTORED_CAPACITY };
        self.ledger.len() < capacity
    }

    /// How many samples are still to come, at the party's rate, that are captioned already.
    fn unheeded(&self) -> u64 {
        self.start.sample_position.saturating_sub(self.received)
    }

    /// Whether something is being said that there is no final of yet.
    fn is_speaking(&self) -> bool {
        self.segmenter.is_in_utterance() || !self.unfinished.is_empty()
    }

    /// The acknowledgement that is due, if there is news.
    fn progress(&mut self) -> Option<v1::AudioAck> {
        if self.unheeded() > 0 {
            // There is no number for what comes between here and there.
            return None;
        }
        let resume = self.ledger.resume_point(self.now());
        let ack = v1::AudioAck {
            sample_position: self.start.at_party_rate(resume.position),
            next_segment: resume.next_segment,
            heard_consent: consent(self.heard).into(),
        };
        let is_further = ack.sample_position > self.acknowledged.sample_position;
        let is_news = is_further || ack.heard_consent != self.acknowledged.heard_consent;
        is_news.then(|| {
            self.acknowledged = ack;
            ack
        })
    }

    fn now(&self) -> ResumePoint {
        ResumePoint {
            position: self.segmenter.settled(),
            next_segment: self.segmenter.next_segment(),
        }
    }
}

fn consent(heard: Option<Meaning>) -> v1::ConsentState {
    match heard {
        None => v1::ConsentState::Unspecified,
        Some(Meaning::Announced) => v1::ConsentState::Announced,
        Some(Meaning::Granted) => v1::ConsentState::Granted,
        Some(Meaning::Refused) => v1::ConsentState::Refused,
    }
}

fn whole_ms(ms: impl TryInto<u32>) -> u32 {
    ms.try_into().unwrap_or(u32::MAX)
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
