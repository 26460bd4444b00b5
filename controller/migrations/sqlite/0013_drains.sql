-- Sentries that hosts are to leave, and when what still runs through them is cut.
CREATE TABLE drains (
    mesh       TEXT    NOT NULL REFERENCES meshes (id),
    node       TEXT    NOT NULL REFERENCES nodes (id),
    ordered_by TEXT    NOT NULL,
    ordered_at INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    PRIMARY KEY (mesh, node)
) STRICT;
