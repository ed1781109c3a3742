//! The relay as a service of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};
use web_relay::{Config, Relay, StartError};

/// `EX_USAGE` of sysexits.h: the configuration is bad, starting again will not help.
const BAD_CONFIGURATION: u8 = 64;

/// Brings captions to browsers and keeps the transcripts.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file (TOML); its `[relay]` table is read. Without it, every setting has its default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The file may configure other services too.
#[derive(Default, Deserialize)]
#[serde(default)]
struct File {
    relay: Config,
}

fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        std::process::exit(if error.use_stderr() { BAD_CONFIGURATION.into() } else { 0 });
    });
    let config = telemetry::init("info").map_err(Into::into).and_then(|()| read(&arguments));
    let config = match config.and_then(|config| Ok(config.check().map(|()| config)?)) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("web-relay: {error:#}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("web-relay: {error:#}");
            let bad_configuration = matches!(error.downcast_ref(), Some(StartError::Config(_)));
            if bad_configuration { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::FAILURE }
        }
    }
}

fn read(arguments: &Arguments) -> anyhow::Result<Config> {
    let Some(path) = &arguments.config else { return Ok(Config::default()) };
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    let file: File = toml::from_str(&text)
        .with_context(|| format!("{} is not a valid configuration", path.display()))?;
    Ok(file.relay)
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    let relay = Relay::start(config).await?;
    println!("captions: http://{}/", relay.http_address());
    println!("ingest: {}", relay.ingest_address());

    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("cannot listen for signals")?,
        _ = terminate.recv() => {}
    }
    relay.shutdown().await;
    Ok(())
}
