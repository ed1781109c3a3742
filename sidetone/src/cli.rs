//! The command line.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;
use transcriber::recogniser::ModelError;

use crate::calls::CallsCommand;
use crate::config::Config;
use crate::demo::{self, DemoArguments};
use crate::doctor::DoctorArguments;
use crate::groups::GroupsCommand;
use crate::init::InitArguments;
use crate::model::ModelCommand;
use crate::simulate::SimulateCommand;
use crate::system::System;
use crate::transcriber_process;

/// Exit code for what was asked for being impossible (sysexits.h: EX_USAGE).
pub const EX_USAGE: u8 = 64;

/// Live captions of supervised RingCentral calls.
#[derive(Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Caption a call that is played by a stand-in for RingCentral: no account, no network
    Demo(DemoArguments),
    /// Play RingCentral's cloud, with calls of every kind: to develop and to try without an account
    Simulate(SimulateCommand),
    /// Run everything from one configuration file
    Serve {
        /// The configuration, in TOML
        #[arg(long, value_name = "FILE", default_value = "sidetone.toml")]
        config: PathBuf,
    },
    /// Check everything that must be true for a RingCentral account to work, and say how to mend what is not
    Doctor(DoctorArguments),
    /// Ask for what a RingCentral account needs, and write the configuration file
    Init(InitArguments),
    /// The calls of a running `serve`: list them, listen to one, leave one
    Calls(CallsCommand),
    /// Call monitoring groups: who may supervise whom
    Groups(GroupsCommand),
    /// Whisper models: download, list, check
    #[command(subcommand)]
    Model(ModelCommand),
    /// The transcriber, as a child of `serve` and `demo`
    #[command(name = transcriber_process::COMMAND, hide = true)]
    Transcriber {
        /// transcriber::config::Settings as JSON
        #[arg(long)]
        settings: String,
        /// As detailed as the parent's log
        #[arg(long)]
        log: String,
    },
}

/// Why a command ended without success.
#[derive(Debug)]
pub struct Failure {
    /// The process's exit code.
    pub code: u8,
    /// What to tell the user.
    pub error: anyhow::Error,
}

impl Cli {
    /// Runs the command to its end.
    pub fn run(self) -> Result<(), Failure> {
        install_crypto();
        match self.command {
            Command::Demo(arguments) => {
                log("warn")?;
                let plan = arguments.plan().map_err(unusable)?;
                runtime()?.block_on(demo::run(plan, arguments.printer()))?;
            }
            Command::Simulate(command) => {
                log("warn")?;
                runtime()?.block_on(command.run())?;
            }
            Command::Serve { config } => {
                log("info")?;
                let config = Config::read(&config).map_err(unusable)?;
                runtime()?.block_on(serve(config))?;
            }
            Command::Doctor(arguments) => {
                log("off")?;
                runtime()?.block_on(arguments.run())?;
            }
            Command::Init(arguments) => {
                log("off")?;
                runtime()?.block_on(arguments.run())?;
            }
            Command::Calls(command) => {
                log("warn")?;
                runtime()?.block_on(command.run())?;
            }
            Command::Groups(command) => {
                log("off")?;
                runtime()?.block_on(command.run())?;
            }
            Command::Model(command) => {
                log("warn")?;
                runtime()?
                    .block_on(command.run())
                    .map_err(|error| Failure { code: error.exit_code(), error: error.into() })?;
            }
            Command::Transcriber { settings, log: level } => {
                log(&level)?;
                transcriber_process::run(&settings)?;
            }
        }
        Ok(())
    }
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let system = System::start(config).await?;
    println!("captions: http://{}/", system.http_address());
    let outcome = tokio::select! {
        failed = system.failed() => Err(failed),
        asked = asked_to_stop() => asked.context("cannot wait for a signal"),
    };
    system.shutdown().await;
    outcome
}

/// Completes on SIGTERM or SIGINT.
pub(crate) async fn asked_to_stop() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

fn unusable(error: anyhow::Error) -> Failure {
    Failure { code: EX_USAGE, error }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let code = if error.is::<ModelError>() { EX_USAGE } else { 1 };
        Self { code, error }
    }
}

fn runtime() -> anyhow::Result<Runtime> {
    Runtime::new().context("cannot start the runtime")
}

/// One TLS implementation for the whole process. Installed once; a second time changes nothing.
fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn log(level: &str) -> Result<(), Failure> {
    telemetry::init(level).map_err(|error| unusable(error.into()))
}
