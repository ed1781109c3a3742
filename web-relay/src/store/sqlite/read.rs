//! Reads calls and their events back.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;
use sidetone_proto::{CallId, PartyId};

use crate::event::{
    CallEnded, CallStarted, CallSummary, Caption, Consent, Event, Gap, GapId, PartyRole, SegmentId,
    Word,
};
use crate::store::{RecentCall, StoredCall};

/// Events in one page.
const PAGE: i64 = 128;

/// Text and words in one page, in bytes. The event that reaches it is the last.
const PAGE_BYTES: u64 = 256 * 1024;

/// Calls in one list. When there are more, the newest are listed.
const MAX_CALLS: i64 = 10_000;

pub(super) fn call(connection: &Connection, id: &CallId) -> rusqlite::Result<Option<StoredCall>> {
    let mut find = connection.prepare_cached(
        "SELECT id, started_unix_ms, ended_unix_ms, started_seq IS NOT NULL, reserved_seq,
                max(coalesce(started_seq, 0), coalesce(ended_seq, 0),
                    coalesce((SELECT max(seq) FROM finals WHERE call = calls.id), 0),
                    coalesce((SELECT max(seq) FROM gaps WHERE call = calls.id), 0),
                    coalesce((SELECT max(seq) FROM consents WHERE call = calls.id), 0))
         FROM calls WHERE call_id = ?1",
    )?;
    let found = find
        .query_row([id.as_str()], |row| {
            let call = StoredCall {
                started_unix_ms: row.get(1)?,
                ended_unix_ms: row.get(2)?,
                has_start: row.get(3)?,
                reserved_seq: unsigned(row, 4)?,
                last_seq: unsigned(row, 5)?,
                parties: Vec::new(),
                finals: Vec::new(),
                gaps: Vec::new(),
                consents: Vec::new(),
            };
            Ok((row.get::<_, i64>(0)?, call))
        })
        .optional()?;
    let Some((key, mut call)) = found else { return Ok(None) };
    call.parties = parties(connection, key)?;
    call.finals = connection
        .prepare_cached("SELECT party_id, anchor_unix_ms, segment FROM finals WHERE call = ?1")?
        .query_map([key], |row| {
            let id = SegmentId { anchor_unix_ms: row.get(1)?, segment: row.get(2)? };
            Ok((party_id(row, 0)?, id))
        })?
        .collect::<Result<_, _>>()?;
    call.gaps = connection
        .prepare_cached("SELECT party_id, anchor_unix_ms, start_ms FROM gaps WHERE call = ?1")?
        .query_map([key], |row| {
            let id = GapId { anchor_unix_ms: row.get(1)?, start_ms: unsigned(row, 2)? };
            Ok((party_id(row, 0)?, id))
        })?
        .collect::<Result<_, _>>()?;
    call.consents = connection
        .prepare_cached("SELECT at_unix_ms, state FROM consents WHERE call = ?1 ORDER BY seq")?
        .query_map([key], |row| Ok((row.get(0)?, name(row, 1)?)))?
        .collect::<Result<_, _>>()?;
    Ok(Some(call))
}

/// A page of the call's events after a `seq`, in order.
pub(super) fn events_after(
    connection: &Connection,
    id: &CallId,
    after_seq: u64,
) -> rusqlite::Result<Vec<Event>> {
    // One snapshot for all tables: an event committed between two queries must not overtake an earlier one.
    let snapshot = connection.unchecked_transaction()?;
    let Some(key) = snapshot
        .prepare_cached("SELECT id FROM calls WHERE call_id = ?1")?
        .query_row([id.as_str()], |row| row.get::<_, i64>(0))
        .optional()?
    else {
        return Ok(Vec::new());
    };
    // No number that the relay takes is above this.
    let after = i64::try_from(after_seq).unwrap_or(i64::MAX);
    let mut events = bounds(&snapshot, id, key, after_seq)?;
    let mut bytes = 0;
    let mut complete_up_to = u64::MAX;
    let mut finals = snapshot.prepare_cached(
        "SELECT seq, party_id, role, segment, revision, text, start_ms, end_ms, anchor_unix_ms, words,
                length(CAST(text AS BLOB)) + length(CAST(words AS BLOB))
         FROM finals WHERE call = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
    )?;
    let mut rows = finals.query(params![key, after, PAGE])?;
    while let Some(row) = rows.next()? {
        events.push(caption(row, id)?);
        bytes += unsigned(row, 10)?;
        if bytes >= PAGE_BYTES {
            complete_up_to = unsigned(row, 0)?;
            break;
        }
    }
    events.extend(
        snapshot
            .prepare_cached(
                "SELECT seq, party_id, role, start_ms, end_ms, reason, anchor_unix_ms
                 FROM gaps WHERE call = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
            )?
            .query_map(params![key, after, PAGE], |row| gap(row, id))?
            .collect::<Result<Vec<_>, _>>()?,
    );
    events.extend(
        snapshot
            .prepare_cached(
                "SELECT seq, state, source, at_unix_ms
                 FROM consents WHERE call = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
            )?
            .query_map(params![key, after, PAGE], |row| consent(row, id))?
            .collect::<Result<Vec<_>, _>>()?,
    );
    events.retain(|event| event.seq() <= complete_up_to);
    events.sort_by_key(Event::seq);
    events.truncate(PAGE as usize);
    Ok(events)
}

