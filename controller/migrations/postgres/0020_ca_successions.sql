-- How one CA of the mesh follows another, for controllers that share the database: what is written here, each of them takes over.
-- `step` is JSON with the next CA's certificate, the word of the one before for it, and how far it is; `sealed_key` is the next CA's key,
-- encrypted under the operator's passphrase, and NULL where keys are given from elsewhere, or where the CA was retired.
CREATE TABLE ca_successions (
    mesh       TEXT             NOT NULL REFERENCES meshes (id),
    current    TEXT COLLATE "C" NOT NULL,
    number     BIGINT           NOT NULL,
    step       TEXT             NOT NULL,
    sealed_key TEXT,
    PRIMARY KEY (mesh, current)
);
