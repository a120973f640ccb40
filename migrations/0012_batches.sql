-- What `_batch_id` counts: runs of a DataSet that keeps rows of several runs. A run has its number from its first attempt on, whatever
-- other versions are made meanwhile.
ALTER TABLE datasets ADD COLUMN next_batch BIGINT NOT NULL DEFAULT 1;
ALTER TABLE runs ADD COLUMN batch BIGINT;
