//! The parties' voices on their way into RTP packets.

mod encoder;
mod payloads;
mod recording;
mod srtp;
mod stream;

pub(crate) use encoder::{FrameEncoder, PayloadCodec};
pub use payloads::EncodeError;
pub(crate) use recording::{Feed, Recording};
pub(crate) use srtp::Protection;
pub(crate) use stream::{RtpIdentity, RtpStream, event_of};

use std::time::Duration;

/// The audio in one packet.
pub(crate) const FRAME: Duration = Duration::from_millis(20);
/// Frames in one second.
pub(crate) const FRAMES_PER_SECOND: u32 = 50;
