-- Requests of the last minute when they were noted last, as JSON: pairs of the moment at which a second began and their number. So a
-- restart does not begin the account's minute anew.
ALTER TABLE accounts ADD COLUMN asked TEXT;

-- Ampersands, entities and character references of an export document that are not XML and were read all the same.
ALTER TABLE runs ADD COLUMN repaired BIGINT NOT NULL DEFAULT 0;
