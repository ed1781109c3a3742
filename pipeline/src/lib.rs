//! The domain of live captions as pure state machines: bytes, samples and time in, events out.
//!
//! Nothing here opens a socket or a file, spawns a task, or asks what time it is.

pub mod captions;
pub mod clock;
pub mod codec;
pub mod correlation;
pub mod redaction;
pub mod resample;
pub mod rtp;
pub mod speech;
