use std::fmt::Display;
use std::sync::Arc;

use pipeline::captions::{Hypothesis, Word};
use pipeline::speech::{Window, samples};
use whisper_rs::{
    FullParams, SamplingStrategy, WhisperContext, WhisperContextParameters, WhisperSegment,
    WhisperState, WhisperTokenId,
};

use super::model::DEMO_EN;
use super::{ModelError, ModelSource, Recogniser, RecogniserError, RecogniserFactory, Search};

/// whisper.cpp 1.8.3 reads beyond the end of very short audio: shorter windows are padded with silence.
const LEAST_SAMPLES: usize = samples(1_000) as usize;

/// Positions of the encoder's audio context: 50 a second.
const CONTEXT_PER_SECOND: u64 = 50;
/// Room after the end of the window: with less, stock models repeat themselves.
const CONTEXT_MARGIN: u64 = 128;
/// Below this, text suffers.
const LEAST_CONTEXT: u64 = 256;
/// whisper.cpp's kernels like round sizes.
const CONTEXT_STEP: u64 = 64;

/// Readings side by side in a beam search: as many as whisper.cpp takes.
const BEAM_SIZE: i32 = 8;

/// How a window is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhisperOptions {
    /// The language that is spoken, as Whisper names it: `en`, `de`, ...
    pub language: String,
}

/// Whisper through whisper.cpp. Loads a model once; every worker gets a state of its own over it.
pub struct Whisper {
    context: Arc<WhisperContext>,
    params: Params,
}

struct WhisperRecogniser {
    context: Arc<WhisperContext>,
    state: WhisperState,
    params: Params,
    /// Used again for every window, to pad it.
    audio: Vec<f32>,
}

/// The parameters of every decode. Made once: whisper-rs leaks the language's C string each time that it is set.
#[derive(Clone)]
struct Params {
    greedy: FullParams<'static, 'static>,
    beam: FullParams<'static, 'static>,
}

impl Whisper {
    /// Loads a model into memory: some hundred milliseconds to seconds.
    pub fn load(model: &ModelSource, options: &WhisperOptions) -> Result<Self, ModelError> {
        model.check()?;
        whisper_rs::install_logging_hooks();
        let context_params = WhisperContextParameters::default();
        let context = match model {
            ModelSource::BuiltIn => {
                WhisperContext::new_from_buffer_with_params(DEMO_EN, context_params)
            }
            ModelSource::File(path) => WhisperContext::new_with_params(path, context_params),
        };
        let context = context
            .map_err(|error| ModelError::Load { name: model.name(), reason: error.to_string() })?;
        Ok(Self { context: Arc::new(context), params: Params::new(options) })
    }
}

impl RecogniserFactory for Whisper {
    fn create(&self) -> Result<Box<dyn Recogniser>, RecogniserError> {
        let state = self
            .context
            .create_state()
            .map_err(|error| RecogniserError::Setup(error.to_string()))?;
        Ok(Box::new(WhisperRecogniser {
            context: self.context.clone(),
            state,
            params: self.params.clone(),
            audio: Vec::new(),
        }))
    }
}

impl Recogniser for WhisperRecogniser {
    fn recognise(
        &mut self,
        window: &Window,
        search: Search,
    ) -> Result<Hypothesis, RecogniserError> {
        self.audio.clear();
        self.audio.extend_from_slice(&window.audio);
        self.audio.resize(window.audio.len().max(LEAST_SAMPLES), 0.0);

        let mut params = self.params.of(search).clone();
        params.set_audio_ctx(audio_context(self.audio.len(), self.context.n_audio_ctx()));
        self.state.full(params, &self.audio).map_err(failed)?;

        let end_of_text = self.context.token_eot();
        let mut decoded = Decoded::new(window);
        for segment in self.state.as_iter() {
            decoded.take_segment(&segment, end_of_text)?;
        }
        Ok(decoded.into_hypothesis())
    }
}

/// Collects tokens into words.
struct Decoded<'a> {
    window: &'a Window,
    /// A word's text as bytes: a token may end inside a character.
    words: Vec<(Vec<u8>, Word)>,
    log_probability: f32,
    tokens: usize,
    no_speech_probability: f32,
}

impl<'a> Decoded<'a> {
    fn new(window: &'a Window) -> Self {
        Self {
            window,
            words: Vec::new(),
            log_probability: 0.0,
            tokens: 0,
            no_speech_probability: 0.0,
        }
    }

