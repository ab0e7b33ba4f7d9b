-- The public face of the database: these names and columns stay, whatever becomes of the tables. docs/database.md shows
-- them with examples, each of which a test runs. Made anew by a writer whenever this text has changed.
-- `log`, `evidence` and `telemetry` unpack compressed rows: the sqlite3 shell needs `.load greta_sqlite` for them.

-- One row an attempt. prefill_s and the other times are medians over its timed samples.
CREATE VIEW result AS
SELECT
  c.id AS campaign_id, c.name AS campaign, c.mode, v.name AS variant, j.context, j.repeat + 1 AS repeat, a.try_no,
  a.id AS attempt_id, a.uuid AS attempt, a.state, a.outcome, a.cause, a.reason,
  j.counted_attempt IS a.id AS counted, a.superseded, a.excluded, a.tokens_verified,
  a.n_samples, a.prefill_s, a.prefill_min_s, a.prefill_max_s,
  CASE WHEN a.prefill_s > 0 THEN coalesce(a.prompt_tokens, j.context) / a.prefill_s END AS tokens_per_s,
  a.prompt_tokens, a.model_load_s, a.tokenize_s, a.decode_s, a.attn_impl, a.backend, a.dtype,
  a.wall_s, a.cpu_user_s, a.cpu_system_s, a.peak_rss_bytes, a.exit_code, a.signal, a.survivors,
  a.class, a.certainty, a.verdict, a.blamed, a.blind, a.phase, a.progress,
  l.name AS node, n.hostname, a.device_type,
  (SELECT group_concat(d.uuid, ' ') FROM attempt_device t JOIN device d ON d.id = t.device_id
   WHERE t.attempt_id = a.id) AS devices,
  coalesce(b.declared_id, substr(b.build_sha256, 1, 12)) AS build, m.name AS model,
  a.job_id, j.variant_id, a.node_id, a.build_id, a.model_id, a.environment_id,
  strftime('%Y-%m-%dT%H:%M:%SZ', a.started_ns / 1000000000, 'unixepoch') AS started,
  strftime('%Y-%m-%dT%H:%M:%SZ', a.ended_ns / 1000000000, 'unixepoch') AS ended,
  a.planned_ns, a.dispatched_ns, a.started_ns, a.ended_ns, a.log_bytes, a.log_dropped, x.log_tail,
  json_set(s.text, '$.attempt', a.uuid, '$.repeat', j.repeat + 1, '$.try_no', a.try_no) AS spec
FROM campaign c
JOIN job j ON j.campaign_id = c.id
JOIN variant v ON v.id = j.variant_id
JOIN attempt a ON a.job_id = j.id
LEFT JOIN attempt_tail x ON x.attempt_id = a.id
LEFT JOIN spec s ON s.id = a.spec_id
LEFT JOIN alias l ON l.id = a.alias_id
LEFT JOIN node n ON n.id = a.node_id
LEFT JOIN build b ON b.id = a.build_id
LEFT JOIN model m ON m.id = a.model_id;

-- One row a planned cell (variant, context, repeat), also of those that never ran. Its figures are those of the
-- attempt that counts; where none does, outcome and reason are those of the last attempt.
CREATE VIEW cell AS
SELECT
  c.id AS campaign_id, c.name AS campaign, c.mode, v.name AS variant, j.context, j.repeat + 1 AS repeat, j.id AS job_id,
  j.position, j.block, j.state,
  j.counted_attempt IS NOT NULL AS counted,
  coalesce(a.outcome, 'never ran') AS outcome, a.cause, coalesce(a.reason, j.reason) AS reason, a.excluded,
  (SELECT count(*) FROM attempt t WHERE t.job_id = j.id) AS n_attempts,
  a.id AS attempt_id, a.uuid AS attempt, a.tokens_verified, a.n_samples,
  a.prefill_s, a.prefill_min_s, a.prefill_max_s,
  CASE WHEN a.prefill_s > 0 THEN coalesce(a.prompt_tokens, j.context) / a.prefill_s END AS tokens_per_s,
  a.model_load_s, a.decode_s, a.attn_impl, a.wall_s, a.class, l.name AS node, a.device_type,
  j.variant_id, a.build_id, a.environment_id
FROM campaign c
JOIN job j ON j.campaign_id = c.id
JOIN variant v ON v.id = j.variant_id
LEFT JOIN attempt a
  ON a.id = coalesce(j.counted_attempt, (SELECT max(t.id) FROM attempt t WHERE t.job_id = j.id))
LEFT JOIN alias l ON l.id = a.alias_id;

-- One row per campaign, variant and context: medians over the attempts that count and are not excluded. Window
-- functions instead of GROUP BY, and every name in the partition: so a WHERE on any of them reaches the innermost query,
-- and a question about one campaign reads that campaign alone.
CREATE VIEW cell_stat AS
SELECT
  campaign_id, campaign, mode, variant_id, variant, context, n,
  CASE WHEN n % 2 THEN value ELSE (value + next) / 2 END AS prefill_s, prefill_min_s, prefill_max_s,
  tokens, tokens_verified, first_ns, last_ns
