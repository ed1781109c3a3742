use std::time::{Duration, Instant};

use pipeline::captions::{Caption, CaptionAssembler};
use pipeline::resample::Resampler;
use pipeline::rtp::{PartyAudio, PayloadFormat, RtpReceiver, RtpRejected};
use pipeline::speech::{Endpointing, SAMPLE_RATE, Segmenter, SpeechEvent, Window};
use transcriber::recogniser::{Recogniser, Search};

/// What gateway and transcriber make of one party's packets, in virtual time and without partials.
pub(super) struct Listener {
    epoch: Instant,
    rate: u64,
    receiver: RtpReceiver,
    resampler: Resampler,
    /// One past the last sample that was heard, at the codec's rate.
    heard: u64,
    segmenter: Segmenter,
    captions: CaptionAssembler,
    /// The last draft of the utterance that goes on. It alone counts, so it alone is recognised.
    draft: Option<Window>,
    finals: Vec<String>,
}

impl Listener {
    pub(super) fn new(format: PayloadFormat) -> anyhow::Result<Self> {
        let rate = format.codec.sample_rate();
        Ok(Self {
            epoch: Instant::now(),
            rate: rate.into(),
            receiver: RtpReceiver::new(format)?,
            resampler: Resampler::new(rate, SAMPLE_RATE as u32)?,
            heard: 0,
            segmenter: Segmenter::new(Endpointing::default(), 0, 0),
            captions: CaptionAssembler::default(),
            draft: None,
            finals: Vec::new(),
        })
    }

    /// A datagram arrives `at` this long after the first was sent.
    pub(super) fn receive(
        &mut self,
        at: Duration,
        datagram: &[u8],
        recogniser: &mut dyn Recogniser,
    ) -> anyhow::Result<()> {
        let now = self.epoch + at;
        while let Some(due) = self.receiver.poll_timeout().filter(|due| *due <= now) {
            self.receiver.handle_timeout(due);
        }
        match self.receiver.handle_datagram(now, datagram) {
            // A packet that was held up for too long is one more that is lost.
            Ok(()) | Err(RtpRejected::Late) => self.hear(recogniser),
            Err(rejected) => Err(rejected.into()),
        }
    }

    /// No more comes. Gives the text of all finals.
    pub(super) fn finish(mut self, recogniser: &mut dyn Recogniser) -> anyhow::Result<String> {
        self.receiver.finish();
        self.hear(recogniser)?;
        self.flush(recogniser)?;
        let events = self.segmenter.finish();
        self.caption(events, recogniser)?;
        Ok(self.finals.join(" "))
    }

    fn hear(&mut self, recogniser: &mut dyn Recogniser) -> anyhow::Result<()> {
        while let Some(audio) = self.receiver.poll_audio() {
            if audio.position().0 > self.heard || matches!(audio, PartyAudio::Lost { .. }) {
                self.flush(recogniser)?;
            }
            let from = match &audio {
                PartyAudio::Frame { position, .. } => position.0,
                PartyAudio::Lost { .. } => audio.end().0,
            };
            let skipped = self.segmenter.skip_to(from * SAMPLE_RATE / self.rate);
            self.caption(skipped, recogniser)?;
            if let PartyAudio::Frame { pcm, .. } = &audio {
                let events = self.segmenter.push(&self.resampler.push(pcm));
                self.caption(events, recogniser)?;
            }
            self.heard = audio.end().0;
        }
        Ok(())
    }

    fn flush(&mut self, recogniser: &mut dyn Recogniser) -> anyhow::Result<()> {
        let events = self.segmenter.push(&self.resampler.flush());
        self.caption(events, recogniser)
    }

    fn caption(
        &mut self,
        events: Vec<SpeechEvent>,
        recogniser: &mut dyn Recogniser,
    ) -> anyhow::Result<()> {
        for event in events {
            let captions: [Option<Caption>; 2] = match event {
                SpeechEvent::Partial(_) => [None, None],
                SpeechEvent::Draft(window) => {
                    self.captions.draft_requested(&window);
                    self.draft = Some(window);
                    [None, None]
                }
                SpeechEvent::End { segment } => {
                    let recognised = match self.draft.take() {
                        Some(window) => {
                            let hypothesis = recogniser.recognise(&window, Search::Greedy)?;
                            self.captions.draft_recognised(window, hypothesis)
                        }
                        None => None,
                    };
                    [recognised, self.captions.ended(segment)]
                }
            };
            let finished = captions.into_iter().flatten().filter(|caption| caption.is_final);
            self.finals.extend(finished.map(|caption| caption.text));
        }
        Ok(())
    }
}
