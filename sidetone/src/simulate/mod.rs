//! `sidetone simulate`: RingCentral's cloud without an account, and a configuration that goes with it.

mod transcripts;

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use simulator::{Account, SimulateArguments, Simulator, TrafficReport};
use toml::{Table, Value};
use transcripts::CaptionReport;

/// A relay listens on two ports: so far apart are those of two accounts.
const RELAY_PORTS: usize = 2;

/// What to simulate.
#[derive(Args)]
pub struct SimulateCommand {
    #[command(flatten)]
    simulate: SimulateArguments,
    /// Write a configuration for `sidetone serve` that speaks to it; with several accounts one for each, numbered
    /// from the second on: lab.toml, lab-2.toml, …
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read the transcripts of the generated calls back from the relay at this address and report whether each was
    /// captioned, under the right roles and once; with several accounts each is at the port after the next
    #[arg(long, value_name = "ADDRESS", requires = "calls", conflicts_with = "customer")]
    relay: Option<SocketAddr>,
}

impl SimulateCommand {
    /// Runs until the last call is over.
    pub async fn run(self) -> anyhow::Result<()> {
        let simulators = self.simulate.start().await?;
        if let Some(path) = &self.config {
            let accounts = self.simulate.accounts();
            for (number, (account, simulator)) in accounts.iter().zip(&simulators).enumerate() {
                let path = numbered(path, number);
                let text = configuration(account, &simulator.rest_url(), number);
                write(&path, &text).with_context(|| {
                    format!("cannot write {}; name a file that is not there yet", path.display())
                })?;
                eprintln!("now run: sidetone serve --config {}", path.display());
            }
        }
        match self.relay {
            Some(relay) => self.play_and_read(simulators, relay).await,
            None => self.simulate.play(simulators).await,
        }
    }

    async fn play_and_read(
        &self,
        simulators: Vec<Simulator>,
        relay: SocketAddr,
    ) -> anyhow::Result<()> {
        let traffic = self.simulate.run_traffic(&simulators).await?;
        let mut played = Vec::new();
        for (number, traffic) in (0..).zip(traffic) {
            let relay = SocketAddr::new(
                relay.ip(),
                relay.port().saturating_add(RELAY_PORTS as u16 * number),
            );
            let captions = CaptionReport::read(relay, &traffic.calls).await?;
            played.push(Played { captions, traffic });
        }
        println!("{}", serde_json::to_string_pretty(&played)?);
        let is_good = |it: &Played| it.traffic.is_good() && it.captions.is_good();
        anyhow::ensure!(played.iter().all(is_good), "not every call was captioned as it should");
        for simulator in simulators {
            simulator.shutdown().await;
        }
        Ok(())
    }
}

/// What became of an account's traffic.
#[derive(Serialize)]
struct Played {
    captions: CaptionReport,
    traffic: TrafficReport,
}

/// The file of an account: of the first, with number 0, the one that was named.
fn numbered(path: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{}.{}", number + 1, extension.to_string_lossy()),
        None => format!("{stem}-{}", number + 1),
    };
    path.with_file_name(name)
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    File::create_new(path)?.write_all(text.as_bytes())
}

/// What `sidetone serve` has to know of the account. Those of several accounts can run on one machine.
fn configuration(account: &Account, server: &str, number: usize) -> String {
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
    let mut file = Table::from_iter([("ringcentral".to_owned(), ringcentral.into())]);
    if number > 0 {
        let listen = |host: &str, port: usize| Value::from(format!("{host}:{port}"));
        let relay = Table::from_iter([
            ("listen".to_owned(), listen("127.0.0.1", 8080 + RELAY_PORTS * number)),
            ("ingest_listen".to_owned(), listen("127.0.0.1", 8081 + RELAY_PORTS * number)),
            ("database".to_owned(), format!("transcripts-{}.db", number + 1).into()),
        ]);
        let sip = Table::from_iter([("listen".to_owned(), listen("0.0.0.0", 5160 + number))]);
        file.extend([("relay".to_owned(), relay.into()), ("sip".to_owned(), sip.into())]);
    }
    file.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_written_configuration_can_be_served() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sidetone.toml");
        for number in 0..3 {
            let account = Account::numbered(number, 3);
            let path = numbered(&path, number);
            write(&path, &configuration(&account, "http://127.0.0.1:8910", number)).unwrap();
            let config = Config::read(&path).unwrap();
            assert_eq!(config.ringcentral.server, "http://127.0.0.1:8910");
            assert_eq!(config.ringcentral.agents.len(), 3);
            assert_eq!(config.relay.listen.port(), 8080 + 2 * number as u16);
        }
        assert!(numbered(&path, 1).ends_with("sidetone-2.toml"));
        assert!(write(&path, "").is_err(), "a file that is there stays as it is");
    }
}
