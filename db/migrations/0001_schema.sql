-- The database of GRETA, version 1. Times are UTC nanoseconds since 1970 (*_ns) unless the name says another unit.
-- The public face is in views.sql (made anew at every migration); tables may change, views keep their columns.
-- CHECKs say `a OR b OR c`, since SQLite builds a temporary table for IN (a, b, c) each time a row is written.

-- Who we are: db_uuid, fence, created_ns, greta_version.
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- A machine, by what it is (machine-id and GPU UUIDs, hashed), not by how it is reached.
CREATE TABLE node (
  id            INTEGER PRIMARY KEY,
  node_key      TEXT NOT NULL UNIQUE,
  hostname      TEXT,
  machine_hash  TEXT,
  n_cpus        INTEGER,
  mem_bytes     INTEGER,
  facts         TEXT,                -- the last facts, JSON
  first_seen_ns INTEGER NOT NULL,
  last_seen_ns  INTEGER NOT NULL
) STRICT;

-- How a user reaches a machine: `greta-orch node add`. Two aliases may lead to one node.
CREATE TABLE alias (
  id            INTEGER PRIMARY KEY,
  name          TEXT NOT NULL UNIQUE,
  transport     TEXT NOT NULL CHECK (transport = 'local' OR transport = 'ssh' OR transport = 'slurm'),
  settings      TEXT NOT NULL DEFAULT '{}',  -- JSON: host, port, user, identity, agent dir, ...
  labels        TEXT NOT NULL DEFAULT '{}',  -- JSON object
  state         TEXT NOT NULL DEFAULT 'up'
                CHECK (state = 'up' OR state = 'draining' OR state = 'quarantined' OR state = 'removed'),
  state_reason  TEXT,
  state_ns      INTEGER,
  host_key      TEXT,                        -- SHA256:... of the accepted key
  node_id       INTEGER REFERENCES node(id), -- NULL until it was seen
  added_ns      INTEGER NOT NULL
) STRICT;
CREATE INDEX alias_node ON alias(node_id);

CREATE TABLE device (
  id            INTEGER PRIMARY KEY,
  uuid          TEXT NOT NULL UNIQUE,
  kind          TEXT NOT NULL,               -- amd, nvidia
  name          TEXT,
  arch          TEXT,
  pci           TEXT,
  vram_bytes    INTEGER,
  compute_units INTEGER,
  node_id       INTEGER REFERENCES node(id),
  state         TEXT NOT NULL DEFAULT 'up' CHECK (state IN ('up', 'quarantined')),
  state_reason  TEXT,
  first_seen_ns INTEGER NOT NULL,
  last_seen_ns  INTEGER NOT NULL
) STRICT;
CREATE INDEX device_node ON device(node_id);

CREATE TABLE model (
  id              INTEGER PRIMARY KEY,
  file_sha256     TEXT NOT NULL UNIQUE,
  data_sha256     TEXT,               -- tensor data alone: patching llama.context_length keeps it
  metadata_sha256 TEXT,
  name            TEXT,
  architecture    TEXT,
  file_type       TEXT,
  n_params        INTEGER,
  bytes           INTEGER
) STRICT;
CREATE INDEX model_data ON model(data_sha256);

CREATE TABLE build (
  id            INTEGER PRIMARY KEY,
  build_sha256  TEXT NOT NULL UNIQUE, -- executable + non-system libraries + code objects, or a declared id, hashed
  engine_sha256 TEXT,                 -- the executable alone
  declared_id   TEXT,
  version       TEXT,                 -- what it says of itself
  first_seen_ns INTEGER NOT NULL
) STRICT;

CREATE TABLE code_object (            -- static figures of a build's kernels
  build_id   INTEGER NOT NULL REFERENCES build(id),
  kernel     TEXT NOT NULL,
  arch       TEXT NOT NULL,
  sha256     TEXT,
  vgpr INTEGER, agpr INTEGER, sgpr INTEGER, lds_bytes INTEGER, scratch_bytes INTEGER, spills INTEGER, occupancy INTEGER,
  PRIMARY KEY (build_id, kernel, arch)
) STRICT, WITHOUT ROWID;

