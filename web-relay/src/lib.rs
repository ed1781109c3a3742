//! The relay: takes caption events from transcribers and media gateways over gRPC, keeps what is final in a transcript
//! store, and brings everything to browsers over WebSocket, together with the page that shows it.
//!
//! [`hub`] and [`session`] are the protocol as pure state machines; the rest is the shell around them. The JSON that
//! travels is in [`event`] and described in PROTOCOL.md.

mod config;
pub mod event;
mod http;
pub mod hub;
pub mod incoming;
mod ingest;
mod relay;
pub mod session;
pub mod store;
mod switchboard;

pub use config::{Config, ConfigError};
pub use http::MAX_CLIENTS;
pub use relay::{Relay, StartError};
pub use switchboard::IN_FLIGHT;
