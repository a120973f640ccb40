-- Checksums and digests of segments, what the integrity check found, and the ids of columns in the files.

-- CRC-32C of each 256 KiB block and of the file, see segments/checksum.rs; NULL: written before there were checksums, and not checked yet.
ALTER TABLE segments ADD COLUMN checksums TEXT;
-- Digest of the rows, see segments/digest.rs; NULL where it is not known.
ALTER TABLE segments ADD COLUMN digest TEXT;
-- When the whole file was last compared with its checksums; NULL: never since it was written.
ALTER TABLE segments ADD COLUMN checked_at BIGINT;
-- What is wrong with the file; NULL where nothing is known to be wrong.
ALTER TABLE segments ADD COLUMN damage TEXT;

-- The field id that a column has in every Parquet file of its DataSet. An id is never given to another column.
CREATE TABLE dataset_columns (
    dataset_id TEXT NOT NULL,                    -- no reference: segments may outlive their DataSet
    name       TEXT NOT NULL,
    field_id   BIGINT NOT NULL,                  -- from 1
    PRIMARY KEY (dataset_id, name),
    UNIQUE (dataset_id, field_id)
);