FROM (
  SELECT
    c.id AS campaign_id, c.name AS campaign, c.mode, v.id AS variant_id, v.name AS variant, j.context,
    a.prefill_s AS value, lead(a.prefill_s) OVER one AS next,
    row_number() OVER one AS place, count(*) OVER whole AS n,
    min(a.prefill_s) OVER whole AS prefill_min_s, max(a.prefill_s) OVER whole AS prefill_max_s,
    max(coalesce(a.prompt_tokens, j.context)) OVER whole AS tokens,
    min(a.tokens_verified) OVER whole AS tokens_verified,
    min(a.ended_ns) OVER whole AS first_ns, max(a.ended_ns) OVER whole AS last_ns
  FROM campaign c
  JOIN job j ON j.campaign_id = c.id
  JOIN variant v ON v.id = j.variant_id
  JOIN attempt a ON a.id = j.counted_attempt
  WHERE a.excluded IS NULL AND a.prefill_s > 0
  WINDOW
    one AS (PARTITION BY c.id, c.name, c.mode, v.id, v.name, j.context ORDER BY a.prefill_s),
    whole AS (PARTITION BY c.id, c.name, c.mode, v.id, v.name, j.context ORDER BY a.prefill_s
              ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING))
WHERE place = (n + 1) / 2;

-- Good results that statistics leave out, one row a reason. They are still their cells' counted results.
CREATE VIEW validity AS
SELECT
  c.id AS campaign_id, c.name AS campaign, v.name AS variant, j.context, j.repeat + 1 AS repeat,
  a.id AS attempt_id, a.uuid AS attempt,
  j.counted_attempt IS a.id AS counted, k.kind, k.reason, a.prefill_s, coalesce(l.name, n.hostname) AS node,
  (SELECT group_concat(d.uuid, ' ') FROM attempt_device t JOIN device d ON d.id = t.device_id
   WHERE t.attempt_id = a.id) AS devices
FROM campaign c
JOIN job j ON j.campaign_id = c.id
JOIN variant v ON v.id = j.variant_id
JOIN attempt a ON a.job_id = j.id
JOIN validity_mark k ON k.attempt_id = a.id
LEFT JOIN alias l ON l.id = a.alias_id
LEFT JOIN node n ON n.id = a.node_id;

-- How a variant's prefill grows: against its smallest context (ratio, beside what linear and quadratic growth would
-- give), and against the context before (step; exponent 1 is linear, 2 quadratic).
CREATE VIEW scaling AS
SELECT
  campaign_id, campaign, mode, variant_id, variant, context, n, prefill_s, prefill_min_s, prefill_max_s,
  tokens / prefill_s AS tokens_per_s,
  prefill_s / first_s AS ratio,
  1.0 * context / first_context AS expected_linear,
  1.0 * context * context / (first_context * first_context) AS expected_quadratic,
  before AS context_before,
  prefill_s / before_s AS step,
  ln(prefill_s / before_s) / ln(1.0 * context / before) AS exponent,
  tokens_verified
FROM (
  SELECT
    cell_stat.*,
    first_value(prefill_s) OVER w AS first_s, first_value(context) OVER w AS first_context,
    lag(prefill_s) OVER w AS before_s, lag(context) OVER w AS before
  FROM cell_stat
  WINDOW w AS (PARTITION BY campaign_id, campaign, mode, variant_id, variant ORDER BY context));

-- One row per campaign, variant and context, beside the same cell of the comparable campaign before it and the best
-- so far. Comparable: the same variant name, context, mode, model data, device type and dtype.
CREATE VIEW history AS
SELECT
  campaign_id, campaign, variant, context, mode, device_type, dtype, model_data, n, prefill_s, last_ns,
  strftime('%Y-%m-%dT%H:%M:%SZ', last_ns / 1000000000, 'unixepoch') AS ended,
  lag(campaign_id) OVER w AS campaign_before,
  prefill_s / lag(prefill_s) OVER w AS ratio_to_before,
  prefill_s / min(prefill_s) OVER (w ROWS UNBOUNDED PRECEDING) AS ratio_to_best,
  n_builds, build_id, environment_id, lag(build_id) OVER w AS build_before,
  lag(environment_id) OVER w AS environment_before
FROM (
  SELECT
    s.campaign_id, s.campaign, s.variant, s.context, s.mode, s.n, s.prefill_s, s.last_ns,
    max(a.device_type) AS device_type, max(a.dtype) AS dtype, max(coalesce(m.data_sha256, m.file_sha256)) AS model_data,
    count(DISTINCT a.build_id) AS n_builds, max(a.build_id) AS build_id, max(a.environment_id) AS environment_id
  FROM cell_stat s
  JOIN job j ON j.campaign_id = s.campaign_id AND j.variant_id = s.variant_id AND j.context = s.context
  JOIN attempt a ON a.id = j.counted_attempt
  LEFT JOIN model m ON m.id = a.model_id
  GROUP BY s.campaign_id, s.variant_id, s.context)
