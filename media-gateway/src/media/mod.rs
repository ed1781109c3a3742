//! One m-line: a pair of UDP sockets, a check of who sends, a receiver, and the packets that keep the path open.

mod keepalive;
mod source;
mod stream;

pub use keepalive::KeepAlive;
pub use source::{SourceLock, SourceRejected};
pub(crate) use stream::unix_ms;
pub use stream::{MediaPort, MediaStream};