    fn take_segment(
        &mut self,
        segment: &WhisperSegment<'_>,
        end_of_text: WhisperTokenId,
    ) -> Result<(), RecogniserError> {
        self.no_speech_probability =
            self.no_speech_probability.max(segment.no_speech_probability());
        for token in (0..segment.n_tokens()).filter_map(|i| segment.get_token(i)) {
            let data = token.token_data();
            // Timestamps and other marks come after the text tokens in the vocabulary.
            if data.id >= end_of_text {
                continue;
            }
            self.log_probability += data.plog;
            self.tokens += 1;
            let text = token.to_bytes().map_err(failed)?;
            let (start, end) = (self.position(data.t0), self.position(data.t1));
            match self.words.last_mut() {
                Some((bytes, word)) if !text.starts_with(b" ") => {
                    bytes.extend_from_slice(text);
                    word.end = word.end.max(end);
                    word.confidence = word.confidence.min(data.p);
                }
                _ => {
                    let start = self.words.last().map_or(start, |(_, word)| start.max(word.end));
                    let word = Word {
                        text: String::new(),
                        start,
                        end: end.max(start),
                        confidence: data.p,
                    };
                    self.words.push((text.to_vec(), word));
                }
            }
        }
        Ok(())
    }

    /// A token's time, in hundredths of a second from the window's start, on the party's clock.
    fn position(&self, centiseconds: i64) -> u64 {
        let offset = samples(10 * u64::try_from(centiseconds).unwrap_or(0));
        (self.window.start + offset).min(self.window.end())
    }

    fn into_hypothesis(self) -> Hypothesis {
        let words = self.words.into_iter().filter_map(|(bytes, mut word)| {
            word.text = String::from_utf8_lossy(&bytes).trim().to_owned();
            (!word.text.is_empty()).then_some(word)
        });
        let mut words: Vec<_> = words.collect();
        spread(&mut words, self.window);
        Hypothesis {
            words,
            no_speech_probability: self.no_speech_probability,
            average_log_probability: self.log_probability / self.tokens.max(1) as f32,
        }
    }
}

/// Stretches word times over the speech in the window. whisper.cpp guesses them from the energy of the audio, and with a
/// reduced context they come out up to seconds late; their proportions are good, and speech is known to begin and end
/// where the window says.
fn spread(words: &mut [Word], window: &Window) {
    let (Some(first), Some(last)) = (words.first(), words.last()) else { return };
    let (from, length) = (first.start, last.end.saturating_sub(first.start).max(1));
    let spoken = window.speech_end.saturating_sub(window.speech_start);
    let place =
        |position: u64| window.speech_start + position.saturating_sub(from) * spoken / length;
    for word in words {
        (word.start, word.end) = (place(word.start), place(word.end));
    }
}

impl Params {
    fn new(options: &WhisperOptions) -> Self {
        let language = Box::leak(options.language.clone().into_boxed_str());
        Self {
            greedy: params(SamplingStrategy::Greedy { best_of: 1 }, language),
            beam: params(
                SamplingStrategy::BeamSearch { beam_size: BEAM_SIZE, patience: -1.0 },
                language,
            ),
        }
    }

    fn of(&self, search: Search) -> &FullParams<'static, 'static> {
        match search {
            Search::Greedy => &self.greedy,
            Search::Beam => &self.beam,
        }
    }
}

fn params(strategy: SamplingStrategy, language: &'static str) -> FullParams<'static, 'static> {
    let mut params = FullParams::new(strategy);
    params.set_language(Some(language));
    // More threads spin at barriers and collapse on a busy machine; workers are what scales.
    params.set_n_threads(1);
    params.set_no_context(true);
    params.set_single_segment(true);
    params.set_no_timestamps(false);
    params.set_token_timestamps(true);
    params.set_temperature(0.0);
    params.set_temperature_inc(0.0);
    params.set_suppress_blank(true);
    params.set_suppress_nst(true);
    params.set_print_special(false);
    params.set_print_progress(false);
    params.set_print_realtime(false);
    params.set_print_timestamps(false);
    params
}

/// Just as much of the encoder's context as the audio fills: the cost of a short window is its own, not that of 30 s.
fn audio_context(samples_len: usize, most: i32) -> i32 {
    let needed = (samples_len as u64 * CONTEXT_PER_SECOND).div_ceil(samples(1_000));
    let context = (needed + CONTEXT_MARGIN).max(LEAST_CONTEXT).next_multiple_of(CONTEXT_STEP);
    i32::try_from(context).unwrap_or(most).min(most)
}

fn failed(error: impl Display) -> RecogniserError {
    RecogniserError::Failed(error.to_string())
}
