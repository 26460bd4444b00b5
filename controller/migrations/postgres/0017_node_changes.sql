-- Which hosts changed, in what order: whoever has seen up to a number reads what came after it. By triggers, so that programs from
-- before this step leave their word too. What a host's lease and its reports say is no change. Changes of a mesh wait for each
-- other, so that no number becomes visible after a greater one.
CREATE TABLE node_changes (
    mesh   TEXT   NOT NULL,
    node   TEXT   NOT NULL,
    change BIGINT NOT NULL,
    PRIMARY KEY (mesh, node)
);

CREATE UNIQUE INDEX node_changes_in_order ON node_changes (mesh, change);

INSERT INTO node_changes (mesh, node, change) SELECT mesh, id, ROW_NUMBER() OVER (PARTITION BY mesh ORDER BY id) FROM nodes;

CREATE FUNCTION note_node_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO node_changes (mesh, node, change)
    SELECT NEW.mesh, NEW.id, COALESCE(MAX(change), 0) + 1 FROM node_changes WHERE mesh = NEW.mesh
    ON CONFLICT (mesh, node) DO UPDATE SET change = excluded.change;
    RETURN NULL;
END
$$;

CREATE TRIGGER node_came AFTER INSERT ON nodes FOR EACH ROW EXECUTE FUNCTION note_node_change();

CREATE TRIGGER node_changed AFTER UPDATE OF name, role, wireguard_key, identity_key, tls_key_sha256, overlay_v4, overlay_v6, endpoint, machine_id, issued, pool,
    enrolled_at, revoked_at, quarantined_at ON nodes
    FOR EACH ROW EXECUTE FUNCTION note_node_change();
