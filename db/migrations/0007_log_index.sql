-- Version 7: the trigrams of logs lie where a search reads them in a row, not beside the logs.
--
-- A column says of some 192 to 448 KiB of neighbouring sealed chunks which three-byte strings they may have. Columns are
-- gathered one by one; 496 of them are turned into a group, in which a row has 64 trigrams of all its columns. What the
-- chunks had before is made anew from their text, by db/log_index.c.
DROP TABLE log_filter;

CREATE TABLE log_column (
  id          INTEGER PRIMARY KEY,
  first_chunk INTEGER NOT NULL,          -- of sealed chunks from here
  last_chunk  INTEGER NOT NULL,          -- to here
  n_chunks    INTEGER NOT NULL,
  raw_bytes   INTEGER NOT NULL,
  is_full     INTEGER NOT NULL,          -- 0: the next chunk joins it
  bits        BLOB NOT NULL              -- docs/database.md has the layout, also of the next two
) STRICT;
CREATE TABLE log_group (
  id          INTEGER PRIMARY KEY,
  first_chunk INTEGER NOT NULL,
  last_chunk  INTEGER NOT NULL,
  n_chunks    INTEGER NOT NULL,
  raw_bytes   INTEGER NOT NULL,
  spans       BLOB NOT NULL              -- the first and last chunk of each column
) STRICT;
CREATE TABLE log_slice (
  id          INTEGER PRIMARY KEY,       -- of the group, times 1024, plus the trigram's number / 64
  bits        BLOB NOT NULL
) STRICT;

-- What is not sealed has no trigrams, and is always looked into.
CREATE INDEX log_loose ON log_chunk(attempt_id, offset) WHERE zstd IS NULL AND dropped = 0;
