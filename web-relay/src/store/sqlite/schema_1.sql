-- Version 1. Times are milliseconds: *_unix_ms since the Unix epoch, the others on the party's clock.

CREATE TABLE calls (
    id              INTEGER PRIMARY KEY,
    call_id         TEXT    NOT NULL UNIQUE,
    started_unix_ms INTEGER NOT NULL,
    started_seq     INTEGER,
    -- JSON: [{"party_id", "role"}], as announced when the call started.
    started_parties TEXT,
    ended_unix_ms   INTEGER,
    ended_seq       INTEGER,
    -- seq numbers up to here may have been given out.
    reserved_seq    INTEGER NOT NULL,
    updated_unix_ms INTEGER NOT NULL
) STRICT;

CREATE INDEX calls_by_update ON calls (updated_unix_ms);

CREATE TABLE parties (
    call     INTEGER NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    party_id TEXT    NOT NULL,
    role     TEXT    NOT NULL,
    PRIMARY KEY (call, party_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE finals (
    id             INTEGER PRIMARY KEY,
    call           INTEGER NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    seq            INTEGER NOT NULL,
    party_id       TEXT    NOT NULL,
    role           TEXT    NOT NULL,
    segment        INTEGER NOT NULL,
    revision       INTEGER NOT NULL,
    text           TEXT    NOT NULL,
    start_ms       INTEGER NOT NULL,
    end_ms         INTEGER NOT NULL,
    anchor_unix_ms INTEGER NOT NULL,
    -- JSON: [{"text", "start_ms", "end_ms", "confidence"}].
    words          TEXT    NOT NULL,
    UNIQUE (call, seq),
    UNIQUE (call, party_id, anchor_unix_ms, segment)
) STRICT;

CREATE TABLE gaps (
    id             INTEGER PRIMARY KEY,
    call           INTEGER NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    seq            INTEGER NOT NULL,
    party_id       TEXT    NOT NULL,
    role           TEXT    NOT NULL,
    start_ms       INTEGER NOT NULL,
    end_ms         INTEGER NOT NULL,
    reason         TEXT    NOT NULL,
    anchor_unix_ms INTEGER NOT NULL,
    UNIQUE (call, seq),
    UNIQUE (call, party_id, anchor_unix_ms, start_ms)
) STRICT;
