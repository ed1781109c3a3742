//! The demo call over a bad network: how many more of its words are misheard.
//!
//! Packets, network, receiver, segmenter and recogniser are run one after the other on a clock of their own, so that a
//! row takes seconds and is the same in every run.

mod listener;
mod network;

use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, anyhow};
use clap::Args;
use serde::Serialize;
use sidetone::demo::Tally;
use simulator::{Audio, Codec, demo_transcript};
use transcriber::recogniser::{
    ModelSource, Recogniser, RecogniserFactory, Whisper, WhisperOptions,
};

use crate::Report;
use listener::Listener;
use network::{Network, Packets};

/// What to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How many times each row's network is played, each time with other luck
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    runs: u64,
}

/// The figures.
#[derive(Serialize)]
pub(crate) struct Figures {
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    codec: &'static str,
    /// How packets are lost: `random`, each by itself, or `burst`, several in a row.
    kind: &'static str,
    loss_percent: f64,
    /// Packets are delayed by up to this much, in ms, and overtake each other.
    jitter_ms: u64,
    /// Word error rate of the finals, in percent.
    wer: f64,
}

/// One call to be played.
#[derive(Clone, Copy, Debug)]
struct Job {
    row: usize,
    codec: Codec,
    network: Network,
    run: u64,
}

impl Arguments {
    /// Plays the call over every network with each codec, on every core.
    pub(crate) fn run(self) -> anyhow::Result<Figures> {
        let networks: Vec<(Codec, Network)> = [Codec::Opus, Codec::Pcmu]
            .into_iter()
            .flat_map(|codec| Network::all().map(move |network| (codec, network)))
            .collect();
        let words = self.play(&networks)?;
        let row = |((codec, network), words): (&(Codec, Network), Tally)| Row {
            codec: codec.as_str(),
            kind: network.kind(),
            loss_percent: network.loss_percent(),
            jitter_ms: network.jitter_ms(),
            wer: (words.percent() * 100.0).round() / 100.0,
        };
        Ok(Figures { rows: networks.iter().zip(words).map(row).collect() })
    }

    /// The word errors of all runs, for each row.
    fn play(&self, networks: &[(Codec, Network)]) -> anyhow::Result<Vec<Tally>> {
        let jobs = networks.iter().enumerate().flat_map(|(row, &(codec, network))| {
            let runs = if network.depends_on_luck() { self.runs } else { 1 };
            (0..runs).map(move |run| Job { row, codec, network, run })
        });
        let jobs: Vec<Job> = jobs.collect();
        let (count, waiting) = (jobs.len(), Mutex::new(jobs.into_iter()));
        let options = WhisperOptions { language: "en".to_owned() };
        let whisper = Whisper::load(&ModelSource::BuiltIn, &options)?;
        let work = || -> anyhow::Result<Vec<(usize, Tally)>> {
            let mut recogniser = whisper.create()?;
            let mut done = Vec::new();
            loop {
                let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(Job { row, codec, network, run }) = next else { return Ok(done) };
                done.push((row, call(codec, network, run, recogniser.as_mut())?));
                eprintln!("{codec:?} {network:?}, run {run}, of {count} calls");
            }
        };
        let mut words: Vec<Tally> = networks.iter().map(|_| Tally::default()).collect();
        thread::scope(|scope| {
            let cores = thread::available_parallelism().map_or(1, NonZero::get);
            let workers: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                let heard = worker.join().map_err(|_| anyhow!("a worker panicked"))??;
                for (row, heard) in heard {
                    words[row].errors += heard.errors;
                    words[row].words += heard.words;
                }
            }
            anyhow::Ok(())
        })?;
        Ok(words)
    }
}

/// Word errors of both parties.
fn call(
    codec: Codec,
    network: Network,
    run: u64,
    recogniser: &mut dyn Recogniser,
) -> anyhow::Result<Tally> {
    let mut words = Tally::default();
    let parties = [("agent", Audio::demo_agent()), ("customer", Audio::demo_customer())];
    for (number, (role, voice)) in (0..).zip(parties) {
        let payloads = voice.encoded(codec, network.loss_percent() as f32)?;
        let packets = Packets::new(codec, &payloads, network, 2 * run + number);
        let mut listener = Listener::new(packets.format)?;
        for (at, datagram) in packets.arrivals {
            listener.receive(at, &datagram, recogniser)?;
        }
        let heard = listener.finish(recogniser).context("the end of the call")?;
        let turns = demo_transcript().into_iter().filter(|turn| turn.speaker == role);
        let said: Vec<_> = turns.map(|turn| turn.text).collect();
        let counted = Tally::count(&said.join(" "), &heard);
        words.errors += counted.errors;
        words.words += counted.words;
    }
    Ok(words)
}

impl Report for Figures {
    fn rows(&self) -> Vec<(String, String)> {
        let row = |row: &Row| {
            let jitter = format!("{} % {}, {} ms", row.loss_percent, row.kind, row.jitter_ms);
            (format!("{} {jitter}", row.codec), format!("word error rate {} %", row.wer))
        };
        self.rows.iter().map(row).collect()
    }
}
