-- People, how they get in, and what they did. Times are UTC milliseconds; ids are text made by the program; JSON is text.

CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    email         TEXT NOT NULL UNIQUE,          -- lower case
    name          TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('admin', 'editor', 'viewer')),
    password_hash TEXT,                          -- argon2id, PHC string; none until the person has chosen one
    disabled_at   BIGINT,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);

-- One-time links. The set-up link makes the first admin and is the only one without a maker. Only the hash of the code is kept.
CREATE TABLE invites (
    id         TEXT PRIMARY KEY,
    code_hash  TEXT NOT NULL UNIQUE,
    email      TEXT,                             -- none for the set-up link: the first admin types it
    name       TEXT,
    role       TEXT NOT NULL CHECK (role IN ('admin', 'editor', 'viewer')),
    made_by    TEXT REFERENCES users (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at    BIGINT
);

-- Sessions, by the hash of the cookie's value. A row without a user carries nothing but a form's flash message.
CREATE TABLE sessions (
    id_hash    TEXT PRIMARY KEY,
    user_id    TEXT REFERENCES users (id),
    data       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- Browsers that signed in before: they have a budget of failed sign-ins of their own, so a stranger cannot lock an owner out.
CREATE TABLE devices (
    hash         TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES users (id),
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL
);

-- API tokens, by the hash of their text.
CREATE TABLE tokens (
    id           TEXT PRIMARY KEY,
    user_id      TEXT NOT NULL REFERENCES users (id),
    name         TEXT NOT NULL,
    scope        TEXT NOT NULL CHECK (scope IN ('read', 'run', 'manage')),
    hash         TEXT NOT NULL UNIQUE,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    revoked_at   BIGINT,
    last_used_at BIGINT
);
CREATE INDEX tokens_by_user ON tokens (user_id);

-- Who did what to what, without secrets.
CREATE TABLE audit (
    id      TEXT PRIMARY KEY,
    at      BIGINT NOT NULL,
    actor   TEXT,                                -- a user's id; none for strangers and for the program itself
    address TEXT,
    action  TEXT NOT NULL,
    object  TEXT,
    result  TEXT NOT NULL
);
CREATE INDEX audit_by_time ON audit (at);
