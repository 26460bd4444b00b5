-- The greatest number that a line of the audit log ever had: where the last lines were taken out, that is seen.
CREATE TABLE log_ends (
    mesh  TEXT    NOT NULL PRIMARY KEY REFERENCES meshes (id),
    lines INTEGER NOT NULL
) STRICT;

INSERT INTO log_ends (mesh, lines)
SELECT id, (SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'events') FROM meshes;

-- What one of several controllers does for all, who does it, and until when by the database's clock; one controller alone does
-- everything, and has no row.
CREATE TABLE duties (
    mesh   TEXT    NOT NULL,
    duty   TEXT    NOT NULL,
    holder TEXT    NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (mesh, duty)
) STRICT;

-- Other controllers ask for reports since their last look.
CREATE INDEX reports_received ON reports (mesh, received_at);
