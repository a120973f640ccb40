-- Which keys sealed what is stored here, by fingerprint: another key with the same id, or a key file from another data directory,
-- is noticed at the start and not at the first pull.

CREATE TABLE vault_keys (
    id          TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);
