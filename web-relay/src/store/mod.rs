//! Where transcripts are kept. The relay knows only the trait; SQLite is the engine that is built in.

mod sqlite;

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use sidetone_proto::{CallId, PartyId};

pub use self::sqlite::SqliteStore;
use crate::event::{CallSummary, ConsentState, Event, GapId, PartyRole, SegmentId};

/// A place that keeps calls, their finals and their gaps.
///
/// Events of one call are appended in the order of their `seq`, so that whoever reads them back never finds an event
/// without those before it.
pub trait TranscriptStore: std::fmt::Debug + Send + Sync + 'static {
    /// Takes a place in the order of writes at once; the future resolves when the write survives a crash.
    fn append(&self, write: Write) -> BoxFuture<'static, Result<(), StoreError>>;

    /// What the hub needs to go on with a call: everything that was appended before this was asked.
    fn load(&self, call: CallId) -> BoxFuture<'static, Result<Option<StoredCall>, StoreError>>;

    /// The durable events of a call after a `seq`, in order: a page of them. An empty page means that there are no more.
    fn events_after(
        &self,
        call: CallId,
        after_seq: u64,
    ) -> BoxFuture<'static, Result<Vec<Event>, StoreError>>;

    /// The calls in which anything happened since then, in milliseconds since the Unix epoch.
    fn calls_since(&self, unix_ms: i64) -> BoxFuture<'static, Result<Vec<RecentCall>, StoreError>>;

    /// Ends the writer after everything that was appended is durable.
    fn close(&self) -> BoxFuture<'static, Result<(), StoreError>>;
}

/// One durable change to a call.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The call; created if the store does not know it.
    pub call: CallId,
    /// Wall clock, in milliseconds since the Unix epoch.
    pub now_unix_ms: i64,
    /// When the call started, or was first heard of. Used if the store does not know the call.
    pub started_unix_ms: i64,
    /// `seq` numbers up to this one may be given out without telling the store.
    pub reserved_seq: u64,
    /// The event. Absent when only numbers are reserved. A refusal of consent deletes what was said, so that it can't be
    /// read from the disk either.
    pub event: Option<Event>,
}

/// A call as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCall {
    /// When the call started, or was first heard of.
    pub started_unix_ms: i64,
    /// When it ended.
    pub ended_unix_ms: Option<i64>,
    /// Its start was stored.
    pub has_start: bool,
    /// The `seq` of its newest durable event, 0 if there is none.
    pub last_seq: u64,
    /// See [`Write::reserved_seq`].
    pub reserved_seq: u64,
    /// Everybody who has been heard.
    pub parties: Vec<PartyRole>,
    /// The segments that have a final.
    pub finals: Vec<(PartyId, SegmentId)>,
    /// The gaps.
    pub gaps: Vec<(PartyId, GapId)>,
    /// When consent was told, in milliseconds since the Unix epoch, and what it was.
    pub consents: Vec<(i64, ConsentState)>,
}

/// A call for the list of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentCall {
    /// What the list shows.
    pub summary: CallSummary,
    /// When anything last happened in it, in milliseconds since the Unix epoch.
    pub updated_unix_ms: i64,
}

/// Why the store can't do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The database can't be opened or written.
    #[error(
        "cannot open the transcript database {path}: {reason}: check that its folder exists and that this user may write there, \
         or set `database` to another path"
    )]
    Open {
        /// The database.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// The file is a database of something else.
    #[error("{path} is not a transcript database of Sidetone: set `database` to another path")]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer version of the software has written the database.
    #[error(
        "the transcript database {path} has schema version {found}, this relay knows versions up to {known}: run the newer \
         relay, or set `database` to another path"
    )]
    FromTheFuture {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this relay knows.
        known: i64,
    },
    /// A read or write failed: a full disk, a damaged file.
    #[error("the transcript database failed: {0}: check the disk")]
    Failed(String),
    /// More is waiting to be written than the queue holds.
    #[error("the transcript database is too slow: {0} operations are waiting")]
    Overloaded(usize),
    /// The store has been closed.
    #[error("the transcript database is closed: the relay is shutting down")]
    Closed,
}
