-- A DataSet that fails is loud and keeps trying: how it is tried again, when its data is late, who is told, and what took it off its
-- schedule. Nothing of this is told in the log of runs; a run that retries is a run like any other.

ALTER TABLE datasets ADD COLUMN retry_minutes BIGINT NOT NULL DEFAULT 15;
ALTER TABLE datasets ADD COLUMN retry_most BIGINT NOT NULL DEFAULT 3;        -- 0: it is not tried again
ALTER TABLE datasets ADD COLUMN retry_at BIGINT;                             -- the retry that is to come, written with the end of the run that failed
ALTER TABLE datasets ADD COLUMN retry_number BIGINT NOT NULL DEFAULT 0;      -- which one, from 1

ALTER TABLE datasets ADD COLUMN expected_hours BIGINT;                       -- none: what its schedule lets expect
ALTER TABLE datasets ADD COLUMN last_success_at BIGINT;
ALTER TABLE datasets ADD COLUMN late_at BIGINT;                              -- from when on it is late unless a run succeeds; none: never
ALTER TABLE datasets ADD COLUMN late_key TEXT;                               -- what `late_at` was reckoned from
ALTER TABLE datasets ADD COLUMN late_since BIGINT;                           -- it is late

-- Off its schedule although it has one: `next_run_at` is none as well. A person who pauses it is not told of here.
ALTER TABLE datasets ADD COLUMN stopped_at BIGINT;
ALTER TABLE datasets ADD COLUMN stopped_why TEXT CHECK (stopped_why IN ('credentials', 'parked'));

ALTER TABLE datasets ADD COLUMN notify_emails TEXT;                          -- JSON list; none: its owner's
ALTER TABLE datasets ADD COLUMN notify_webhooks TEXT NOT NULL DEFAULT '[]';  -- JSON list of ids; one that is gone is passed over
ALTER TABLE datasets ADD COLUMN notify_on TEXT NOT NULL DEFAULT 'failure recovery late stopped sunset';
ALTER TABLE datasets ADD COLUMN notify_after BIGINT NOT NULL DEFAULT 1;      -- failed runs in a row
ALTER TABLE datasets ADD COLUMN failed_in_a_row BIGINT NOT NULL DEFAULT 0;
ALTER TABLE datasets ADD COLUMN told_of_trouble BIGINT NOT NULL DEFAULT 0;   -- so that the end of it is told as well

UPDATE datasets SET last_success_at = (SELECT MAX(r.finished_at) FROM runs r WHERE r.dataset_id = datasets.id AND r.state = 'succeeded');
CREATE INDEX datasets_to_retry ON datasets (retry_at) WHERE retry_at IS NOT NULL;

-- The last words that were told of the end of the vendor's API: the day, and how near it was.
ALTER TABLE accounts ADD COLUMN sunset_told TEXT;

-- Which retry a run is; 0 for all others.
ALTER TABLE runs ADD COLUMN retry_number BIGINT NOT NULL DEFAULT 0;

-- The server that takes mail. At most one row. The password is sealed for this table, column and row.
CREATE TABLE mail_server (
    id         TEXT PRIMARY KEY CHECK (id = 'mail'),
    host       TEXT NOT NULL,
    port       BIGINT NOT NULL,
    encryption TEXT NOT NULL CHECK (encryption IN ('tls', 'starttls', 'none')),
    username   TEXT NOT NULL,                    -- empty: nobody signs in
    sealed     BLOB,
    sender     TEXT NOT NULL,                    -- the address that mail is from
    updated_at BIGINT NOT NULL
);

-- Addresses that take notices as JSON. The address may be a secret of its own, so it is sealed with the secret that signs; `host` is
-- what may be shown.
CREATE TABLE webhooks (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    host       TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    created_at BIGINT NOT NULL
);

-- What goes out: all that one recipient is to be told at once.
CREATE TABLE messages (
    id          TEXT PRIMARY KEY,                -- also the Message-ID and the delivery's id: stable over all tries
    channel     TEXT NOT NULL CHECK (channel IN ('mail', 'webhook')),
    recipient   TEXT NOT NULL,                   -- an address, or a webhook's id
    subject     TEXT NOT NULL,
    body        TEXT NOT NULL,                   -- of mail the text, of a webhook the JSON
    notices     BIGINT NOT NULL,
    is_test     BIGINT NOT NULL DEFAULT 0,
    state       TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'failed')),
    attempts    BIGINT NOT NULL DEFAULT 0,       -- counted before each try
    next_try_at BIGINT NOT NULL,
    error       TEXT,                            -- of the last try
    created_at  BIGINT NOT NULL,
    ended_at    BIGINT
);
CREATE INDEX messages_to_send ON messages (next_try_at) WHERE state = 'waiting';
CREATE INDEX messages_by_recipient ON messages (channel, recipient, created_at);

-- The outbox: what one recipient is to be told, written in the transaction of what it tells of. It waits a moment for others, so that
-- one trouble of many DataSets is one message.
CREATE TABLE notices (
    id         TEXT PRIMARY KEY,
    channel    TEXT NOT NULL,
    recipient  TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('failure', 'recovery', 'late', 'stopped', 'sunset')),
    about      TEXT NOT NULL,                    -- JSON: the DataSet, what happened, who must act, what is next
    created_at BIGINT NOT NULL,
    message_id TEXT REFERENCES messages (id) ON DELETE CASCADE
);
CREATE INDEX notices_to_gather ON notices (channel, recipient, created_at) WHERE message_id IS NULL;
CREATE INDEX notices_by_message ON notices (message_id);
