//! How many calls one machine captions in time, and what happens when there are twice as many.

use std::fs::File;
use std::io::BufWriter;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use sidetone_proto::v1::caption_event::Event;
use simulator::Codec;
use tempfile::NamedTempFile;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use transcriber::config::{Config, RedactionSettings, Settings};
use transcriber::recogniser::ModelSource;

use crate::Report;
use crate::captions::{Recording, Score, recogniser, rounded, speech_s};
use crate::live::{Noted, Pace, Relay, TranscriberProcess};
use crate::published_shape::PublishedShape;

/// The delay of finals that 95 % of turns have to keep.
const IN_TIME_MS: u64 = 1_500;

/// The model and its states are in memory when the first calls have been on for this long.
const WARM_UP: Duration = Duration::from_secs(15);

/// Parties that a transcriber of this benchmark takes: never the limit.
const SLOTS: usize = 4_096;

/// What to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The Whisper model: demo-en, or a file in ggml format
    #[arg(long, default_value = ModelSource::BUILT_IN)]
    model: String,
    /// A model of this published size without its knowledge (tiny.en, base.en, small.en; q8_0), which costs the same
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    shape: Option<PublishedShape>,
    /// Threads that recognise; 0 is one fewer than there are cores
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// No more calls than this are tried
    #[arg(long, default_value_t = 64)]
    most: usize,
    /// Finals only, no partials
    #[arg(long)]
    finals_only: bool,
}

/// The figures.
#[derive(Serialize)]
pub(crate) struct Figures {
    model: String,
    workers: usize,
    finals_only: bool,
    /// Two-party calls at once with 95 % of finals within 1.5 s of the end of their turn, and none lost.
    calls_at_p95_1500ms: usize,
    /// Processor seconds of the transcriber for each second of speech, with a single call.
    cpu_s_per_speech_s: f64,
    /// Of one pass over each turn by the same model.
    cpu_s_per_speech_s_offline: f64,
    /// Twice as many calls.
    overload: Overload,
}

#[derive(Serialize)]
struct Overload {
    calls: usize,
    finals_lost: usize,
    rss_growth_mib: f64,
    p95_ms: Option<u64>,
}

/// What a number of calls came to.
struct Probe {
    calls: usize,
    score: Score,
    cpu_s: f64,
    rss_growth_mib: f64,
}

/// The model that is measured, and how.
struct Subject {
    name: String,
    path: String,
    /// Removed with this.
    _file: Option<NamedTempFile>,
    recording: Recording,
}

impl Arguments {
    pub(crate) fn run(self) -> anyhow::Result<Figures> {
        let subject = self.subject()?;
        let mut recogniser = recogniser(&subject.path)?;
        let offline = subject.recording.offline(Codec::Opus, recogniser.as_mut())?;
        drop(recogniser);
        let runtime = Runtime::new()?;
        let probe = |calls| {
            let probe = runtime.block_on(self.probe(&subject, calls));
            let probe = probe.with_context(|| format!("{calls} calls"))?;
            eprintln!(
                "{calls} calls: 95 % of finals within {:?} ms, {} lost, {:.1} s of processor time, {:.1} MiB more",
                probe.p95_ms(),
                probe.score.lost_turns,
                probe.cpu_s,
                probe.rss_growth_mib,
            );
            anyhow::Ok(probe)
        };
        let single = probe(1)?;
        let speech_s = speech_s(&subject.recording.turns);
        let cpu_s_per_speech_s = rounded(single.cpu_s / speech_s);
        let calls = self.search(single.is_in_time(), |calls| Ok(probe(calls)?.is_in_time()))?;
        let overload = probe(2 * calls.max(1))?;
        Ok(Figures {
            model: subject.name.clone(),
            workers: Config::try_from(self.settings(&subject))?.workers,
            finals_only: self.finals_only,
            calls_at_p95_1500ms: calls,
            cpu_s_per_speech_s,
            cpu_s_per_speech_s_offline: rounded(offline.cpu_s / speech_s),
            overload: Overload {
                calls: overload.calls,
                finals_lost: overload.score.lost_turns,
                rss_growth_mib: rounded(overload.rss_growth_mib),
                p95_ms: overload.p95_ms(),
            },
        })
    }

    fn settings(&self, subject: &Subject) -> Settings {
        Settings {
            model: subject.path.clone(),
            workers: self.workers,
            slots: SLOTS,
            partials: !self.finals_only,
            // A sentence that ends in many digits waits for the next one: that is no want of capacity.
            redaction: RedactionSettings { cards: false, ..RedactionSettings::default() },
            ..Settings::default()
        }
    }

