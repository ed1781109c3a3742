//! What the operator decides.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::available_parallelism;
use std::time::Duration;

use caption_publisher::SpoolOptions;
use pipeline::redaction::Policy;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use tonic::transport::Endpoint;

use crate::backends::DEFAULT_DEADLINE;
use crate::recogniser::{ModelError, ModelSource, OpenAiOptions, WhisperOptions};

/// The most words of a vocabulary: more would crowd out what is said.
const MOST_VOCABULARY: usize = 200;

/// The longest that a sentence may wait for the next one.
const MOST_HOLD_MS: u64 = 10_000;

/// The `[transcriber]` section of the configuration file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where gateways send audio.
    pub listen: SocketAddr,
    /// The relay's address for caption events.
    pub relay: String,
    /// Who recognises: `whisper`, `grpc`, `openai`. The next one takes over where one fails or is late.
    pub backends: Vec<String>,
    /// How long a backend may take for a final, in ms, before the next one is asked.
    pub deadline_ms: u64,
    /// Words and names that are likely to be said, for backends that make use of them.
    pub vocabulary: Vec<String>,
    /// The backend `grpc`.
    pub grpc: GrpcSettings,
    /// The backend `openai`.
    pub openai: OpenAiSettings,
    /// Of the backend `whisper`: `demo-en`, or a file in ggml format.
    pub model: String,
    /// The language that is spoken, as Whisper names it.
    pub language: String,
    /// Threads that recognise. 0: one fewer than there are cores.
    pub workers: usize,
    /// Parties at once.
    pub slots: usize,
    /// Whether captions are shown while a party speaks, besides finals.
    pub partials: bool,
    /// What is not written down.
    pub redaction: RedactionSettings,
    /// Where captions are kept while the relay is away. Without one they are kept in memory, and in the gateways' rings of
    /// audio.
    pub spool_directory: Option<PathBuf>,
    /// The most that is kept there, in MiB.
    pub spool_mib: u64,
}

/// `[transcriber.redaction]`: what is not written down, but for a placeholder.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct RedactionSettings {
    /// Payment card numbers, written or said.
    pub cards: bool,
    /// E-mail addresses.
    pub emails: bool,
    /// Telephone numbers.
    pub phones: bool,
    /// Numbers of nine digits.
    pub social_security_numbers: bool,
    /// How long a sentence that ends in digits waits for the next one, in ms.
    pub hold_ms: u64,
}

/// `[transcriber.grpc]`: a server of the service in `proto/sidetone/v1/recogniser.proto`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcSettings {
    /// `grpc://HOST:PORT`.
    pub address: String,
}

/// `[transcriber.openai]`: a server with the OpenAI-compatible `POST /v1/audio/transcriptions`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenAiSettings {
    /// Up to and including the version.
    pub url: String,
    /// As the server names it.
    pub model: String,
    /// A file that holds the API key and nothing else.
    pub api_key_file: Option<PathBuf>,
    /// The environment variable that holds it.
    pub api_key_env: Option<String>,
    /// How long a request may take.
    pub timeout_ms: u64,
}

impl Default for RedactionSettings {
    fn default() -> Self {
        let Policy { cards, emails, phones, social_security_numbers, hold } = Policy::default();
        let hold_ms = hold.as_millis() as u64;
        Self { cards, emails, phones, social_security_numbers, hold_ms }
    }
}

impl Default for GrpcSettings {
    fn default() -> Self {
        Self { address: "grpc://127.0.0.1:50051".to_owned() }
    }
}

impl Default for OpenAiSettings {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8000/v1".to_owned(),
            model: "whisper-1".to_owned(),
            api_key_file: None,
            api_key_env: None,
            timeout_ms: 10_000,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8082)),
            relay: "http://127.0.0.1:8081".to_owned(),
            backends: vec!["whisper".to_owned()],
            deadline_ms: DEFAULT_DEADLINE.as_millis() as u64,
            vocabulary: Vec::new(),
            grpc: GrpcSettings::default(),
            openai: OpenAiSettings::default(),
            model: "demo-en".to_owned(),
            language: "en".to_owned(),
            workers: 0,
            slots: 64,
            partials: true,
            redaction: RedactionSettings::default(),
            spool_directory: None,
            spool_mib: 64,
        }
    }
}

impl Settings {
    /// Whether the recogniser of this program is among the backends.
    pub fn needs_model(&self) -> bool {
        self.backends.iter().any(|backend| backend == "whisper")
    }
}

