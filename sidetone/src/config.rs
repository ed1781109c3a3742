//! The one configuration file of `sidetone serve`.

use std::path::Path;

use anyhow::{Context, ensure};
use media_gateway::config::{
    ConfigFile, ConsentSection, ControlSection, OperationsSection, RingCentralSection, SipSection,
};
use serde::Deserialize;
use transcriber::config::Settings;

use crate::model::{ModelDirectory, resolve};

/// The file as written: the sections of the services' own files, without the addresses between them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    ringcentral: RingCentralSection,
    #[serde(default)]
    sip: SipSection,
    #[serde(default)]
    transcriber: Settings,
    #[serde(default)]
    relay: web_relay::Config,
    #[serde(default)]
    operations: OperationsSection,
    #[serde(default)]
    consent: ConsentSection,
    #[serde(default)]
    control: ControlSection,
}

/// What [`crate::system::System`] is made from, checked as far as it can be without starting anything.
#[derive(Clone, Debug)]
pub struct Config {
    /// The platform that is listened to.
    pub ringcentral: RingCentralSection,
    /// The supervisor's phone.
    pub sip: SipSection,
    /// The recogniser.
    pub transcriber: Settings,
    /// The page and the store.
    pub relay: web_relay::Config,
    /// Metrics, health and readiness, and how long going down may take.
    pub operations: OperationsSection,
    /// What has to be said before a call is transcribed, and how that is told.
    pub consent: ConsentSection,
    /// Control by hand.
    pub control: ControlSection,
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
        let Settings { listen, relay, .. } = Settings::default();
        ensure!(
            self.transcriber.listen == listen && self.transcriber.relay == relay,
            "[transcriber] listen, relay: leave them out, the parts find each other by themselves"
        );
        find_model(&mut self.transcriber)?;
        transcriber::config::Config::try_from(self.transcriber.clone())?;
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
        Settings { relay, ..self.transcriber.clone() }
    }
}

/// Puts the model's file in the place of its name, if anybody needs it.
pub fn find_model(settings: &mut Settings) -> anyhow::Result<()> {
    if settings.needs_model() {
        let directory =
            ModelDirectory::from_environment().unwrap_or_else(|| ModelDirectory::new("models"));
        settings.model = resolve(&settings.model, &directory)?.name();
    }
    Ok(())
}
