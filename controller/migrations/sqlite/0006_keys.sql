-- A host may be in quarantine: a member without tunnels and grants.
ALTER TABLE nodes ADD COLUMN quarantined_at INTEGER;