/// Settings that were checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where gateways send audio.
    pub listen: SocketAddr,
    /// Where caption events go.
    pub relay: Endpoint,
    /// At least one.
    pub backends: Vec<BackendConfig>,
    /// How long a backend may take for a final, before the next one is asked.
    pub deadline: Duration,
    /// Words and names that are likely to be said.
    pub vocabulary: Vec<String>,
    /// Exists and begins like a model, if `whisper` is among the backends.
    pub model: ModelSource,
    /// How it is used.
    pub whisper: WhisperOptions,
    /// At least 1.
    pub workers: usize,
    /// At least 1.
    pub slots: usize,
    /// Whether captions are shown while a party speaks.
    pub partials: bool,
    /// What is not written down.
    pub redaction: Policy,
    /// Where captions are kept while the relay is away, if not in memory alone.
    pub spool: Option<SpoolOptions>,
}

/// Who recognises.
#[derive(Clone, Debug)]
pub enum BackendConfig {
    /// The built-in one.
    Whisper,
    /// A server of the recogniser's gRPC service.
    Grpc(Box<Endpoint>),
    /// A server with the OpenAI-compatible endpoint.
    OpenAi(OpenAiOptions),
}

impl BackendConfig {
    /// As `backends` names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Whisper => "whisper",
            Self::Grpc(_) => "grpc",
            Self::OpenAi(_) => "openai",
        }
    }
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
    /// None, an unknown one, or one twice.
    #[error(
        "[transcriber] backends: {0}; name each of \"whisper\", \"grpc\" and \"openai\" once at most, the first to be asked first"
    )]
    Backends(String),
    /// No time at all, or all the time in the world.
    #[error("[transcriber] deadline_ms: {0} is not from 100 to 60000")]
    Deadline(u64),
    /// Too many words, or no words.
    #[error("[transcriber] vocabulary: {0}")]
    Vocabulary(String),
    /// Not an address.
    #[error("[transcriber.grpc] address: {0:?} is not an address like grpc://127.0.0.1:50051")]
    Grpc(String),
    /// One of its values can't be.
    #[error("[transcriber.openai] {0}")]
    OpenAi(String),
    /// Not a language code.
    #[error("[transcriber] language: {0:?} is no language tag; write one such as \"en\"")]
    LanguageTag(String),
    /// Not a language code.
    #[error("[transcriber] language: Whisper knows no language {0:?}; write a code such as \"en\"")]
    Language(String),
    /// No room for anybody.
    #[error("[transcriber] slots: must be at least 1")]
    Slots,
    /// Gateways would forget the audio meanwhile.
    #[error("[transcriber.redaction] hold_ms: {0} is more than {most}", most = MOST_HOLD_MS)]
    Hold(u64),
}

impl TryFrom<Settings> for Config {
    type Error = ConfigError;

    fn try_from(settings: Settings) -> Result<Self, ConfigError> {
        let backends = backends(&settings)?;
        let model = ModelSource::named(&settings.model);
        if backends.iter().any(|backend| matches!(backend, BackendConfig::Whisper)) {
            model.check()?;
            if whisper_rs::get_lang_id(&settings.language.replace('\0', " ")).is_none() {
                return Err(ConfigError::Language(settings.language));
            }
        }
        let relay = Endpoint::from_shared(settings.relay.clone())
            .ok()
            .filter(|relay| relay.uri().authority().is_some())
            .ok_or(ConfigError::Relay(settings.relay))?;
        if settings.slots == 0 {
            return Err(ConfigError::Slots);
        }
        if !(100..=60_000).contains(&settings.deadline_ms) {
            return Err(ConfigError::Deadline(settings.deadline_ms));
        }
        let RedactionSettings { cards, emails, phones, social_security_numbers, hold_ms } =
            settings.redaction;
        if hold_ms > MOST_HOLD_MS {
            return Err(ConfigError::Hold(hold_ms));
        }
        let hold = Duration::from_millis(hold_ms);
        let cores = available_parallelism().map_or(1, usize::from);
        Ok(Self {
            listen: settings.listen,
            relay,
            backends,
            deadline: Duration::from_millis(settings.deadline_ms),
            vocabulary: settings.vocabulary,
            model,
            whisper: WhisperOptions { language: settings.language },
            workers: if settings.workers == 0 {
                cores.saturating_sub(1).max(1)
            } else {
                settings.workers
            },
            slots: settings.slots,
            partials: settings.partials,
            spool: settings.spool_directory.map(|directory| SpoolOptions {
                path: directory.join("captions.spool"),
                most_bytes: settings.spool_mib.saturating_mul(1024 * 1024),
            }),
            redaction: Policy { cards, emails, phones, social_security_numbers, hold },
        })
    }
}

