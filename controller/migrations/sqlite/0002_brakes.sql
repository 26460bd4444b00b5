-- What the merge remembers from one round to the next. What is held is JSON from here on; the next round tells it again.
ALTER TABLE validator_sets ADD COLUMN memory TEXT NOT NULL DEFAULT '{}';
UPDATE validator_sets SET held = 'null';
