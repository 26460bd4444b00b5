-- The newest proof of the host that came in with an identity, for peers that look at it themselves: JSON of picket-api's Proof.
ALTER TABLE identities ADD COLUMN proof TEXT;
