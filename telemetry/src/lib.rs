//! How a process of Sidetone logs: to standard error, as text for people or as JSON for log systems.
//!
//! Every binary calls [`init`] once. `RUST_LOG` says how much is logged, `SIDETONE_LOG_FORMAT` in which form; both are
//! inherited by child processes, so that one setting holds for everything that a service starts.

mod json;

use std::env::{self, VarError};
use std::io::{IsTerminal, stderr};
use std::panic;
use std::str::FromStr;

use tracing::error;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

pub use json::JsonLines;

/// The environment variable that chooses the form of the log: `text`, the default, or `json`.
pub const FORMAT_VARIABLE: &str = "SIDETONE_LOG_FORMAT";

/// At its finest level the WebSocket's library writes out the request, which holds a token.
const HANDSHAKES: &str = "tungstenite=warn";

/// The form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people, in colour on a terminal.
    #[default]
    Text,
    /// One JSON object in a line: see [`JsonLines`].
    Json,
}

/// [`FORMAT_VARIABLE`] has a value that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{FORMAT_VARIABLE}={0:?} is no log format; use \"text\" or \"json\"")]
pub struct UnknownFormat(String);

/// Begins to log to standard error, as loud as `level` unless `RUST_LOG` says otherwise. Call it once, at the start of a
/// process.
///
/// # Errors
/// [`UnknownFormat`]; nothing is logged then.
pub fn init(level: &str) -> Result<(), UnknownFormat> {
    let format = LogFormat::from_environment()?;
    // whisper.cpp tells a page about every model that it loads.
    let default = || EnvFilter::new(format!("{level},whisper_rs=warn"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| default());
    let filter = match HANDSHAKES.parse() {
        Ok(handshakes) => filter.add_directive(handshakes),
        Err(_) => filter,
    };
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => {
            let layer = fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal());
            registry.with(layer).init();
        }
        LogFormat::Json => {
            registry.with(JsonLines::new(stderr)).init();
            panic::set_hook(Box::new(|panic| error!("{panic}")));
        }
    }
    Ok(())
}

impl LogFormat {
    fn from_environment() -> Result<Self, UnknownFormat> {
        match env::var(FORMAT_VARIABLE) {
            Ok(name) => name.parse(),
            Err(VarError::NotPresent) => Ok(Self::default()),
            Err(VarError::NotUnicode(name)) => {
                Err(UnknownFormat(name.to_string_lossy().into_owned()))
            }
        }
    }
}

impl FromStr for LogFormat {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "" | "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(UnknownFormat(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_have_names() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert_eq!(["", "text"].map(str::parse), [Ok(LogFormat::Text), Ok(LogFormat::Text)]);
        let error = "jsno".parse::<LogFormat>().unwrap_err();
        assert!(error.to_string().contains("SIDETONE_LOG_FORMAT=\"jsno\""), "{error}");
    }
}
