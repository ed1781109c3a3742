//! A SIP user agent (RFC 3261) without sockets: bytes and time in, bytes and events out.
//!
//! [`framing`] finds and normalises messages, [`message`] reads and builds them, [`transaction`] repeats what gets
//! lost, [`dialog`] remembers the legs, [`registration`] keeps the supervisor's device registered and [`UserAgent`] puts
//! them together. [`failover`] says which proxy to register through, and when.

pub mod dialog;
pub mod digest;
pub mod failover;
pub mod framing;
mod keepalive;
pub mod message;
pub mod registration;
mod serve;
pub mod transaction;
mod user_agent;

use std::fmt;
use std::net::SocketAddr;

use bytes::Bytes;

pub use dialog::{EndReason, LegId};
pub use registration::{Account, RegistrationFailure};
pub use user_agent::{Event, Invite, Refusal, UserAgent, UserAgentConfig};

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