    fn subject(&self) -> anyhow::Result<Subject> {
        let recording = Recording::bundled();
        let Some(shape) = self.shape else {
            let (name, path) = (self.model.clone(), self.model.clone());
            return Ok(Subject { name, path, _file: None, recording });
        };
        let file = NamedTempFile::new().context("cannot make a file for the model")?;
        shape
            .write(BufWriter::new(File::create(file.path())?))
            .context("cannot write the model")?;
        let path =
            file.path().to_str().context("the folder for temporary files has an odd name")?;
        let (name, path) = (format!("{} (its shape only)", shape.name), path.to_owned());
        Ok(Subject { name, path, _file: Some(file), recording })
    }

    /// The most calls that are in time: by doubling, then by halving the interval.
    fn search(
        &self,
        one_is_in_time: bool,
        mut is_in_time: impl FnMut(usize) -> anyhow::Result<bool>,
    ) -> anyhow::Result<usize> {
        if !one_is_in_time {
            return Ok(0);
        }
        let (mut good, mut bad) = (1, self.most + 1);
        while bad - good > 1 {
            let calls =
                if bad > self.most { (2 * good).min(self.most) } else { good.midpoint(bad) };
            if is_in_time(calls)? {
                good = calls;
            } else {
                bad = calls;
            }
        }
        Ok(good)
    }

    /// So many calls at once, each at another moment of the recording.
    async fn probe(&self, subject: &Subject, calls: usize) -> anyhow::Result<Probe> {
        let relay = Relay::start().await?;
        let settings = Settings { relay: relay.url(), ..self.settings(subject) };
        let mut transcriber = TranscriberProcess::start(&settings)?;
        let address = transcriber.address();
        let pauses = pauses_ms(&subject.recording);
        let mut recordings = Vec::new();
        let mut parties = Vec::new();
        for number in 0..calls {
            let begin_ms = pauses[number * pauses.len() / calls % pauses.len()];
            let recording = subject.recording.starting_at(begin_ms);
            parties.extend(recording.parties(&call_id(number), Codec::Opus)?);
            recordings.push(recording);
        }
        let start = Instant::now();
        let mut speaking = JoinSet::new();
        for party in parties {
            speaking.spawn(async move { party.speak(address, Pace::RealTime(start.into())).await });
        }
        tokio::time::sleep(WARM_UP).await;
        let warm_mib = transcriber.rss_mib()?;
        while let Some(spoken) = speaking.join_next().await {
            spoken??;
        }
        let rss_growth_mib = transcriber.rss_mib()? - warm_mib;
        let noted = relay.take();
        let mut score = Score::default();
        for (number, recording) in recordings.iter().enumerate() {
            let call_id = call_id(number);
            score.add(recording.score(start, noted.iter().filter(|it| is_of(it, &call_id))));
        }
        Ok(Probe { calls, score, cpu_s: transcriber.cpu_s()?, rss_growth_mib })
    }
}

impl Probe {
    fn p95_ms(&self) -> Option<u64> {
        self.score.finals.percentile_ms(95)
    }

    fn is_in_time(&self) -> bool {
        self.score.lost_turns == 0 && self.p95_ms().is_some_and(|ms| ms <= IN_TIME_MS)
    }
}

impl Report for Figures {
    fn rows(&self) -> Vec<(String, String)> {
        let row = |name: &str, figures: String| (name.to_owned(), figures);
        let Overload { calls, finals_lost, rss_growth_mib, p95_ms } = &self.overload;
        let p95 = p95_ms.map_or("-".to_owned(), |ms| format!("{ms} ms"));
        vec![
            row("model", format!("{}, {} workers", self.model, self.workers)),
            row("captions", if self.finals_only { "finals" } else { "partials and finals" }.into()),
            row("calls in time", self.calls_at_p95_1500ms.to_string()),
            row(
                "cpu",
                format!(
                    "{} s/s of speech, in one pass {} s",
                    self.cpu_s_per_speech_s, self.cpu_s_per_speech_s_offline
                ),
            ),
            row(
                "overload",
                format!(
                    "{calls} calls: {finals_lost} finals lost, {rss_growth_mib} MiB more memory, p95 {p95}"
                ),
            ),
        ]
    }
}

fn call_id(number: usize) -> String {
    format!("call-{number}")
}

fn is_of(noted: &Noted, call_id: &str) -> bool {
    matches!(&noted.event, Event::Caption(caption)
        if caption.party.as_ref().is_some_and(|party| party.call_id == call_id))
}

/// Moments at which nobody speaks, between any two turns that leave one; never none.
fn pauses_ms(recording: &Recording) -> Vec<u64> {
    let turns = &recording.turns;
    let starts = turns.iter().skip(1).map(|turn| turn.start_ms);
    let mut heard_until = 0;
    let ends = turns.iter().map(|turn| {
        heard_until = turn.end_ms.max(heard_until);
        heard_until
    });
    let pauses = ends.zip(starts).filter(|(end, start)| end < start);
    [0].into_iter().chain(pauses.map(|(end, start)| end.midpoint(start))).collect()
}
