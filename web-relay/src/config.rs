//! The relay's settings.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use axum::http::Uri;
use serde::Deserialize;

/// Settings of the relay, as in the `[relay]` table of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where browsers connect: the page, the WebSocket, the health check. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where transcribers and media gateways publish over gRPC. Port 0 takes a free one.
    pub ingest_listen: SocketAddr,
    /// The SQLite file with the transcripts. Created if it does not exist; its folder must.
    pub database: PathBuf,
    /// Where browsers find the relay if that is not `listen`, such as `https://captions.example.com`.
    pub public_url: Option<String>,
    /// Says that only people and services that may see every call can reach the addresses above. Needed to listen on
    /// other addresses than this machine's own.
    pub behind_authenticating_proxy: bool,
}

/// Settings that can't be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The relay would be open to the network.
    #[error(
        "{setting} = \"{address}\" would show every call to whoever reaches it, because this relay does not know who may see \
         what: listen on 127.0.0.1, or put a proxy that authenticates in front and set behind_authenticating_proxy = true"
    )]
    Exposed {
        /// Which setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
    },
    /// Both listeners on one port.
    #[error("listen and ingest_listen are both {0}: give one of them another port")]
    SameAddress(SocketAddr),
    /// Not the address of a web server.
    #[error("public_url = \"{0}\" is not an address such as \"https://captions.example.com\"")]
    PublicUrl(String),
    /// No file name.
    #[error("database is empty: name the file that transcripts are to be kept in")]
    Database,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            ingest_listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            database: PathBuf::from("transcripts.db"),
            public_url: None,
            behind_authenticating_proxy: false,
        }
    }
}

impl Config {
    /// Finds settings that can't be, without touching network or disk.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !self.behind_authenticating_proxy {
            for (setting, address) in
                [("listen", self.listen), ("ingest_listen", self.ingest_listen)]
            {
                if !is_loopback(address.ip()) {
                    return Err(ConfigError::Exposed { setting, address });
                }
            }
        }
        if self.listen == self.ingest_listen && self.listen.port() != 0 {
            return Err(ConfigError::SameAddress(self.listen));
        }
        if self.database.as_os_str().is_empty() {
            return Err(ConfigError::Database);
        }
        self.public_authority().map(|_| ())
    }

    /// Host and port of `public_url`.
    pub(crate) fn public_authority(&self) -> Result<Option<String>, ConfigError> {
        let Some(url) = &self.public_url else { return Ok(None) };
        let invalid = || ConfigError::PublicUrl(url.clone());
        let parsed: Uri = url.parse().map_err(|_| invalid())?;
        match (parsed.scheme_str(), parsed.authority()) {
            (Some("http" | "https"), Some(authority)) if !authority.as_str().contains('@') => {
                Ok(Some(authority.as_str().to_ascii_lowercase()))
            }
            _ => Err(invalid()),
        }
    }
}

pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relay_is_not_opened_to_the_network_by_accident() {
        assert_eq!(Config::default().check(), Ok(()));
        let open: SocketAddr = "0.0.0.0:8080".parse().unwrap();
        let exposed = Config { listen: open, ..Config::default() };
        assert_eq!(exposed.check(), Err(ConfigError::Exposed { setting: "listen", address: open }));
        assert!(
            Config { ingest_listen: "[::]:8081".parse().unwrap(), ..Config::default() }
                .check()
                .is_err()
        );
        assert_eq!(Config { behind_authenticating_proxy: true, ..exposed }.check(), Ok(()));
        let mapped = "[::ffff:127.0.0.1]:80".parse().unwrap();
        assert_eq!(Config { listen: mapped, ..Config::default() }.check(), Ok(()));
    }

    #[test]
    fn impossible_settings_are_found_before_anything_is_opened() {
        let with_url =
            |url: &str| Config { public_url: Some(url.to_owned()), ..Config::default() }.check();
        assert_eq!(with_url("https://captions.example.com"), Ok(()));
        for url in ["captions.example.com", "ftp://example.com", "https://", "https://a@b", ""] {
            assert!(with_url(url).is_err(), "{url}");
        }
        let both = "127.0.0.1:9000".parse().unwrap();
        let same = Config { listen: both, ingest_listen: both, ..Config::default() };
        assert_eq!(same.check(), Err(ConfigError::SameAddress(both)));
        assert!(toml::from_str::<Config>("listen_on = 3").is_err());
    }
}
