-- Vendor accounts, DataSets, and everything a pull leaves behind. Rows of DataSets are not here: they are in Parquet files that
-- `segments` names.

CREATE TABLE accounts (
    id                  TEXT PRIMARY KEY,
    owner_id            TEXT NOT NULL REFERENCES users (id),
    connector           TEXT NOT NULL,
    name                TEXT NOT NULL,
    fields              TEXT NOT NULL,           -- JSON object: the fields that are not secret
    sealed              BLOB NOT NULL,           -- the secret fields, sealed for this table, column and row
    sealed_at           BIGINT NOT NULL,         -- "set on ..."
    api_url             TEXT,                    -- none: the vendor's own
    requests_per_minute BIGINT NOT NULL CHECK (requests_per_minute BETWEEN 1 AND 60000),
    time_zone           TEXT NOT NULL,
    shared              BIGINT NOT NULL DEFAULT 0,
    health              TEXT NOT NULL CHECK (health IN ('unknown', 'valid', 'failing')),
    health_message      TEXT NOT NULL,
    checked_at          BIGINT,
    auth_failures       BIGINT NOT NULL DEFAULT 0,
    created_at          BIGINT NOT NULL,
    updated_at          BIGINT NOT NULL
);
CREATE INDEX accounts_by_owner ON accounts (owner_id);

