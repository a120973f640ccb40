-- When a run last found that a version still holds what its vendor answers; NULL: not since it was made.
ALTER TABLE versions ADD COLUMN confirmed_at INTEGER;

-- Lists of DataSets look for damaged segments of the current versions; there are almost never any.
CREATE INDEX segments_damaged ON segments (id) WHERE damage IS NOT NULL;
