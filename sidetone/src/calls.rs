//! `sidetone calls`: lists the calls of a running gateway, and interferes with them.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use media_gateway::control::CallView;
use media_gateway::control::consent;
use media_gateway::control_api::{AgentRef, ConsentBody, Problem};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde::Serialize;

use crate::config::Config;
use crate::table::table;

/// What to do with the calls of a running `sidetone serve`.
#[derive(Args)]
pub struct CallsCommand {
    /// The configuration of the running system: its [control] says where, and with which token
    #[arg(long, value_name = "FILE", default_value = "sidetone.toml", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// List every call with its stage, and why it is there
    List {
        /// As JSON, with everything that is known
        #[arg(long)]
        json: bool,
    },
    /// Everything that is known of one call, as JSON
    Show {
        /// The telephonySessionId
        call: String,
    },
    /// Listen to a call, whoever's it is
    Supervise {
        /// The telephonySessionId
        call: String,
        /// The agent's extension number, such as 108
        #[arg(long, value_name = "NUMBER")]
        agent: String,
    },
    /// Leave a call, and leave it alone
    Stop {
        /// The telephonySessionId
        call: String,
    },
    /// Note what the parties have said to being transcribed
    Consent {
        /// The telephonySessionId
        call: String,
        /// What they said
        state: Said,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Said {
    /// They were told, and nobody has objected
    Announced,
    /// Somebody has agreed
    Granted,
    /// Somebody has objected: the call is left for good, and what was said is deleted
    Refused,
}

/// The control of a running gateway.
struct Gateway {
    client: Client,
    url: String,
    token: String,
}

impl CallsCommand {
    /// Asks the gateway, and prints what it says.
    ///
    /// # Errors
    /// When the configuration has no `[control]`, the gateway does not answer, or it refuses.
    pub async fn run(self) -> anyhow::Result<()> {
        let gateway = Gateway::from(&Config::parse(&self.config)?)?;
        match self.action {
            Action::List { json } => {
                let calls: Vec<CallView> = gateway.get("/v1/calls").await?.json().await?;
                if json {
                    println!("{}", serde_json::to_string_pretty(&calls)?);
                } else if calls.is_empty() {
                    println!("no call is followed at the moment");
                } else {
                    let rows: Vec<_> = calls.iter().map(row).collect();
                    print!("{}", table(["CALL", "AGENT", "STAGE", "CONSENT", "WHY"], &rows));
                }
            }
            Action::Show { call } => {
                let view: CallView = gateway.get(&path(&call, "")).await?.json().await?;
                println!("{}", serde_json::to_string_pretty(&view)?);
            }
            Action::Supervise { call, agent } => {
                let path = path(&call, "/supervise");
                gateway.send(Method::POST, &path, &AgentRef::Number(agent)).await?;
                eprintln!("the call is followed; `sidetone calls list` shows how far it is");
            }
            Action::Stop { call } => {
                let request = gateway.request(Method::DELETE, &path(&call, "/supervision"));
                gateway.answered(request).await?;
                eprintln!("the call is left; `sidetone calls supervise` takes it up again");
            }
            Action::Consent { call, state } => {
                let body = ConsentBody { state: state.into() };
                gateway.send(Method::PUT, &path(&call, "/consent"), &body).await?;
                match state {
                    Said::Refused => {
                        eprintln!("the call is left for good, and what was said is deleted")
                    }
                    Said::Announced | Said::Granted => eprintln!("noted"),
                }
            }
        }
        Ok(())
    }
}

impl Gateway {
    fn from(config: &Config) -> anyhow::Result<Self> {
        let control = &config.control;
        let (Some(listen), Some(token)) = (&control.listen, &control.token) else {
            bail!(
                "calls are not controlled by hand; set listen and token of [control], and restart"
            );
        };
        Ok(Self {
            client: Client::new(),
            url: format!("http://{listen}"),
            token: token.expose().to_owned(),
        })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Response> {
        self.answered(self.request(Method::GET, path)).await
    }

    async fn send(&self, method: Method, path: &str, body: &impl Serialize) -> anyhow::Result<()> {
        self.answered(self.request(method, path).json(body)).await.map(drop)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    async fn answered(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.with_context(|| {
            format!("nobody answers at {}; is `sidetone serve` running with this file?", self.url)
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        match response.json::<Problem>().await {
            Ok(problem) => bail!(problem.message),
            Err(_) => bail!("{} answers {status}: that is not Sidetone's gateway", self.url),
        }
    }
}

impl From<Said> for consent::State {
    fn from(said: Said) -> Self {
        match said {
            Said::Announced => Self::Announced,
            Said::Granted => Self::Granted,
            Said::Refused => Self::Refused,
        }
    }
}

/// Which call, whose, how far, what was said to it, and why.
fn row(call: &CallView) -> [String; 5] {
    // As they are written in JSON, so that people and programs have the same words.
    let word = |value: serde_json::Result<serde_json::Value>| {
        value.ok().as_ref().and_then(|it| it.as_str()).unwrap_or("-").to_owned()
    };
    let consent = match call.is_withheld {
        true => "awaited".to_owned(),
        false => word(serde_json::to_value(call.consent)),
    };
    [
        call.call_id.to_string(),
        call.agent.clone().unwrap_or_else(|| "-".to_owned()),
        word(serde_json::to_value(call.stage)),
        consent,
        call.why.clone().unwrap_or_default(),
    ]
}

/// An id is one segment of a path, whatever is in it.
fn path(call: &str, rest: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    format!("/v1/calls/{}{rest}", call.bytes().map(encode).collect::<String>())
}
