//! Puts events into the tables. Times and numbers fit SQLite's signed integers: the relay takes none above 2^53.

use rusqlite::{Connection, Transaction, params};
use sidetone_proto::{PartyId, Role};

use crate::event::{Caption, Consent, ConsentState, Event, Gap, to_json};
use crate::store::Write;

pub(super) fn commit<'a>(
    connection: &mut Connection,
    writes: impl Iterator<Item = &'a Write>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for write in writes {
        append(&transaction, write)?;
    }
    transaction.commit()
}

fn append(transaction: &Transaction<'_>, write: &Write) -> rusqlite::Result<()> {
    let call: i64 = transaction
        .prepare_cached(
            "INSERT INTO calls (call_id, started_unix_ms, reserved_seq, updated_unix_ms) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (call_id) DO UPDATE SET
                 reserved_seq = max(reserved_seq, excluded.reserved_seq),
                 updated_unix_ms = excluded.updated_unix_ms
             RETURNING id",
        )?
        .query_row(
            params![
                write.call.as_str(),
                write.started_unix_ms,
                write.reserved_seq as i64,
                write.now_unix_ms
            ],
            |row| row.get(0),
        )?;
    match &write.event {
        Some(Event::CallStarted(started)) => {
            transaction
                .prepare_cached(
                    "UPDATE calls SET started_unix_ms = ?2, started_seq = ?3, started_parties = ?4 WHERE id = ?1",
                )?
                .execute(params![
                    call,
                    started.started_unix_ms,
                    started.seq as i64,
                    to_json(&started.parties)
                ])?;
            for party in &started.parties {
                label(transaction, call, &party.party_id, party.role)?;
            }
        }
        Some(Event::CallEnded(ended)) => {
            transaction
                .prepare_cached(
                    "UPDATE calls SET ended_unix_ms = ?2, ended_seq = ?3 WHERE id = ?1",
                )?
                .execute(params![call, ended.ended_unix_ms, ended.seq as i64])?;
        }
        Some(Event::Final(caption)) => insert_final(transaction, call, caption)?,
        Some(Event::Gap(gap)) => insert_gap(transaction, call, gap)?,
        Some(Event::Consent(consent)) => {
            if consent.state == ConsentState::Refused {
                purge(transaction, call)?;
            }
            insert_consent(transaction, call, consent)?;
        }
        // Never stored: what is provisional is not a record.
        Some(Event::Partial(_) | Event::Status(_) | Event::Recognition(_)) | None => {}
    }
    Ok(())
}

fn insert_final(
    transaction: &Transaction<'_>,
    call: i64,
    caption: &Caption,
) -> rusqlite::Result<()> {
    label(transaction, call, &caption.party_id, caption.role)?;
    transaction
        .prepare_cached(
            "INSERT INTO finals (call, seq, party_id, role, segment, revision, text, start_ms, end_ms,
                                 anchor_unix_ms, words)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            call,
            caption.seq as i64,
            caption.party_id.as_str(),
            caption.role.as_str(),
            caption.segment,
            caption.revision,
            caption.text,
            caption.start_ms as i64,
            caption.end_ms as i64,
            caption.anchor_unix_ms,
            to_json(&caption.words),
        ])?;
    Ok(())
}

fn insert_gap(transaction: &Transaction<'_>, call: i64, gap: &Gap) -> rusqlite::Result<()> {
    label(transaction, call, &gap.party_id, gap.role)?;
    let reason = serde_json::to_value(gap.reason).unwrap_or_default();
    transaction
        .prepare_cached(
            "INSERT INTO gaps (call, seq, party_id, role, start_ms, end_ms, reason, anchor_unix_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            call,
            gap.seq as i64,
            gap.party_id.as_str(),
            gap.role.as_str(),
            gap.start_ms as i64,
            gap.end_ms as i64,
            reason.as_str(),
            gap.anchor_unix_ms,
        ])?;
    Ok(())
}

fn insert_consent(
    transaction: &Transaction<'_>,
    call: i64,
    consent: &Consent,
) -> rusqlite::Result<()> {
    let name = |value: serde_json::Result<serde_json::Value>| value.unwrap_or_default();
    let state = name(serde_json::to_value(consent.state));
    let source = name(serde_json::to_value(consent.source));
    transaction
        .prepare_cached(
            "INSERT INTO consents (call, seq, state, source, at_unix_ms) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            call,
            consent.seq as i64,
            state.as_str(),
            source.as_str(),
            consent.at_unix_ms
        ])?;
    Ok(())
}

/// Deletes what was said, and when.
fn purge(transaction: &Transaction<'_>, call: i64) -> rusqlite::Result<()> {
    for table in ["finals", "gaps"] {
        transaction
            .prepare_cached(&format!("DELETE FROM {table} WHERE call = ?1"))?
            .execute([call])?;
    }
    Ok(())
}

/// Whether a write deletes something that must not be read from the disk any more.
pub(super) fn purges(write: &Write) -> bool {
    matches!(&write.event, Some(Event::Consent(consent)) if consent.state == ConsentState::Refused)
}

/// Moves everything from the write-ahead log, which holds the pages as they were, into the database, and empties it.
/// False if somebody is reading at the moment.
pub(super) fn empty_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row(
        "PRAGMA wal_checkpoint(TRUNCATE)",
        (),
        |row| Ok(row.get::<_, i64>(0)? == 0),
    )
}

fn label(
    transaction: &Transaction<'_>,
    call: i64,
    party: &PartyId,
    role: Role,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO parties (call, party_id, role) VALUES (?1, ?2, ?3)
             ON CONFLICT (call, party_id) DO UPDATE SET role = excluded.role WHERE role <> excluded.role",
        )?
        .execute(params![call, party.as_str(), role.as_str()])?;
    Ok(())
}
