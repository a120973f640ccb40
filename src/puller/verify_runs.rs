//! Verifies that runs are consistent with their versions, backfills and ledger. Read-only.

use super::ledger;
use crate::datasets::verify_versions::Finding;
use crate::db::Db;
use crate::error::Result;
use crate::ids::RunId;

/// Statements that find inconsistencies. Each returns the id of the object and the end of a
/// sentence about it.
const STATEMENTS: [(&str, &str); 13] = [
    (
        "one_commit",
        "SELECT run_id, 'created ' || COUNT(*) || ' versions'
         FROM versions
         WHERE run_id IS NOT NULL
         GROUP BY run_id
         HAVING COUNT(*) > 1",
    ),
    (
        "commit_run",
        "SELECT v.id, 'was created by a run that is missing or has no version'
         FROM versions v
         LEFT JOIN runs r ON r.id = v.run_id
         WHERE v.run_id IS NOT NULL
             AND (
                 r.id IS NULL
                 OR r.dataset_id <> v.dataset_id
                 OR r.version_id IS NULL
                 OR r.version_id <> v.id
             )",
    ),
    (
        "run_version",
        "SELECT
             r.id,
             'is ' || r.state || COALESCE(', ' || r.outcome, '') || CASE
                 WHEN r.version_id IS NULL THEN ', without a version'
                 ELSE ', with a version'
             END
         FROM runs r
         WHERE CASE
             WHEN r.outcome IN (
                 'held', 'discarded', 'superseded'
             ) THEN r.state <> 'failed' OR r.version_id IS NULL
             WHEN r.outcome = 'kept' THEN r.state <> 'succeeded' OR r.version_id IS NOT NULL
             WHEN r.outcome IN (
                 'accepted', 'unchanged'
             ) THEN r.state <> 'succeeded' OR r.version_id IS NULL
             ELSE (r.state = 'succeeded') <> (r.version_id IS NOT NULL)
         END",
    ),
    (
        "held_run",
        "SELECT r.id, 'is waiting for approval, but its DataSet does not refer to its version'
         FROM runs r
         JOIN datasets d ON d.id = r.dataset_id
         WHERE r.outcome = 'held'
             AND (
                 d.pending_version IS NULL
                 OR r.version_id IS NULL
                 OR d.pending_version <> r.version_id
             )
         UNION ALL
         SELECT
             d.id,
             'the version waiting for approval belongs to a run that is not waiting for approval'
         FROM datasets d
         JOIN versions v ON v.id = d.pending_version
         WHERE NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = v.run_id AND r.outcome = 'held')",
    ),
    (
        "builds_on",
        "SELECT r.id, 'builds on a run that is missing or belongs to another DataSet'
         FROM runs r
         WHERE r.builds_on IS NOT NULL
             AND NOT EXISTS (
                 SELECT 1
                 FROM runs b
                 WHERE b.id = r.builds_on AND b.dataset_id = r.dataset_id
             )",
    ),
    (
        "chunk",
        "SELECT r.id, 'belongs to a backfill that is missing or belongs to another DataSet'
         FROM runs r
         WHERE r.backfill_id IS NOT NULL
             AND NOT EXISTS (
                 SELECT 1
                 FROM backfills b
                 WHERE b.id = r.backfill_id AND b.dataset_id = r.dataset_id
             )
         UNION ALL
         SELECT r.id, 'is a backfill run without a backfill or without days'
         FROM runs r
         WHERE r.trigger = 'backfill'
             AND (r.backfill_id IS NULL OR r.from_day IS NULL OR r.to_day IS NULL)",
    ),
    (
        "accepted_by",
        "SELECT r.id, 'was ' || r.outcome || ', but the person or the time is missing'
         FROM runs r
         WHERE r.outcome IN ('accepted', 'discarded')
             AND (r.decided_by IS NULL OR r.decided_at IS NULL)",
    ),
    (
        "run_rows",
        "SELECT r.id, 'recorded ' || r.rows_after || ' rows, but its version has ' || v.rows
         FROM runs r
         JOIN versions v ON v.id = r.version_id
         WHERE r.rows_after <> v.rows",
    ),
    (
        "at_work",
        "SELECT dataset_id, 'has ' || COUNT(*) || ' running runs'
         FROM runs
         WHERE state = 'running'
         GROUP BY dataset_id
         HAVING COUNT(*) > 1",
    ),
    (
        "lease",
        "SELECT id, 'is running without a lease'
         FROM runs
         WHERE state = 'running' AND (lease_holder IS NULL OR lease_until IS NULL)",
    ),
    (
        "run_sums",
        "SELECT
             id,
             'read ' || records_read || ' rows, which is not ' || records_kept || ' saved + ' ||
                 duplicates || ' duplicates + ' || left_out || ' excluded + ' || rejected ||
                 ' rejected'
         FROM runs
         WHERE records_read <> records_kept + duplicates + left_out + rejected",
    ),
    (
        "windows_whole",
        "SELECT r.id, 'succeeded with incomplete date ranges'
         FROM runs r
         WHERE r.state = 'succeeded'
             AND r.trigger <> 'revert'
             AND (
                 r.windows_total <> (SELECT COUNT(*) FROM windows w WHERE w.run_id = r.id)
                 OR EXISTS (SELECT 1 FROM windows w WHERE w.run_id = r.id AND w.state <> 'done')
             )",
    ),
    (
        "backfill",
        "SELECT b.id, 'finished with days left, or has no days left but is not finished'
         FROM backfills b
         WHERE (b.state = 'finished') <> (b.remaining_to IS NULL)
         UNION ALL
         SELECT b.id, 'its remaining days are outside its date range'
         FROM backfills b
         WHERE b.remaining_to IS NOT NULL
             AND (b.remaining_to < b.from_day OR b.remaining_to > b.to_day)",
    ),
];

