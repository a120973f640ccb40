-- LiveLeader's export API, served at /a/Srv. Passwords for it are made by the program and belong to a person; like tokens they are
-- known by the hash of their text. One that came over plain http from another machine may have been read on the way: it is marked.

CREATE TABLE export_passwords (
    id           TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES users (id),
    name         TEXT NOT NULL,
    hash         TEXT NOT NULL UNIQUE,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    revoked_at   BIGINT,
    last_used_at BIGINT,
    exposed_at   BIGINT
);
CREATE INDEX export_passwords_by_user ON export_passwords (user_id);

-- The DataSets that an admin has published there. None is, until one does.

ALTER TABLE datasets ADD COLUMN published BIGINT NOT NULL DEFAULT 0;
CREATE INDEX datasets_published ON datasets (id) WHERE published = 1;
