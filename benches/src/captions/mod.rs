//! A call through the real transcriber: how quick, steady and true its captions are.

mod offline;
mod score;
mod truth;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use sidetone::demo::{Delays, words};
use sidetone_proto::Role;
use sidetone_proto::v1::caption_event::Event;
use simulator::{Audio, Codec, Turn};
use tokio::runtime::Runtime;
use transcriber::config::Settings;
use transcriber::recogniser::{
    ModelSource, Recogniser, RecogniserFactory, Whisper, WhisperOptions,
};

use crate::Report;
use crate::live::{Noted, Pace, Party, Relay, TranscriberProcess};
pub(crate) use offline::Offline;
pub(crate) use score::{Score, Shown};
pub(crate) use truth::{bundled, speech_s};

/// The length of each sound without speech is a fourth of what is asked for.
const SOUNDS: u32 = 4;

/// What to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// What the customer says: a WAV file, 16-bit mono (default: the bundled call)
    #[arg(long, value_name = "FILE", requires_all = ["agent", "truth"])]
    customer: Option<PathBuf>,
    /// What the agent says
    #[arg(long, value_name = "FILE", requires = "customer")]
    agent: Option<PathBuf>,
    /// What is said and when, as JSON: [{"speaker": "agent", "start_ms": 600, "end_ms": 7540, "text": "..."}, ...]
    #[arg(long, value_name = "FILE", requires = "customer")]
    truth: Option<PathBuf>,
    /// What the audio is coded with: opus or pcmu
    #[arg(long, default_value_t = Codec::Opus)]
    codec: Codec,
    /// The Whisper model: demo-en, or a file in ggml format
    #[arg(long, default_value = ModelSource::BUILT_IN)]
    model: String,
    /// As fast as the transcriber can, for the quality of the text alone
    #[arg(long)]
    unpaced: bool,
    /// How often the call is played, each time anew
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Minutes of silence, line noise, ring-back and hold music, in which no word may be heard
    #[arg(long, value_name = "MINUTES", default_value_t = 30)]
    non_speech: u32,
}

/// The figures.
#[derive(Serialize)]
pub(crate) struct Figures {
    model: String,
    codec: &'static str,
    /// Word error rate of the finals, in percent.
    wer: f64,
    /// The same of one pass over each turn.
    wer_offline: f64,
    /// From the beginning of a turn to its first caption.
    first_partial_ms: Option<Percentiles>,
    /// From the end of a turn to its last final.
    final_ms: Option<Percentiles>,
    /// Of what a final's delay is made up.
    final_parts_ms: FinalParts,
    /// From the end of a word to its being shown as it stays.
    word_ms: Option<Percentiles>,
    /// Normalised erasure: words taken back for each word that stays.
    flicker: f64,
    /// The share of committed words that changed afterwards.
    committed_changed: f64,
    /// Words lost or doubled where one final of a turn ends and the next begins.
    seam_words: usize,
    /// Words of finals while nobody spoke, in the call and in the sounds without speech.
    invented_words: usize,
    /// Turns without a final.
    lost_turns: usize,
    /// Processor seconds of the transcriber for each second of speech, and of one pass over each turn.
    cpu_s_per_speech_s: f64,
    cpu_s_per_speech_s_offline: f64,
}

#[derive(Serialize)]
struct FinalParts {
    /// From the end of speech until it is taken for the end.
    endpoint: Option<Percentiles>,
    /// Waiting for a worker.
    queue: Option<Percentiles>,
    /// Being recognised.
    inference: Option<Percentiles>,
}

/// In ms.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p95: u64,
    pub(crate) p99: u64,
}

/// Both sides of a call, and what they say.
pub(crate) struct Recording {
    customer: Audio,
    agent: Audio,
    pub(crate) turns: Vec<Turn>,
}

/// What several plays of a call came to.
#[derive(Default)]
struct Plays {
    score: Score,
    endpoint: Delays,
    queue: Delays,
    inference: Delays,
    cpu_s: f64,
}

impl Arguments {
    pub(crate) fn run(self) -> anyhow::Result<Figures> {
        let recording = match (&self.customer, &self.agent, &self.truth) {
            (Some(customer), Some(agent), Some(truth)) => Recording {
                customer: Audio::from_wav(customer)?,
                agent: Audio::from_wav(agent)?,
                turns: truth::read(truth)?,
            },
            _ => Recording::bundled(),
        };
        let mut recogniser = recogniser(&self.model)?;
        let offline = recording.offline(self.codec, recogniser.as_mut())?;
        drop(recogniser);
        let runtime = Runtime::new()?;
        let plays = runtime.block_on(self.play(&recording)).context("the call")?;
        let invented = runtime.block_on(self.hear_nothing()).context("sounds without speech")?;
        Ok(self.figures(&recording, offline, plays, invented))
    }

