-- What SQLite's steps 1 to 13 make, for PostgreSQL: the same tables and columns, so that the same statements suit both. What each
-- is for is said there. From step 14 on both have the same numbers.
-- Texts that are put in order compare byte by byte, as in SQLite.

-- SQLite's own function of this name, for a list of texts in JSON.
CREATE FUNCTION json_each(list TEXT) RETURNS TABLE (value TEXT)
LANGUAGE SQL IMMUTABLE AS 'SELECT json_array_elements_text(list::json)';

CREATE TABLE meshes (
    id         TEXT   NOT NULL PRIMARY KEY,
    overlay_v4 TEXT   NOT NULL,
    overlay_v6 TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE policies (
    mesh    TEXT   NOT NULL REFERENCES meshes (id),
    version BIGINT NOT NULL,
    policy  TEXT   NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (mesh, version)
);

CREATE TABLE nodes (
    mesh           TEXT             NOT NULL REFERENCES meshes (id),
    id             TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    name           TEXT COLLATE "C" NOT NULL,
    role           TEXT             NOT NULL,
    wireguard_key  TEXT             NOT NULL UNIQUE,
    tls_key_sha256 TEXT             NOT NULL UNIQUE,
    overlay_v4     TEXT             NOT NULL,
    overlay_v6     TEXT             NOT NULL,
    endpoint       TEXT,
    machine_id     TEXT,
    token          TEXT             NOT NULL,
    enrolled_at    BIGINT           NOT NULL,
    revoked_at     BIGINT,
    last_seen      BIGINT,
    seen_from      TEXT,
    lease_ms       BIGINT,
    lease_until    BIGINT,
    ended          TEXT,
    quarantined_at BIGINT,
    identity_key   TEXT,
    issued         BIGINT           NOT NULL DEFAULT 0,
    pool           TEXT,
    key_to_replace TEXT,
    UNIQUE (mesh, overlay_v4),
    UNIQUE (mesh, overlay_v6)
);

CREATE UNIQUE INDEX nodes_active_name ON nodes (mesh, name) WHERE revoked_at IS NULL;

CREATE TABLE tokens (
    mesh         TEXT             NOT NULL REFERENCES meshes (id),
    id           TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    secret_hash  TEXT             NOT NULL,
    role         TEXT             NOT NULL,
    uses         BIGINT           NOT NULL,
    used         BIGINT           NOT NULL,
    created_at   BIGINT           NOT NULL,
    expires_at   BIGINT           NOT NULL,
    lease_ms     BIGINT,
    name_pattern TEXT,
    sources      TEXT             NOT NULL DEFAULT '[]',
    comment      TEXT             NOT NULL DEFAULT '',
    made_by      TEXT,
    revoked_at   BIGINT,
    pool         TEXT
);

CREATE TABLE operators (
    mesh        TEXT             NOT NULL REFERENCES meshes (id),
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    secret_hash TEXT             NOT NULL,
    role        TEXT             NOT NULL,
    created_at  BIGINT           NOT NULL,
    comment     TEXT             NOT NULL DEFAULT '',
    made_by     TEXT,
    expires_at  BIGINT,
    revoked_at  BIGINT
);

CREATE TABLE sources (
    mesh    TEXT             NOT NULL REFERENCES meshes (id),
    id      TEXT COLLATE "C" NOT NULL,
    url     TEXT             NOT NULL,
    height  BIGINT,
    seen_at BIGINT,
    entries BIGINT           NOT NULL,
    refused BIGINT           NOT NULL,
    error   TEXT,
    PRIMARY KEY (mesh, id)
);

CREATE TABLE validator_sets (
    mesh           TEXT   NOT NULL PRIMARY KEY REFERENCES meshes (id),
    validators     TEXT   NOT NULL,
    refused        TEXT   NOT NULL,
    held           TEXT   NOT NULL,
    findings       TEXT   NOT NULL,
    height         BIGINT,
    merged_at      BIGINT NOT NULL,
    memory         TEXT   NOT NULL DEFAULT '{}',
    version        BIGINT NOT NULL DEFAULT 1,
    oldest_version BIGINT NOT NULL DEFAULT 0,
    pruned_at      BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE validator_changes (
    mesh      TEXT             NOT NULL REFERENCES meshes (id),
    prep      TEXT COLLATE "C" NOT NULL,
    version   BIGINT           NOT NULL,
    validator TEXT,
    at        BIGINT           NOT NULL,
    height    BIGINT,
    PRIMARY KEY (mesh, prep, version)
);

CREATE INDEX validator_changes_version ON validator_changes (mesh, version);

CREATE TABLE orders (
    mesh   TEXT NOT NULL PRIMARY KEY REFERENCES meshes (id),
    orders TEXT NOT NULL
);

CREATE TABLE shield_orders (
    mesh   TEXT NOT NULL PRIMARY KEY REFERENCES meshes (id),
    orders TEXT NOT NULL
);

CREATE TABLE observations (
    mesh     TEXT             NOT NULL REFERENCES meshes (id),
    source   TEXT COLLATE "C" NOT NULL,
    kind     TEXT             NOT NULL,
    entry    TEXT COLLATE "C" NOT NULL,
    what     TEXT             NOT NULL,
    at       BIGINT           NOT NULL,
    height   BIGINT,
    ended_at BIGINT
);

CREATE UNIQUE INDEX observations_now ON observations (mesh, source, kind, entry) WHERE ended_at IS NULL;
CREATE INDEX observations_ended ON observations (mesh, ended_at);

CREATE TABLE observation_days (
    mesh   TEXT             NOT NULL REFERENCES meshes (id),
    source TEXT COLLATE "C" NOT NULL,
    day    BIGINT           NOT NULL,
    kept   BIGINT           NOT NULL,
    lost   BIGINT           NOT NULL,
    PRIMARY KEY (mesh, source, day)
);

CREATE TABLE plans (
    mesh       TEXT   NOT NULL REFERENCES meshes (id),
    generation BIGINT NOT NULL,
    parent     BIGINT NOT NULL,
    basis      TEXT   NOT NULL,
    revisions  TEXT   NOT NULL,
    planned_at BIGINT NOT NULL,
    PRIMARY KEY (mesh, generation)
);

CREATE TABLE parts (
    id      BIGINT NOT NULL GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    mesh    TEXT   NOT NULL REFERENCES meshes (id),
    digest  TEXT   NOT NULL,
    named   BIGINT NOT NULL,
    content TEXT   NOT NULL,
    UNIQUE (mesh, digest)
);

CREATE TABLE configs (
    mesh     TEXT             NOT NULL REFERENCES meshes (id),
    node     TEXT COLLATE "C" NOT NULL REFERENCES nodes (id),
    revision BIGINT           NOT NULL,
    body     BIGINT           NOT NULL,
    p2p      BIGINT,
    rpc      BIGINT,
    admin    BIGINT,
    overlay  BIGINT,
    PRIMARY KEY (mesh, node, revision)
);

CREATE INDEX configs_revision ON configs (mesh, revision);

CREATE TABLE target (
    mesh       TEXT   NOT NULL PRIMARY KEY REFERENCES meshes (id),
    generation BIGINT NOT NULL
);

CREATE TABLE cuts (
    mesh       TEXT             NOT NULL REFERENCES meshes (id),
    node       TEXT COLLATE "C" NOT NULL REFERENCES nodes (id),
    generation BIGINT           NOT NULL,
    hosts      TEXT             NOT NULL,
    PRIMARY KEY (mesh, node)
);

CREATE TABLE reports (
    mesh        TEXT             NOT NULL REFERENCES meshes (id),
    node        TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES nodes (id),
    report      TEXT             NOT NULL,
    received_at BIGINT           NOT NULL
);

CREATE TABLE events (
    id      BIGINT NOT NULL PRIMARY KEY,
    mesh    TEXT   NOT NULL REFERENCES meshes (id),
    at      BIGINT NOT NULL,
    actor   TEXT   NOT NULL,
    action  TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    detail  TEXT   NOT NULL,
    address TEXT,
    reason  TEXT,
    hash    TEXT   NOT NULL DEFAULT ''
);

CREATE FUNCTION events_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only: a line is never changed or deleted';
END
$$;

CREATE TRIGGER events_are_not_changed BEFORE UPDATE OR DELETE ON events
FOR EACH ROW EXECUTE FUNCTION events_are_kept();

CREATE TRIGGER events_are_not_truncated BEFORE TRUNCATE ON events
FOR EACH STATEMENT EXECUTE FUNCTION events_are_kept();

CREATE TABLE answers (
    mesh     TEXT   NOT NULL REFERENCES meshes (id),
    operator TEXT   NOT NULL,
    key      TEXT   NOT NULL,
    request  TEXT   NOT NULL,
    sealed   TEXT,
    at       BIGINT NOT NULL,
    PRIMARY KEY (mesh, operator, key)
);

CREATE TABLE identities (
    mesh         TEXT             NOT NULL REFERENCES meshes (id),
    id           TEXT COLLATE "C" NOT NULL,
    node         TEXT COLLATE "C" REFERENCES nodes (id),
    bound_at     BIGINT,
    forbidden_at BIGINT,
    refused      BIGINT           NOT NULL,
    refused_at   BIGINT,
    proof        TEXT,
    next_proof   TEXT,
    PRIMARY KEY (mesh, id)
);

CREATE INDEX identities_node ON identities (mesh, node);

CREATE TABLE clones (
    mesh    TEXT             NOT NULL REFERENCES meshes (id),
    node    TEXT COLLATE "C" NOT NULL REFERENCES nodes (id),
    what    TEXT             NOT NULL,
    name    TEXT             NOT NULL,
    address TEXT             NOT NULL,
    at      BIGINT           NOT NULL,
    PRIMARY KEY (mesh, node)
);

CREATE TABLE hook_messages (
    mesh   TEXT   NOT NULL REFERENCES meshes (id),
    source TEXT   NOT NULL,
    id     TEXT   NOT NULL,
    at     BIGINT NOT NULL,
    PRIMARY KEY (mesh, source, id)
);

CREATE INDEX hook_messages_at ON hook_messages (mesh, at);

CREATE TABLE hook_tasks (
    mesh        TEXT             NOT NULL REFERENCES meshes (id),
    id          TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    source      TEXT             NOT NULL,
    transition  TEXT             NOT NULL,
    subject     TEXT             NOT NULL,
    action      TEXT,
    what        TEXT             NOT NULL,
    address     TEXT,
    state       TEXT             NOT NULL,
    outcome     TEXT,
    note        TEXT             NOT NULL,
    received_at BIGINT           NOT NULL,
    changed_at  BIGINT           NOT NULL
);

CREATE INDEX hook_tasks_open ON hook_tasks (mesh, received_at) WHERE state <> 'done';

CREATE TABLE webhooks (
    mesh          TEXT   NOT NULL REFERENCES meshes (id),
    name          TEXT   NOT NULL,
    line          BIGINT NOT NULL,
    failures      BIGINT NOT NULL,
    failing_since BIGINT,
    next_at       BIGINT NOT NULL,
    error         TEXT,
    PRIMARY KEY (mesh, name)
);

CREATE TABLE ca_trust (
    mesh   TEXT             NOT NULL REFERENCES meshes (id),
    node   TEXT COLLATE "C" NOT NULL REFERENCES nodes (id),
    trusts TEXT             NOT NULL,
    shows  TEXT,
    at     BIGINT           NOT NULL,
    PRIMARY KEY (mesh, node)
);

CREATE TABLE next_keys (
    mesh TEXT             NOT NULL REFERENCES meshes (id),
    node TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES nodes (id),
    key  TEXT             NOT NULL UNIQUE,
    at   BIGINT           NOT NULL
);

CREATE TABLE former_keys (
    mesh TEXT             NOT NULL REFERENCES meshes (id),
    key  TEXT             NOT NULL PRIMARY KEY,
    node TEXT COLLATE "C" NOT NULL REFERENCES nodes (id),
    at   BIGINT           NOT NULL
);

CREATE TABLE certificates (
    id     BIGINT           NOT NULL GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    mesh   TEXT             NOT NULL REFERENCES meshes (id),
    node   TEXT COLLATE "C" NOT NULL,
    serial TEXT             NOT NULL,
    used   BIGINT           NOT NULL DEFAULT 0,
    UNIQUE (mesh, node, serial)
);

CREATE TABLE drains (
    mesh       TEXT             NOT NULL REFERENCES meshes (id),
    node       TEXT COLLATE "C" NOT NULL REFERENCES nodes (id),
    ordered_by TEXT             NOT NULL,
    ordered_at BIGINT           NOT NULL,
    until      BIGINT           NOT NULL,
    PRIMARY KEY (mesh, node)
);
