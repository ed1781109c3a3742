//! One m-line: a pair of UDP sockets, a check of who sends, the keys, a receiver, and what keeps the path open.

mod budget;
mod keepalive;
mod ports;
mod session;
mod source;
mod srtp;
mod stream;

pub use keepalive::KeepAlive;
pub use ports::{MediaPort, MediaPorts};
pub use session::{Channel, MediaError, MediaRejected, MediaSession, Remote, Transmit};
pub use source::{SourceLock, SourceRejected};
pub use srtp::{SrtpError, SrtpReceiver, SrtpRejected, SrtpSender};
pub(crate) use stream::unix_ms;
pub use stream::{ConsentKeys, MediaStream};
