-- What the clock of this machine showed when the scheduler last looked, noted now and then: a clock that was set back while nothing ran
-- is noticed at the next start. At most one row.

CREATE TABLE clock (
    id      TEXT PRIMARY KEY CHECK (id = 'seen'),
    seen_at BIGINT NOT NULL
);
