//! Downloads a model: resumed where it was broken off, checked, then moved into place at once.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;
use transcriber::recogniser::HeaderError;

use super::catalogue::{Content, Model, ModelName};
use super::checksum::{Checksum, Hasher};
use super::directory::ModelDirectory;
use super::download::{Download, announced};
use super::part::blocking;
use super::source::Source;

/// What to pull, and where to.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The model's name.
    pub name: ModelName,
    /// The content it has to have. `None` takes what the source announces: the SHA-256 that Git LFS
    /// keeps the file under, sent over TLS.
    pub content: Option<Content>,
    /// The folder to put it in; it is made if need be.
    pub directory: ModelDirectory,
    /// How often and how soon to try again.
    pub retry: Retry,
}

impl PullRequest {
    /// A published model.
    pub fn published(model: &Model, directory: ModelDirectory) -> Self {
        let name = model.model_name();
        Self { name, content: Some(model.content), directory, retry: Retry::default() }
    }
}

/// When to try again after a network error: the waiting time doubles from `first` up to `longest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Failures in a row, with less than a mebibyte in between, after which the pull is given up.
    pub attempts: u32,
    /// The time to wait after the first failure.
    pub first: Duration,
    /// The longest time to wait.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 6, first: Duration::from_secs(1), longest: Duration::from_secs(20) }
    }
}

impl Retry {
    /// The time to wait after this many failures in a row.
    pub(super) fn delay(&self, failures: u32) -> Duration {
        let factor = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.first.saturating_mul(factor).min(self.longest)
    }
}

/// What happens during a pull, for whoever watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEvent {
    /// The checksum is the source's own word.
    Announced {
        /// What the source says.
        content: Content,
    },
    /// A part of an earlier pull is here, and the rest is asked for.
    Resuming {
        /// Bytes that are here.
        bytes: u64,
    },
    /// The source sends the file from its beginning, so that what was here is given up.
    Restarting,
    /// Bytes have arrived.
    Progress {
        /// Bytes that are here.
        bytes: u64,
        /// The whole file's bytes.
        total: u64,
    },
    /// The network failed, and another attempt follows.
    Retrying {
        /// What failed.
        why: String,
        /// Time until the next attempt.
        delay: Duration,
    },
}

/// A pull that succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The model's file.
    pub path: PathBuf,
    /// Its content.
    pub content: Content,
    /// Whether it was here already, so that nothing was downloaded.
    pub already_here: bool,
}

/// Why a model was not pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The source does not have it.
    #[error("{url} does not exist; check the name and the address")]
    NotFound {
        /// The file's address.
        url: String,
    },
    /// The source will not give it.
    #[error(
        "the server refuses {url} with status {status}; check the address and its access rights"
    )]
    Refused {
        /// The file's address.
        url: String,
        /// The HTTP status.
        status: StatusCode,
    },
    /// The source sends us in circles, or away from TLS.
    #[error("{url} leads nowhere: {why}; check the address")]
    BadRedirect {
        /// The address that was left.
        url: String,
        /// What is wrong with the redirect.
        why: String,
    },
    /// The network failed too often in a row. What arrived is kept.
    #[error(
        "{url} cannot be downloaded: {why} ({attempts} attempts); {bytes} bytes are kept, and the next pull goes on from there"
    )]
    Unreachable {
        /// The file's address.
        url: String,
        /// The last failure.
        why: String,
        /// Failures in a row.
        attempts: u32,
        /// Bytes that are kept for the next pull.
        bytes: u64,
    },
    /// Nothing says what the file has to be.
    #[error(
        "there is nothing to check {name} against: it is not in the catalogue, and {host} announces no \
         SHA-256 and size over a secure connection; download it yourself, check it, and name its path"
    )]
    NoChecksum {
        /// The model's name.
        name: ModelName,
        /// The source's host.
        host: String,
    },
    /// The source has another file under the model's name. Nothing more of it was downloaded.
    #[error("{url} is not {name} as published: {why}; use another source")]
    OtherFile {
        /// The file's address.
        url: String,
        /// The model's name.
        name: ModelName,
        /// What is different.
        why: String,
    },
    /// What was downloaded is not the model. It was deleted.
    #[error(
        "the download of {name} has the SHA-256 {actual} and not {expected}; it was deleted: \
         pull again, and if that happens again, from another source"
    )]
    WrongChecksum {
        /// The model's name.
        name: ModelName,
        /// The SHA-256 that it has to have.
        expected: Checksum,
        /// The SHA-256 of what was downloaded.
        actual: Checksum,
    },
    /// What the source announces and sends is no model. It was deleted.
    #[error("the source sent something else than a model, and it was deleted")]
    NotAModel(#[source] HeaderError),
    /// A file of that name is here, and it is another one.
    #[error("{path} is here and is not {name} as published; move it away, then pull again")]
    Occupied {
        /// The file.
        path: PathBuf,
        /// The model's name.
        name: ModelName,
    },
    /// The disk is too full.
    #[error(
        "{needed} more bytes are needed in {directory}, and {free} are free; make room, or choose another --dir"
    )]
    NotEnoughDisk {
        /// The folder.
        directory: PathBuf,
        /// Bytes that are still to be downloaded.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Another process pulls the same model into the same folder.
    #[error("{path} is being downloaded by another process; wait for it")]
    Busy {
        /// The unfinished download.
        path: PathBuf,
    },
    /// A file or folder cannot be read or written.
    #[error("cannot write {path}: check the folder's permissions, or choose another --dir")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Pulls a model from `source`, and tells `watch` of each step.
///
/// The file appears under its name only when it is whole, checked and on the disk. Dropping the future
/// ends the download; what arrived is kept as `ggml-NAME.bin.part`, and the next pull goes on from there.
///
/// # Errors
/// See [`PullError`].
pub async fn pull(
    request: &PullRequest,
    source: &Source,
    watch: &mut (dyn FnMut(PullEvent) + Send),
) -> Result<Pulled, PullError> {
    let content = match request.content {
        Some(content) => content,
        None => announced(request, source, watch).await?,
    };
    let path = request.directory.file(&request.name);
    let here = blocking({
        let path = path.clone();
        move || content_of(&path)
    });
    match here.await {
        Ok(here) if here == content => Ok(Pulled { path, content, already_here: true }),
        Ok(_) => Err(PullError::Occupied { path, name: request.name.clone() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Download::open(request, source, content, path).await?.run(watch).await
        }
        Err(source) => Err(PullError::Io { path, source }),
    }
}

fn content_of(path: &Path) -> io::Result<Content> {
    let hasher = Hasher::of_file(&mut File::open(path)?)?;
    Ok(Content { bytes: hasher.bytes(), sha256: hasher.finish() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_twice_as_long_up_to_the_longest() {
        let retry = Retry::default();
        let seconds: Vec<_> = (1..=7).map(|failures| retry.delay(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 20, 20]);
        assert_eq!(retry.delay(u32::MAX), retry.longest);
    }
}
