//! One m-line: a pair of UDP sockets, a check of who sends, the keys, a receiver, and what keeps the path open.

mod budget;
mod keepalive;
mod ports;
mod session;
mod socket;
mod source;
mod srtp;
mod stream;

pub use keepalive::KeepAlive;
pub use ports::{MediaPort, MediaPorts};
pub use session::{Channel, MediaError, MediaRejected, MediaSession, Remote, Transmit};
pub(crate) use socket::unix_ms;
pub use source::{SourceLock, SourceRejected};
pub use srtp::{SrtpError, SrtpReceiver, SrtpRejected, SrtpSender};
pub use stream::{ConsentKeys, MediaStream};
