//! RingCentral's REST API: the few requests that supervision needs.

mod advice;
mod client;
mod error;
mod event;
mod model;

pub use advice::{Advice, advise};
pub use client::{Client, Credentials};
pub use error::Error;
pub use event::{Notification, SessionEvent};
pub use model::{
    ActiveCall, OutboundProxy, PeerId, Presence, Session, SessionParty, SipInfo, SupervisorParty,
};
