-- The greatest number that a line of the audit log ever had: where the last lines were taken out, that is seen.
CREATE TABLE log_ends (
    mesh  TEXT   NOT NULL PRIMARY KEY REFERENCES meshes (id),
    lines BIGINT NOT NULL
);

INSERT INTO log_ends (mesh, lines)
SELECT mesh, MAX(id) FROM events GROUP BY mesh;

-- What one of several controllers does for all, who does it, and until when by the database's clock.
CREATE TABLE duties (
    mesh   TEXT   NOT NULL,
    duty   TEXT   NOT NULL,
    holder TEXT   NOT NULL,
    until  BIGINT NOT NULL,
    PRIMARY KEY (mesh, duty)
);

-- Other controllers ask for reports since their last look.
CREATE INDEX reports_received ON reports (mesh, received_at);
