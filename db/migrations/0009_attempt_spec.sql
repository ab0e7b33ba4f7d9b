-- Version 9: an attempt dirties half as many pages.
--
-- A specification says the same for all attempts of a cell but for three members, and was three quarters of a database
-- of short runs: it is stored once. Indexes in which each attempt's row lies somewhere else go, or have only those rows
-- that they are asked for. db/specs.c fills `spec` from attempt_text and drops that.
CREATE TABLE spec (
  id     INTEGER PRIMARY KEY,
  sha256 TEXT NOT NULL UNIQUE,             -- of text
  text   TEXT NOT NULL                     -- JSON as sent to nodes, secrets redacted, without attempt, repeat and try_no
) STRICT;
ALTER TABLE attempt ADD COLUMN spec_id INTEGER REFERENCES spec(id);

-- The last 4 KiB of output, plain, for the shell.
CREATE TABLE attempt_tail (
  attempt_id INTEGER PRIMARY KEY REFERENCES attempt(id),
  log_tail   TEXT NOT NULL
) STRICT;
INSERT INTO attempt_tail SELECT attempt_id, log_tail FROM attempt_text WHERE log_tail IS NOT NULL;

-- Who kept a node's CPUs busy: runs of which telemetry tells it.
ALTER TABLE attempt ADD COLUMN engine_cpu_percent REAL; -- mean; NULL: not known
UPDATE attempt SET engine_cpu_percent =
  (SELECT mean FROM telemetry_summary WHERE attempt_id = attempt.id AND name = 'engine_cpu_percent');
DROP INDEX attempt_node;
CREATE INDEX attempt_neighbour ON attempt(node_id, started_ns) WHERE engine_cpu_percent IS NOT NULL;

-- Only a controller that starts asks for running jobs, and reads all of them then; counted attempts are found by their
-- job; for those of a build nobody asks.
DROP INDEX job_running;
DROP INDEX job_counted;
DROP INDEX attempt_build;
