//! A stand-in for RingCentral's cloud: REST, SIP and RTP as a supervising gateway meets them.
//!
//! RingCentral offers no sandbox for call supervision, so the demo, the tests and the load
//! harness talk to this crate instead. It speaks only RingCentral's public protocols and knows
//! nothing of the services that talk to it.
//!
//! [`Simulator::start`] binds the REST and SIP ports. [`Simulator::place_call`] puts a call on the line: a [`CallPlan`] says
//! of which [`CallKind`] it is, and in which [`Variant`] its INVITEs come. [`Simulator::run`] generates the [`Traffic`] of a
//! contact centre from a seed, a [`Rehearsal`] the same in virtual time, [`Simulator::load`] as many equal calls as a machine can play. A gateway registers its SIP
//! device over UDP, TCP or TLS, asks for supervision over REST, answers the INVITEs and receives the parties' voices over
//! RTP, or SRTP if it registered over TLS.
//!
//! The protocol cores do no input or output: `script`, `traffic`, `switchboard`, `rehearsal` and `sip::endpoint` take messages,
//! requests and time, and give messages and events back. `simulator`, `conversation`, `rest` and `sip::transport` are the
//! shells around them that own the sockets and tasks.

mod account;
mod api_error;
mod audio;
mod command;
mod conversation;
mod demo;
mod kind;
mod load;
mod media;
mod plan;
mod rehearsal;
mod report;
mod rest;
mod script;
mod sdp;
mod simulator;
mod sip;
mod switchboard;
mod timestamp;
mod traffic;
mod traffic_run;
mod variant;

pub use account::{Account, Agent, Customer};
pub use audio::{Audio, AudioFileError, ResampleError, WavError};
pub use command::SimulateArguments;
pub use demo::{Turn, demo_transcript};
pub use kind::CallKind;
pub use load::{Load, LoadError};
pub use media::EncodeError;
pub use plan::{CallPlan, Codec, KeyPress, Shape, Start, UnknownName};
pub use rehearsal::{Invitation, RefusedRequest, Rehearsal, RehearsalEvent, RehearsedCall};
pub use report::{CallReport, Hears, LegReport, Outcome};
pub use rest::{Controls, Cut, Delivery, Fault, GrantCounts, RateLimits};
pub use simulator::{Call, PlaceCallError, Simulator, SimulatorConfig, StartError};
pub use sip::certificate::CertificateError;
pub use traffic::{ScheduledCall, Traffic, TrafficError};
pub use traffic_run::{KindReport, RunError, TrafficReport};
pub use variant::Variant;
