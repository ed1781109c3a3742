//! Looks over everything that must be true for an account to work, in order, and says how to mend what is not.
//!
//! [`Examination::run`] asks RingCentral, connects, registers and binds. What the answers mean is decided by pure functions:
//! `account` for RingCentral's, `network` for those of sockets and of the registrar.

mod account;
mod check;
mod clock;
mod examination;
mod network;
mod probe;
mod registration;

pub use account::mend;
pub use check::{Check, Outcome, Report};
pub use examination::Examination;
