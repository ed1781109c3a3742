//! The control plane: which calls are listened to, on which legs, and why. Pure: events, answers and time in, actions out.
//!
//! A [`Board`] holds a machine for every call that a monitored agent is on. It is told of notifications, presence, the
//! answers to its own requests, the legs and what people ask for; it asks for [`Action`]s. Nothing that it is told is
//! taken for complete: an event starts a look at the session, and what the session says decides.
//!
//! [`Control`] is the handle by which people and other services list calls and interfere.

mod action;
mod attachment;
mod board;
mod call;
pub mod consent;
mod handle;
mod outage;
mod roster;
mod search;
mod view;

pub use action::{Action, Hold, LegNews, Outcome, Refusal};
pub use board::{Board, Settings};
pub(crate) use handle::{Command, Commands};
pub use handle::{Control, ControlError};
pub use view::{CallView, PartyView, Stage};

#[cfg(test)]
mod tests;
