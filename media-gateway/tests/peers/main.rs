//! The gateway against other people's SIP: sipp, Kamailio and baresip, on loopback. And the simulator against
//! RingCentral's own softphone, so that the gateway is not tested against our idea of RingCentral alone.
//!
//! Ignored in a plain `cargo test`, because the peers must be installed: `make test-peers` sees to that. Every test
//! starts what it needs on ports of its own, waits for events under a deadline, and leaves no process behind. When one
//! fails, it prints what the peers had to say.

mod baresip;
mod capture;
mod cloud;
mod downstream;
mod kamailio;
mod lab;
mod process;
mod sipp;
mod softphone;
#[path = "../support/mod.rs"]
mod support;
