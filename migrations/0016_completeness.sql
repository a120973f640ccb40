-- How far it is proven that a run brought every record that the vendor has: the weakest of its windows'. A window has its own in its
-- tally, see src/connectors/completeness.rs.

ALTER TABLE runs ADD COLUMN completeness TEXT CHECK (completeness IN ('verified', 'reread', 'counted', 'corrected', 'complete', 'short'));

-- Runs from before were read once. Their vendor's total proves only days that had ended at least 48 hours before they were read, which
-- is counted here from where a day ends last, twelve hours after it does in UTC. The long term is the number of days from 1970 to the end
-- of `to_day`, for a year that begins in March. A window without days has no total.

UPDATE runs SET completeness = CASE
        WHEN EXISTS (SELECT 1 FROM windows w WHERE w.run_id = runs.id AND w.state = 'short') THEN 'short'
        WHEN verified IS NULL THEN 'complete'
        WHEN verified = 0 OR corrected = 1 THEN 'corrected'
        WHEN EXISTS (
            SELECT 1 FROM (
                SELECT finished_at,
                       CAST(SUBSTR(to_day, 1, 4) AS BIGINT) - CASE WHEN SUBSTR(to_day, 6, 2) < '03' THEN 1 ELSE 0 END AS year,
                       CAST(SUBSTR(to_day, 6, 2) AS BIGINT) + CASE WHEN SUBSTR(to_day, 6, 2) < '03' THEN 9 ELSE -3 END AS month,
                       CAST(SUBSTR(to_day, 9, 2) AS BIGINT) AS day
                FROM windows WHERE windows.run_id = runs.id AND windows.state = 'done' AND windows.to_day IS NOT NULL
            ) d
            WHERE (365 * d.year + d.year / 4 - d.year / 100 + d.year / 400 + (153 * d.month + 2) / 5 + d.day - 719468) * 86400000 + 60 * 3600000 > d.finished_at
        ) THEN 'counted'
        ELSE 'verified'
    END
WHERE EXISTS (SELECT 1 FROM windows w WHERE w.run_id = runs.id AND w.state IN ('done', 'short'));

-- `completeness` says what these two said.

ALTER TABLE runs DROP COLUMN verified;
ALTER TABLE runs DROP COLUMN corrected;
