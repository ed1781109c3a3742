//! The one configuration file of `sidetone serve`.

use std::path::Path;

use anyhow::Context;
use media_gateway::config::{
    ConfigFile, ControlSection, OperationsSection, RingCentralSection, SipSection,
};
use media_gateway::control::consent;
use serde::Deserialize;
use transcriber::config::{ConfigError, GrpcSettings, OpenAiSettings, Settings};

use crate::model::{ModelDirectory, resolve};

/// The file as written: the sections of the services' own files, without the addresses between them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    ringcentral: RingCentralSection,
    #[serde(default)]
    sip: SipSection,
    #[serde(default)]
    transcriber: TranscriberSection,
    #[serde(default)]
    relay: web_relay::Config,
    #[serde(default)]
    operations: OperationsSection,
    #[serde(default)]
    consent: consent::Policies,
    #[serde(default)]
    control: ControlSection,
}

/// `[transcriber]`: what is left to decide when it runs as a child.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TranscriberSection {
    /// Who recognises: `whisper`, `grpc`, `openai`. The next one takes over where one fails or is late.
    pub backends: Vec<String>,
    /// How long a backend may take for a final, in ms, before the next one is asked.
    pub deadline_ms: u64,
    /// Words and names that are likely to be said.
    pub vocabulary: Vec<String>,
    /// The backend `grpc`.
    pub grpc: GrpcSettings,
    /// The backend `openai`.
    pub openai: OpenAiSettings,
    /// `demo-en`, a published name that was pulled, or a file.
    pub model: String,
    /// The language that is spoken, as Whisper names it.
    pub language: String,
    /// Threads that recognise. 0: one fewer than there are cores.
    pub workers: usize,
    /// Parties at once.
    pub slots: usize,
}

/// What [`crate::system::System`] is made from, checked as far as it can be without starting anything.
#[derive(Clone, Debug)]
pub struct Config {
    /// The platform that is listened to.
    pub ringcentral: RingCentralSection,
    /// The supervisor's phone.
    pub sip: SipSection,
    /// The recogniser.
    pub transcriber: TranscriberSection,
    /// The page and the store.
    pub relay: web_relay::Config,
    /// Metrics, health and readiness, and how long going down may take.
    pub operations: OperationsSection,
    /// What has to be said before a call is transcribed.
    pub consent: consent::Policies,
    /// Control by hand.
    pub control: ControlSection,
}

impl Default for TranscriberSection {
    fn default() -> Self {
        let Settings {
            backends,
            deadline_ms,
            vocabulary,
            grpc,
            openai,
            model,
            language,
            workers,
            slots,
            listen: _,
            relay: _,
        } = Settings::default();
        Self { backends, deadline_ms, vocabulary, grpc, openai, model, language, workers, slots }
    }
}

impl Config {
    /// Reads a file and checks it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Self::parse(path)?.checked().with_context(|| path.display().to_string())
    }

    /// Reads a file. Its values may still make no sense.
    pub fn parse(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("cannot read the configuration {name}; `sidetone init` writes one")
        })?;
        let File { ringcentral, sip, transcriber, relay, operations, consent, control } =
            toml::from_str(&text).map_err(|error| {
                // Without the line itself, which may hold a secret.
                let before = error.span().and_then(|span| text.get(..span.start));
                let line = before.map_or(0, |before| before.matches('\n').count()) + 1;
                anyhow::anyhow!("{name}, line {line}: {}", error.message())
            })?;
        Ok(Self { ringcentral, sip, transcriber, relay, operations, consent, control })
    }

    /// Finds the model and looks over every value.
    pub fn checked(mut self) -> anyhow::Result<Self> {
        self.relay.check().context("[relay]")?;
        self.transcriber.find_model()?;
        self.transcriber.check()?;
        self.gateway("http://127.0.0.1:1", "http://127.0.0.1:1")?;
        Ok(self)
    }

    /// The gateway's configuration, with the addresses of its neighbours.
    pub fn gateway(
        &self,
        transcriber: &str,
        relay: &str,
    ) -> anyhow::Result<media_gateway::config::Config> {
        let mut sip = self.sip.clone();
        // Beside the transcripts, so that a start after a crash knows what was being heard.
        sip.state_directory.get_or_insert_with(|| self.relay.database.with_extension("state"));
        let uplink = media_gateway::config::UplinkSection {
            transcribers: vec![transcriber.to_owned()],
            relay: relay.to_owned(),
        };
        Ok(media_gateway::config::Config::check(ConfigFile {
            ringcentral: self.ringcentral.clone(),
            sip,
            uplink,
            operations: self.operations.clone(),
            consent: self.consent.clone(),
            control: self.control.clone(),
        })?)
    }

    /// The transcriber's settings, with the address of its neighbour.
    pub fn transcriber_settings(&self, relay: String) -> Settings {
        self.transcriber.settings(relay)
    }
}

impl TranscriberSection {
    /// Puts the model's file in the place of its name, if anybody needs it.
    pub fn find_model(&mut self) -> anyhow::Result<()> {
        if self.needs_model() {
            let directory =
                ModelDirectory::from_environment().unwrap_or_else(|| ModelDirectory::new("models"));
            self.model = resolve(&self.model, &directory)?.name();
        }
        Ok(())
    }

    /// Whether the recogniser of this program is among the backends.
    pub fn needs_model(&self) -> bool {
        self.backends.iter().any(|backend| backend == "whisper")
    }

    /// Looks over every value.
    pub fn check(&self) -> Result<(), ConfigError> {
        transcriber::config::Config::try_from(self.settings("http://127.0.0.1:1".to_owned()))
            .map(drop)
    }

    fn settings(&self, relay: String) -> Settings {
        let Self {
            backends,
            deadline_ms,
            vocabulary,
            grpc,
            openai,
            model,
            language,
            workers,
            slots,
        } = self.clone();
        Settings {
            relay,
            backends,
            deadline_ms,
            vocabulary,
            grpc,
            openai,
            model,
            language,
            workers,
            slots,
            ..Settings::default()
        }
    }
}
