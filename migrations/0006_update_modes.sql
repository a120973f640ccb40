-- How a run's rows meet the rows that are there, and what guards those. `options` holds the choices beside the update mode: key,
-- look-back, what an empty answer means, how many rows may go at once, what a changed column does.

ALTER TABLE datasets ADD COLUMN options TEXT NOT NULL DEFAULT '{}';   -- JSON object, see src/datasets/options.rs

-- A version that brought too few rows to be believed is kept, and waits here for a person. The next version takes its place.

ALTER TABLE datasets ADD COLUMN held_version TEXT;

-- What a version was made from: report, what was asked, the last day, and the columns that its run brought. None before this.

ALTER TABLE versions ADD COLUMN origin TEXT;                         -- JSON object, see src/datasets/origin.rs

-- Records of a window that became no row, by their ids: rows of them from before are dropped by a merge. Emptied by the commit.

ALTER TABLE windows ADD COLUMN childless TEXT;                       -- JSON list

-- What a run did to the rows before it. `outcome` is none for a run that made the current version or none at all.

ALTER TABLE runs ADD COLUMN outcome TEXT CHECK (outcome IN ('kept', 'held', 'accepted', 'discarded', 'superseded'));
ALTER TABLE runs ADD COLUMN accepted_by TEXT REFERENCES users (id);
ALTER TABLE runs ADD COLUMN accepted_at BIGINT;
ALTER TABLE runs ADD COLUMN schema_change TEXT;                      -- JSON object: added, removed, retyped, verdict
ALTER TABLE runs ADD COLUMN rows_before BIGINT;                      -- of the version before; none where no version was made
ALTER TABLE runs ADD COLUMN rows_after BIGINT;
ALTER TABLE runs ADD COLUMN rows_dropped BIGINT NOT NULL DEFAULT 0;  -- rows from before that a merge left out
CREATE INDEX runs_held ON runs (dataset_id) WHERE outcome = 'held';
