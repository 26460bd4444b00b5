-- The newest proof of the host that came in with an identity, for peers that look at it themselves: JSON of picket-api's Proof.
-- `next_proof` names the WireGuard key that the host is about to use, and takes the place of the other when it does.
ALTER TABLE identities ADD COLUMN proof TEXT;
ALTER TABLE identities ADD COLUMN next_proof TEXT;
