//! The gateway's configuration: the file as written ([`file`]), and the checked form that the rest of the crate holds.

mod file;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tonic::transport::Endpoint;

use crate::control::consent::{Phrases, Policies, Rules};

pub use file::{
    ConfigFile, ConsentSection, ControlSection, NotificationScope, OperationsSection,
    RingCentralSection, Secret, SipSection, Supervise, Transport, UplinkSection,
};

/// Shorter tokens can be guessed.
const MIN_TOKEN_LEN: usize = 16;

/// Phrases of one kind: with both other kinds, no more than a transcriber listens for.
const MAX_PHRASES: usize = 30;

/// Nobody says a phrase as long, in bytes.
const MAX_PHRASE_LEN: usize = 500;

/// The checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Without a slash at its end.
    pub server: String,
    /// Of the app.
    pub client_id: String,
    /// Of the app.
    pub client_secret: Secret,
    /// Of the supervisor's extension.
    pub jwt: Secret,
    /// The supervisor's device.
    pub supervisor_device_id: String,
    /// Extension ids, at least one.
    pub agents: Vec<String>,
    /// Per party or per session.
    pub supervise: Supervise,
    /// Whose telephony events are subscribed to.
    pub notifications: NotificationScope,
    /// Between two presence requests.
    pub poll_interval: Duration,
    /// Where UDP and TCP are listened on.
    pub listen: SocketAddr,
    /// How the device registers.
    pub transport: Transport,
    /// Each `host:port`; empty unless configured.
    pub outbound_proxies: Vec<String>,
    /// Trusted besides the system's authorities.
    pub tls_ca_file: Option<PathBuf>,
    /// Holds what must survive a restart.
    pub state_directory: Option<PathBuf>,
    /// The device's credentials, if configured.
    pub account: Option<AccountConfig>,
    /// Who may call besides the registered flow.
    pub allowed_sources: Vec<Network>,
    /// Calls at once.
    pub max_calls: usize,
    /// INVITEs in a second.
    pub max_calls_per_second: u32,
    /// The transcribers' addresses, at least one.
    pub transcribers: Vec<Endpoint>,
    /// The relay's address.
    pub relay: Endpoint,
    /// What operators see, and how the gateway goes down.
    pub operations: OperationsConfig,
    /// What has to be said before a call is transcribed.
    pub consent: Policies,
    /// How the parties tell of it.
    pub consent_rules: Rules,
    /// Control by hand over HTTP, if it is wanted.
    pub control: Option<ControlConfig>,
}

/// The checked `[control]`.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// Where requests are listened for.
    pub listen: SocketAddr,
    /// What every request has to carry.
    pub token: Secret,
}

/// The checked `[operations]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationsConfig {
    /// Where metrics, health and readiness are served, if anywhere.
    pub listen: Option<SocketAddr>,
    /// How long a shutdown waits for the last audio to be acknowledged.
    pub drain_limit: Duration,
}

/// SIP credentials from the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountConfig {
    /// Without a port.
    pub domain: String,
    /// SIP user name.
    pub user_name: String,
    /// User name of the digest.
    pub authorization_id: String,
    /// SIP password.
    pub password: Secret,
}

/// An address, or all that share its first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A configuration that can't be run. The message names the key and says what it wants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, an unknown key, a missing key or a wrong type.
    #[error("{0}")]
    Syntax(String),
    /// A value that makes no sense.
    #[error("{key}: {problem}")]
    Value {
        /// The key, with its section.
        key: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
}

