-- Sets have versions, findings have kinds, orders of a person replace `policy.approve`, deny lines have comments.
ALTER TABLE validator_sets ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
UPDATE validator_sets SET held = 'null', findings = '[]';
UPDATE policies SET policy = json_set(json_remove(policy, '$.approve'), '$.deny', (
    SELECT json_group_array(json_object('network', line.value, 'comment', 'from before lines had comments'))
    FROM json_each(policies.policy, '$.deny') AS line));

-- What a person ordered about the validator list.
CREATE TABLE orders (
    mesh   TEXT NOT NULL PRIMARY KEY REFERENCES meshes (id),
    orders TEXT NOT NULL
) STRICT;

-- How each P-Rep is from a version of the set on; NULL where it left. The newest row of each P-Rep up to a version is the
-- set of that version.
CREATE TABLE validator_changes (
    mesh      TEXT    NOT NULL REFERENCES meshes (id),
    prep      TEXT    NOT NULL,
    version   INTEGER NOT NULL,
    validator TEXT,
    at        INTEGER NOT NULL,
    height    INTEGER,
    PRIMARY KEY (mesh, prep, version)
) STRICT;

CREATE INDEX validator_changes_version ON validator_changes (mesh, version);

-- The oldest version that can be rebuilt (zero is the empty set before the first list), and when old rows were last dropped.
ALTER TABLE validator_sets ADD COLUMN oldest_version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE validator_sets ADD COLUMN pruned_at INTEGER NOT NULL DEFAULT 0;

INSERT INTO validator_changes (mesh, prep, version, validator, at, height)
SELECT validator_sets.mesh, entry.key, 1, entry.value, merged_at, height
FROM validator_sets, json_each(validator_sets.validators) AS entry;

-- What each source said of each entry, from when until when; `ended_at` is NULL where it still does. `kind` is `listed`, with
-- the entry as parsed, or `refused`, with the reasons.
CREATE TABLE observations (
    mesh     TEXT    NOT NULL REFERENCES meshes (id),
    source   TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    entry    TEXT    NOT NULL,
    what     TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    height   INTEGER,
    ended_at INTEGER
) STRICT;

CREATE UNIQUE INDEX observations_now ON observations (mesh, source, kind, entry) WHERE ended_at IS NULL;
CREATE INDEX observations_ended ON observations (mesh, ended_at);

-- How many rows of a source were kept on a day (since the epoch), and how many were too many.
CREATE TABLE observation_days (
    mesh   TEXT    NOT NULL REFERENCES meshes (id),
    source TEXT    NOT NULL,
    day    INTEGER NOT NULL,
    kept   INTEGER NOT NULL,
    lost   INTEGER NOT NULL,
    PRIMARY KEY (mesh, source, day)
) STRICT;

-- What hosts' contents are made of: each allow set, and a host's content without them. Equal ones are kept once; `named`
-- counts the contents that name one.
CREATE TABLE parts (
    id      INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    mesh    TEXT    NOT NULL REFERENCES meshes (id),
    digest  TEXT    NOT NULL,
    named   INTEGER NOT NULL,
    content TEXT    NOT NULL,
    UNIQUE (mesh, digest)
) STRICT;

ALTER TABLE configs RENAME TO whole_configs;

CREATE TABLE configs (
    mesh     TEXT    NOT NULL REFERENCES meshes (id),
    node     TEXT    NOT NULL REFERENCES nodes (id),
    revision INTEGER NOT NULL,
    body     INTEGER NOT NULL,
    p2p      INTEGER,
    rpc      INTEGER,
    admin    INTEGER,
    overlay  INTEGER,
    PRIMARY KEY (mesh, node, revision)
) STRICT;

CREATE INDEX configs_revision ON configs (mesh, revision);

INSERT INTO parts (mesh, digest, named, content)
SELECT mesh, 'old set ' || MIN(node) || ' ' || MIN(revision) || ' ' || MIN(purpose), COUNT(*), content
FROM (SELECT whole_configs.mesh, node, revision, allow.key AS purpose, allow.value AS content
      FROM whole_configs, json_each(whole_configs.config, '$.firewall.allow') AS allow)
GROUP BY mesh, content;

INSERT INTO configs (mesh, node, revision, body, p2p, rpc, admin, overlay)
SELECT mesh, node, revision, 0,
    (SELECT id FROM parts WHERE parts.mesh = old.mesh AND content = json_extract(config, '$.firewall.allow.p2p')),
    (SELECT id FROM parts WHERE parts.mesh = old.mesh AND content = json_extract(config, '$.firewall.allow.rpc')),
    (SELECT id FROM parts WHERE parts.mesh = old.mesh AND content = json_extract(config, '$.firewall.allow.admin')),
    (SELECT id FROM parts WHERE parts.mesh = old.mesh AND content = json_extract(config, '$.firewall.allow.overlay'))
FROM whole_configs AS old;

INSERT INTO parts (mesh, digest, named, content)
SELECT mesh, 'old body ' || node || ' ' || revision, 1,
    json_set(config, '$.firewall.allow', json('{}'), '$.generation', 0, '$.revision', 0)
FROM whole_configs;

UPDATE configs SET body = (SELECT id FROM parts
    WHERE parts.mesh = configs.mesh AND digest = 'old body ' || configs.node || ' ' || configs.revision);

DROP TABLE whole_configs;
