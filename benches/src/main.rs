//! Benchmarks: `cargo run -p benches --release -- NAME [--json FILE]` prints a table and writes the same figures as one
//! JSON object.

mod capacity;
mod captions;
mod cpu;
mod demo;
mod detectors;
mod gateway;
mod impairment;
mod live;
mod machine;
mod published_shape;

use std::fs::write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use serde::Serialize;
use sidetone::cli::Cli;

/// Measures Sidetone on this machine.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
    /// Write the figures to a file, as one JSON object
    #[arg(long, value_name = "FILE", global = true)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Benchmark {
    /// The demo call, end to end: latencies, word error rate, the transcriber's processor time
    Demo(demo::Arguments),
    /// A call through the transcriber: word error rate, latencies, steadiness, and what is heard where nobody speaks
    Captions(captions::Arguments),
    /// How many calls the transcriber captions in time, and what happens when there are twice as many
    Capacity(capacity::Arguments),
    /// Voice activity detectors on telephone speech, noise, ring-back and music
    Detectors(detectors::Arguments),
    /// The demo call over a network that loses, delays and reorders packets: word error rate
    Impairment(impairment::Arguments),
    /// One gateway process on one core under 10 to 1000 party streams: late and dropped packets, processor time, memory
    Gateway(gateway::Arguments),
}

/// What a benchmark found out: shown as a table, written as JSON.
trait Report: Serialize {
    /// Rows of a name and its figures.
    fn rows(&self) -> Vec<(String, String)>;
}

fn main() -> anyhow::Result<()> {
    // The system starts its transcriber as a child of the running program, which is this one.
    if std::env::args().nth(1).as_deref() == Some(sidetone::TRANSCRIBER_COMMAND) {
        return Cli::parse().run().map_err(|failure| failure.error);
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    if let [_, command, configuration] = &std::env::args().collect::<Vec<_>>()[..]
        && command == gateway::COMMAND
    {
        return gateway::run_process(configuration);
    }
    let arguments = Arguments::parse();
    // Before a benchmark confines itself to some of the cores.
    println!("{}", machine::describe());
    match arguments.benchmark {
        Benchmark::Demo(demo) => publish(&demo.run()?, arguments.json),
        Benchmark::Captions(captions) => publish(&captions.run()?, arguments.json),
        Benchmark::Capacity(capacity) => publish(&capacity.run()?, arguments.json),
        Benchmark::Detectors(detectors) => publish(&detectors.run()?, arguments.json),
        Benchmark::Impairment(impairment) => publish(&impairment.run()?, arguments.json),
        Benchmark::Gateway(gateway) => publish(&gateway.run()?, arguments.json),
    }
}

fn publish(report: &impl Report, json: Option<PathBuf>) -> anyhow::Result<()> {
    for (name, figures) in report.rows() {
        println!("{name:<24}{figures}");
    }
    if let Some(file) = json {
        let json = serde_json::to_string_pretty(report)?;
        write(&file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
