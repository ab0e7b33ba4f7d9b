-- Version 5: what nodes keep out of use, as they say it themselves.

CREATE TABLE quarantine (
  node_id  INTEGER NOT NULL REFERENCES node(id),
  slot     TEXT NOT NULL,                -- 'node', or 'gpu-UUID'
  reason   TEXT NOT NULL,
  since_ns INTEGER NOT NULL,             -- the node's wall clock
  PRIMARY KEY (node_id, slot)
) STRICT, WITHOUT ROWID;

-- Devices had a state of their own, which nothing ever set.
ALTER TABLE device DROP COLUMN state;
ALTER TABLE device DROP COLUMN state_reason;
