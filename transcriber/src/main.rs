//! The transcriber as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use serde::Deserialize;
use transcriber::config::{Config, Settings};

/// Exit code for bad arguments or a bad configuration (sysexits.h: EX_USAGE).
const EX_USAGE: u8 = 64;

/// Turns the audio of calls into captions.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file (TOML); its [transcriber] section is read.
    #[arg(long, default_value = "sidetone.toml")]
    config: PathBuf,
}

#[derive(Deserialize, Default)]
struct File {
    #[serde(default)]
    transcriber: Settings,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            let _ = answer.print();
            return if answer.use_stderr() { EX_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    let configured = telemetry::init("info").map_err(anyhow::Error::from).and_then(|()| {
        let config = configuration(&arguments)?;
        let recognisers = transcriber::load(&config)?;
        Ok((config, recognisers))
    });
    let (config, recognisers) = match configured {
        Ok(configured) => configured,
        Err(error) => {
            eprintln!("transcriber: {error:#}");
            return ExitCode::from(EX_USAGE);
        }
    };
    let run = || -> anyhow::Result<()> {
        let listener = transcriber::bind(&config)?;
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(transcriber::serve(config, recognisers, listener, terminated()))?;
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("transcriber: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn configuration(arguments: &Arguments) -> anyhow::Result<Config> {
    let path = arguments.config.display();
    let text = std::fs::read_to_string(&arguments.config)
        .with_context(|| format!("cannot read the configuration {path}"))?;
    let file: File = toml::from_str(&text).with_context(|| format!("{path}"))?;
    Ok(Config::try_from(file.transcriber)?)
}

async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        }
        Err(_) => {
            let _ = tokio::signal::ctrl_c().await;
        }
    }
}
