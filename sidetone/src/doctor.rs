//! `sidetone doctor`: looks over everything that must be true for an account to work.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use media_gateway::control::consent::Policy;
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
        } else if report.failures() == 0 {
            let name = self.config.display();
            println!("\nnothing is in the way; `sidetone serve --config {name}` starts it");
        }
        match report.failures() {
            0 => Ok(()),
            1 => bail!("one check has failed; mend it and run this again"),
            failures => {
                bail!("{failures} checks have failed; mend the first one and run this again")
            }
        }
    }
}

/// What the gateway knows nothing of, the model and the page; and what it can't decide.
fn own_checks(config: &Config) -> Vec<Check> {
    let section = &config.transcriber;
    let mut checks = Vec::new();
    if section.needs_model() {
        checks.push(Check::new("model", model(&section.model)));
    }
    checks.push(Check::new("recognisers", recognisers(section)));
    checks.push(Check::new("page", page(config)));
    checks.push(Check::new("consent", consent(config)));
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

/// Whether somebody can tell of the consent that is asked for.
fn consent(config: &Config) -> Outcome {
    let section = &config.consent;
    let mut policies = section.groups.values().map(|group| group.policy).chain([section.policy]);
    if policies.all(|policy| policy == Policy::NotRequired) {
        return Outcome::ok("every call is captioned; the callers have to be told");
    }
    let phrases = [&section.announced_phrases, &section.granted_phrases];
    let has_phrase = phrases.iter().any(|phrases| phrases.all().next().is_some());
    if section.granted_key.is_some() || has_phrase || config.control.listen.is_some() {
        return Outcome::ok("calls are captioned once somebody tells of it");
    }
    Outcome::failed(
        "consent is required, and nobody can tell of it: no call would ever be captioned",
        "set granted_key, announced_phrases or granted_phrases of [consent], or [control], by which people and programs \
         tell",
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consent_that_nobody_can_tell_of_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let judge = |rest: &str| {
            let path = folder.path().join("sidetone.toml");
            let ringcentral = "[ringcentral]\nclient_id = \"a\"\nclient_secret = \"b\"\njwt = \"c\"\n\
                               supervisor_device_id = \"1\"\nagents = [\"2\"]\n";
            std::fs::write(&path, format!("{ringcentral}{rest}")).unwrap();
            consent(&Config::parse(&path).unwrap())
        };
        let group = "[consent.groups.eu]\npolicy = \"required\"\nagents = [\"2\"]\n";
        for rest in [
            "",
            "[consent]\npolicy = \"required\"\ngranted_key = \"1\"\n",
            "[consent]\npolicy = \"required\"\nannounced_phrases = { agent = [\"recorded\"] }\n",
            &format!("[control]\nlisten = \"127.0.0.1:0\"\n{group}"),
        ] {
            assert!(judge(rest).has_passed(), "{rest}");
        }
        for rest in ["[consent]\npolicy = \"required\"\nrefused_key = \"9\"\n", group] {
            let outcome = judge(rest);
            assert!(
                matches!(&outcome, Outcome::Failed { mend, .. } if mend.contains("granted_key"))
            );
        }
    }
}
