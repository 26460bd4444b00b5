-- Messages that came by a hook and were taken, so that none is taken twice. Kept for longer than a message may be old.
CREATE TABLE hook_messages (
    mesh   TEXT    NOT NULL REFERENCES meshes (id),
    source TEXT    NOT NULL,
    id     TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (mesh, source, id)
) STRICT;

CREATE INDEX hook_messages_at ON hook_messages (mesh, at);

-- What a message asked for and how far that is: `waiting` (for a host to be ready, or to be cut everywhere), `completing` (the
-- cloud is to be told the outcome), `done`. `action` is the lifecycle action that waits for an answer, in JSON.
CREATE TABLE hook_tasks (
    mesh        TEXT    NOT NULL REFERENCES meshes (id),
    id          TEXT    NOT NULL PRIMARY KEY,
    source      TEXT    NOT NULL,
    transition  TEXT    NOT NULL,
    subject     TEXT    NOT NULL,
    action      TEXT,
    what        TEXT    NOT NULL,
    address     TEXT,
    state       TEXT    NOT NULL,
    outcome     TEXT,
    note        TEXT    NOT NULL,
    received_at INTEGER NOT NULL,
    changed_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX hook_tasks_open ON hook_tasks (mesh, received_at) WHERE state <> 'done';

-- How far each outgoing webhook is in the audit log, and how it stands.
CREATE TABLE webhooks (
    mesh          TEXT    NOT NULL REFERENCES meshes (id),
    name          TEXT    NOT NULL,
    line          INTEGER NOT NULL,
    failures      INTEGER NOT NULL,
    failing_since INTEGER,
    next_at       INTEGER NOT NULL,
    error         TEXT,
    PRIMARY KEY (mesh, name)
) STRICT;
