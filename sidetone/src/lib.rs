//! One binary for everything: the services in one process, the demo, and the speech models.

mod calls;
pub mod cli;
pub mod config;
pub mod demo;
pub mod doctor;
mod groups;
pub mod init;
pub mod model;
mod simulate;
pub mod system;
mod table;
mod transcriber_process;

pub use transcriber_process::COMMAND as TRANSCRIBER_COMMAND;
