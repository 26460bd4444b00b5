-- Sets have versions, findings have kinds, orders of a person replace `policy.approve`, deny lines have comments.
ALTER TABLE validator_sets ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
UPDATE validator_sets SET held = 'null', findings = '[]';
UPDATE policies SET policy = json_set(json_remove(policy, '$.approve'), '$.deny', (
    SELECT json_group_array(json_object('network', line.value, 'comment', 'from before lines had comments'))
    FROM json_each(policies.policy, '$.deny') AS line));

-- What a person ordered about the validator list.
CREATE TABLE orders (
    mesh   TEXT NOT NULL PRIMARY KEY REFERENCES meshes (id),
    orders TEXT NOT NULL
) STRICT;
