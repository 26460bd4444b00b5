-- What people ordered about the shields of hosts, as JSON; orders may have ended by themselves.
CREATE TABLE shield_orders (
    mesh   TEXT NOT NULL PRIMARY KEY REFERENCES meshes (id),
    orders TEXT NOT NULL
) STRICT;
