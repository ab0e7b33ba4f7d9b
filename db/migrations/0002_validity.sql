-- Version 2: why a good result may say nothing about speed.

-- What speaks against a counted result, one row a kind. attempt.excluded has the kinds' names while any of them excludes.
CREATE TABLE validity_mark (
  attempt_id INTEGER NOT NULL REFERENCES attempt(id),
  kind       TEXT NOT NULL,
  reason     TEXT NOT NULL,              -- in words, with the figures it rests on
  marked_ns  INTEGER NOT NULL,
  PRIMARY KEY (attempt_id, kind)
) STRICT, WITHOUT ROWID;
