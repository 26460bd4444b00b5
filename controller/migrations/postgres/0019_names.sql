-- Operators call hosts by name, members and those of before: each such call went through all of them.
CREATE INDEX nodes_name ON nodes (mesh, name);
