//! Carries each party's audio to a transcriber, and remembers it until it is acknowledged.

mod client;
mod coalesce;
mod feed;
mod held;
mod ring;
mod transcribers;

pub use client::{Outcome, Uplink, UplinkState};
pub use feed::{Feed, HeardConsent};
pub use held::LineHold;
pub use ring::{AudioRing, Chunk, RING_SECONDS};
pub use transcribers::Transcribers;