    async fn play(&self, recording: &Recording) -> anyhow::Result<Plays> {
        let relay = Relay::start().await?;
        let mut transcriber = self.transcriber(&relay)?;
        let mut plays = Plays::default();
        for run in 0..self.runs {
            let parties = recording.parties(&format!("call-{run}"), self.codec)?;
            let [agent, customer] = &parties;
            let start = Instant::now();
            let pace = if self.unpaced { Pace::Unpaced } else { Pace::RealTime(start.into()) };
            let address = transcriber.address();
            tokio::try_join!(agent.speak(address, pace), customer.speak(address, pace))?;
            plays.take(recording, start, relay.take());
        }
        plays.cpu_s = transcriber.cpu_s()?;
        Ok(plays)
    }

    fn transcriber(&self, relay: &Relay) -> anyhow::Result<TranscriberProcess> {
        let model = self.model.clone();
        TranscriberProcess::start(&Settings { model, relay: relay.url(), ..Settings::default() })
    }

    /// Gives the number of words that were heard where nobody speaks.
    async fn hear_nothing(&self) -> anyhow::Result<usize> {
        let relay = Relay::start().await?;
        let transcriber = self.transcriber(&relay)?;
        let length = Duration::from_secs(60) * self.non_speech / SOUNDS;
        let sounds = [
            ("silence", Audio::silence(length)),
            ("line noise", Audio::line_noise(length, 1)),
            ("ring-back", Audio::ring_back(length)),
            ("hold music", Audio::hold_music(length, 1)),
        ];
        let mut invented = 0;
        for (name, sound) in sounds {
            let party = Party::new(name, Role::Customer, &sound, self.codec)?;
            party.speak(transcriber.address(), Pace::Unpaced).await?;
            let finals = relay.take().into_iter().filter_map(|noted| match noted.event {
                Event::Caption(caption) if caption.is_final => Some(caption.text),
                _ => None,
            });
            let heard: usize = finals.map(|text| words(&text).len()).sum();
            if heard > 0 {
                eprintln!("{heard} words in {name}");
            }
            invented += heard;
        }
        Ok(invented)
    }

    fn figures(
        &self,
        recording: &Recording,
        offline: Offline,
        plays: Plays,
        invented: usize,
    ) -> Figures {
        let Plays { score, endpoint, queue, inference, cpu_s } = plays;
        let speech_s = speech_s(&recording.turns);
        let paced = |delays: &Delays| if self.unpaced { None } else { percentiles(delays) };
        Figures {
            model: self.model.clone(),
            codec: self.codec.as_str(),
            wer: rounded(score.words.percent()),
            wer_offline: rounded(offline.words.percent()),
            first_partial_ms: paced(&score.first_partials),
            final_ms: paced(&score.finals),
            final_parts_ms: FinalParts {
                endpoint: paced(&endpoint),
                queue: paced(&queue),
                inference: percentiles(&inference),
            },
            word_ms: paced(&score.word_delays),
            flicker: rounded(score.flicker()),
            committed_changed: rounded(score.committed_changed_share()),
            seam_words: score.seam_words,
            invented_words: score.invented + invented,
            lost_turns: score.lost_turns,
            cpu_s_per_speech_s: rounded(cpu_s / (speech_s * f64::from(self.runs))),
            cpu_s_per_speech_s_offline: rounded(offline.cpu_s / speech_s),
        }
    }
}

impl Recording {
    /// The call that comes with Sidetone.
    pub(crate) fn bundled() -> Self {
        Self { customer: Audio::demo_customer(), agent: Audio::demo_agent(), turns: bundled() }
    }

    /// The agent and the customer, over telephone lines.
    pub(crate) fn parties(&self, call: &str, codec: Codec) -> anyhow::Result<[Party; 2]> {
        Ok([
            Party::new(call, Role::Agent, &self.agent, codec)?,
            Party::new(call, Role::Customer, &self.customer, codec)?,
        ])
    }

