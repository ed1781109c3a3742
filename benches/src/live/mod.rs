//! The real transcriber as a process of its own, between parties that speak and a relay that notes what it is told.

mod party;
mod process;
mod relay;

pub(crate) use party::{Pace, Party};
pub(crate) use process::TranscriberProcess;
pub(crate) use relay::{Noted, Relay};
