use std::sync::Arc;

use super::{FRAME_LEN, Voice, VoiceDetector, millis, samples};

/// When an utterance begins, is decoded, and ends. All times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpointing {
    /// Audio kept from before the first voiced frame, so that no soft first sound is cut off.
    pub pre_roll_ms: u64,
    /// Whether anything is decoded before the first pause.
    pub partials: bool,
    /// Speech after which the first partial is decoded.
    pub first_partial_ms: u64,
    /// Time between partials.
    pub partial_interval_ms: u64,
    /// Silence after which the utterance is decoded as if it were over.
    pub draft_silence_ms: u64,
    /// Silence that ends a short utterance.
    pub end_silence_ms: u64,
    /// Length at which less silence than `end_silence_ms` begins to do; at the longest length, a draft's does.
    pub eager_from_ms: u64,
    /// Longest utterance. Speech that goes on is cut at its best pause.
    pub longest_ms: u64,
    /// Less voice than this in all is a click or a breath, and never decoded.
    pub least_voice_ms: u64,
}

impl Default for Endpointing {
    fn default() -> Self {
        Self {
            pre_roll_ms: 320,
            partials: true,
            first_partial_ms: 480,
            partial_interval_ms: 480,
            draft_silence_ms: 224,
            end_silence_ms: 512,
            eager_from_ms: 5_000,
            longest_ms: 9_500,
            least_voice_ms: 112,
        }
    }
}

impl Endpointing {
    /// For a leg that carries both voices: they take turns within less time than one speaker's pauses last.
    pub fn on_mixed_leg(self) -> Self {
        Self { pre_roll_ms: 256, draft_silence_ms: 240, end_silence_ms: 288, ..self }
    }
}

/// An utterance, or as much of it as has been said, to be decoded.
#[derive(Clone, Debug)]
pub struct Window {
    /// Counts the party's utterances.
    pub segment: u32,
    /// Position of `audio[0]`, in samples at 16 kHz.
    pub start: u64,
    /// Where the first voiced frame begins.
    pub speech_start: u64,
    /// Where the last voiced frame ends.
    pub speech_end: u64,
    /// The share of frames between these two in which a voice is unmistakable, 0 to 1.
    pub clarity: f32,
    /// Mono, 16 kHz, in [-1, 1].
    pub audio: Arc<[f32]>,
}

impl Window {
    /// One past the last sample's position.
    pub fn end(&self) -> u64 {
        self.start + self.audio.len() as u64
    }
}

/// The utterance that is going on, as far as it was heard: for a recogniser that takes audio as it comes.
#[derive(Clone, Copy, Debug)]
pub struct OpenUtterance<'a> {
    /// Counts the party's utterances.
    pub segment: u32,
    /// Position of `audio[0]`, in samples at 16 kHz. The same until the utterance ends.
    pub start: u64,
    /// As in [`Window`].
    pub speech_start: u64,
    /// As in [`Window`].
    pub speech_end: u64,
    /// As in [`Window`].
    pub clarity: f32,
    /// Mono, 16 kHz, in [-1, 1].
    pub audio: &'a [f32],
}

/// What to do about what was heard.
#[derive(Clone, Debug)]
pub enum SpeechEvent {
    /// The party is speaking: decode what has been said so far, if there is time.
    Partial(Window),
    /// The party has paused: decode the utterance as if it were over.
    Draft(Window),
    /// The utterance is over. Its audio is that of its last [`SpeechEvent::Draft`].
    End {
        /// The window's segment.
        segment: u32,
    },
}

/// Cuts one party's audio into utterances.
///
/// Samples go in through [`push`](Self::push); events come out. Memory is bounded by the longest utterance.
pub struct Segmenter {
    endpointing: Endpointing,
    detector: VoiceDetector,
    /// Samples that do not fill a frame yet.
    partial_frame: Vec<f32>,
    /// The utterance so far, or what may become its pre-roll: whole frames.
    audio: Vec<f32>,
    /// Whether each frame of `audio` is voiced, and whether clearly so.
    voiced: Vec<bool>,
    clear: Vec<bool>,
    /// Position of `audio[0]`.
    start: u64,
    utterance: Option<Utterance>,
    next_segment: u32,
}

