-- A schedule is more than a cron line. `plan` is the schedule as it was chosen, a JSON object; `schedule` beside it holds the cron lines
-- that stand for it, one below the other, and alone where one line says all. No line and a plan: by hand, with a reminder.

ALTER TABLE datasets ADD COLUMN plan TEXT;

-- A person has stopped the schedule for the time being, and which one and when. `next_run_at` is empty meanwhile.

ALTER TABLE datasets ADD COLUMN paused_at BIGINT;
ALTER TABLE datasets ADD COLUMN paused_by TEXT REFERENCES users (id);

-- Why a stored schedule cannot be followed, in a sentence; the last of its moments that was dealt with; and how many moments passed
-- without a run that no run has told yet. A run that makes up for several says for how many more than one.

ALTER TABLE datasets ADD COLUMN schedule_error TEXT;
ALTER TABLE datasets ADD COLUMN last_due_at BIGINT;
ALTER TABLE datasets ADD COLUMN missed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN missed BIGINT NOT NULL DEFAULT 0;

-- Whose turn it is rests on the account: one with many runs does not keep the others waiting.

ALTER TABLE runs ADD COLUMN account_id TEXT;
UPDATE runs SET account_id = (SELECT d.account_id FROM datasets d WHERE d.id = runs.dataset_id) WHERE finished_at IS NULL;

-- What the scheduler looks for besides what is due: a schedule without a next moment, and moments that a wrong clock put far ahead.

CREATE INDEX datasets_adrift ON datasets (id) WHERE schedule IS NOT NULL AND next_run_at IS NULL;
CREATE INDEX datasets_ahead ON datasets (last_due_at) WHERE last_due_at IS NOT NULL;
