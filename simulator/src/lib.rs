//! A stand-in for RingCentral's cloud: REST, SIP and RTP as a supervising gateway meets them.
//!
//! RingCentral offers no sandbox for call supervision, so the demo, the tests and the load
//! harness talk to this crate instead. It speaks only RingCentral's public protocols and knows
//! nothing of the services that talk to it.
//!
//! [`Simulator::start`] binds the REST and SIP ports, [`Simulator::place_call`] puts a call
//! between a customer and an agent on the line, [`Simulator::load`] many of them. A gateway registers its SIP device, asks for
//! supervision over REST, answers the INVITEs and receives the parties' voices over RTP.
//!
//! The protocol cores do no input or output: `sip::endpoint` and `switchboard` take messages,
//! requests and time, and give messages and events back. `simulator`, `conversation`, `rest` and
//! `sip::transport` are the shells around them that own the sockets and tasks.

mod account;
mod api_error;
mod audio;
mod conversation;
mod demo;
mod load;
mod media;
mod plan;
mod rest;
mod sdp;
mod simulator;
mod sip;
mod switchboard;
mod timestamp;

pub use account::{Account, Agent};
pub use audio::{Audio, AudioFileError, ResampleError, WavError};
pub use demo::{Turn, demo_transcript};
pub use load::{Load, LoadError};
pub use media::EncodeError;
pub use plan::{CallPlan, Codec, Shape, UnknownName};
pub use rest::{Controls, Cut, Delivery, Fault, GrantCounts, RateLimits};
pub use simulator::{Call, PlaceCallError, Simulator, SimulatorConfig, StartError};