/// The number of runs whose ledgers are checked in one batch.
const BATCH_SIZE: i64 = 500;

/// The counts of a run.
#[derive(sqlx::FromRow)]
struct RunSumsRow {
    id: RunId,
    records_read: i64,
    records_kept: i64,
    duplicates: i64,
    left_out: i64,
    rejected: i64,
}

impl RunSumsRow {
    fn sums(&self) -> [i64; 5] {
        [
            self.records_read,
            self.records_kept,
            self.duplicates,
            self.left_out,
            self.rejected,
        ]
    }
}

/// Returns all inconsistencies of runs and windows.
pub async fn verify(db: &Db) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (check, statement) in STATEMENTS {
        let rows: Vec<(String, String)> = sqlx::query_as(statement).fetch_all(db.read()).await?;
        found.extend(
            rows.into_iter()
                .map(|(object, message)| Finding::new(check, object, message)),
        );
    }
    let mut after = String::new();
    loop {
        let runs: Vec<RunSumsRow> = sqlx::query_as(
            "SELECT id, records_read, records_kept, duplicates, left_out, rejected
             FROM runs
             WHERE id > $1 AND state = 'succeeded' AND trigger <> 'revert'
             ORDER BY id
             LIMIT $2",
        )
        .bind(&after)
        .bind(BATCH_SIZE)
        .fetch_all(db.read())
        .await?;
        let Some(last) = runs.last() else {
            return Ok(found);
        };
        last.id.as_str().clone_into(&mut after);
        for run in runs {
            found.extend(check_ledger(db, &run.id, run.sums()).await?);
        }
    }
}

/// Checks that the counts of each window of a succeeded run add up, and that all windows together
/// give the counts of the run.
async fn check_ledger(db: &Db, run: &RunId, stored_sums: [i64; 5]) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let mut sums = [0_u64; 5];
    let lines = ledger::of_run(db, run).await?;
    for line in &lines {
        let counts = &line.counts;
        for (sum, part) in sums.iter_mut().zip([
            counts.read,
            counts.kept,
            counts.duplicates,
            counts.left_out,
            counts.rejected,
        ]) {
            *sum += part;
        }
        if counts.read != counts.kept + counts.duplicates + counts.left_out + counts.rejected {
            found.push(Finding::new(
                "window_sums",
                run,
                format!(
                    "the counts of its date range {} do not add up",
                    line.position
                ),
            ));
        }
    }
    if !lines.is_empty() && sums.map(|sum| i64::try_from(sum).unwrap_or(i64::MAX)) != stored_sums {
        found.push(Finding::new(
            "run_windows",
            run,
            "the counts of its date ranges do not add up to the counts of the run",
        ));
    }
    Ok(found)
}
