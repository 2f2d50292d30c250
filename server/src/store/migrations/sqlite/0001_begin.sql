-- Times are seconds since 1970 UTC.

CREATE TABLE agents (
    -- AUTOINCREMENT: the id of a deleted agent must never come back, it stands in KUBECONFIGs and audit records.
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    project     TEXT NOT NULL,
    -- The project in lower case: paths are compared without regard to case.
    project_key TEXT NOT NULL,
    name        TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (project_key, name)
) STRICT;

CREATE TABLE agent_tokens (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    agent_id     INTEGER NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    -- SHA-256 of the token; the token itself is never stored.
    hash         BLOB NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT;

CREATE INDEX agent_tokens_by_agent ON agent_tokens (agent_id);

CREATE TABLE secrets (
    name       TEXT PRIMARY KEY,
    value      BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE job_tokens (
    jti         TEXT PRIMARY KEY,
    description TEXT NOT NULL,
    issued_at   INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE revocations (
    jti        TEXT PRIMARY KEY,
    -- From then on nothing that carries the jti can be valid, and the row can go.
    until_time INTEGER NOT NULL
) STRICT;

-- Counts every change that a running server must notice. Triggers, so that no writer can forget it.
CREATE TABLE generation (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    value    INTEGER NOT NULL
) STRICT;

INSERT INTO generation (only_row, value) VALUES (1, 1);

CREATE TRIGGER agents_inserted AFTER INSERT ON agents
BEGIN UPDATE generation SET value = value + 1; END;

CREATE TRIGGER agents_updated AFTER UPDATE ON agents
BEGIN UPDATE generation SET value = value + 1; END;

CREATE TRIGGER agents_deleted AFTER DELETE ON agents
BEGIN UPDATE generation SET value = value + 1; END;

CREATE TRIGGER agent_tokens_inserted AFTER INSERT ON agent_tokens
BEGIN UPDATE generation SET value = value + 1; END;

-- Not for last_used_at: that a token was used changes nothing for anybody.
CREATE TRIGGER agent_tokens_updated AFTER UPDATE OF revoked_at, expires_at ON agent_tokens
BEGIN UPDATE generation SET value = value + 1; END;

CREATE TRIGGER agent_tokens_deleted AFTER DELETE ON agent_tokens
BEGIN UPDATE generation SET value = value + 1; END;

CREATE TRIGGER revocations_inserted AFTER INSERT ON revocations
BEGIN UPDATE generation SET value = value + 1; END;

CREATE TRIGGER revocations_updated AFTER UPDATE ON revocations
BEGIN UPDATE generation SET value = value + 1; END;