pub(super) fn calls_since(
    connection: &Connection,
    unix_ms: i64,
) -> rusqlite::Result<Vec<RecentCall>> {
    let found = connection
        .prepare_cached(
            "SELECT id, call_id, started_unix_ms, ended_unix_ms, updated_unix_ms
             FROM calls WHERE updated_unix_ms >= ?1 ORDER BY updated_unix_ms DESC LIMIT ?2",
        )?
        .query_map(params![unix_ms, MAX_CALLS], |row| {
            let summary = CallSummary {
                call_id: CallId::new(row.get::<_, String>(1)?),
                started_unix_ms: row.get(2)?,
                ended_unix_ms: row.get(3)?,
                parties: Vec::new(),
            };
            let call = RecentCall { summary, updated_unix_ms: row.get(4)? };
            Ok((row.get::<_, i64>(0)?, call))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    found
        .into_iter()
        .map(|(key, mut call)| {
            call.summary.parties = parties(connection, key)?;
            Ok(call)
        })
        .collect()
}

/// The call's start and end, as far as they are known and wanted.
fn bounds(
    connection: &Connection,
    id: &CallId,
    key: i64,
    after_seq: u64,
) -> rusqlite::Result<Vec<Event>> {
    let mut find = connection.prepare_cached(
        "SELECT started_unix_ms, coalesce(started_seq, 0), coalesce(started_parties, '[]'),
                coalesce(ended_unix_ms, 0), coalesce(ended_seq, 0)
         FROM calls WHERE id = ?1",
    )?;
    let (started, ended) = find.query_row([key], |row| {
        let started = CallStarted {
            call_id: id.clone(),
            seq: unsigned(row, 1)?,
            started_unix_ms: row.get(0)?,
            parties: json(row, 2)?,
        };
        let seq = unsigned(row, 4)?;
        Ok((started, CallEnded { call_id: id.clone(), seq, ended_unix_ms: row.get(3)? }))
    })?;
    let bounds = [Event::CallStarted(started), Event::CallEnded(ended)];
    Ok(bounds.into_iter().filter(|event| event.seq() > after_seq).collect())
}

fn caption(row: &Row<'_>, id: &CallId) -> rusqlite::Result<Event> {
    let text: String = row.get(5)?;
    Ok(Event::Final(Caption {
        call_id: id.clone(),
        seq: unsigned(row, 0)?,
        party_id: party_id(row, 1)?,
        role: name(row, 2)?,
        segment: row.get(3)?,
        revision: row.get(4)?,
        stable_len: text.encode_utf16().count() as u32,
        text,
        start_ms: unsigned(row, 6)?,
        end_ms: unsigned(row, 7)?,
        anchor_unix_ms: row.get(8)?,
        latency_ms: None,
        words: json::<Vec<Word>>(row, 9)?,
    }))
}

fn gap(row: &Row<'_>, id: &CallId) -> rusqlite::Result<Event> {
    Ok(Event::Gap(Gap {
        call_id: id.clone(),
        seq: unsigned(row, 0)?,
        party_id: party_id(row, 1)?,
        role: name(row, 2)?,
        start_ms: unsigned(row, 3)?,
        end_ms: unsigned(row, 4)?,
        reason: name(row, 5)?,
        anchor_unix_ms: row.get(6)?,
    }))
}

fn consent(row: &Row<'_>, id: &CallId) -> rusqlite::Result<Event> {
    Ok(Event::Consent(Consent {
        call_id: id.clone(),
        seq: unsigned(row, 0)?,
        state: name(row, 1)?,
        source: name(row, 2)?,
        at_unix_ms: row.get(3)?,
    }))
}

fn parties(connection: &Connection, key: i64) -> rusqlite::Result<Vec<PartyRole>> {
    connection
        .prepare_cached("SELECT party_id, role FROM parties WHERE call = ?1 ORDER BY party_id")?
        .query_map([key], |row| Ok(PartyRole { party_id: party_id(row, 0)?, role: name(row, 1)? }))?
        .collect()
}

fn party_id(row: &Row<'_>, column: usize) -> rusqlite::Result<PartyId> {
    Ok(PartyId::new(row.get::<_, String>(column)?))
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// An enumeration that is stored as its name in the protocol.
fn name<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let name: String = row.get(column)?;
    serde_json::from_value(name.into()).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}
