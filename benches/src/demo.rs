//! The demo call, end to end.

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use sidetone::demo::{Delays, Demo, DemoPlan, Score};
use simulator::{Codec, Shape, demo_transcript};
use tokio::runtime::Runtime;

use crate::{Report, cpu};

/// Everything that the stand-in leaves to chance, the same in every run.
const SEED: u64 = 1;

/// What to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How the parties' audio is sent: two-legs, two-media or mixed
    #[arg(long, default_value_t = Shape::TwoLegs)]
    shape: Shape,
    /// What the audio is coded with: opus or pcmu
    #[arg(long, default_value_t = Codec::Opus)]
    codec: Codec,
}

/// The figures.
#[derive(Serialize)]
pub(crate) struct Figures {
    shape: &'static str,
    codec: &'static str,
    /// From the end of a turn to the leaving of its final, in ms.
    final_ms: Percentiles,
    /// From the first word of a turn to the leaving of its first caption, in ms.
    first_partial_ms: Percentiles,
    /// Word error rate of the finals, in percent.
    wer: f64,
    /// Processor seconds of the transcriber for each second of speech.
    cpu_s_per_speech_s: f64,
}

#[derive(Serialize)]
struct Percentiles {
    p50: u64,
    p95: u64,
}

impl Arguments {
    /// Plays the call once, in real time.
    pub(crate) fn run(self) -> anyhow::Result<Figures> {
        Runtime::new()?.block_on(self.measure())
    }

    async fn measure(self) -> anyhow::Result<Figures> {
        let plan = DemoPlan::bundled(self.shape, self.codec, SEED);
        let demo = Demo::start(&plan).await?;
        let mut events = Vec::new();
        demo.play(plan.call, |event| events.push(event.clone())).await?;
        let pid = demo.transcriber_pid().context("the transcriber has ended")?;
        let cpu_s = cpu::seconds(pid).context("cannot read the transcriber's processor time")?;
        demo.shutdown().await;

        let score = Score::of(&events);
        let speech_ms: u64 = demo_transcript().iter().map(|turn| turn.end_ms - turn.start_ms).sum();
        Ok(Figures {
            shape: self.shape.as_str(),
            codec: self.codec.as_str(),
            final_ms: percentiles(&score.finals)?,
            first_partial_ms: percentiles(&score.first_partials)?,
            wer: rounded(score.words.percent()),
            cpu_s_per_speech_s: rounded(cpu_s / (speech_ms as f64 / 1_000.0)),
        })
    }
}

impl Report for Figures {
    fn rows(&self) -> Vec<(String, String)> {
        let delays = |name: &str, delays: &Percentiles| {
            (name.to_owned(), format!("p50 {} ms, p95 {} ms", delays.p50, delays.p95))
        };
        vec![
            ("call".to_owned(), format!("{}, {}", self.shape, self.codec)),
            delays("final", &self.final_ms),
            delays("first partial", &self.first_partial_ms),
            ("word error rate".to_owned(), format!("{} %", self.wer)),
            ("transcriber's cpu".to_owned(), format!("{} s/s of speech", self.cpu_s_per_speech_s)),
        ]
    }
}

fn percentiles(delays: &Delays) -> anyhow::Result<Percentiles> {
    let percentile = |p| delays.percentile_ms(p).context("the call had no captions");
    Ok(Percentiles { p50: percentile(50)?, p95: percentile(95)? })
}

fn rounded(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
