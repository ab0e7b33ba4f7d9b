-- Version 3: what a root cause analysis varies, beside the jobs that it planned.
ALTER TABLE campaign ADD COLUMN design TEXT; -- JSON, of an rca campaign
