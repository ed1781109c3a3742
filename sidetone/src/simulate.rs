//! `sidetone simulate`: RingCentral's cloud without an account, and a configuration that goes with it.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use simulator::{Account, SimulateArguments};
use toml::{Table, Value};

/// What to simulate.
#[derive(Args)]
pub struct SimulateCommand {
    #[command(flatten)]
    simulate: SimulateArguments,
    /// Write a configuration for `sidetone serve` that speaks to it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl SimulateCommand {
    /// Runs until the last call is over.
    pub async fn run(self) -> anyhow::Result<()> {
        let simulator = self.simulate.start().await?;
        if let Some(path) = &self.config {
            let text = configuration(&self.simulate.account(), &simulator.rest_url());
            write(path, &text).with_context(|| {
                format!("cannot write {}; name a file that is not there yet", path.display())
            })?;
            eprintln!("now run: sidetone serve --config {}", path.display());
        }
        self.simulate.play(simulator).await
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    File::create_new(path)?.write_all(text.as_bytes())
}

/// What `sidetone serve` has to know of the account.
fn configuration(account: &Account, server: &str) -> String {
    let agents = account.agents.iter().filter(|agent| agent.monitored);
    let agents: Vec<Value> = agents.map(|agent| agent.extension_id.as_str().into()).collect();
    let ringcentral = Table::from_iter([
        ("server".to_owned(), server.into()),
        ("client_id".to_owned(), account.client_id.as_str().into()),
        ("client_secret".to_owned(), account.client_secret.as_str().into()),
        ("jwt".to_owned(), account.jwt.as_str().into()),
        ("supervisor_device_id".to_owned(), account.supervisor_device_id.as_str().into()),
        ("agents".to_owned(), agents.into()),
    ]);
    Table::from_iter([("ringcentral".to_owned(), ringcentral.into())]).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_written_configuration_can_be_served() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sidetone.toml");
        let account = Account::with_agents(3);
        write(&path, &configuration(&account, "http://127.0.0.1:8910")).unwrap();
        let config = Config::read(&path).unwrap();
        assert_eq!(config.ringcentral.server, "http://127.0.0.1:8910");
        assert_eq!(config.ringcentral.agents.len(), 3);
        assert!(write(&path, "").is_err(), "a file that is there stays as it is");
    }
}
