//! Transcripts in one SQLite file: write-ahead log, every commit synced to disk.
//!
//! One thread owns the connection that writes. It takes all that is waiting into one transaction, so that many calls
//! share the price of a sync. Reads have a connection of their own and never wait for a write.

mod read;
mod schema;
mod write;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rusqlite::Connection;
use sidetone_proto::CallId;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;

use super::{RecentCall, StoreError, StoredCall, TranscriptStore, Write};
use crate::event::Event;

/// Operations waiting for the writer. When full, further ones fail as overloaded and their publishers send again.
pub const WRITER_QUEUE: usize = 4_096;

/// Operations in one transaction. When more are waiting, they go into the next.
const GROUP: usize = 256;

/// A transcript store in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: Mutex<Option<mpsc::Sender<Job>>>,
    reader: Arc<Mutex<Connection>>,
}

#[derive(Debug)]
enum Job {
    Append(Write, oneshot::Sender<Result<(), StoreError>>),
    Load(CallId, oneshot::Sender<Result<Option<StoredCall>, StoreError>>),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

impl SqliteStore {
    /// Opens the database, creates it if there is none, and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let connection = schema::open(path)?;
        let reader = schema::open_reader(path)?;
        let (writer, jobs) = mpsc::channel(WRITER_QUEUE);
        thread::Builder::new()
            .name("transcript-writer".to_owned())
            .spawn(move || run_writer(connection, jobs))
            .map_err(|error| StoreError::Open {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
        Ok(Self { writer: Mutex::new(Some(writer)), reader: Arc::new(Mutex::new(reader)) })
    }

    /// Queues at once, so that the order of calls is the order of writes.
    fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let (answer, answered) = oneshot::channel();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let queued = match &*writer {
            Some(writer) => writer.try_send(job(answer)).map_err(|refused| match refused {
                TrySendError::Full(_) => StoreError::Overloaded(WRITER_QUEUE),
                TrySendError::Closed(_) => StoreError::Closed,
            }),
            None => Err(StoreError::Closed),
        };
        async move {
            queued?;
            answered.await.unwrap_or(Err(StoreError::Closed))
        }
        .boxed()
    }

    fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        let reader = self.reader.clone();
        async move {
            tokio::task::spawn_blocking(move || {
                query(&reader.lock().unwrap_or_else(PoisonError::into_inner)).map_err(failed)
            })
            .await
            .unwrap_or_else(|error| Err(StoreError::Failed(error.to_string())))
        }
        .boxed()
    }
}

impl TranscriptStore for SqliteStore {
    fn append(&self, write: Write) -> BoxFuture<'static, Result<(), StoreError>> {
        self.submit(|answer| Job::Append(write, answer))
    }

    fn load(&self, call: CallId) -> BoxFuture<'static, Result<Option<StoredCall>, StoreError>> {
        self.submit(|answer| Job::Load(call, answer))
    }

    fn events_after(
        &self,
        call: CallId,
        after_seq: u64,
    ) -> BoxFuture<'static, Result<Vec<Event>, StoreError>> {
        self.read(move |connection| read::events_after(connection, &call, after_seq))
    }

    fn calls_since(&self, unix_ms: i64) -> BoxFuture<'static, Result<Vec<RecentCall>, StoreError>> {
        self.read(move |connection| read::calls_since(connection, unix_ms))
    }

    fn close(&self) -> BoxFuture<'static, Result<(), StoreError>> {
        let closed = self.submit(Job::Close);
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        closed
    }
}

fn run_writer(mut connection: Connection, mut jobs: mpsc::Receiver<Job>) {
    let mut waiting = None;
    // What was deleted may still be in the write-ahead log.
    let mut has_remains = false;
    while let Some(job) = waiting.take().or_else(|| jobs.blocking_recv()) {
        match job {
            Job::Append(write, answer) => {
                let mut group = vec![(write, answer)];
                while group.len() < GROUP {
                    match jobs.try_recv() {
                        Ok(Job::Append(write, answer)) => group.push((write, answer)),
                        // What is asked after these writes has to see them.
                        Ok(other) => {
                            waiting = Some(other);
                            break;
                        }
                        Err(_) => break,
                    }
                }
                let stored = write::commit(&mut connection, group.iter().map(|(write, _)| write))
                    .map_err(failed);
                has_remains |= group.iter().any(|(write, _)| write::purges(write));
                if has_remains {
                    has_remains = !write::empty_log(&connection).unwrap_or_else(|error| {
                        tracing::warn!(%error, "the write-ahead log can't be emptied yet");
                        false
                    });
                }
                if let Err(error) = &stored {
                    tracing::error!(events = group.len(), %error, "transcripts can't be written");
                }
                for (_, answer) in group {
                    let _ = answer.send(stored.clone());
                }
            }
            Job::Load(call, answer) => {
                let _ = answer.send(read::call(&connection, &call).map_err(failed));
            }
            Job::Close(answer) => {
                let closed = connection.close().map_err(|(_, error)| failed(error));
                let _ = answer.send(closed);
                return;
            }
        }
    }
}

fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::Failed(error.to_string())
}
