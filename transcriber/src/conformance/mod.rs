//! `transcriber conformance`: what is wrong with a recogniser's server, check by check, and how to mend it.

mod call;
mod check;
mod grpc;
mod judge;
mod openai;
mod sample;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use crate::config::{grpc_address, openai_url};
use crate::recogniser::OpenAiOptions;

pub use check::{Check, Outcome, Report};

/// How long a server may take for what it should do at once.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long it may take for a final, all in all.
const FINAL_PATIENCE: Duration = Duration::from_secs(15);

/// Which server, and how the findings are told.
#[derive(Debug, Clone, Args)]
pub struct ConformanceArguments {
    /// The server: grpc://HOST:PORT, or the http(s) address of an OpenAI-compatible API, as in http://HOST:PORT/v1
    #[arg(long, value_name = "ADDRESS")]
    backend: String,
    /// The language of the utterances, as the server names it
    #[arg(long, default_value = "en")]
    language: String,
    /// The model, for an OpenAI-compatible API
    #[arg(long, default_value = "whisper-1")]
    model: String,
    /// A file with the API key, for an OpenAI-compatible API
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Print the checks as one JSON object, and nothing else, on stdout
    #[arg(long)]
    json: bool,
}

impl ConformanceArguments {
    /// Makes every check and prints it. Returns how many have failed.
    ///
    /// # Errors
    /// When the arguments name no server.
    pub async fn run(self) -> anyhow::Result<usize> {
        let json = self.json;
        let report = self
            .examine(|check| {
                if !json {
                    println!("{check}");
                }
            })
            .await?;
        if json {
            println!("{}", report.to_json());
        }
        Ok(report.failures())
    }

    /// Makes every check, and tells of each when it is made.
    ///
    /// # Errors
    /// When the arguments name no server.
    pub async fn examine(self, tell: impl FnMut(&Check) + Send) -> anyhow::Result<Report> {
        let mut report = Telling { report: Report::default(), tell };
        if self.backend.starts_with("grpc://") {
            let Some(endpoint) = grpc_address(&self.backend) else {
                bail!("--backend {}: write it like grpc://127.0.0.1:50051", self.backend);
            };
            grpc::examine(&endpoint, &self.language, &mut report).await;
        } else {
            openai::examine(self.openai()?, &mut report).await;
        }
        Ok(report.report)
    }

    fn openai(&self) -> anyhow::Result<OpenAiOptions> {
        let Some(url) = openai_url(&self.backend) else {
            bail!(
                "--backend {}: write it like grpc://127.0.0.1:50051 or http://127.0.0.1:8000/v1",
                self.backend
            );
        };
        let key = self.api_key_file.as_ref().map(|file| {
            std::fs::read_to_string(file)
                .with_context(|| format!("--api-key-file: cannot read {}", file.display()))
        });
        Ok(OpenAiOptions {
            url,
            model: self.model.clone(),
            language: self.language.clone(),
            vocabulary: Vec::new(),
            api_key: key.transpose()?.map(|key| key.trim().to_owned()),
            timeout: FINAL_PATIENCE,
        })
    }
}

/// Takes checks as they are made.
trait Notes: Send {
    fn note(&mut self, name: &'static str, outcome: Outcome);

    /// For a check that can't be made.
    fn skip(&mut self, names: &[&'static str], because: &str) {
        for name in names {
            self.note(name, Outcome::skipped(because));
        }
    }
}

struct Telling<F> {
    report: Report,
    tell: F,
}

impl<F: FnMut(&Check) + Send> Notes for Telling<F> {
    fn note(&mut self, name: &'static str, outcome: Outcome) {
        let check = Check { name, outcome };
        (self.tell)(&check);
        self.report.checks.push(check);
    }
}
