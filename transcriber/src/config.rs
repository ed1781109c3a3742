//! What the operator decides.

use std::net::SocketAddr;
use std::thread::available_parallelism;

use serde::{Deserialize, Serialize};
use tonic::transport::Endpoint;

use crate::recogniser::{ModelError, ModelSource, WhisperOptions};

/// The `[transcriber]` section of the configuration file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where gateways send audio.
    pub listen: SocketAddr,
    /// The relay's address for caption events.
    pub relay: String,
    /// `demo-en`, or a file in ggml format.
    pub model: String,
    /// The language that is spoken, as Whisper names it.
    pub language: String,
    /// Threads that recognise. 0: one fewer than there are cores.
    pub workers: usize,
    /// Parties at once.
    pub slots: usize,
    /// Whether captions are shown while a party speaks, besides finals.
    pub partials: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8082)),
            relay: "http://127.0.0.1:8081".to_owned(),
            model: "demo-en".to_owned(),
            language: "en".to_owned(),
            workers: 0,
            slots: 64,
            partials: true,
        }
    }
}

/// Settings that were checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where gateways send audio.
    pub listen: SocketAddr,
    /// Where caption events go.
    pub relay: Endpoint,
    /// Exists and begins like a model.
    pub model: ModelSource,
    /// How it is used.
    pub whisper: WhisperOptions,
    /// At least 1.
    pub workers: usize,
    /// At least 1.
    pub slots: usize,
    /// Whether captions are shown while a party speaks.
    pub partials: bool,
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The model can't be used.
    #[error("[transcriber] model: {0}")]
    Model(#[from] ModelError),
    /// The relay's address is not a URL.
    #[error("[transcriber] relay: {0:?} is not an address like http://127.0.0.1:8081")]
    Relay(String),
    /// Not a language code.
    #[error("[transcriber] language: Whisper knows no language {0:?}; write a code such as \"en\"")]
    Language(String),
    /// No room for anybody.
    #[error("[transcriber] slots: must be at least 1")]
    Slots,
}

impl TryFrom<Settings> for Config {
    type Error = ConfigError;

    fn try_from(settings: Settings) -> Result<Self, ConfigError> {
        let model = ModelSource::named(&settings.model);
        model.check()?;
        let relay = Endpoint::from_shared(settings.relay.clone())
            .ok()
            .filter(|relay| relay.uri().authority().is_some())
            .ok_or(ConfigError::Relay(settings.relay))?;
        if whisper_rs::get_lang_id(&settings.language.replace('\0', " ")).is_none() {
            return Err(ConfigError::Language(settings.language));
        }
        if settings.slots == 0 {
            return Err(ConfigError::Slots);
        }
        let cores = available_parallelism().map_or(1, usize::from);
        Ok(Self {
            listen: settings.listen,
            relay,
            model,
            whisper: WhisperOptions { language: settings.language },
            workers: if settings.workers == 0 {
                cores.saturating_sub(1).max(1)
            } else {
                settings.workers
            },
            slots: settings.slots,
            partials: settings.partials,
        })
    }
}