CREATE TABLE datasets (
    id              TEXT PRIMARY KEY,
    owner_id        TEXT NOT NULL REFERENCES users (id),
    account_id      TEXT REFERENCES accounts (id) ON DELETE SET NULL,   -- none once its account was deleted: it stops updating
    connector       TEXT NOT NULL,
    report          TEXT NOT NULL,
    name            TEXT NOT NULL,
    description     TEXT NOT NULL,
    menus           TEXT NOT NULL,               -- JSON object
    update_mode     TEXT NOT NULL,
    time_zone       TEXT NOT NULL,               -- IANA name
    schedule        TEXT,                        -- cron, five fields, in time_zone; none is manual
    next_run_at     BIGINT,
    shared          BIGINT NOT NULL DEFAULT 0,   -- everyone signed in may read
    current_version TEXT,
    next_number     BIGINT NOT NULL DEFAULT 1,   -- of the next version
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
CREATE INDEX datasets_by_owner ON datasets (owner_id);
CREATE INDEX datasets_by_account ON datasets (account_id);
CREATE INDEX datasets_due ON datasets (next_run_at) WHERE next_run_at IS NOT NULL;

-- One pull of one DataSet, and its record.
CREATE TABLE runs (
    id               TEXT PRIMARY KEY,
    dataset_id       TEXT NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
    cause            TEXT NOT NULL CHECK (cause IN ('manual', 'schedule', 'first', 'retry')),   -- shown as "trigger"
    started_by       TEXT REFERENCES users (id),
    state            TEXT NOT NULL CHECK (state IN ('queued', 'running', 'waiting', 'succeeded', 'failed', 'cancelled', 'parked')),
    source_key       TEXT NOT NULL,              -- runs with equal keys share one reading of the vendor
    queued_at        BIGINT NOT NULL,
    due_at           BIGINT NOT NULL,            -- not claimed before this
    started_at       BIGINT,
    finished_at      BIGINT,
    attempt          BIGINT NOT NULL DEFAULT 0,  -- counted before the work begins
    fence            BIGINT NOT NULL DEFAULT 0,
    lease_holder     TEXT,                       -- the incarnation of the server that works on it
    lease_until      BIGINT,
    cancel_requested BIGINT NOT NULL DEFAULT 0,
    progress         TEXT NOT NULL DEFAULT '{}', -- JSON: what is being read just now
    windows_total    BIGINT NOT NULL DEFAULT 0,
    pages            BIGINT NOT NULL DEFAULT 0,
    calls            BIGINT NOT NULL DEFAULT 0,
    records_read     BIGINT NOT NULL DEFAULT 0,  -- = kept + duplicates + left_out + rejected, in records of the vendor
    records_kept     BIGINT NOT NULL DEFAULT 0,
    duplicates       BIGINT NOT NULL DEFAULT 0,
    left_out         BIGINT NOT NULL DEFAULT 0,
    rejected         BIGINT NOT NULL DEFAULT 0,
    misfits          BIGINT NOT NULL DEFAULT 0,
    rows_written     BIGINT NOT NULL DEFAULT 0,
    bytes_written    BIGINT NOT NULL DEFAULT 0,
    waited_ms        BIGINT NOT NULL DEFAULT 0,
    vendor_total     BIGINT,                     -- what the vendor said there is; none where it says nothing
    verified         BIGINT,                     -- 1 when vendor_total was met in every window
    version_id       TEXT,
    error_code       TEXT,
    error_message    TEXT,                       -- what happened
    error_who        TEXT,                       -- who must act
    error_action     TEXT,                       -- what is next, and when
    CHECK ((state IN ('succeeded', 'failed', 'cancelled', 'parked')) = (finished_at IS NOT NULL))
);
CREATE INDEX runs_by_dataset ON runs (dataset_id, queued_at);
CREATE INDEX runs_to_claim ON runs (due_at) WHERE state IN ('queued', 'waiting', 'running');
-- At most one run of a DataSet is alive at a time.
CREATE UNIQUE INDEX one_run_alive ON runs (dataset_id) WHERE state IN ('queued', 'running', 'waiting');

-- The ledger of what was asked for and what came.
CREATE TABLE windows (
    run_id      TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    dataset_id  TEXT NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
    position    BIGINT NOT NULL,                 -- from 0, in the order of reading
    from_day    TEXT,                            -- none for a report without days
    to_day      TEXT,
    state       TEXT NOT NULL CHECK (state IN ('planned', 'done')),
    tally       TEXT NOT NULL DEFAULT '{}',      -- JSON: pages, calls, read, kept, duplicates, left_out, rejected, misfits, total
    finished_at BIGINT,
    PRIMARY KEY (run_id, position)
);
CREATE INDEX windows_by_dataset ON windows (dataset_id);

-- Files of rows. A row is here, staged, before the file's first byte is written; a file that no row names is swept.
CREATE TABLE segments (
    id         TEXT PRIMARY KEY,                 -- the file is segments/<id>.parquet
    dataset_id TEXT NOT NULL,                    -- no reference: the row outlives its DataSet until the file is gone
    run_id     TEXT,
    position   BIGINT NOT NULL DEFAULT 0,        -- among the segments that its run staged
    state      TEXT NOT NULL CHECK (state IN ('staged', 'kept', 'dropped')),
    rows       BIGINT NOT NULL DEFAULT 0,
    bytes      BIGINT NOT NULL DEFAULT 0,
    columns    TEXT NOT NULL DEFAULT '[]',       -- JSON list of {name, kind, declared}
    created_at BIGINT NOT NULL,
    dropped_at BIGINT
);
CREATE INDEX segments_by_run ON segments (run_id);
CREATE INDEX segments_by_state ON segments (state, dropped_at);

-- Complete, immutable states of a DataSet.
CREATE TABLE versions (
    id         TEXT PRIMARY KEY,
    dataset_id TEXT NOT NULL REFERENCES datasets (id) ON DELETE CASCADE,
    run_id     TEXT,
    number     BIGINT NOT NULL,
    rows       BIGINT NOT NULL,
    bytes      BIGINT NOT NULL,
    columns    TEXT NOT NULL,                    -- JSON list of {name, kind, declared}, in order
    created_at BIGINT NOT NULL,
    UNIQUE (dataset_id, number)
);

CREATE TABLE version_segments (
    version_id TEXT NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
    position   BIGINT NOT NULL,
    segment_id TEXT NOT NULL REFERENCES segments (id),
    PRIMARY KEY (version_id, position)
);
CREATE INDEX version_segments_by_segment ON version_segments (segment_id);
