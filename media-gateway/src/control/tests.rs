//! The board against a cloud that is only as real as it has to be, in virtual time.

mod calls;
mod cloud;
mod consent;
mod hold;
mod outages;
mod properties;
