-- An entry about people who are not signed in stands for as many attempts as came from their address within a second.
ALTER TABLE audit ADD COLUMN attempts BIGINT NOT NULL DEFAULT 1;
-- Those entries are the first to go when there are too many.
CREATE INDEX audit_of_strangers ON audit (at) WHERE actor IS NULL AND result <> 'done';
