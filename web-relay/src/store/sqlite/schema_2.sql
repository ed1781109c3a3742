-- Version 2: the consent to a call's transcription. After a refusal it is all that is left of the call besides its start and
-- end.

CREATE TABLE consents (
    id         INTEGER PRIMARY KEY,
    call       INTEGER NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    seq        INTEGER NOT NULL,
    state      TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    at_unix_ms INTEGER NOT NULL,
    UNIQUE (call, seq)
) STRICT;