/// Frame numbers count from `Segmenter::audio[0]`.
struct Utterance {
    segment: u32,
    /// First voiced frame.
    onset: usize,
    /// One past the last voiced frame.
    voice_end: usize,
    voiced_frames: usize,
    /// Decode a partial when there are this many frames.
    next_partial: usize,
    /// `voice_end` of the last draft.
    drafted: Option<usize>,
}

/// Speech begins when this many ...
const ONSET_VOICED: usize = 4;
/// ... of this many last frames are voiced (64 of 96 ms): a click is shorter.
const ONSET_FRAMES: usize = 6;

/// An unbroken run of unsent audio up to this long is heard as silence; after a longer one the segmenter starts anew.
const LONGEST_FILL: u64 = samples(2_000);

impl Segmenter {
    /// Starts at a position (samples at 16 kHz), numbering utterances from `next_segment`.
    pub fn new(endpointing: Endpointing, position: u64, next_segment: u32) -> Self {
        Self {
            endpointing,
            detector: VoiceDetector::default(),
            partial_frame: Vec::with_capacity(FRAME_LEN),
            audio: Vec::new(),
            voiced: Vec::new(),
            clear: Vec::new(),
            start: position,
            utterance: None,
            next_segment,
        }
    }

    /// Position of the next sample to be pushed.
    pub fn position(&self) -> u64 {
        self.start + (self.audio.len() + self.partial_frame.len()) as u64
    }

    /// Every event about audio before this position has been returned.
    pub fn settled(&self) -> u64 {
        self.start
    }

    /// Whether the party is speaking: an utterance has begun and not ended.
    pub fn is_in_utterance(&self) -> bool {
        self.utterance.is_some()
    }

