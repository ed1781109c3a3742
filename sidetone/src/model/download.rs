//! The attempts of one download.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tracing::debug;
use transcriber::recogniser::check_header;

use super::catalogue::Content;
use super::part::PartFile;
use super::pull::{PullError, PullEvent, PullRequest, Pulled, Retry};
use super::source::{Answer, GetError, Part, Source, root_cause};

/// Bytes that have to arrive for the next failure to count as the first one again.
const HEADWAY: u64 = 1024 * 1024;

/// One model on its way from a source into a folder.
pub(super) struct Download<'a> {
    request: &'a PullRequest,
    source: &'a Source,
    /// What the file has to be.
    content: Content,
    /// Where it will be.
    path: PathBuf,
    part: PartFile,
}

/// Why an attempt came to nothing.
enum Failure {
    /// The network's fault: worth another attempt.
    Network(String),
    /// Another attempt would end in the same way.
    Final(PullError),
}

/// Asks the source what it has under the model's name.
pub(super) async fn announced(
    request: &PullRequest,
    source: &Source,
    watch: &mut (dyn FnMut(PullEvent) + Send),
) -> Result<Content, PullError> {
    let mut attempts = Attempts::new(request.retry);
    loop {
        // The connection is closed when the answer is dropped, before the file comes.
        match source.get(&request.name, 0).await.map_err(Failure::from) {
            Ok(Answer { announced, bytes, .. }) => {
                let (Some(sha256), Some(bytes)) = (announced.sha256, announced.bytes.or(bytes))
                else {
                    let host = source.host().to_owned();
                    return Err(PullError::NoChecksum { name: request.name.clone(), host });
                };
                let content = Content { bytes, sha256 };
                watch(PullEvent::Announced { content });
                return Ok(content);
            }
            Err(Failure::Network(why)) => {
                let Some(delay) = attempts.failed() else {
                    return Err(unreachable(request, source, why, 0));
                };
                watch(PullEvent::Retrying { why, delay });
                tokio::time::sleep(delay).await;
            }
            Err(Failure::Final(error)) => return Err(error),
        }
    }
}

impl<'a> Download<'a> {
    /// Takes up what an earlier download of the model left.
    pub(super) async fn open(
        request: &'a PullRequest,
        source: &'a Source,
        content: Content,
        path: PathBuf,
    ) -> Result<Self, PullError> {
        match PartFile::open(&path).await {
            Ok(part) => Ok(Self { request, source, content, path, part }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(PullError::Busy { path })
            }
            Err(error) => {
                let directory = request.directory.path().to_owned();
                Err(PullError::Io { path: directory, source: error })
            }
        }
    }

    pub(super) async fn run(
        mut self,
        watch: &mut (dyn FnMut(PullEvent) + Send),
    ) -> Result<Pulled, PullError> {
        match self.fill(watch).await {
            Ok(()) => self.finish().await,
            Err(error) => {
                if self.part.bytes() == 0 {
                    // Nothing is lost with it, and the reason of the failure matters more than its own.
                    self.part.delete().await.ok();
                }
                Err(error)
            }
        }
    }

