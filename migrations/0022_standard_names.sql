-- Columns and one table get the names that the code, the pages and the API use. Nothing else changes: no type, no value, no constraint.
-- SQLite and PostgreSQL carry out RENAME COLUMN and RENAME TO alike. Both rewrite indexes, partial indexes (also their WHERE), CHECK
-- constraints and foreign keys that mention a renamed column or table. One statement renames one column.

-- People and accounts.
ALTER TABLE invites RENAME COLUMN made_by TO created_by;
ALTER TABLE accounts RENAME COLUMN asked TO recent_requests;          -- JSON, for the rate limit
ALTER TABLE accounts RENAME COLUMN sunset_told TO sunset_notified;    -- "DAY STAGE" of the last notification

-- DataSets: schedule, retries, lateness, notifications, retention.
ALTER TABLE datasets RENAME COLUMN plan TO schedule_plan;             -- JSON; `schedule` holds the cron lines
ALTER TABLE datasets RENAME COLUMN next_number TO next_version_number;
ALTER TABLE datasets RENAME COLUMN next_batch TO next_batch_number;
ALTER TABLE datasets RENAME COLUMN held_version TO pending_version;   -- waits for approval
ALTER TABLE datasets RENAME COLUMN retry_most TO max_retries;
ALTER TABLE datasets RENAME COLUMN expected_from TO expected_since;
ALTER TABLE datasets RENAME COLUMN late_key TO lateness_key;
ALTER TABLE datasets RENAME COLUMN stopped_why TO stop_reason;
ALTER TABLE datasets RENAME COLUMN left_account TO deleted_account_name;
ALTER TABLE datasets RENAME COLUMN told_of_trouble TO notified_failure;
ALTER TABLE datasets RENAME COLUMN told_of_late TO notified_late;
ALTER TABLE datasets RENAME COLUMN told_of_stop TO notified_stop;
ALTER TABLE datasets RENAME COLUMN keep_versions TO retention_versions;
ALTER TABLE datasets RENAME COLUMN keep_days TO retention_days;

-- Runs and their ledger.
ALTER TABLE runs RENAME COLUMN cause TO trigger;
ALTER TABLE runs RENAME COLUMN reading TO shared_read_id;
ALTER TABLE runs RENAME COLUMN gather_until TO batch_wait_until;
ALTER TABLE runs RENAME COLUMN held_for TO deferred_reason;
ALTER TABLE runs RENAME COLUMN back_to TO reverted_to;                -- number of the version that a revert restored
ALTER TABLE runs RENAME COLUMN accepted_by TO decided_by;             -- who accepted or discarded the pending version
ALTER TABLE runs RENAME COLUMN accepted_at TO decided_at;
ALTER TABLE runs RENAME COLUMN batch TO batch_number;
ALTER TABLE windows RENAME COLUMN kept TO checkpointed;
ALTER TABLE windows RENAME COLUMN childless TO empty_parents;
ALTER TABLE windows RENAME COLUMN tally TO counts;
ALTER TABLE versions RENAME COLUMN origin TO provenance;

-- Backfills.
ALTER TABLE backfills RENAME COLUMN left_to TO remaining_to;
ALTER TABLE backfills RENAME COLUMN why TO stop_reason;
ALTER TABLE backfills RENAME COLUMN asked_by TO requested_by;
ALTER TABLE backfills RENAME COLUMN tries TO retries;

-- Notifications.
ALTER TABLE messages RENAME COLUMN notices TO notification_count;
ALTER TABLE notices RENAME TO notifications;

-- Index names that carry old words. An index has no portable RENAME inside SQLite, so each is dropped and made again.
DROP INDEX runs_by_reading;
CREATE INDEX runs_by_shared_read ON runs (shared_read_id);
DROP INDEX runs_held;
CREATE INDEX runs_pending_approval ON runs (dataset_id) WHERE outcome = 'held';
DROP INDEX datasets_adrift;
CREATE INDEX datasets_unscheduled ON datasets (id) WHERE schedule IS NOT NULL AND next_run_at IS NULL;
DROP INDEX datasets_left;
CREATE INDEX datasets_account_deleted ON datasets (id) WHERE deleted_account_name IS NOT NULL;
DROP INDEX notices_to_gather;
CREATE INDEX notifications_to_send ON notifications (channel, recipient, created_at) WHERE message_id IS NULL;
DROP INDEX notices_by_message;
CREATE INDEX notifications_by_message ON notifications (message_id);
