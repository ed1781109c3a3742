//! The transcriber as a process of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use serde::Deserialize;
use transcriber::config::{Config, Settings};
use transcriber::conformance::ConformanceArguments;

/// Exit code for bad arguments or a bad configuration (sysexits.h: EX_USAGE).
const EX_USAGE: u8 = 64;

/// Turns the audio of calls into captions.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// The configuration file (TOML); its [transcriber] section is read.
    #[arg(long, default_value = "sidetone.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Check a recogniser's server, and say what is wrong with it and how to mend it
    Conformance(ConformanceArguments),
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
    // One TLS implementation for the whole process. Installed once; a second time changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match arguments.command {
        Some(Command::Conformance(arguments)) => conformance(arguments),
        None => serve(&arguments.config),
    }
}

fn serve(config: &std::path::Path) -> ExitCode {
    let configured = telemetry::init("info").map_err(anyhow::Error::from).and_then(|()| {
        let config = configuration(config)?;
        let backends = transcriber::load(&config)?;
        Ok((config, backends))
    });
    let (config, backends) = match configured {
        Ok(configured) => configured,
        Err(error) => return unusable(&error),
    };
    let run = || -> anyhow::Result<()> {
        let listener = transcriber::bind(&config)?;
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(transcriber::serve(config, backends, listener, terminated()))?;
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

fn conformance(arguments: ConformanceArguments) -> ExitCode {
    let examined = tokio::runtime::Runtime::new()
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(arguments.run()));
    match examined {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => unusable(&error),
    }
}

fn unusable(error: &anyhow::Error) -> ExitCode {
    eprintln!("transcriber: {error:#}");
    ExitCode::from(EX_USAGE)
}

fn configuration(path: &std::path::Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    let file: File = toml::from_str(&text).with_context(|| path.display().to_string())?;
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
