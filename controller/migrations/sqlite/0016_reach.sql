-- The least step of the schema whose programs may work on this database. A step that only adds leaves it as it is; one that changes
-- or takes away what programs before it read or write sets it to its own number.
CREATE TABLE schema_reach (
    least INTEGER NOT NULL
);

INSERT INTO schema_reach (least) VALUES (16);
