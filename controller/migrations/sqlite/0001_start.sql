-- Text ids, times as integer milliseconds since the epoch, JSON as text: the same statements suit PostgreSQL.
-- Every row belongs to a mesh, though a database holds one so far.

CREATE TABLE meshes (
    id         TEXT    NOT NULL PRIMARY KEY,
    overlay_v4 TEXT    NOT NULL,
    overlay_v6 TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE policies (
    mesh    TEXT    NOT NULL REFERENCES meshes (id),
    version INTEGER NOT NULL,
    policy  TEXT    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (mesh, version)
) STRICT;

-- Rows stay when a host is revoked, so that keys and addresses are never given out again.
CREATE TABLE nodes (
    mesh           TEXT    NOT NULL REFERENCES meshes (id),
    id             TEXT    NOT NULL PRIMARY KEY,
    name           TEXT    NOT NULL,
    role           TEXT    NOT NULL,
    wireguard_key  TEXT    NOT NULL UNIQUE,
    tls_key_sha256 TEXT    NOT NULL UNIQUE,
    overlay_v4     TEXT    NOT NULL,
    overlay_v6     TEXT    NOT NULL,
    endpoint       TEXT,
    machine_id     TEXT,
    token          TEXT    NOT NULL,
    enrolled_at    INTEGER NOT NULL,
    revoked_at     INTEGER,
    UNIQUE (mesh, overlay_v4),
    UNIQUE (mesh, overlay_v6)
) STRICT;

CREATE UNIQUE INDEX nodes_active_name ON nodes (mesh, name) WHERE revoked_at IS NULL;

CREATE TABLE tokens (
    mesh        TEXT    NOT NULL REFERENCES meshes (id),
    id          TEXT    NOT NULL PRIMARY KEY,
    secret_hash TEXT    NOT NULL,
    role        TEXT    NOT NULL,
    uses        INTEGER NOT NULL,
    used        INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE operators (
    mesh        TEXT    NOT NULL REFERENCES meshes (id),
    id          TEXT    NOT NULL PRIMARY KEY,
    secret_hash TEXT    NOT NULL,
    role        TEXT    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

-- The last try and the last good answer of each validator-list source.
CREATE TABLE sources (
    mesh    TEXT    NOT NULL REFERENCES meshes (id),
    id      TEXT    NOT NULL,
    url     TEXT    NOT NULL,
    height  INTEGER,
    seen_at INTEGER,
    entries INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    error   TEXT,
    PRIMARY KEY (mesh, id)
) STRICT;

-- The set in force and what the last merge had to say about it.
CREATE TABLE validator_sets (
    mesh       TEXT    NOT NULL PRIMARY KEY REFERENCES meshes (id),
    validators TEXT    NOT NULL,
    refused    TEXT    NOT NULL,
    held       TEXT,
    findings   TEXT    NOT NULL,
    height     INTEGER,
    merged_at  INTEGER NOT NULL
) STRICT;

-- A plan names, for each host, the revision of its content; contents are kept once, in configs.
CREATE TABLE plans (
    mesh       TEXT    NOT NULL REFERENCES meshes (id),
    generation INTEGER NOT NULL,
    parent     INTEGER NOT NULL,
    basis      TEXT    NOT NULL,
    revisions  TEXT    NOT NULL,
    planned_at INTEGER NOT NULL,
    PRIMARY KEY (mesh, generation)
) STRICT;

CREATE TABLE configs (
    mesh     TEXT    NOT NULL REFERENCES meshes (id),
    node     TEXT    NOT NULL REFERENCES nodes (id),
    revision INTEGER NOT NULL,
    config   TEXT    NOT NULL,
    PRIMARY KEY (mesh, node, revision)
) STRICT;

-- The one row that a plan changes by compare-and-set to become the wanted state.
CREATE TABLE target (
    mesh       TEXT    NOT NULL PRIMARY KEY REFERENCES meshes (id),
    generation INTEGER NOT NULL
) STRICT;

-- Which plan cut a host, and which hosts had a tunnel or a grant for it and must confirm.
CREATE TABLE cuts (
    mesh       TEXT    NOT NULL REFERENCES meshes (id),
    node       TEXT    NOT NULL REFERENCES nodes (id),
    generation INTEGER NOT NULL,
    hosts      TEXT    NOT NULL,
    PRIMARY KEY (mesh, node)
) STRICT;

CREATE TABLE reports (
    mesh        TEXT    NOT NULL REFERENCES meshes (id),
    node        TEXT    NOT NULL PRIMARY KEY REFERENCES nodes (id),
    report      TEXT    NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;

CREATE TABLE events (
    id      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    mesh    TEXT    NOT NULL REFERENCES meshes (id),
    at      INTEGER NOT NULL,
    actor   TEXT    NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    detail  TEXT    NOT NULL
) STRICT;
