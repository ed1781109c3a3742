//! The one configuration file of `sidetone serve`.

use std::path::Path;

use anyhow::Context;
use media_gateway::config::{
    ConfigFile, ConsentSection, ControlSection, OperationsSection, RingCentralSection, SipSection,
};
use serde::Deserialize;

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
    consent: ConsentSection,
    #[serde(default)]
    control: ControlSection,
}

/// `[transcriber]`: what is left to decide when it runs as a child.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TranscriberSection {
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
    /// What has to be said before a call is transcribed, and how that is told.
    pub consent: ConsentSection,
    /// Control by hand.
    pub control: ControlSection,
}

impl Default for TranscriberSection {
    fn default() -> Self {
        let transcriber::config::Settings { model, language, workers, slots, .. } =
            transcriber::config::Settings::default();
        Self { model, language, workers, slots }
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
        self.transcriber.model = find_model(&self.transcriber.model)?;
        transcriber::config::Config::try_from(self.transcriber_settings(String::new()))
            .map(drop)
            .or_else(|error| match error {
            // Its address is known once the relay is up.
            transcriber::config::ConfigError::Relay(_) => Ok(()),
            error => Err(error),
        })?;
        self.gateway("http://127.0.0.1:1", "http://127.0.0.1:1")?;
        Ok(self)
    }

    /// The gateway's configuration, with the addresses of its neighbours.
    pub fn gateway(
        &self,
        transcriber: &str,
        relay: &str,
    ) -> anyhow::Result<media_gateway::config::Config> {
        let uplink = media_gateway::config::UplinkSection {
            transcribers: vec![transcriber.to_owned()],
            relay: relay.to_owned(),
        };
        Ok(media_gateway::config::Config::check(ConfigFile {
            ringcentral: self.ringcentral.clone(),
            sip: self.sip.clone(),
            uplink,
            operations: self.operations.clone(),
            consent: self.consent.clone(),
            control: self.control.clone(),
        })?)
    }

    /// The transcriber's settings, with the address of its neighbour.
    pub fn transcriber_settings(&self, relay: String) -> transcriber::config::Settings {
        let TranscriberSection { model, language, workers, slots } = self.transcriber.clone();
        transcriber::config::Settings {
            relay,
            model,
            language,
            workers,
            slots,
            ..transcriber::config::Settings::default()
        }
    }
}

/// The name or path under which the transcriber finds a model: a published name becomes its file.
pub(crate) fn find_model(name: &str) -> anyhow::Result<String> {
    let directory =
        ModelDirectory::from_environment().unwrap_or_else(|| ModelDirectory::new("models"));
    Ok(resolve(name, &directory)?.name())
}
