-- A host may be in quarantine: a member without tunnels and grants.
ALTER TABLE nodes ADD COLUMN quarantined_at INTEGER;

-- The public half of the key from which the preshared keys of a host's tunnels are derived; NULL for hosts from before.
ALTER TABLE nodes ADD COLUMN identity_key TEXT;

-- A key that was issued to a machine without an agent, which never reports.
ALTER TABLE nodes ADD COLUMN issued INTEGER NOT NULL DEFAULT 0;
