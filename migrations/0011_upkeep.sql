-- Each kind of trouble that was told is noted by itself, so that one does not keep another from being told. `told_of_trouble` is of runs
-- that fail; the end of any of them is told once.

ALTER TABLE datasets ADD COLUMN told_of_late BIGINT NOT NULL DEFAULT 0;
ALTER TABLE datasets ADD COLUMN told_of_stop BIGINT NOT NULL DEFAULT 0;

-- When its schedule was last changed, resumed or brought back: what came before that is nothing to be late by.
ALTER TABLE datasets ADD COLUMN expected_from BIGINT;

-- When somebody was last reminded to run it by hand.
ALTER TABLE datasets ADD COLUMN reminded_at BIGINT;

-- The name of the account whose deletion took it off its schedule, until that is told.
ALTER TABLE datasets ADD COLUMN left_account TEXT;
CREATE INDEX datasets_left ON datasets (id) WHERE left_account IS NOT NULL;
