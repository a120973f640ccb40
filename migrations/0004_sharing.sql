-- What a vendor has told of an account outlives a restart: until when nobody asks, where the account lives, when the API ends.

ALTER TABLE accounts ADD COLUMN paused_until BIGINT;
ALTER TABLE accounts ADD COLUMN region TEXT;
ALTER TABLE accounts ADD COLUMN api_ends_on TEXT;   -- a day, YYYY-MM-DD

-- Runs that are pulled together share one reading of the vendor: it has the id of the run that was claimed first. Until
-- `gather_until` that run waits for others that want the same.

ALTER TABLE runs ADD COLUMN reading TEXT;
ALTER TABLE runs ADD COLUMN gather_until BIGINT;
CREATE INDEX runs_by_reading ON runs (reading);

-- The ledger learns two things: `kept` says that the window's rows are whole files on the disk, so that an interrupted run goes on
-- behind it; `short` is the window that ended its run because the vendor told of more than it gave.

CREATE TABLE windows_new (
    run_id      TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    dataset_id  TEXT NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
    position    BIGINT NOT NULL,                 -- from 0, in the order of reading
    from_day    TEXT,                            -- none for a report without days
    to_day      TEXT,
    state       TEXT NOT NULL CHECK (state IN ('planned', 'done', 'short')),
    kept        BIGINT NOT NULL DEFAULT 0,
    tally       TEXT NOT NULL DEFAULT '{}',      -- JSON: pages, calls, read, kept, duplicates, left_out, rejected, misfits, total
    finished_at BIGINT,
    PRIMARY KEY (run_id, position)
);
INSERT INTO windows_new (run_id, dataset_id, position, from_day, to_day, state, tally, finished_at)
    SELECT run_id, dataset_id, position, from_day, to_day, state, tally, finished_at FROM windows;
DROP TABLE windows;
ALTER TABLE windows_new RENAME TO windows;
CREATE INDEX windows_by_dataset ON windows (dataset_id);

-- What a run's windows were planned for: another key means that the DataSet was changed since. Whether pages were read again, in any
-- window, is counted on the run.

ALTER TABLE runs ADD COLUMN plan_key TEXT;
ALTER TABLE runs ADD COLUMN corrected BIGINT NOT NULL DEFAULT 0;
