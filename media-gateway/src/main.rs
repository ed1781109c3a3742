//! `media-gateway --config FILE`: runs the gateway by itself.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use media_gateway::Gateway;
use media_gateway::config::Config;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

/// Exit code for a configuration that can't be run (sysexits.h, EX_USAGE).
const EXIT_CONFIG: u8 = 64;

/// Joins RingCentral calls as a silent supervisor and streams each party's audio to a transcriber.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration, in TOML.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()))
        .init();
    let path = arguments.config;
    let config = std::fs::read_to_string(&path)
        .map_err(|error| error.to_string())
        .and_then(|text| Config::from_toml(&text).map_err(|error| error.to_string()));
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another rustls crypto provider is installed already"))?;
    let mut terminate = signal(SignalKind::terminate()).context("could not listen for SIGTERM")?;
    let gateway = Gateway::start(config).await?;
    tokio::select! {
        _ = terminate.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.context("could not listen for ^C")?,
    }
    info!("shutting down");
    gateway.shutdown().await;
    Ok(())
}