impl Config {
    /// Reads and checks a TOML file.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let file: ConfigFile = toml::from_str(text).map_err(|error| syntax(text, &error))?;
        Self::check(file)
    }

    /// Checks what was written.
    pub fn check(file: ConfigFile) -> Result<Self, ConfigError> {
        let ConfigFile { ringcentral, sip, uplink, operations, consent, control } = file;
        let agents = ringcentral.agents;
        if agents.is_empty() {
            return Err(problem(
                "ringcentral.agents",
                "name the extension id of at least one agent",
            ));
        }
        for agent in &agents {
            digits("ringcentral.agents", agent)?;
        }
        digits("ringcentral.supervisor_device_id", &ringcentral.supervisor_device_id)?;
        not_empty("ringcentral.client_id", &ringcentral.client_id)?;
        not_empty("ringcentral.client_secret", ringcentral.client_secret.expose())?;
        not_empty("ringcentral.jwt", ringcentral.jwt.expose())?;
        if !(200..=60_000).contains(&ringcentral.poll_interval_ms) {
            let wanted = "must be 200 to 60000 milliseconds";
            return Err(problem("ringcentral.poll_interval_ms", wanted));
        }
        if sip.max_calls == 0 {
            return Err(problem("sip.max_calls", "must be at least 1"));
        }
        if sip.max_calls_per_second == 0 {
            return Err(problem("sip.max_calls_per_second", "must be at least 1"));
        }
        if uplink.transcribers.is_empty() {
            return Err(problem("uplink.transcribers", "name at least one transcriber"));
        }
        let transcribers =
            uplink.transcribers.iter().map(|text| endpoint("uplink.transcribers", text));
        let listen = sip.listen.parse().map_err(|_| {
            problem("sip.listen", "must be an address and port, such as 0.0.0.0:5060")
        })?;
        for proxy in &sip.outbound_proxies {
            host_and_port("sip.outbound_proxies", proxy)?;
        }
        if sip.tls_ca_file.is_some() && sip.transport != Transport::Tls {
            return Err(problem("sip.tls_ca_file", "is of use with transport = \"tls\" only"));
        }
        let allowed_sources = sip.allowed_sources.iter().map(|text| Network::parse(text));
        Ok(Self {
            server: http_url("ringcentral.server", &ringcentral.server)?,
            client_id: ringcentral.client_id,
            client_secret: ringcentral.client_secret,
            jwt: ringcentral.jwt,
            supervisor_device_id: ringcentral.supervisor_device_id,
            agents,
            supervise: ringcentral.supervise,
            notifications: ringcentral.notifications,
            poll_interval: Duration::from_millis(ringcentral.poll_interval_ms),
            listen,
            transport: sip.transport,
            outbound_proxies: sip.outbound_proxies,
            tls_ca_file: sip.tls_ca_file,
            state_directory: sip.state_directory,
            account: account(sip.domain, sip.user_name, sip.authorization_id, sip.password)?,
            allowed_sources: allowed_sources.collect::<Result<_, _>>()?,
            max_calls: sip.max_calls,
            max_calls_per_second: sip.max_calls_per_second,
            transcribers: transcribers.collect::<Result<_, _>>()?,
            relay: endpoint("uplink.relay", &uplink.relay)?,
            operations: operations_config(&operations)?,
            consent_rules: rules(&consent)?,
            consent: policies(consent)?,
            control: control_config(control)?,
        })
    }
}

impl Network {
    /// Reads `192.0.2.1` or `192.0.2.0/24`.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let wanted = || {
            let text = format!("{text:?} is neither an address nor a network such as 192.0.2.0/24");
            ConfigError::Value { key: "sip.allowed_sources", problem: text }
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| wanted())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.trim().parse().map_err(|_| wanted())?,
            None => longest,
        };
        if prefix > longest { Err(wanted()) } else { Ok(Self { address, prefix }) }
    }

    /// Whether an address is in it. An IPv4 address in IPv6 clothes counts as IPv4.
    pub fn contains(&self, other: IpAddr) -> bool {
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let shift = 32 - u32::from(self.prefix);
                (u32::from(ours) ^ u32::from(theirs)).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let shift = 128 - u32::from(self.prefix);
                (u128::from(ours) ^ u128::from(theirs)).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// Without the offending line, which may hold a secret.
fn syntax(text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map_or(0, |before| before.matches('\n').count()) + 1;
    ConfigError::Syntax(format!("line {line}: {}", error.message()))
}

fn problem(key: &'static str, problem: &str) -> ConfigError {
    ConfigError::Value { key, problem: problem.to_owned() }
}

fn not_empty(key: &'static str, text: &str) -> Result<(), ConfigError> {
    if text.trim().is_empty() { Err(problem(key, "must not be empty")) } else { Ok(()) }
}

/// Extension and device ids are numbers; checking keeps them out of trouble in URLs.
fn digits(key: &'static str, text: &str) -> Result<(), ConfigError> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    let problem = format!("{text:?} must be an id of digits only, not an extension's short number");
    Err(ConfigError::Value { key, problem })
}

fn host_and_port(key: &'static str, text: &str) -> Result<(), ConfigError> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(()),
        _ => Err(problem(key, "must be host:port, such as sip10.ringcentral.com:5090")),
    }
}

