//! Whisper models in ggml format: which are published, getting them, and finding the one that was asked for.

pub mod catalogue;
mod checksum;
mod command;
mod directory;
mod download;
mod part;
mod progress;
mod pull;
mod resolve;
mod source;

pub use catalogue::{Content, Model, ModelName};
pub use checksum::{Checksum, ParseChecksumError};
pub(crate) use command::describe;
pub use command::{ModelCommand, ModelError};
pub use directory::{Listed, ModelDirectory, Presence, list};
pub use pull::{PullError, PullEvent, PullRequest, Pulled, Retry, pull};
pub use resolve::{ResolveError, resolve};
pub use source::{Source, SourceError};
