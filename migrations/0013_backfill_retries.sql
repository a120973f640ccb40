-- Chunks of a backfill are tried again as runs of the schedule are.
ALTER TABLE backfills ADD COLUMN tries BIGINT NOT NULL DEFAULT 0;   -- how often the chunk that is next was tried again
ALTER TABLE backfills ADD COLUMN retry_at BIGINT;                   -- when it is tried again, after it failed

-- Which runs have the rows of another one, for the calendar.
CREATE INDEX runs_by_base ON runs (builds_on) WHERE builds_on IS NOT NULL;