WINDOW w AS (PARTITION BY variant, context, mode, model_data, device_type, dtype ORDER BY last_ns);

-- Attempts that stopped, were too slow, or were judged while they ran.
CREATE VIEW hang AS
SELECT
  c.id AS campaign_id, c.name AS campaign, v.name AS variant, j.context, j.repeat + 1 AS repeat, a.try_no, a.id AS attempt_id,
  a.uuid AS attempt, a.outcome, a.cause, a.reason, a.class, a.certainty, a.verdict, a.blamed, a.blind, a.fingerprint,
  a.phase, json_extract(a.progress, '$.at') AS breadcrumb, json_extract(a.progress, '$.done') AS done,
  json_extract(a.progress, '$.total') AS total, a.wall_s, l.name AS node, a.node_id, a.device_type,
  (SELECT group_concat(DISTINCT name) FROM evidence_part p WHERE p.attempt_id = a.id) AS evidence
FROM attempt a
JOIN job j ON j.id = a.job_id
JOIN campaign c ON c.id = j.campaign_id
JOIN variant v ON v.id = j.variant_id
LEFT JOIN alias l ON l.id = a.alias_id
WHERE a.outcome IN ('hung', 'timed_out') OR a.class IS NOT NULL;

-- Every reading that an engine reported. Sample 0 is the warm-up.
CREATE VIEW sample_value AS
SELECT
  c.id AS campaign_id, c.name AS campaign, v.name AS variant, j.context, j.repeat + 1 AS repeat, s.attempt_id, s.sample_no, s.name,
  s.value, s.text, j.counted_attempt IS s.attempt_id AS counted
FROM campaign c
JOIN job j ON j.campaign_id = c.id
JOIN variant v ON v.id = j.variant_id
JOIN attempt a ON a.job_id = j.id
JOIN sample s ON s.attempt_id = a.id;

-- Readings of the hardware while an attempt ran, one row each.
CREATE VIEW telemetry AS
SELECT k.attempt_id, r.t_ns, r.name, r.value
FROM telemetry_chunk k, greta_telemetry(k.columns, k.data) r;

-- The same, summed up for each attempt.
CREATE VIEW telemetry_stat AS
SELECT
  c.id AS campaign_id, c.name AS campaign, v.name AS variant, j.context, j.repeat + 1 AS repeat, t.attempt_id, t.name, t.n, t.min,
  t.max, t.mean, t.last
FROM campaign c
JOIN job j ON j.campaign_id = c.id
JOIN variant v ON v.id = j.variant_id
JOIN attempt a ON a.job_id = j.id
JOIN telemetry_summary t ON t.attempt_id = a.id;

-- What an engine printed, in pieces; in order by offset. dropped: so many bytes were not kept there.
CREATE VIEW log AS
SELECT attempt_id, offset, raw_bytes AS bytes, dropped, streams, coalesce(CAST(raw AS TEXT), greta_zstd(zstd)) AS text
FROM log_chunk;

-- What was gathered before an engine was stopped.
CREATE VIEW evidence AS
SELECT attempt_id, name, sum(raw_bytes) AS bytes, max(parts) - count(*) AS parts_missing,
  (SELECT group_concat(text, '')
   FROM (SELECT greta_zstd(q.zstd) AS text FROM evidence_part q
         WHERE q.attempt_id = p.attempt_id AND q.name = p.name ORDER BY q.part)) AS text
FROM evidence_part p
GROUP BY attempt_id, name;

-- One row a GPU kernel of an engine build, as `ENGINE --kernel-resources --json` listed it.
CREATE VIEW kernel AS
SELECT b.id AS build_id, coalesce(b.declared_id, substr(b.build_sha256, 1, 12)) AS build, k.kernel, k.arch,
  k.scratch_bytes, k.vgpr, k.agpr, k.sgpr, k.lds_bytes, k.spills, k.occupancy AS blocks_per_unit,
  k.sha256 AS code_object_sha256
FROM code_object k
JOIN build b ON b.id = k.build_id;

-- What differs between two environments: ask with WHERE a = ... AND b = ... NULL: it is not in that one.
CREATE VIEW environment_diff AS
SELECT e.id AS a, f.id AS b, x.key, x.value AS value_a, y.value AS value_b
FROM environment e
CROSS JOIN environment f
JOIN environment_row x ON x.environment_id = e.id
LEFT JOIN environment_row y ON y.environment_id = f.id AND y.key = x.key
WHERE y.value IS NOT x.value
UNION ALL
SELECT e.id, f.id, y.key, NULL, y.value
FROM environment e
CROSS JOIN environment f
JOIN environment_row y ON y.environment_id = f.id
WHERE NOT EXISTS (SELECT 1 FROM environment_row x WHERE x.environment_id = e.id AND x.key = y.key);