    /// The utterance that is going on, once there is enough voice in it to be more than a click: such a one always ends
    /// with a [`SpeechEvent::End`].
    pub fn open_utterance(&self) -> Option<OpenUtterance<'_>> {
        let utterance = self.utterance.as_ref()?;
        let is_speech = utterance.voiced_frames >= self.frames(self.endpointing.least_voice_ms);
        is_speech.then(|| self.utterance_until(utterance, self.voiced.len()))
    }

    /// The number that the next utterance gets, or the open one has, if it was not cut from an older one.
    pub fn next_segment(&self) -> u32 {
        self.utterance.as_ref().map_or(self.next_segment, |utterance| utterance.segment)
    }

    /// Takes the next samples, in [-1, 1].
    pub fn push(&mut self, samples: &[f32]) -> Vec<SpeechEvent> {
        let mut events = Vec::new();
        for &sample in samples {
            self.partial_frame.push(sample.clamp(-1.0, 1.0));
            if self.partial_frame.len() == FRAME_LEN {
                self.take_frame(&mut events);
            }
        }
        events
    }

    /// Moves on to a later position over audio that was never sent or was lost.
    pub fn skip_to(&mut self, position: u64) -> Vec<SpeechEvent> {
        let missing = position.saturating_sub(self.position());
        let mut events = self.push(&vec![0.0; missing.min(LONGEST_FILL) as usize]);
        if missing > LONGEST_FILL {
            events.extend(self.cut_at(position));
        }
        events
    }

    /// Ends the utterance, if there is one: the party has left.
    pub fn finish(&mut self) -> Vec<SpeechEvent> {
        let mut events = Vec::new();
        if !self.partial_frame.is_empty() {
            self.partial_frame.resize(FRAME_LEN, 0.0);
            self.take_frame(&mut events);
        }
        if let Some(utterance) = &self.utterance {
            let end = (utterance.voice_end + self.frames(self.endpointing.draft_silence_ms))
                .min(self.voiced.len());
            self.end_utterance(end, &mut events);
        }
        events
    }

    /// Ends the utterance, if there is one, and begins anew at a position, without what was said before.
    pub fn cut_at(&mut self, position: u64) -> Vec<SpeechEvent> {
        let events = self.finish();
        self.start_anew(position);
        events
    }

    fn take_frame(&mut self, events: &mut Vec<SpeechEvent>) {
        let voice = self.detector.hear(&self.partial_frame);
        let voiced = voice != Voice::Absent;
        self.audio.append(&mut self.partial_frame);
        self.voiced.push(voiced);
        self.clear.push(voice == Voice::Clear);
        if self.utterance.is_some() {
            self.continue_utterance(voiced, events);
        } else {
            self.listen_for_onset();
        }
    }

    fn listen_for_onset(&mut self) {
        let recent = self.voiced.len().saturating_sub(ONSET_FRAMES);
        let onset = recent + self.voiced[recent..].iter().position(|&v| v).unwrap_or(0);
        if self.voiced[recent..].iter().filter(|&&v| v).count() >= ONSET_VOICED {
            let pre_roll = self.frames(self.endpointing.pre_roll_ms);
            self.forget(onset.saturating_sub(pre_roll));
            self.begin_utterance(0);
        } else {
            let keep = self.frames(self.endpointing.pre_roll_ms) + ONSET_FRAMES;
            self.forget(self.voiced.len().saturating_sub(keep));
        }
    }

    /// Opens an utterance over the frames at hand, whose first voiced one is at or after `from`.
    fn begin_utterance(&mut self, from: usize) {
        let voiced = || (from..).zip(&self.voiced[from..]).filter(|(_, v)| **v).map(|(i, _)| i);
        let onset = voiced().next().unwrap_or(from);
        let voice_end = voiced().last().map_or(onset, |last| last + 1);
        let voiced_frames = voiced().count();
        self.utterance = Some(Utterance {
            segment: self.next_segment,
            onset,
            voice_end,
            voiced_frames,
            next_partial: onset + self.frames(self.endpointing.first_partial_ms),
            drafted: None,
        });
        self.next_segment += 1;
    }

    fn continue_utterance(&mut self, voiced: bool, events: &mut Vec<SpeechEvent>) {
        let now = self.voiced.len();
        let draft_silence = self.frames(self.endpointing.draft_silence_ms);
        let interval = self.frames(self.endpointing.partial_interval_ms);
        let longest = self.frames(self.endpointing.longest_ms);
        let least_voice = self.frames(self.endpointing.least_voice_ms);
        let Some(utterance) = &mut self.utterance else { return };
        if voiced {
            utterance.voice_end = now;
            utterance.voiced_frames += 1;
        }
        let silence = now - utterance.voice_end;
        let heard_enough = utterance.voiced_frames >= least_voice;

        if silence >= draft_silence
            && utterance.drafted != Some(utterance.voice_end)
            && heard_enough
        {
            utterance.drafted = Some(utterance.voice_end);
            utterance.next_partial = now + interval;
            events.extend(self.window(now).map(SpeechEvent::Draft));
        } else if self.endpointing.partials
            && now >= utterance.next_partial
            && silence == 0
            && heard_enough
        {
            utterance.next_partial = now + interval;
            events.extend(self.window(now).map(SpeechEvent::Partial));
        }

        if silence >= self.end_silence(now) {
            let end = now.min(now - silence + draft_silence);
            self.end_utterance(end, events);
        } else if now >= longest {
            self.cut_utterance(events);
        }
    }

    /// Silence that ends an utterance of a length, in frames: less for a long one.
    fn end_silence(&self, length: usize) -> usize {
        let patient = self.frames(self.endpointing.end_silence_ms);
        let eager = self.frames(self.endpointing.draft_silence_ms);
        let from = self.frames(self.endpointing.eager_from_ms);
        let until = self.frames(self.endpointing.longest_ms);
        if length <= from || until <= from {
            return patient;
        }
        let shortened = patient.saturating_sub(eager) * (length - from) / (until - from);
        patient.saturating_sub(shortened).max(eager)
    }

    /// Cuts speech that goes on at the middle of its longest pause, or else at its quietest frame.
    fn cut_utterance(&mut self, events: &mut Vec<SpeechEvent>) {
        let now = self.voiced.len();
        let from = now / 2;
        let mut pause = 0..0;
        let mut begin = from;
        for frame in from..now {
            if self.voiced[frame] {
                begin = frame + 1;
            } else if frame + 1 - begin > pause.len() {
                pause = begin..frame + 1;
            }
        }
        let cut = if pause.is_empty() {
            let energy = |frame: &usize| {
                let samples = &self.audio[frame * FRAME_LEN..][..FRAME_LEN];
                samples.iter().map(|sample| sample * sample).sum::<f32>()
            };
            (from..now).min_by(|a, b| energy(a).total_cmp(&energy(b))).unwrap_or(from)
        } else {
            pause.start + pause.len() / 2
        };
        if let Some(utterance) = &mut self.utterance {
            utterance.voice_end = (0..cut).rev().find(|&f| self.voiced[f]).map_or(cut, |f| f + 1);
        }
        self.end_utterance(cut, events);
        if self.voiced.iter().any(|&voiced| voiced) {
            self.begin_utterance(0);
        }
    }

    /// Closes the utterance, whose audio ends at frame `end`; what comes after it is kept.
    fn end_utterance(&mut self, end: usize, events: &mut Vec<SpeechEvent>) {
        let least_voice = self.frames(self.endpointing.least_voice_ms);
        let Some(utterance) = &self.utterance else { return };
        let (segment, voice_end) = (utterance.segment, utterance.voice_end);
        if utterance.voiced_frames >= least_voice {
            if utterance.drafted != Some(voice_end) {
                events.extend(self.window(end).map(SpeechEvent::Draft));
            }
            events.push(SpeechEvent::End { segment });
        } else {
            // Nothing was said about it: its number is free.
            self.next_segment = segment;
        }
        self.utterance = None;
        self.forget(end);
    }

    fn window(&self, end: usize) -> Option<Window> {
        let utterance = self.utterance_until(self.utterance.as_ref()?, end);
        let OpenUtterance { segment, start, speech_start, speech_end, clarity, audio } = utterance;
        Some(Window { segment, start, speech_start, speech_end, clarity, audio: audio.into() })
    }

    fn utterance_until(&self, utterance: &Utterance, end: usize) -> OpenUtterance<'_> {
        let position = |frame: usize| self.start + (frame * FRAME_LEN) as u64;
        let voice_end = utterance.voice_end.min(end);
        let spoken = &self.clear[utterance.onset.min(voice_end)..voice_end];
        let clear = spoken.iter().filter(|&&clear| clear).count();
        OpenUtterance {
            segment: utterance.segment,
            start: self.start,
            speech_start: position(utterance.onset),
            speech_end: position(voice_end),
            clarity: clear as f32 / spoken.len().max(1) as f32,
            audio: &self.audio[..end * FRAME_LEN],
        }
    }

    /// Drops the first frames.
    fn forget(&mut self, frames: usize) {
        self.audio.drain(..frames * FRAME_LEN);
        self.voiced.drain(..frames);
        self.clear.drain(..frames);
        self.start += (frames * FRAME_LEN) as u64;
    }

    fn start_anew(&mut self, position: u64) {
        self.audio.clear();
        self.voiced.clear();
        self.clear.clear();
        self.partial_frame.clear();
        self.detector.reset();
        self.start = position;
    }

    fn frames(&self, ms: u64) -> usize {
        (ms / millis(FRAME_LEN as u64)) as usize
    }
}
