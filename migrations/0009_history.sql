-- Going back, and pulling what is long past.

-- What starts a run is known to the program, and the set grows: `backfill` is a chunk of days, `revert` no pull at all but an older
-- state made current again. So the set is no longer told here, where it would have to be rebuilt with the table each time.
ALTER TABLE runs ADD COLUMN began_by TEXT NOT NULL DEFAULT 'manual';
UPDATE runs SET began_by = cause;
ALTER TABLE runs DROP COLUMN cause;
ALTER TABLE runs RENAME COLUMN began_by TO cause;   -- shown as "trigger"

ALTER TABLE runs ADD COLUMN builds_on TEXT;         -- the run whose rows its version also has; none where it has its own alone
ALTER TABLE runs ADD COLUMN back_to BIGINT;         -- of a revert: the number of the version that came back
ALTER TABLE runs ADD COLUMN backfill_id TEXT;       -- of a chunk
ALTER TABLE runs ADD COLUMN from_day TEXT;          -- of a chunk: its days, both included; none asks for what the menus say
ALTER TABLE runs ADD COLUMN to_day TEXT;
ALTER TABLE runs ADD COLUMN held_for TEXT;          -- why we ourselves let it wait, in words

-- Until now every version replaced the one before.
UPDATE runs SET rows_after = rows_written WHERE state = 'succeeded';
UPDATE runs SET rows_before = (SELECT p.rows_after FROM runs p WHERE p.dataset_id = runs.dataset_id AND p.queued_at < runs.queued_at
    AND p.state = 'succeeded' ORDER BY p.queued_at DESC, p.id DESC LIMIT 1) WHERE state = 'succeeded';

-- A chunk of a backfill stands beside the run that a person or the schedule wants, which goes first; still only one of them is at work
-- at a time, which `claim` sees to.
DROP INDEX one_run_alive;
CREATE UNIQUE INDEX one_run_alive ON runs (dataset_id) WHERE state IN ('queued', 'running', 'waiting') AND cause <> 'backfill';
CREATE UNIQUE INDEX one_chunk_alive ON runs (dataset_id) WHERE state IN ('queued', 'running', 'waiting') AND cause = 'backfill';
CREATE INDEX runs_by_backfill ON runs (backfill_id, queued_at) WHERE backfill_id IS NOT NULL;

-- A wish for days that are past, pulled in chunks from the newest to the oldest. Each chunk is a run of its own.
CREATE TABLE backfills (
    id         TEXT PRIMARY KEY,
    dataset_id TEXT NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
    from_day   TEXT NOT NULL,
    to_day     TEXT NOT NULL,                       -- both included
    chunk_days BIGINT NOT NULL,
    left_to    TEXT,                                -- the newest day that is still to come; none once all came
    state      TEXT NOT NULL CHECK (state IN ('running', 'stopped', 'cancelled', 'finished')),
    why        TEXT,                                -- stopped: what happened
    asked_by   TEXT REFERENCES users (id),
    created_at BIGINT NOT NULL,
    resumed_at BIGINT NOT NULL,                     -- runs from before this do not stop it again
    ended_at   BIGINT
);
CREATE INDEX backfills_by_dataset ON backfills (dataset_id, created_at);
CREATE UNIQUE INDEX one_backfill_running ON backfills (dataset_id) WHERE state = 'running';

-- How much history a DataSet keeps; none is as the server's settings say.
ALTER TABLE datasets ADD COLUMN keep_versions BIGINT;
ALTER TABLE datasets ADD COLUMN keep_days BIGINT;
