-- What a commit is compared with, and runs that change nothing.

-- Rows that a window's records became, compared with the segments when the run commits; NULL: read by a program that did not count them.
ALTER TABLE windows ADD COLUMN rows BIGINT;

-- The set of outcomes is known to the program and grows: `unchanged` is a run whose rows are those of the current version.
DROP INDEX runs_held;
ALTER TABLE runs ADD COLUMN came_to TEXT;
UPDATE runs SET came_to = outcome;
ALTER TABLE runs DROP COLUMN outcome;
ALTER TABLE runs RENAME COLUMN came_to TO outcome;
CREATE INDEX runs_held ON runs (dataset_id) WHERE outcome = 'held';