fn backends(settings: &Settings) -> Result<Vec<BackendConfig>, ConfigError> {
    let named = &settings.backends;
    if named.is_empty() {
        return Err(ConfigError::Backends("there is none".to_owned()));
    }
    if let Some(twice) = named.iter().enumerate().find(|(i, it)| named[..*i].contains(it)) {
        return Err(ConfigError::Backends(format!("{:?} is there twice", twice.1)));
    }
    check_vocabulary(&settings.vocabulary)?;
    let language = &settings.language;
    let is_tag = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if language.len() > 35 || !language.chars().all(is_tag) {
        return Err(ConfigError::LanguageTag(language.clone()));
    }
    named
        .iter()
        .map(|name| match name.as_str() {
            "whisper" => Ok(BackendConfig::Whisper),
            "grpc" => grpc_address(&settings.grpc.address)
                .map(|endpoint| BackendConfig::Grpc(Box::new(endpoint)))
                .ok_or_else(|| ConfigError::Grpc(settings.grpc.address.clone())),
            "openai" => openai(settings).map(BackendConfig::OpenAi).map_err(ConfigError::OpenAi),
            other => Err(ConfigError::Backends(format!("there is no backend {other:?}"))),
        })
        .collect()
}

fn check_vocabulary(words: &[String]) -> Result<(), ConfigError> {
    if words.len() > MOST_VOCABULARY {
        let problem = format!("{} words are too many; name up to {MOST_VOCABULARY}", words.len());
        return Err(ConfigError::Vocabulary(problem));
    }
    let is_word = |it: &String| !it.trim().is_empty() && it.len() <= 100 && !it.contains('\0');
    match words.iter().position(|it| !is_word(it)) {
        Some(number) => Err(ConfigError::Vocabulary(format!(
            "entry {} is empty or longer than 100 bytes; name words and short phrases",
            number + 1
        ))),
        None => Ok(()),
    }
}

/// The address of a recogniser's server: `grpc://HOST:PORT`, which is HTTP/2 without TLS.
pub fn grpc_address(address: &str) -> Option<Endpoint> {
    let authority = address.strip_prefix("grpc://").or_else(|| address.strip_prefix("http://"))?;
    let endpoint = Endpoint::from_shared(format!("http://{}", authority.trim_end_matches('/')));
    endpoint.ok().filter(|endpoint| {
        let uri = endpoint.uri();
        uri.port_u16().is_some_and(|port| port > 0)
            && uri.host().is_some_and(|host| !host.is_empty())
            && uri.path() == "/"
    })
}

fn openai(settings: &Settings) -> Result<OpenAiOptions, String> {
    let OpenAiSettings { url, model, api_key_file, api_key_env, timeout_ms } = &settings.openai;
    let url = openai_url(url)
        .ok_or_else(|| format!("url: {url:?} is not an address like https://api.example.com/v1"))?;
    if model.trim().is_empty() {
        return Err("model: it has no name; write the one that the server gives it".to_owned());
    }
    if !(500..=10_000).contains(timeout_ms) {
        return Err(format!("timeout_ms: {timeout_ms} is not from 500 to 10000"));
    }
    let api_key = match (api_key_file, api_key_env) {
        (Some(_), Some(_)) => {
            return Err("api_key_file and api_key_env: the key is in one place; name that".into());
        }
        (Some(file), None) => {
            let key = std::fs::read_to_string(file).map_err(|error| {
                format!("api_key_file: cannot read {}: {error}", file.display())
            })?;
            Some(key)
        }
        (None, Some(name)) => Some(std::env::var(name).map_err(|_| {
            format!(
                "api_key_env: there is no environment variable {name:?}; set it, or name another"
            )
        })?),
        (None, None) => None,
    };
    let api_key = api_key.map(|key| key.trim().to_owned());
    if api_key.as_ref().is_some_and(String::is_empty) {
        return Err("api_key_file or api_key_env: the key is empty".to_owned());
    }
    Ok(OpenAiOptions {
        url,
        model: model.clone(),
        language: settings.language.clone(),
        vocabulary: settings.vocabulary.clone(),
        api_key,
        timeout: Duration::from_millis(*timeout_ms),
    })
}

/// The address of an OpenAI-compatible server, without a password in it.
pub fn openai_url(url: &str) -> Option<Url> {
    let url: Url = url.parse().ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    let is_http = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
    (is_http && is_plain && url.query().is_none()).then_some(url)
}
