//! The SIP side of the cloud (RFC 3261): a registrar, and a user agent that calls the supervisor.
//!
//! `endpoint` is the protocol core: it takes messages and time, and gives messages and events.
//! `transport` owns the sockets.

pub(crate) mod certificate;
pub(crate) mod dialog;
pub(crate) mod endpoint;
pub(crate) mod framing;
pub(crate) mod leg;
pub(crate) mod message;
mod oddity;
pub(crate) mod registrar;
pub(crate) mod repeat;
pub(crate) mod transport;

use std::net::SocketAddr;

/// The way back to a peer: where a message came from, and so where requests to it go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Flow {
    /// The transport, and which connection of it.
    pub(crate) channel: Channel,
    /// The peer's address.
    pub(crate) peer: SocketAddr,
    /// Our address as the peer sees it.
    pub(crate) local: SocketAddr,
}

/// A transport that messages travel on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Channel {
    /// Datagrams from the one UDP socket.
    Udp,
    /// A TCP connection, by its number in order of acceptance.
    Tcp(u64),
    /// A TLS connection, numbered together with those of TCP.
    Tls(u64),
}

impl Channel {
    /// The number of the connection, if it is one.
    pub(crate) fn connection(self) -> Option<u64> {
        match self {
            Channel::Udp => None,
            Channel::Tcp(number) | Channel::Tls(number) => Some(number),
        }
    }
}

impl Flow {
    /// Whether the transport may lose messages, so that requests need repeating.
    pub(crate) fn is_unreliable(&self) -> bool {
        self.channel == Channel::Udp
    }

    /// Whether signalling is encrypted, so that media is, too.
    pub(crate) fn is_secure(&self) -> bool {
        matches!(self.channel, Channel::Tls(_))
    }

    /// The transport's name as in a Via header.
    pub(crate) fn via_transport(&self) -> &'static str {
        match self.channel {
            Channel::Udp => "UDP",
            Channel::Tcp(_) => "TCP",
            Channel::Tls(_) => "TLS",
        }
    }
}
