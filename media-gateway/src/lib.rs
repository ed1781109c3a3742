//! The media gateway: joins RingCentral calls as a silent supervisor and streams each party's audio to a transcriber.
//!
//! Invariants: this crate knows SIP, SDP, RTP sockets and the RingCentral platform, and never Whisper, captions or
//! browsers. [`sip`], [`sdp`], [`supervision`] and [`control`] are pure: bytes and time in, events out. Sockets, tasks and clocks
//! live in the shells: [`gateway`], [`media`], [`uplink`] and [`ringcentral`]. [`metrics`] names what operators see.

pub mod config;
pub mod control;
pub mod control_api;
pub mod doctor;
pub mod gateway;
pub mod media;
pub mod metrics;
mod operations;
pub mod ringcentral;
pub mod sdp;
pub mod setup;
pub mod sip;
pub mod supervision;
pub mod uplink;

pub use gateway::{Gateway, StartError};
