//! The media gateway: joins RingCentral calls as a silent supervisor and streams each party's audio to a transcriber.
//!
//! Invariants: this crate knows SIP, SDP, RTP sockets and the RingCentral platform, and never Whisper, captions or
//! browsers. [`sip`], [`sdp`], [`supervision`] and [`uplink`]'s ring are pure; sockets, tasks and clocks live in
//! [`gateway`], [`media`] and [`uplink`]'s client.

pub mod sip;
