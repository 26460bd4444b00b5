-- A host may be in quarantine: a member without tunnels and grants.
ALTER TABLE nodes ADD COLUMN quarantined_at INTEGER;

-- The public half of the key from which the preshared keys of a host's tunnels are derived; NULL for hosts from before.
ALTER TABLE nodes ADD COLUMN identity_key TEXT;
