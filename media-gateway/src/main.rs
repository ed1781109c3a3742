//! `media-gateway --config FILE`: runs the gateway by itself.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use media_gateway::Gateway;
use media_gateway::config::Config;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::info;

/// Exit code for arguments or a configuration that can't be run (sysexits.h, EX_USAGE).
const EX_USAGE: u8 = 64;

/// Joins RingCentral calls as a silent supervisor and streams each party's audio to a transcriber.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The configuration, in TOML.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            let _ = answer.print();
            return if answer.use_stderr() { EX_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    if let Err(error) = telemetry::init("info") {
        eprintln!("{error}");
        return EX_USAGE.into();
    }
    let path = arguments.config;
    let config = std::fs::read_to_string(&path)
        .map_err(|error| error.to_string())
        .and_then(|text| Config::from_toml(&text).map_err(|error| error.to_string()));
    let config = match config {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{}: {error}", path.display());
            return ExitCode::from(EX_USAGE);
        }
    };
    match run(config) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<ExitCode> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another rustls crypto provider is installed already"))?;
    let mut signals = Signals::new().context("could not listen for signals")?;
    let gateway = Gateway::start(config).await?;
    signals.next().await;
    info!("shutting down; a second signal ends the process at once");
    Ok(tokio::select! {
        () = gateway.shutdown() => ExitCode::SUCCESS,
        number = signals.next() => ExitCode::from(128 + number),
    })
}

/// What asks the process to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The number of the next one.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.terminate.recv() => 15,
            _ = self.interrupt.recv() => 2,
        }
    }
}
