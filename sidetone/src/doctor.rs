//! `sidetone doctor`: looks over everything that must be true for an account to work.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use media_gateway::doctor::{Check, Examination, Outcome};

use crate::config::Config;
use crate::model::{ModelDirectory, describe};
use transcriber::config::Settings;
use transcriber::recogniser::ModelSource;

/// Where a neighbour that is started along with the gateway would be.
const STARTED_ALONG: &str = "http://127.0.0.1:1";

/// What is looked over, and how it is told.
#[derive(Debug, Clone, Args)]
pub struct DoctorArguments {
    /// The configuration, in TOML
    #[arg(long, value_name = "FILE", default_value = "sidetone.toml")]
    config: PathBuf,
    /// Print the checks as one JSON object, and nothing else, on stdout
    #[arg(long)]
    json: bool,
}

impl DoctorArguments {
    /// Makes every check and prints it.
    ///
    /// # Errors
    /// When a check has failed.
    pub async fn run(self) -> anyhow::Result<()> {
        let config = Config::parse(&self.config);
        let extra = config.as_ref().map(own_checks).unwrap_or_default();
        let config = config.and_then(|config| config.gateway(STARTED_ALONG, STARTED_ALONG));
        let config = config.map_err(|error| format!("{error:#}"));
        let examination = Examination { config, starts_neighbours: true, extra };
        let report = examination
            .run(|check| {
                if !self.json {
                    println!("{check}");
                }
            })
            .await;
        if self.json {
            println!("{}", report.to_json());
        }
        match report.failures() {
            0 => Ok(()),
            1 => bail!("one check has failed"),
            failures => bail!("{failures} checks have failed"),
        }
    }
}

/// What the gateway knows nothing of: the model and the page.
fn own_checks(config: &Config) -> Vec<Check> {
    let section = &config.transcriber;
    let mut checks = Vec::new();
    if section.needs_model() {
        checks.push(Check::new("model", model(&section.model)));
    }
    checks.push(Check::new("recognisers", recognisers(section)));
    checks.push(Check::new("page", page(config)));
    checks
}

fn model(name: &str) -> Outcome {
    let directory =
        ModelDirectory::from_environment().unwrap_or_else(|| ModelDirectory::new("models"));
    match describe(name, &directory) {
        Ok(line) => Outcome::ok(line),
        Err(error) => Outcome::failed(
            format!("{:#}", anyhow::Error::from(error)),
            "`sidetone model pull` with the model's name, or set [transcriber] model to \"demo-en\" or to a file",
        ),
    }
}

fn recognisers(section: &Settings) -> Outcome {
    // The model has a check of its own.
    let model = ModelSource::BUILT_IN.to_owned();
    match transcriber::config::Config::try_from(Settings { model, ..section.clone() }) {
        Ok(_) => Outcome::ok(section.backends.join(", then ")),
        Err(error) => Outcome::failed(error.to_string(), "correct [transcriber] as it says"),
    }
}

fn page(config: &Config) -> Outcome {
    let relay = &config.relay;
    if let Err(error) = relay.check() {
        return Outcome::failed(error.to_string(), "correct [relay] as it says");
    }
    let is_taken = |address: &SocketAddr| TcpListener::bind(address).is_err();
    match [relay.listen, relay.ingest_listen].iter().find(|address| is_taken(address)) {
        Some(address) => Outcome::warning(
            format!("{address} can't be listened on"),
            "nothing, if sidetone is at work already; else end the program that has it, which `ss -lntp` names, or change \
             [relay] listen or ingest_listen",
        ),
        None => Outcome::ok(format!("{} is free", relay.listen)),
    }
}
