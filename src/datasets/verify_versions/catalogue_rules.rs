//! The rules that SQL alone checks: each statement finds the objects of the catalogue that violate
//! one.

use super::Finding;
use crate::db::Db;
use crate::error::Result;

/// SQL statements that find violations: each returns the id of the object and a message.
const STATEMENTS: [(&str, &str); 10] = [
    (
        "version_rows",
        "SELECT v.id, 'has ' || v.rows || ' rows, but its segments have ' || s.rows
         FROM versions v
         JOIN (
             SELECT
                 o.id AS id,
                 COALESCE(
                     (
                         SELECT SUM(g.rows)
                         FROM version_segments x
                         JOIN segments g ON g.id = x.segment_id
                         WHERE x.version_id = o.id
                     ),
                     0
                 ) AS rows
             FROM versions o
         ) s
             ON s.id = v.id
         WHERE v.rows <> s.rows",
    ),
    (
        "version_order",
        "SELECT x.version_id, 'has a gap in the order of its segments'
         FROM version_segments x
         GROUP BY x.version_id
         HAVING COUNT(*) <> MAX(x.position) + 1 OR MIN(x.position) <> 0",
    ),
    (
        "version_segment",
        "SELECT x.version_id, 'uses segment ' || s.id || ', which is ' || s.state
         FROM version_segments x
         JOIN segments s ON s.id = x.segment_id
         WHERE s.state <> 'kept'",
    ),
    (
        "segment_dataset",
        "SELECT x.version_id, 'uses segment ' || s.id || ' of another DataSet'
         FROM version_segments x
         JOIN segments s ON s.id = x.segment_id
         JOIN versions v ON v.id = x.version_id
         WHERE s.dataset_id <> v.dataset_id",
    ),
    (
        "segment_unnamed",
        "SELECT s.id, 'is stored, but no version uses it'
         FROM segments s
         WHERE s.state = 'kept'
             AND NOT EXISTS (SELECT 1 FROM version_segments x WHERE x.segment_id = s.id)",
    ),
    (
        "current_pointer",
        "SELECT d.id, 'its current version does not exist or belongs to another DataSet'
         FROM datasets d
         WHERE d.current_version IS NOT NULL
             AND NOT EXISTS (
                 SELECT 1
                 FROM versions v
                 WHERE v.id = d.current_version AND v.dataset_id = d.id
             )",
    ),
    (
        "held_pointer",
        "SELECT
             d.id,
             'its version that is waiting for approval does not exist, '
                 || 'belongs to another DataSet, or is the current one'
         FROM datasets d
         WHERE d.pending_version IS NOT NULL
             AND (
                 d.pending_version = d.current_version
                 OR NOT EXISTS (
                     SELECT 1
                     FROM versions v
                     WHERE v.id = d.pending_version AND v.dataset_id = d.id
                 )
             )",
    ),
    // Newer versions are ignored if they were not approved, or if they are older than the approval
    // of the current version.
    (
        "current_newest",
        "SELECT d.id, 'its current version is not the newest one'
         FROM datasets d
         LEFT JOIN versions c ON c.id = d.current_version
         LEFT JOIN runs a ON a.id = c.run_id AND a.outcome = 'accepted'
         WHERE EXISTS (
             SELECT 1
             FROM versions v
             LEFT JOIN runs r ON r.id = v.run_id
             WHERE v.dataset_id = d.id
                 AND v.number > COALESCE(c.number, 0)
                 AND COALESCE(r.outcome, '') NOT IN ('held', 'discarded', 'superseded')
                 AND v.created_at > COALESCE(a.decided_at, 0)
         )",
    ),
    (
        "next_number",
        "SELECT d.id, 'the number of its next version is already used'
         FROM datasets d
         WHERE d.next_version_number <= (
             SELECT MAX(v.number)
             FROM versions v
             WHERE v.dataset_id = d.id
         )",
    ),
    (
        "owner",
        "SELECT o.id, 'has no owner'
         FROM (SELECT id, owner_id FROM datasets UNION ALL SELECT id, owner_id FROM accounts) o
         WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.id = o.owner_id)",
    ),
];

/// The violations in the catalogue.
pub(super) async fn violations(db: &Db) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (check, statement) in STATEMENTS {
        let rows: Vec<(String, String)> = sqlx::query_as(statement).fetch_all(db.read()).await?;
        found.extend(
            rows.into_iter()
                .map(|(object, message)| Finding::new(check, object, message)),
        );
    }
    Ok(found)
}
