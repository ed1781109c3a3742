//! `sidetone init`: asks for what a RingCentral account needs, and writes the configuration file.
//!
//! Every value can come from a flag or from the environment; secrets from the environment only, because everybody on a
//! machine can read the command lines of its programs. What is missing is asked for, one line each, on stdin.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use media_gateway::config::Secret;
use media_gateway::ringcentral::{Client, Credentials, Error};
use media_gateway::setup::{Answers, agent_ids, find_agents, to_toml, write};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// What is known before anything is asked.
#[derive(Debug, Clone, Args)]
pub struct InitArguments {
    /// The file to write
    #[arg(long, value_name = "FILE", default_value = "sidetone.toml")]
    config: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    /// RingCentral's server [env: SIDETONE_SERVER] [default: https://platform.ringcentral.com]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The app's client id [env: SIDETONE_CLIENT_ID]; its secret is asked for, or in SIDETONE_CLIENT_SECRET, and the
    /// supervisor's JWT in SIDETONE_JWT
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// The supervisor's device, of type Existing Phone [env: SIDETONE_DEVICE_ID]
    #[arg(long, value_name = "ID")]
    device_id: Option<String>,
    /// The agents' extension numbers or ids, separated by commas [env: SIDETONE_AGENTS]
    #[arg(long, value_name = "NUMBERS")]
    agents: Option<String>,
}

impl InitArguments {
    /// Asks, looks the answers up where RingCentral can be reached, and writes.
    ///
    /// # Errors
    /// When an answer is missing or wrong, or the file can't be written.
    pub async fn run(self) -> anyhow::Result<()> {
        if self.config.exists() && !self.force {
            bail!(
                "{} exists already; name another file, or replace it with --force",
                self.config.display()
            );
        }
        let server = given(self.server, "SIDETONE_SERVER")
            .unwrap_or_else(|| "https://platform.ringcentral.com".to_owned());
        let client_id = answer(self.client_id, "SIDETONE_CLIENT_ID", "client id of the app")?;
        let client_secret = secret("SIDETONE_CLIENT_SECRET", "client secret of the app")?;
        let jwt = secret("SIDETONE_JWT", "JWT of the supervisor")?;
        let credentials = Credentials {
            client_id: client_id.clone(),
            client_secret: client_secret.expose().to_owned(),
            jwt: jwt.expose().to_owned(),
        };
        let client = Client::new(&server, credentials)?;
        let is_reachable = is_reachable(&client).await?;
        let device_id = given(self.device_id, "SIDETONE_DEVICE_ID");
        let supervisor_device_id = match device_id {
            Some(id) => id,
            None => device(&client, is_reachable).await?,
        };
        let agents = answer(self.agents, "SIDETONE_AGENTS", "agents' extension numbers or ids")?;
        let agents: Vec<String> =
            agents.split([',', ' ']).filter(|it| !it.is_empty()).map(str::to_owned).collect();
        if agents.is_empty() {
            bail!("no agent is named; give at least one extension number or id with --agents");
        }
        let agents = match is_reachable {
            true => {
                let found = find_agents(&agents, &client.extensions().await?)?;
                found.into_iter().map(|agent| (agent.id, agent.name)).collect()
            }
            false => agent_ids(&agents)?.into_iter().map(|id| (id, String::new())).collect(),
        };
        // Only five logins of a user live at once.
        let _ = client.revoke().await;
        let answers = Answers {
            server,
            client_id,
            client_secret,
            jwt,
            supervisor_device_id,
            agents,
            uplink: None,
        };
        write(&self.config, &to_toml(&answers), self.force)?;
        let name = self.config.display();
        println!("{name} is written; `sidetone doctor --config {name}` checks it");
        Ok(())
    }
}

/// Whether RingCentral can be asked. A login that is refused is an answer that is wrong.
async fn is_reachable(client: &Client) -> anyhow::Result<bool> {
    match client.owner().await {
        Ok(_) => Ok(true),
        Err(error @ Error::Login { .. }) => Err(error.into()),
        Err(error) => {
            eprintln!("{error}; going on without it: agents must be given by id");
            Ok(false)
        }
    }
}

/// The supervisor's one fitting device, or the one that is chosen.
async fn device(client: &Client, is_reachable: bool) -> anyhow::Result<String> {
    if is_reachable {
        let mut devices = client.devices("~").await?;
        devices.retain(|device| device.kind == "OtherPhone");
        match devices.as_slice() {
            [] => bail!(
                "the supervisor has no device of type Existing Phone; add one in Admin Portal > Users > (the supervisor) > \
                 Devices & Numbers > Add Device > Existing Phone"
            ),
            [only] => {
                eprintln!("device {} ({}) is the only one that fits", only.id, only.name);
                return Ok(only.id.clone());
            }
            several => {
                for device in several {
                    eprintln!("device {} ({}, {})", device.id, device.name, device.status);
                }
            }
        }
    }
    ask("id of the supervisor's device")
}

/// A value that is given already.
fn given(flag: Option<String>, variable: &str) -> Option<String> {
    let value = flag.or_else(|| std::env::var(variable).ok())?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

fn answer(flag: Option<String>, variable: &str, question: &str) -> anyhow::Result<String> {
    match given(flag, variable) {
        Some(value) => Ok(value),
        None => ask(question),
    }
}

/// A secret, which is not shown while it is typed.
fn secret(variable: &str, question: &str) -> anyhow::Result<Secret> {
    if let Some(value) = given(None, variable) {
        return Ok(Secret::from(value.as_str()));
    }
    let silence = Silence::begin().context("cannot keep the terminal from showing a secret")?;
    let text = ask(question);
    if silence.is_some() {
        eprintln!();
    }
    Ok(Secret::from(text?.as_str()))
}

fn ask(question: &str) -> anyhow::Result<String> {
    eprint!("{question}: ");
    io::stderr().flush()?;
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .with_context(|| format!("cannot read the {question}"))?;
    match line.trim() {
        "" => bail!(
            "the {question} is missing; `sidetone init --help` names its flag and its variable"
        ),
        text => Ok(text.to_owned()),
    }
}

/// While it lives, the terminal does not show what is typed.
struct Silence(Termios);

impl Silence {
    /// `None`: stdin is no terminal.
    fn begin() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &silent)?;
        Ok(Some(Self(before)))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
