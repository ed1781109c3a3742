//! Benchmarks: `cargo run -p benches --release -- NAME [--json FILE]` prints a table and writes the same figures as one
//! JSON object.

mod cpu;
mod demo;
mod machine;

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
    let arguments = Arguments::parse();
    let report = match arguments.benchmark {
        Benchmark::Demo(demo) => demo.run()?,
    };
    println!("{}", machine::describe());
    for (name, figures) in report.rows() {
        println!("{name:<24}{figures}");
    }
    if let Some(file) = arguments.json {
        let json = serde_json::to_string_pretty(&report)?;
        write(&file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
