-- What each host last said of the mesh's CAs: fingerprints of those it trusts, as JSON, and of the one whose certificate it
-- showed while it said so. Asked for while one CA follows another, so that no host is lost by it.
CREATE TABLE ca_trust (
    mesh   TEXT    NOT NULL REFERENCES meshes (id),
    node   TEXT    NOT NULL REFERENCES nodes (id),
    trusts TEXT    NOT NULL,
    shows  TEXT,
    at     INTEGER NOT NULL,
    PRIMARY KEY (mesh, node)
) STRICT;

-- WireGuard keys that hosts have made and not taken into use yet, and those they used before: neither is given to anybody else.
CREATE TABLE next_keys (
    mesh TEXT    NOT NULL REFERENCES meshes (id),
    node TEXT    NOT NULL PRIMARY KEY REFERENCES nodes (id),
    key  TEXT    NOT NULL UNIQUE,
    at   INTEGER NOT NULL
) STRICT;

CREATE TABLE former_keys (
    mesh TEXT    NOT NULL REFERENCES meshes (id),
    key  TEXT    NOT NULL PRIMARY KEY,
    node TEXT    NOT NULL REFERENCES nodes (id),
    at   INTEGER NOT NULL
) STRICT;
