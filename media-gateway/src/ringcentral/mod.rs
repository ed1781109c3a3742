//! RingCentral's REST API: the few requests that supervision needs.

mod advice;
mod client;
mod error;
mod model;

pub use advice::{Advice, advise};
pub use client::{Client, Credentials};
pub use error::Error;
pub use model::{
    ActiveCall, OutboundProxy, Presence, Session, SessionParty, SipInfo, SupervisorParty,
};