fn http_url(key: &'static str, text: &str) -> Result<String, ConfigError> {
    let url = reqwest::Url::parse(text).ok();
    let fits = url.is_some_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if fits {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err(problem(key, "must be a URL such as https://platform.ringcentral.com"))
}

fn endpoint(key: &'static str, text: &str) -> Result<Endpoint, ConfigError> {
    http_url(key, text)
        .ok()
        .and_then(|url| Endpoint::from_shared(url).ok())
        .ok_or_else(|| problem(key, "must be a URL such as http://127.0.0.1:50051"))
}

fn operations_config(section: &OperationsSection) -> Result<OperationsConfig, ConfigError> {
    let listen = section.listen.as_deref().map(str::parse).transpose().map_err(|_| {
        problem("operations.listen", "must be an address and port, such as 127.0.0.1:9090")
    })?;
    if !(1..=300).contains(&section.drain_seconds) {
        return Err(problem("operations.drain_seconds", "must be 1 to 300"));
    }
    Ok(OperationsConfig { listen, drain_limit: Duration::from_secs(section.drain_seconds) })
}

fn control_config(section: ControlSection) -> Result<Option<ControlConfig>, ConfigError> {
    let Some(listen) = section.listen else { return Ok(None) };
    let listen: SocketAddr = listen.parse().map_err(|_| {
        problem("control.listen", "must be an address and port, such as 127.0.0.1:8090")
    })?;
    if !listen.ip().is_loopback() && !section.behind_tls_proxy {
        let wanted = "would send the token over the network in the clear; use 127.0.0.1, or put a proxy that ends TLS in \
                      front and set behind_tls_proxy = true";
        return Err(problem("control.listen", wanted));
    }
    let token = section.token.filter(|token| token.expose().len() >= MIN_TOKEN_LEN);
    let wanted = "must be a secret of 16 characters at least, such as openssl rand -hex 32 gives";
    let token = token.ok_or_else(|| problem("control.token", wanted))?;
    Ok(Some(ControlConfig { listen, token }))
}

fn policies(section: ConsentSection) -> Result<Policies, ConfigError> {
    for agent in section.groups.values().flat_map(|group| &group.agents) {
        digits("consent.groups", agent)?;
    }
    Ok(Policies { policy: section.policy, groups: section.groups })
}

fn rules(section: &ConsentSection) -> Result<Rules, ConfigError> {
    let is_key = |key: Option<char>| key.is_none_or(|key| "0123456789*#".contains(key));
    for (name, key) in
        [("consent.granted_key", section.granted_key), ("consent.refused_key", section.refused_key)]
    {
        if !is_key(key) {
            return Err(problem(name, "must be a key of a phone: 0 to 9, * or #"));
        }
    }
    if section.granted_key.is_some() && section.granted_key == section.refused_key {
        return Err(problem("consent.refused_key", "must be another key than granted_key"));
    }
    let phrases = |name, phrases: &Phrases| {
        let is_phrase =
            |text: &String| text.len() <= MAX_PHRASE_LEN && text.chars().any(char::is_alphanumeric);
        if phrases.all().count() <= MAX_PHRASES && phrases.all().all(is_phrase) {
            return Ok(phrases.clone());
        }
        Err(problem(name, "must be at most 30 phrases with words in them, of at most 500 bytes"))
    };
    Ok(Rules {
        granted_key: section.granted_key,
        refused_key: section.refused_key,
        announced_phrases: phrases("consent.announced_phrases", &section.announced_phrases)?,
        granted_phrases: phrases("consent.granted_phrases", &section.granted_phrases)?,
        refused_phrases: phrases("consent.refused_phrases", &section.refused_phrases)?,
    })
}

fn account(
    domain: Option<String>,
    user_name: Option<String>,
    authorization_id: Option<String>,
    password: Option<Secret>,
) -> Result<Option<AccountConfig>, ConfigError> {
    match (domain, user_name, authorization_id, password) {
        (None, None, None, None) => Ok(None),
        (Some(domain), Some(user_name), Some(authorization_id), Some(password)) => {
            not_empty("sip.domain", &domain)?;
            not_empty("sip.user_name", &user_name)?;
            not_empty("sip.authorization_id", &authorization_id)?;
            Ok(Some(AccountConfig { domain, user_name, authorization_id, password }))
        }
        _ => Err(problem(
            "sip",
            "give all of domain, user_name, authorization_id and password, or none of them",
        )),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
