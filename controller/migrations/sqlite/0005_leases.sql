-- When a host was last heard and from where, how long it is a member without being heard, and until when. NULL in lease_ms is
-- a pinned host. Hosts from before leases are pinned: an upgrade ends nobody's membership. `ended` says how a revoked host went
-- where no person revoked it: `left` or `lease`.
ALTER TABLE nodes ADD COLUMN last_seen INTEGER;
ALTER TABLE nodes ADD COLUMN seen_from TEXT;
ALTER TABLE nodes ADD COLUMN lease_ms INTEGER;
ALTER TABLE nodes ADD COLUMN lease_until INTEGER;
ALTER TABLE nodes ADD COLUMN ended TEXT;

-- What a join token grants and to whom. NULL in lease_ms is the role's own lease, 0 is none.
ALTER TABLE tokens ADD COLUMN lease_ms INTEGER;
ALTER TABLE tokens ADD COLUMN name_pattern TEXT;
ALTER TABLE tokens ADD COLUMN sources TEXT NOT NULL DEFAULT '[]';
ALTER TABLE tokens ADD COLUMN comment TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN made_by TEXT;
ALTER TABLE tokens ADD COLUMN revoked_at INTEGER;

-- Hosts of which a copy came to join, and what that copy said of itself last. A row goes when an operator clears it or the
-- host is revoked.
CREATE TABLE clones (
    mesh    TEXT    NOT NULL REFERENCES meshes (id),
    node    TEXT    NOT NULL REFERENCES nodes (id),
    what    TEXT    NOT NULL,
    name    TEXT    NOT NULL,
    address TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (mesh, node)
) STRICT;

ALTER TABLE operators ADD COLUMN comment TEXT NOT NULL DEFAULT '';
ALTER TABLE operators ADD COLUMN made_by TEXT;
ALTER TABLE operators ADD COLUMN expires_at INTEGER;
ALTER TABLE operators ADD COLUMN revoked_at INTEGER;

-- The audit log: from where and why, and SHA-256 over the line before and this one. Lines from before get theirs at the first
-- start, which is the only change that the log allows.
ALTER TABLE events ADD COLUMN address TEXT;
ALTER TABLE events ADD COLUMN reason TEXT;
ALTER TABLE events ADD COLUMN hash TEXT NOT NULL DEFAULT '';

CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
WHEN OLD.hash <> '' OR NEW.hash = '' OR (NEW.id, NEW.mesh, NEW.at, NEW.actor, NEW.action, NEW.subject, NEW.detail)
    IS NOT (OLD.id, OLD.mesh, OLD.at, OLD.actor, OLD.action, OLD.subject, OLD.detail)
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only: a line is never changed');
END;

CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only: a line is never deleted');
END;

-- Answers to requests that named an idempotency key, sealed with what only the asker knows; NULL while the first is under way.
CREATE TABLE answers (
    mesh     TEXT    NOT NULL REFERENCES meshes (id),
    operator TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    request  TEXT    NOT NULL,
    sealed   TEXT,
    at       INTEGER NOT NULL,
    PRIMARY KEY (mesh, operator, key)
) STRICT;
