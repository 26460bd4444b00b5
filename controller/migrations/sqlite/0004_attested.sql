-- Identities that clouds and token issuers vouched for: which host each one came in as, so that a copied proof admits nobody
-- with other keys, and which ones may never come in. `node` is NULL where an identity was only forbidden.
CREATE TABLE identities (
    mesh         TEXT    NOT NULL REFERENCES meshes (id),
    id           TEXT    NOT NULL,
    node         TEXT    REFERENCES nodes (id),
    bound_at     INTEGER,
    forbidden_at INTEGER,
    refused      INTEGER NOT NULL,
    refused_at   INTEGER,
    PRIMARY KEY (mesh, id)
) STRICT;

CREATE INDEX identities_node ON identities (mesh, node);