    /// Tries until all bytes are here.
    async fn fill(&mut self, watch: &mut (dyn FnMut(PullEvent) + Send)) -> Result<(), PullError> {
        let mut attempts = Attempts::new(self.request.retry);
        loop {
            let before = self.part.bytes();
            let why = match self.attempt(watch).await {
                Ok(()) => return Ok(()),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Network(why)) => why,
            };
            if self.part.bytes() >= before + HEADWAY {
                attempts = Attempts::new(self.request.retry);
            }
            let Some(delay) = attempts.failed() else {
                return Err(unreachable(self.request, self.source, why, self.part.bytes()));
            };
            debug!(model = %self.request.name, bytes = self.part.bytes(), why, "download broken off");
            watch(PullEvent::Retrying { why, delay });
            tokio::time::sleep(delay).await;
        }
    }

    async fn attempt(&mut self, watch: &mut (dyn FnMut(PullEvent) + Send)) -> Result<(), Failure> {
        let total = self.content.bytes;
        if self.part.bytes() > total {
            self.clear().await?;
        }
        let from = self.part.bytes();
        if from == total {
            return Ok(());
        }
        if from > 0 {
            watch(PullEvent::Resuming { bytes: from });
        }
        let answer = self.source.get(&self.request.name, from).await?;
        self.compare(&answer)?;
        let Part::From(start, mut response) = answer.part else {
            self.clear().await?;
            return Err(Failure::Network(format!("the server has no byte after {from}")));
        };
        if start < from {
            watch(PullEvent::Restarting);
            self.clear().await?;
        }
        self.check_disk()?;
        while let Some(bytes) = response.chunk().await? {
            if bytes.len() as u64 > total - self.part.bytes() {
                self.clear().await?;
                return Err(self.other_file(format!("it has more than {total} bytes")));
            }
            self.part.append(&bytes).await.map_err(|error| self.failed(error))?;
            watch(PullEvent::Progress { bytes: self.part.bytes(), total });
        }
        if self.part.bytes() < total {
            return Err(Failure::Network("the connection ended too early".into()));
        }
        Ok(())
    }

    /// Compares what the source offers with what the file has to be, before gigabytes are spent on it.
    fn compare(&self, answer: &Answer) -> Result<(), Failure> {
        let Content { bytes, sha256 } = self.content;
        if let Some(offered) = answer.announced.sha256.filter(|offered| *offered != sha256) {
            return Err(
                self.other_file(format!("the server announces SHA-256 {offered}, not {sha256}"))
            );
        }
        if let Some(offered) = answer.bytes.filter(|offered| *offered != bytes) {
            return Err(self.other_file(format!("it has {offered} bytes, not {bytes}")));
        }
        Ok(())
    }

    fn check_disk(&self) -> Result<(), Failure> {
        let needed = self.content.bytes - self.part.bytes();
        let free = self.part.free().map_err(|error| self.failed(error))?;
        if free < needed {
            let directory = self.request.directory.path().to_owned();
            return Err(Failure::Final(PullError::NotEnoughDisk { directory, needed, free }));
        }
        Ok(())
    }

    async fn clear(&mut self) -> Result<(), Failure> {
        self.part.clear().await.map_err(|error| self.failed(error))
    }

    /// Checks the whole file, and gives it its name.
    async fn finish(mut self) -> Result<Pulled, PullError> {
        let Content { sha256: expected, .. } = self.content;
        let actual = match self.part.sync().await {
            Ok(actual) => actual,
            Err(error) => return Err(self.cannot_write(error)),
        };
        let name = self.request.name.clone();
        if actual != expected {
            self.delete().await?;
            return Err(PullError::WrongChecksum { name, expected, actual });
        }
        // A published model is known to be one. What a source announces may be anything.
        if self.request.content.is_none()
            && let Err(error) = check_header(self.part.path())
        {
            self.delete().await?;
            return Err(PullError::NotAModel(error));
        }
        let Self { content, path, part, .. } = self;
        match part.rename(path.clone()).await {
            Ok(()) => Ok(Pulled { path, content, already_here: false }),
            Err(source) => Err(PullError::Io { path, source }),
        }
    }

    async fn delete(self) -> Result<(), PullError> {
        let path = self.part.path().to_owned();
        self.part.delete().await.map_err(|source| PullError::Io { path, source })
    }

    fn other_file(&self, why: String) -> Failure {
        let url = self.source.url(&self.request.name).into();
        Failure::Final(PullError::OtherFile { url, name: self.request.name.clone(), why })
    }

    fn failed(&self, error: io::Error) -> Failure {
        Failure::Final(self.cannot_write(error))
    }

    fn cannot_write(&self, source: io::Error) -> PullError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => PullError::NotEnoughDisk {
                directory: self.request.directory.path().to_owned(),
                needed: self.content.bytes - self.part.bytes(),
                free: self.part.free().unwrap_or(0),
            },
            _ => PullError::Io { path: self.part.path().to_owned(), source },
        }
    }
}

impl From<GetError> for Failure {
    fn from(error: GetError) -> Self {
        Self::Final(match error {
            GetError::Unreachable { why } => return Self::Network(why),
            GetError::NotFound { url } => PullError::NotFound { url: url.into() },
            GetError::Refused { url, status } => PullError::Refused { url: url.into(), status },
            GetError::BadRedirect { url, why } => PullError::BadRedirect { url: url.into(), why },
        })
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        Self::Network(root_cause(&error))
    }
}

/// Counts failures in a row.
struct Attempts {
    retry: Retry,
    failures: u32,
}

impl Attempts {
    fn new(retry: Retry) -> Self {
        Self { retry, failures: 0 }
    }

    /// The time to wait until the next attempt; `None` if there is none.
    fn failed(&mut self) -> Option<Duration> {
        self.failures += 1;
        (self.failures < self.retry.attempts).then(|| self.retry.delay(self.failures))
    }
}

fn unreachable(request: &PullRequest, source: &Source, why: String, bytes: u64) -> PullError {
    let url = source.url(&request.name).into();
    PullError::Unreachable { url, why, attempts: request.retry.attempts, bytes }
}