    /// The same call from another moment on; what was said before that moment comes at its end.
    pub(crate) fn starting_at(&self, begin_ms: u64) -> Self {
        let length = self.agent.duration();
        let length_ms = length.as_millis() as u64;
        let begin = Duration::from_millis(begin_ms);
        let mut turns = self.turns.clone();
        for turn in &mut turns {
            let lasts = turn.end_ms - turn.start_ms;
            turn.start_ms = (turn.start_ms + length_ms - begin_ms) % length_ms;
            turn.end_ms = turn.start_ms + lasts;
        }
        turns.sort_by_key(|turn| turn.start_ms);
        Self {
            customer: self.customer.excerpt(begin, length),
            agent: self.agent.excerpt(begin, length),
            turns,
        }
    }

    /// The turns of a party.
    fn turns_of(&self, role: Role) -> Vec<&Turn> {
        self.turns.iter().filter(|turn| turn.speaker == role.as_str()).collect()
    }

    /// What one pass over each turn gives and costs.
    pub(crate) fn offline(
        &self,
        codec: Codec,
        recogniser: &mut dyn Recogniser,
    ) -> anyhow::Result<Offline> {
        let mut offline = Offline::default();
        for (party, role) in
            self.parties("offline", codec)?.iter().zip([Role::Agent, Role::Customer])
        {
            offline.decode(party, &self.turns_of(role), recogniser)?;
        }
        Ok(offline)
    }

    /// Scores the events of one play that began at `start`.
    pub(crate) fn score<'a>(
        &self,
        start: Instant,
        noted: impl Iterator<Item = &'a Noted> + Clone,
    ) -> Score {
        let mut score = Score::default();
        for role in [Role::Agent, Role::Customer] {
            let shown = noted.clone().filter_map(|Noted { at, event }| match event {
                Event::Caption(caption)
                    if caption.party.as_ref().is_some_and(|it| it.party_id == role.as_str()) =>
                {
                    let at_ms = at.saturating_duration_since(start).as_millis() as u64;
                    Some(Shown { at_ms, caption: caption.clone() })
                }
                _ => None,
            });
            score.add(Score::of_party(&self.turns_of(role), &shown.collect::<Vec<_>>()));
        }
        score
    }
}

impl Plays {
    fn take(&mut self, recording: &Recording, start: Instant, noted: Vec<Noted>) {
        self.score.add(recording.score(start, noted.iter()));
        let timings = noted.iter().filter_map(|noted| match &noted.event {
            Event::Caption(caption) => caption.timing,
            _ => None,
        });
        for timing in timings {
            let ms = |ms: u32| [Duration::from_millis(ms.into())];
            self.endpoint.extend(ms(timing.endpoint_ms));
            self.queue.extend(ms(timing.queue_ms));
            self.inference.extend(ms(timing.inference_ms));
        }
    }
}

impl Report for Figures {
    fn rows(&self) -> Vec<(String, String)> {
        let delays = |delays: &Option<Percentiles>| match delays {
            Some(it) => format!("p50 {} ms, p95 {} ms, p99 {} ms", it.p50, it.p95, it.p99),
            None => "-".to_owned(),
        };
        let row = |name: &str, figures: String| (name.to_owned(), figures);
        vec![
            row("model, codec", format!("{}, {}", self.model, self.codec)),
            row("word error rate", format!("{} %, in one pass {} %", self.wer, self.wer_offline)),
            row("first partial", delays(&self.first_partial_ms)),
            row("final", delays(&self.final_ms)),
            row("  endpoint", delays(&self.final_parts_ms.endpoint)),
            row("  queue", delays(&self.final_parts_ms.queue)),
            row("  inference", delays(&self.final_parts_ms.inference)),
            row("word", delays(&self.word_ms)),
            row("flicker", format!("{} words taken back per word", self.flicker)),
            row(
                "committed and changed",
                format!("{} of all committed words", self.committed_changed),
            ),
            row("words at seams", self.seam_words.to_string()),
            row("invented words", self.invented_words.to_string()),
            row("lost turns", self.lost_turns.to_string()),
            row(
                "cpu",
                format!(
                    "{} s/s of speech, in one pass {} s",
                    self.cpu_s_per_speech_s, self.cpu_s_per_speech_s_offline
                ),
            ),
        ]
    }
}

/// A recogniser with the model, in this process.
pub(crate) fn recogniser(model: &str) -> anyhow::Result<Box<dyn Recogniser>> {
    let options = WhisperOptions { language: "en".to_owned() };
    Ok(Whisper::load(&ModelSource::named(model), &options)?.create()?)
}

/// `None` if there are no delays.
pub(crate) fn percentiles(delays: &Delays) -> Option<Percentiles> {
    let percentile = |p| delays.percentile_ms(p);
    Some(Percentiles { p50: percentile(50)?, p95: percentile(95)?, p99: percentile(99)? })
}

/// To a thousandth.
pub(crate) fn rounded(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}
