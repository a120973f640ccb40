-- A DataSet is also off its schedule while its account is not shared with its owner. Why it is so is known to the program, and the set
-- grows: it is no longer told here, where it would have to be rebuilt each time.
ALTER TABLE datasets ADD COLUMN stopped_for TEXT;
UPDATE datasets SET stopped_for = stopped_why;
ALTER TABLE datasets DROP COLUMN stopped_why;
ALTER TABLE datasets RENAME COLUMN stopped_for TO stopped_why;

-- So is what a token allows: `metrics` reads the counters and nothing else.
ALTER TABLE tokens ADD COLUMN reach TEXT NOT NULL DEFAULT 'read';
UPDATE tokens SET reach = scope;
ALTER TABLE tokens DROP COLUMN scope;
ALTER TABLE tokens RENAME COLUMN reach TO scope;

-- Whoever is shut out loses tokens and export passwords for good, those who were shut out before this as well.
UPDATE tokens SET revoked_at = (SELECT u.disabled_at FROM users u WHERE u.id = tokens.user_id)
    WHERE revoked_at IS NULL AND user_id IN (SELECT id FROM users WHERE disabled_at IS NOT NULL);
UPDATE export_passwords SET revoked_at = (SELECT u.disabled_at FROM users u WHERE u.id = export_passwords.user_id)
    WHERE revoked_at IS NULL AND user_id IN (SELECT id FROM users WHERE disabled_at IS NOT NULL);
