//! One party's stream: audio in, captions out, and how far the audio need not be kept any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use caption_publisher::{Publisher, Undelivered};
use pipeline::captions::{Caption, CaptionAssembler, Meaning, Word};
use pipeline::resample::Resampler;
use pipeline::speech::{Endpointing, SAMPLE_RATE, Segmenter, SpeechEvent, Window, millis};
use sidetone_proto::v1;
use sidetone_proto::v1::caption_event::Event;
use sidetone_proto::v1::party_audio::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_stream::{Stream, StreamExt};
use tracing::{debug, error, info, warn};

use crate::backends::Recognition;
use crate::ledger::{Item, Ledger, ResumePoint};
use crate::queue::Purpose;
use crate::start::{Start, check_position};
use crate::workers::Recognised;

/// Finals and gaps that the relay has not stored yet. When there are more, no audio is taken until the relay has
/// caught up: it waits in the gateway's ring.
pub const UNSTORED_CAPACITY: usize = 16;

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

/// What became of an item that went to the relay.
struct Delivery {
    item: Item,
    /// The audio that it is about, in samples at 16 kHz.
    span: (u64, u64),
    outcome: Result<(), Undelivered>,
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
        start: Start,
        endpointing: Endpointing,
        recognition: Recognition,
        publisher: Publisher,
    ) -> Result<Self, PartyError> {
        let position = start.to_16k(start.sample_position);
        Ok(Self {
            resampler: Resampler::new(start.sample_rate, SAMPLE_RATE as u32)
                .map_err(|error| PartyError::Contract(error.to_string()))?,
            received: start.sample_position,
            segmenter: Segmenter::new(endpointing, position, start.next_segment),
            captions: CaptionAssembler::from_segment(start.next_segment),
            failed: BTreeMap::new(),
            recognition,
            is_withheld: false,
            withheld: BTreeSet::new(),
            heard: None,
            publisher,
            ledger: Ledger::default(),
            deliveries: JoinSet::new(),
            acknowledged: v1::AudioAck {
                sample_position: start.sample_position,
                next_segment: start.next_segment,
                heard_consent: v1::ConsentState::Unspecified.into(),
            },
            start,
        })
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
            let has_room = self.ledger.len() < UNSTORED_CAPACITY;
            let come_back = async move {
                match state {
                    Audio::BrokenOff(deadline) => sleep_until(deadline).await,
                    Audio::Coming | Audio::Over => std::future::pending().await,
                }
            };
            tokio::select! {
                message = audio.next(), if state == Audio::Coming && has_room => {
                    state = self.take(message)?;
                }
                () = come_back => {
                    self.finish();
                    state = Audio::Over;
                }
                recognised = self.recognition.next() => self.take_recognised(recognised),
                Some(delivery) = self.deliveries.join_next() => {
                    self.take_delivery(delivery.map_err(|_| PartyError::ShuttingDown)?)?;
                }
                permit = acks.reserve(), if due.is_some() => {
                    if let (Ok(permit), Some(ack)) = (permit, due.take()) {
                        permit.send(ack);
                    }
                }
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
        let pcm: Vec<i16> =
            frame.pcm.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        self.received += pcm.len() as u64;
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
        let events = self.segmenter.cut_at(self.start.to_16k(self.received));
        self.take_speech(events);
        self.is_withheld = is_withheld;
    }

    /// Forgets what was heard and is not published yet.
    fn discard(&mut self) {
        self.deliveries = JoinSet::new();
        self.ledger = Ledger::default();
    }

    fn take_lost(&mut self, lost: &v1::LostAudio) -> Result<(), PartyError> {
        let end = lost.sample_position.saturating_add(lost.samples);
        check_position(end)?;
        self.advance_to(lost.sample_position)?;
        if end > lost.sample_position && !self.is_withheld {
            let span = (self.start.to_16k(lost.sample_position), self.start.to_16k(end));
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
                    self.recognition.request(Purpose::Draft, window);
                }
                SpeechEvent::End { segment } => {
                    self.recognition.ended(segment);
                    let caption = self.captions.ended(segment);
                    self.publish(segment, caption);
                }
            }
        }
        self.recognition.hear(self.segmenter.open_utterance());
    }

    fn take_recognised(&mut self, Recognised { purpose, window, hypothesis }: Recognised) {
        let segment = window.segment;
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

    /// Sends what there is to be shown of a segment. If the segment is closed and there is nothing, then nothing was
    /// said, or the recogniser failed.
    fn publish(&mut self, segment: u32, caption: Option<Caption>) {
        let item = Item::Final(segment);
        if let Some(caption) = caption.as_ref().filter(|caption| caption.is_final) {
            self.heard = self.heard.max(self.start.phrases.hear(&caption.text));
        }
        if self.withheld.contains(&segment) {
            if !self.captions.is_open(segment) {
                self.withheld.remove(&segment);
                self.failed.remove(&segment);
                self.ledger.call_off(item);
            }
            return;
        }
        match caption {
            Some(caption) if caption.is_final => {
                self.failed.remove(&segment);
                let span = (caption.start, caption.end);
                let event = Event::Caption(self.labelled(caption));
                self.deliver(item, span, event);
            }
            Some(caption) => self.publisher.announce(Event::Caption(self.labelled(caption))),
            None if self.captions.is_open(segment) => {}
            None => match self.failed.remove(&segment) {
                Some(span) => {
                    self.ledger.replace(item, Item::Gap(span.0));
                    self.deliver_gap(span, v1::GapReason::RecogniserFailed);
                }
                None => self.ledger.call_off(item),
            },
        }
    }

    /// Tells the call's viewers when another recogniser than the first takes over, and when the first is back.
    fn tell_who_recognises(&mut self) {
        let Some(is_fallback) = self.recognition.news() else { return };
        let state =
            if is_fallback { v1::CaptionState::FallbackRecogniser } else { v1::CaptionState::Live };
        let call_id = self.start.party.call.to_string();
        self.publisher.announce(Event::Status(v1::Status {
            call_id,
            state: state.into(),
            ..v1::Status::default()
        }));
    }

    fn deliver_gap(&mut self, span: (u64, u64), reason: v1::GapReason) {
        let gap = v1::Gap {
            party: Some((&self.start.party).into()),
            start_ms: millis(span.0),
            end_ms: millis(span.1),
            reason: reason.into(),
            anchor_unix_ms: self.start.anchor_unix_ms,
        };
        self.deliver(Item::Gap(span.0), span, Event::Gap(gap));
    }

    fn deliver(&mut self, item: Item, span: (u64, u64), event: Event) {
        self.ledger.sent(item);
        let publisher = self.publisher.clone();
        self.deliveries.spawn(async move {
            let outcome = publisher.deliver(event).await;
            Delivery { item, span, outcome }
        });
    }

    fn take_delivery(
        &mut self,
        Delivery { item, span, outcome }: Delivery,
    ) -> Result<(), PartyError> {
        match (outcome, item) {
            (Ok(()), _) => self.ledger.stored(item),
            // It would be refused again however often it is said: the transcript shows that something is missing, and
            // the call goes on.
            (Err(Undelivered::Refused), Item::Final(segment)) => {
                error!(segment, "the relay refused a caption, see the reason above");
                self.ledger.replace(item, Item::Gap(span.0));
                self.deliver_gap(span, v1::GapReason::Unspecified);
            }
            (Err(Undelivered::Refused), Item::Gap(_)) => {
                error!("the relay refused a gap, see the reason above");
                self.ledger.stored(item);
            }
            (Err(Undelivered::ShutDown), _) => return Err(PartyError::ShuttingDown),
        }
        Ok(())
    }

    /// The acknowledgement that is due, if there is news.
    fn progress(&mut self) -> Option<v1::AudioAck> {
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

    fn labelled(&self, caption: Caption) -> v1::Caption {
        v1::Caption {
            timing: None,
            party: Some((&self.start.party).into()),
            segment: caption.segment,
            revision: caption.revision,
            is_final: caption.is_final,
            text: caption.text,
            stable_len: caption.stable_len as u32,
            start_ms: millis(caption.start),
            end_ms: millis(caption.end),
            anchor_unix_ms: self.start.anchor_unix_ms,
            words: caption.words.into_iter().map(labelled_word).collect(),
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

fn labelled_word(word: Word) -> v1::Word {
    v1::Word {
        start_ms: millis(word.start),
        end_ms: millis(word.end),
        confidence: word.confidence,
        text: word.text,
    }
}
