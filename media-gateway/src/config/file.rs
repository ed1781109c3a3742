//! The configuration file as written: its sections, their defaults, and what they mean.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::control::consent::{GroupPolicy, Phrases, Policy};

/// The file as written. Turn it into a [`Config`](super::Config) with [`Config::check`](super::Config::check).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// The platform, and whom to listen to.
    pub ringcentral: RingCentralSection,
    /// The supervisor's phone.
    #[serde(default)]
    pub sip: SipSection,
    /// Where audio and events go.
    pub uplink: UplinkSection,
    /// What operators see, and how the gateway goes down.
    #[serde(default)]
    pub operations: OperationsSection,
    /// What has to be said before a call is transcribed, and how that is told.
    #[serde(default)]
    pub consent: ConsentSection,
    /// Control by hand.
    #[serde(default)]
    pub control: ControlSection,
}

/// `[ringcentral]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingCentralSection {
    /// Such as `https://platform.ringcentral.com`.
    #[serde(default = "production_server")]
    pub server: String,
    /// Of the app.
    pub client_id: String,
    /// Of the app.
    pub client_secret: Secret,
    /// Of the supervisor's extension.
    pub jwt: Secret,
    /// The supervisor's device, of type "Existing Phone".
    pub supervisor_device_id: String,
    /// Extension ids of the agents to listen to.
    pub agents: Vec<String>,
    /// One leg per party, or one for the whole session.
    #[serde(default)]
    pub supervise: Supervise,
    /// Whose telephony events are subscribed to.
    #[serde(default)]
    pub notifications: NotificationScope,
    /// Between two presence requests, in milliseconds, 200 to 60000; while notifications come, at least 5000. Each agent
    /// is looked at once per round.
    #[serde(default = "poll_interval_ms")]
    pub poll_interval_ms: u64,
}

/// `[sip]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SipSection {
    /// Where UDP and TCP are listened on.
    pub listen: String,
    /// How the device registers.
    pub transport: Transport,
    /// Each `host:port`, the preferred one first; the next is used when it fails. Empty: as `sip-info` says.
    pub outbound_proxies: Vec<String>,
    /// Certificates in PEM that are trusted besides the system's, for `transport = "tls"`.
    pub tls_ca_file: Option<PathBuf>,
    /// Where the device's instance id is kept between starts. Absent: the id follows from the device id, which does for
    /// one gateway per device.
    pub state_directory: Option<PathBuf>,
    /// With the next three: absent, taken from `sip-info`.
    pub domain: Option<String>,
    /// SIP user name.
    pub user_name: Option<String>,
    /// User name of the digest.
    pub authorization_id: Option<String>,
    /// SIP password.
    pub password: Option<Secret>,
    /// Addresses or networks (`192.0.2.0/24`) whose INVITEs are taken besides those of the registered flow.
    pub allowed_sources: Vec<String>,
    /// Calls at once.
    pub max_calls: usize,
    /// INVITEs in a second, at least 1; a burst may be one second's worth.
    pub max_calls_per_second: u32,
}

/// `[uplink]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UplinkSection {
    /// The gRPC addresses of one or more transcribers: `"http://..."`, or a list of those. When one fails, its parties
    /// move to another.
    #[serde(alias = "transcriber", deserialize_with = "one_or_more")]
    pub transcribers: Vec<String>,
    /// The relay's gRPC address.
    pub relay: String,
}

/// `[operations]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OperationsSection {
    /// Where `/metrics`, `/health` and `/ready` are served over HTTP. Absent: nowhere.
    pub listen: Option<String>,
    /// How long a shutdown waits for the last audio to be acknowledged, in seconds, 1 to 300.
    pub drain_seconds: u64,
}

/// `[consent]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsentSection {
    /// Of every agent who is in none of the groups.
    pub policy: Policy,
    /// By name. An agent in several groups has the strictest policy of them.
    pub groups: BTreeMap<String, GroupPolicy>,
    /// The key by which a customer agrees: one of `0` to `9`, `*`, `#`.
    pub granted_key: Option<char>,
    /// The key by which anyone objects.
    pub refused_key: Option<char>,
    /// By which the parties are told.
    pub announced_phrases: Phrases,
    /// By which somebody agrees.
    pub granted_phrases: Phrases,
    /// By which somebody objects.
    pub refused_phrases: Phrases,
}

/// `[control]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ControlSection {
    /// Where calls are listed and controlled over HTTP. Absent: nowhere.
    pub listen: Option<String>,
    /// What every request has to carry.
    pub token: Option<Secret>,
    /// A proxy in front ends TLS: without one, only this machine is listened to.
    pub behind_tls_proxy: bool,
}

/// What a supervise request is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Supervise {
    /// One leg per party: speakers are known.
    #[default]
    Party,
    /// One leg for everyone: usually mixed.
    Session,
}

/// Whose telephony events are subscribed to. Without them, calls are found by looking at the agents' presence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotificationScope {
    /// Those of each agent.
    #[default]
    Agents,
    /// Those of the whole account: fewer filters for many agents, and more events.
    Account,
    /// Nobody's.
    Off,
}

/// What SIP travels on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// One connection for everything.
    #[default]
    Tcp,
    /// One connection for everything, encrypted, to a proxy with a verified certificate.
    Tls,
    /// Datagrams.
    Udp,
}

/// A text that never shows up in logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde's own error would quote a value of the wrong type.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Other(IgnoredAny),
        }
        match Written::deserialize(deserializer)? {
            Written::Text(text) => Ok(Self(text)),
            Written::Other(IgnoredAny) => Err(D::Error::custom("a secret must be in quotes")),
        }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl Default for SipSection {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:5060".to_owned(),
            transport: Transport::default(),
            outbound_proxies: Vec::new(),
            tls_ca_file: None,
            state_directory: None,
            domain: None,
            user_name: None,
            authorization_id: None,
            password: None,
            allowed_sources: Vec::new(),
            max_calls: 100,
            max_calls_per_second: 50,
        }
    }
}

impl Default for OperationsSection {
    fn default() -> Self {
        Self { listen: None, drain_seconds: 20 }
    }
}

fn production_server() -> String {
    "https://platform.ringcentral.com".to_owned()
}

fn poll_interval_ms() -> u64 {
    2000
}

/// A text, or a list of texts.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be an address in quotes, or a list of addresses")]
    enum Written {
        One(String),
        More(Vec<String>),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::One(text) => vec![text],
        Written::More(texts) => texts,
    })
}
