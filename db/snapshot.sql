-- Fills an empty database with what belongs to the campaign named in meta.snapshot_campaign (0: all of them) of the
-- database attached as `source`. Ids stay as they are. Parents come before children. The index of logs is made anew from
-- what came along.
CREATE TEMP TABLE wanted_campaign AS
SELECT id FROM source.campaign
WHERE (SELECT value FROM main.meta WHERE key = 'snapshot_campaign') IN (0, id);
CREATE TEMP TABLE wanted_attempt (id INTEGER PRIMARY KEY);
INSERT INTO wanted_attempt
SELECT a.id FROM source.job j JOIN source.attempt a ON a.job_id = j.id
WHERE j.campaign_id IN (SELECT id FROM wanted_campaign);

INSERT INTO main.node SELECT * FROM source.node;
INSERT INTO main.alias SELECT * FROM source.alias;
UPDATE main.alias SET settings = '{}', host_key = NULL; -- how to reach a machine is nobody else's business
INSERT INTO main.device SELECT * FROM source.device;
INSERT INTO main.quarantine SELECT * FROM source.quarantine;
INSERT INTO main.model SELECT * FROM source.model;
INSERT INTO main.build SELECT * FROM source.build;
INSERT INTO main.code_object SELECT * FROM source.code_object;
INSERT INTO main.environment SELECT * FROM source.environment;
INSERT INTO main.environment_row SELECT * FROM source.environment_row;

-- An rca campaign explains an attempt of another campaign, which may not come along.
PRAGMA defer_foreign_keys = ON;
INSERT INTO main.campaign SELECT * FROM source.campaign WHERE id IN (SELECT id FROM wanted_campaign);
UPDATE main.campaign SET explains = NULL WHERE explains NOT IN (SELECT id FROM wanted_attempt);
INSERT INTO main.variant SELECT * FROM source.variant WHERE campaign_id IN (SELECT id FROM wanted_campaign);
INSERT INTO main.job SELECT * FROM source.job WHERE campaign_id IN (SELECT id FROM wanted_campaign);
INSERT INTO main.spec
SELECT * FROM source.spec WHERE id IN (SELECT spec_id FROM source.attempt WHERE id IN (SELECT id FROM wanted_attempt));
INSERT INTO main.attempt SELECT * FROM source.attempt WHERE id IN (SELECT id FROM wanted_attempt);
INSERT INTO main.attempt_tail SELECT * FROM source.attempt_tail WHERE attempt_id IN (SELECT id FROM wanted_attempt);
INSERT INTO main.attempt_device SELECT * FROM source.attempt_device WHERE attempt_id IN (SELECT id FROM wanted_attempt);
INSERT INTO main.sample SELECT * FROM source.sample WHERE attempt_id IN (SELECT id FROM wanted_attempt);
INSERT INTO main.validity_mark SELECT * FROM source.validity_mark WHERE attempt_id IN (SELECT id FROM wanted_attempt);
INSERT INTO main.event SELECT * FROM source.event WHERE attempt_id IN (SELECT id FROM wanted_attempt);
INSERT INTO main.log_chunk SELECT * FROM source.log_chunk WHERE attempt_id IN (SELECT id FROM wanted_attempt);
INSERT INTO main.telemetry_chunk
SELECT * FROM source.telemetry_chunk WHERE attempt_id IN (SELECT id FROM wanted_attempt);
INSERT INTO main.telemetry_summary
SELECT * FROM source.telemetry_summary WHERE attempt_id IN (SELECT id FROM wanted_attempt);
INSERT INTO main.evidence_part SELECT * FROM source.evidence_part WHERE attempt_id IN (SELECT id FROM wanted_attempt);
INSERT INTO main.baseline SELECT * FROM source.baseline WHERE campaign_id IN (SELECT id FROM wanted_campaign);
INSERT INTO main.import_file SELECT * FROM source.import_file WHERE campaign_id IN (SELECT id FROM wanted_campaign);

DROP TABLE temp.wanted_attempt;
DROP TABLE temp.wanted_campaign;