-- Configuration that results depend on, as rows, one set stored once.
CREATE TABLE environment (
  id         INTEGER PRIMARY KEY,
  env_sha256 TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE environment_row (
  environment_id INTEGER NOT NULL REFERENCES environment(id),
  key            TEXT NOT NULL,
  value          TEXT NOT NULL,
  PRIMARY KEY (environment_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE campaign (
  id           INTEGER PRIMARY KEY,
  uuid         TEXT NOT NULL UNIQUE,
  name         TEXT NOT NULL,
  text         TEXT NOT NULL,         -- the file as submitted (secrets redacted)
  text_sha256  TEXT NOT NULL,
  mode         TEXT NOT NULL CHECK (mode IN ('perf', 'debug')),
  kind         TEXT NOT NULL DEFAULT 'submit' CHECK (kind = 'submit' OR kind = 'import' OR kind = 'rca'),
  explains     INTEGER REFERENCES attempt(id), -- of an rca campaign
  state        TEXT NOT NULL DEFAULT 'active' CHECK (state = 'active' OR state = 'done' OR state = 'cancelled'),
  priority     INTEGER NOT NULL DEFAULT 0,
  submitted_by TEXT,
  base_dir     TEXT,                  -- what relative paths in it are relative to
  submitted_ns INTEGER NOT NULL,
  finished_ns  INTEGER
) STRICT;
CREATE INDEX campaign_name ON campaign(name);
CREATE INDEX campaign_active ON campaign(state) WHERE state = 'active';

CREATE TABLE variant (
  id          INTEGER PRIMARY KEY,
  campaign_id INTEGER NOT NULL REFERENCES campaign(id),
  name        TEXT NOT NULL,
  position    INTEGER NOT NULL,
  detail      TEXT NOT NULL DEFAULT '{}', -- JSON: args, env, engine, expect
  UNIQUE (campaign_id, name)
) STRICT;

-- One cell of the matrix: variant x context x repeat.
CREATE TABLE job (
  id              INTEGER PRIMARY KEY,
  campaign_id     INTEGER NOT NULL REFERENCES campaign(id),
  variant_id      INTEGER NOT NULL REFERENCES variant(id),
  context         INTEGER NOT NULL,
  repeat          INTEGER NOT NULL,       -- from 0
  position        INTEGER NOT NULL,       -- in the campaign's order
  block           INTEGER NOT NULL DEFAULT 0, -- of the interleaving
  state           TEXT NOT NULL DEFAULT 'queued' CHECK (state = 'queued' OR state = 'running' OR state = 'done' OR
                                                        state = 'skipped' OR state = 'cancelled'),
  reason          TEXT,                   -- why skipped, cancelled, or what the last attempt's trouble was
  counted_attempt INTEGER REFERENCES attempt(id),
  UNIQUE (campaign_id, variant_id, context, repeat)
) STRICT;
CREATE INDEX job_order ON job(campaign_id, position);
CREATE INDEX job_queued ON job(campaign_id, position) WHERE state = 'queued';
CREATE INDEX job_running ON job(campaign_id, position) WHERE state = 'running';
CREATE INDEX job_counted ON job(counted_attempt);

-- One execution of a job on one slot.
CREATE TABLE attempt (
  id              INTEGER PRIMARY KEY,
  uuid            TEXT NOT NULL UNIQUE,
  job_id          INTEGER NOT NULL REFERENCES job(id),
  try_no          INTEGER NOT NULL,
  state           TEXT NOT NULL CHECK (state = 'planned' OR state = 'dispatched' OR state = 'running' OR
                                       state = 'ended' OR state = 'pruned'),
  outcome         TEXT NOT NULL DEFAULT 'unknown',
  cause           TEXT,
  reason          TEXT,
  superseded      INTEGER NOT NULL DEFAULT 0, -- a good result that does not count, since another came first
  excluded        TEXT,                   -- why statistics leave it out (throttled, ...); NULL: they take it
  alias_id        INTEGER REFERENCES alias(id),
  node_id         INTEGER REFERENCES node(id),
  boot_id         TEXT,
  build_id        INTEGER REFERENCES build(id),
  model_id        INTEGER REFERENCES model(id),
  environment_id  INTEGER REFERENCES environment(id),
  fence           INTEGER NOT NULL,       -- of the controller that planned it
  committed_seq   INTEGER NOT NULL DEFAULT 0, -- last event that is in this database
  planned_ns      INTEGER,
  dispatched_ns   INTEGER,
  started_ns      INTEGER,                -- the node's wall clock
  ended_ns        INTEGER,
  wall_s          REAL,                   -- exec to exit
  cpu_user_s      REAL,
  cpu_system_s    REAL,
  peak_rss_bytes  INTEGER,
  exit_code       INTEGER,
  signal          INTEGER,
  survivors       INTEGER NOT NULL DEFAULT 0, -- processes of it that could not be killed were left on the node
  tokens_verified INTEGER NOT NULL DEFAULT 0,
  n_samples       INTEGER NOT NULL DEFAULT 0, -- timed ones; what follows sums them up, so that views need not
  prompt_tokens   INTEGER,
  attn_impl       TEXT,
  backend         TEXT,
  dtype           TEXT,
  device_type     TEXT,                   -- what its devices are, or the CPU: results compare with those of the same
  prefill_s       REAL,                   -- medians over the timed samples
  prefill_min_s   REAL,
  prefill_max_s   REAL,
  decode_s        REAL,
  model_load_s    REAL,
  tokenize_s      REAL,
  class           TEXT,                   -- of a verdict
  certainty       TEXT,
  verdict         TEXT,                   -- its words
  blamed          TEXT,
  blind           TEXT,
  fingerprint     TEXT,                   -- of a hang: class, breadcrumb, frames
  phase           TEXT,                   -- last heard
  progress        TEXT,                   -- last progress line, JSON
  progress_dropped INTEGER NOT NULL DEFAULT 0,
  log_bytes       INTEGER NOT NULL DEFAULT 0, -- output that came, kept or not
  log_dropped     INTEGER NOT NULL DEFAULT 0,
  log_sealed      INTEGER NOT NULL DEFAULT 0, -- up to here log_chunk is in its final, compressed form
  telemetry_loose INTEGER NOT NULL DEFAULT 0, -- rows in chunks that are not sealed yet
  reported        INTEGER NOT NULL DEFAULT 0  -- 1: the outcome is the node's word, not the controller's
) STRICT;
CREATE INDEX attempt_job ON attempt(job_id);
CREATE INDEX attempt_build ON attempt(build_id, model_id);
CREATE INDEX attempt_open ON attempt(id) WHERE state <> 'ended' AND state <> 'pruned';
CREATE INDEX attempt_node ON attempt(node_id, started_ns);

-- What is long and seldom asked for, apart from the rows that every table scan reads.
CREATE TABLE attempt_text (
  attempt_id INTEGER PRIMARY KEY REFERENCES attempt(id),
  spec       TEXT,                        -- JSON as sent to the node, secrets redacted
  log_tail   TEXT                         -- the last 4 KiB of output, plain, for the shell
) STRICT;

CREATE TABLE attempt_device (
  attempt_id INTEGER NOT NULL REFERENCES attempt(id),
  device_id  INTEGER NOT NULL REFERENCES device(id),
  PRIMARY KEY (attempt_id, device_id)
) STRICT, WITHOUT ROWID;

-- What the engine measured: one row a reading. sample_no 0 is the warm-up.
CREATE TABLE sample (
  attempt_id INTEGER NOT NULL REFERENCES attempt(id),
  sample_no  INTEGER NOT NULL,
  name       TEXT NOT NULL,
  value      REAL,                        -- NULL for a text
  text       TEXT,
  PRIMARY KEY (attempt_id, sample_no, name)
) STRICT, WITHOUT ROWID;

-- Events of an attempt that are neither log, telemetry nor progress.
CREATE TABLE event (
  attempt_id INTEGER NOT NULL REFERENCES attempt(id),
  seq        INTEGER NOT NULL,
  kind       TEXT NOT NULL,
  boot_ns    INTEGER,
  wall_ns    INTEGER,
  detail     TEXT NOT NULL DEFAULT '{}',
  PRIMARY KEY (attempt_id, seq)
) STRICT, WITHOUT ROWID;

-- An attempt's output, both streams interleaved as they came. While it runs, one loose row an event; some 256 KiB of
-- them, cut at a line end, are sealed into one compressed row.
CREATE TABLE log_chunk (
  id         INTEGER PRIMARY KEY,
  attempt_id INTEGER NOT NULL REFERENCES attempt(id),
  offset     INTEGER NOT NULL,            -- in the attempt's whole output
  raw_bytes  INTEGER NOT NULL,
  dropped    INTEGER NOT NULL DEFAULT 0,  -- bytes that were not kept: such a row has no text
  streams    TEXT NOT NULL DEFAULT 'out', -- 'out', 'err', or pieces in order: 'out 120 err 33 out 5'
  ends_line  INTEGER NOT NULL DEFAULT 0,  -- its last byte is a newline
  raw        BLOB,                        -- of a loose row
  zstd       BLOB,                        -- of a sealed one
  UNIQUE (attempt_id, offset)
) STRICT;
-- Which three-byte strings a sealed chunk may have, for logs --grep. A chunk without a row must be looked into.
CREATE TABLE log_filter (
  chunk_id   INTEGER PRIMARY KEY REFERENCES log_chunk(id),
  bits       BLOB NOT NULL
) STRICT;

CREATE TABLE telemetry_chunk (
  attempt_id INTEGER NOT NULL REFERENCES attempt(id),
  chunk_no   INTEGER NOT NULL,
  t_first_ns INTEGER NOT NULL,
  t_last_ns  INTEGER NOT NULL,
  n          INTEGER NOT NULL,            -- time stamps in it
  sealed     INTEGER NOT NULL DEFAULT 0,  -- 0: to be joined with its neighbours once there are enough
  columns    TEXT NOT NULL,               -- JSON array of reading names
  data       BLOB NOT NULL,               -- docs/database.md has the layout
  PRIMARY KEY (attempt_id, chunk_no)
) STRICT;
CREATE TABLE telemetry_summary (
  attempt_id INTEGER NOT NULL REFERENCES attempt(id),
  name       TEXT NOT NULL,
  n          INTEGER NOT NULL,
  min        REAL, max REAL, mean REAL, last REAL,
  PRIMARY KEY (attempt_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE evidence_part (
  attempt_id INTEGER NOT NULL REFERENCES attempt(id),
  name       TEXT NOT NULL,
  part       INTEGER NOT NULL,            -- from 1
  parts      INTEGER NOT NULL,            -- as announced
  raw_bytes  INTEGER NOT NULL,
  zstd       BLOB NOT NULL,
  PRIMARY KEY (attempt_id, name, part)
) STRICT;

CREATE TABLE baseline (
  name       TEXT PRIMARY KEY,
  campaign_id INTEGER NOT NULL REFERENCES campaign(id),
  variant    TEXT,                        -- NULL: every variant by its own name
  set_ns     INTEGER NOT NULL,
  note       TEXT
) STRICT, WITHOUT ROWID;

-- What was imported, so that importing again adds nothing.
CREATE TABLE import_file (
  sha256      TEXT NOT NULL,              -- of the result and its place in the tree
  path        TEXT NOT NULL,
  campaign_id INTEGER NOT NULL REFERENCES campaign(id),
  attempt_id  INTEGER REFERENCES attempt(id),
  imported_ns INTEGER NOT NULL,
  PRIMARY KEY (sha256)
) STRICT, WITHOUT ROWID;

-- Every change a person asked for.
CREATE TABLE action (
  id     INTEGER PRIMARY KEY,
  at_ns  INTEGER NOT NULL,
  who    TEXT,
  what   TEXT NOT NULL,
  detail TEXT NOT NULL DEFAULT '{}'
) STRICT;
