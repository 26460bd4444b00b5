-- The plan in which a host departed. Which hosts a plan has, and under which revision, follows from their contents and from this, so
-- that a plan writes what it changes and no list of all hosts. Programs from before this step read that list: they refuse.
CREATE TABLE departures (
    mesh       TEXT             NOT NULL REFERENCES meshes (id),
    node       TEXT COLLATE "C" NOT NULL REFERENCES nodes (id),
    generation BIGINT           NOT NULL,
    PRIMARY KEY (mesh, node, generation)
);

CREATE INDEX departures_in_order ON departures (mesh, generation);

-- Of what is kept: who is in a plan and not in the next one, and who has a content and is not in the oldest.
INSERT INTO departures (mesh, node, generation)
WITH members AS (
    SELECT plans.mesh AS mesh, host.key COLLATE "C" AS node, plans.generation AS generation
    FROM plans, json_each_text(plans.revisions::json) AS host
), steps AS (
    SELECT mesh, generation, LEAD(generation) OVER (PARTITION BY mesh ORDER BY generation) AS next FROM plans
), oldest AS (
    SELECT mesh, MIN(generation) AS generation FROM plans GROUP BY mesh
)
SELECT mesh, node, generation FROM (
    SELECT members.mesh AS mesh, node, steps.next AS generation FROM members
    JOIN steps ON steps.mesh = members.mesh AND steps.generation = members.generation
    WHERE steps.next IS NOT NULL
    UNION
    SELECT configs.mesh, configs.node, oldest.generation FROM configs
    JOIN oldest ON oldest.mesh = configs.mesh AND configs.revision < oldest.generation
) AS perhaps
EXCEPT SELECT mesh, node, generation FROM members;

ALTER TABLE plans DROP COLUMN revisions;

UPDATE schema_reach SET least = 18;
