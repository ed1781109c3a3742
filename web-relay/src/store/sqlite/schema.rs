//! Opens the database and brings its schema up to date.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::store::StoreError;

/// Marks the file as ours: "Side" in ASCII.
const APPLICATION_ID: i64 = 0x5369_6465;

/// Each brings the schema from the version that is its index to the next one. Only ever appended to.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql"), include_str!("schema_2.sql")];

/// How long to wait for another process that holds the database, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    let unusable = |error: rusqlite::Error| StoreError::Open {
        path: path.to_owned(),
        reason: error.to_string(),
    };
    let foreign = || StoreError::Foreign { path: path.to_owned() };

    let mut connection = Connection::open(path).map_err(unusable)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(unusable)?;
    let (application, tables) =
        identify(&connection).map_err(|error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::NotADatabase) => foreign(),
            _ => unusable(error),
        })?;
    if application != APPLICATION_ID && tables > 0 {
        return Err(foreign());
    }
    connection.pragma_update(None, "journal_mode", "WAL").map_err(unusable)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(unusable)?;
    connection.pragma_update(None, "foreign_keys", true).map_err(unusable)?;
    // What is deleted is overwritten.
    connection.pragma_update(None, "secure_delete", true).map_err(unusable)?;
    migrate(&mut connection, path, unusable)?;
    Ok(connection)
}

pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| StoreError::Open {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn identify(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let application = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables =
        connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    Ok((application, tables))
}

fn migrate(
    connection: &mut Connection,
    path: &Path,
    unusable: impl Fn(rusqlite::Error) -> StoreError,
) -> Result<(), StoreError> {
    let known = MIGRATIONS.len() as i64;
    // Taken for writing at once: a file or folder that can't be written is found out now, and two processes that start
    // together migrate one after the other.
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&unusable)?;
    let found: i64 = transaction
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(&unusable)?;
    if !(0..=known).contains(&found) {
        return Err(StoreError::FromTheFuture { path: path.to_owned(), found, known });
    }
    for migration in &MIGRATIONS[found as usize..] {
        transaction.execute_batch(migration).map_err(&unusable)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(&unusable)?;
    transaction.pragma_update(None, "user_version", known).map_err(&unusable)?;
    transaction.commit().map_err(&unusable)
}
