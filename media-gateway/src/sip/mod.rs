//! A SIP user agent (RFC 3261) without sockets: bytes and time in, bytes and events out.
//!
//! [`framing`] finds and normalises messages, [`message`] and [`syntax`] read and build them, [`transaction`] repeats
//! what gets lost, [`registration`] keeps the supervisor's device registered. A leg is a dialog with a session timer and
//! whatever waits for a response. [`UserAgent`] puts them together: `serve` takes requests, `serve_leg` those within a
//! leg, and `own_requests` sends ours. [`failover`] says which proxy to register through, and when.

mod dialog;
pub mod digest;
mod event;
pub mod failover;
pub mod framing;
mod keepalive;
mod leg;
pub mod message;
mod own_requests;
pub mod registration;
mod registration_failure;
mod serve;
mod serve_leg;
pub mod session_timer;
pub mod syntax;
pub mod transaction;
mod user_agent;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

pub use event::{Event, Invite, Refusal};
pub use leg::{EndReason, LegId};
pub use registration::Account;
pub use registration_failure::RegistrationFailure;
pub use user_agent::{UserAgent, UserAgentConfig};

/// Which way messages come and go: responses and in-dialog requests travel on the flow that brought the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// The gateway's UDP socket, and the peer.
    Udp(SocketAddr),
    /// A TCP or TLS connection.
    Stream(StreamId),
}

/// A connection, numbered by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    number: u64,
    is_tls: bool,
}

/// Bytes to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub flow: Flow,
    /// One SIP message.
    pub bytes: Bytes,
}

impl StreamId {
    /// A plain TCP connection. Numbers are never reused, whatever the kind.
    pub const fn tcp(number: u64) -> Self {
        Self { number, is_tls: false }
    }

    /// A TLS connection.
    pub const fn tls(number: u64) -> Self {
        Self { number, is_tls: true }
    }
}

impl Flow {
    /// Whether the transport repeats what gets lost by itself.
    pub fn is_reliable(self) -> bool {
        matches!(self, Flow::Stream(_))
    }

    /// As it is written in Via headers and in the `transport` parameter of URIs.
    pub fn transport(self) -> &'static str {
        match self {
            Flow::Udp(_) => "UDP",
            Flow::Stream(StreamId { is_tls: false, .. }) => "TCP",
            Flow::Stream(StreamId { is_tls: true, .. }) => "TLS",
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flow::Udp(peer) => write!(f, "udp {peer}"),
            Flow::Stream(stream) => write!(f, "{stream}"),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_tls { "tls" } else { "tcp" };
        write!(f, "{kind} connection {}", self.number)
    }
}
