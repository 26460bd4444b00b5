-- Certificates that a host may show: the one it used last, and those that were made since and not seen yet, since an answer may be
-- lost. A host from before has none here, and shows the one it has until it has used another.
CREATE TABLE certificates (
    id     INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    mesh   TEXT    NOT NULL REFERENCES meshes (id),
    node   TEXT    NOT NULL,
    serial TEXT    NOT NULL,
    used   INTEGER NOT NULL DEFAULT 0,
    UNIQUE (mesh, node, serial)
) STRICT;

-- The WireGuard key that an operator asked a host to replace. The wish is fulfilled once the host uses another.
ALTER TABLE nodes ADD COLUMN key_to_replace TEXT;
