//! Verifies stored data: versions against segments, and segments against files, in both directions.
//! Read-only; works with a running server.

use std::collections::HashSet;

use arrow::datatypes::SchemaRef;
use serde::Serialize;
use sqlx::Row;

use super::columns::{self, ColumnInfo};
use super::row::{self, select_dataset};
use super::segments::digest::Digest;
use super::segments::{OpenSegment, SegmentMeta, Segments, segment_columns};
use super::versions::trash;
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::SegmentId;

/// A violated rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the rule, for programs.
    pub check: &'static str,
    /// The id of the object.
    pub object: String,
    /// A sentence for people.
    pub message: String,
}

impl Finding {
    pub fn new(
        check: &'static str,
        object: impl std::fmt::Display,
        message: impl Into<String>,
    ) -> Self {
        Self {
            check,
            object: object.to_string(),
            message: message.into(),
        }
    }
}

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
             'its version that is waiting for approval does not exist, belongs to another DataSet, or is the current one'
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

/// Returns all violated rules of versions, segments and files. `deep`: also reads every value of
/// every file.
pub async fn verify(db: &Db, segments: &Segments, deep: bool) -> Result<Vec<Finding>> {
    let mut found: Vec<Finding> = db
        .find_damage()
        .await?
        .into_iter()
        .map(|line| Finding::new("catalogue", "chatlake.db", line))
        .collect();
    for (check, statement) in STATEMENTS {
        let rows: Vec<(String, String)> = sqlx::query_as(statement).fetch_all(db.read()).await?;
        found.extend(
            rows.into_iter()
                .map(|(object, message)| Finding::new(check, object, message)),
        );
    }
    found.extend(unreadable_records(db).await?);
    // A catalogue row is created before its file, so the files are listed first.
    let listed = on_disk(segments).await?;
    found.extend(columns_of_versions(db).await?);
    let kept = sqlx::query(concat!(
        "SELECT ",
        segment_columns!(),
        ", s.columns FROM segments s WHERE s.state = 'kept' OR (s.state = 'staged' AND s.columns <> '[]'
            AND EXISTS (SELECT 1 FROM windows w WHERE w.run_id = s.run_id AND w.checkpointed = 1)) ORDER BY s.id"
    ))
    .fetch_all(db.read())
    .await?;
    for row in kept {
        let (id, columns): (SegmentId, String) = (row.try_get("id")?, row.try_get("columns")?);
        let meta = match SegmentMeta::read(&row) {
            Ok(meta) => meta,
            Err(error) => {
                found.push(Finding::new(
                    "segment_record",
                    id,
                    error.log_cause().0.clone().unwrap_or_default(),
                ));
                continue;
            }
        };
        let segments = segments.clone();
        let wrong = tokio::task::spawn_blocking(move || file(&segments, &meta, &columns, deep))
            .await
            .map_err(Error::from)?;
        let (Some((check, message)), still) = (wrong, is_named(db, &id).await?) else {
            continue;
        };
        // The segment may have been deleted by the sweep in the meantime.
        if still {
            let versions_of_segment = versions_of_segment(db, &id).await?;
            found.push(Finding::new(
                check,
                id,
                format!("{message}{versions_of_segment}"),
            ));
        }
    }
    found.extend(orphans(db, segments, listed).await?);
    Ok(found)
}

/// The number of segment files without checksums.
pub async fn without_checksums(db: &Db) -> Result<i64> {
    Ok(sqlx::query_scalar(
        "SELECT COUNT(*) FROM segments WHERE state = 'kept' AND checksums IS NULL",
    )
    .fetch_one(db.read())
    .await?)
}

/// The versions that use a segment, in words: " (rows of “Agents”, ds_1, version 5)".
async fn versions_of_segment(db: &Db, id: &SegmentId) -> Result<String> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT d.name, d.id, v.number
         FROM version_segments x
         JOIN versions v ON v.id = x.version_id
         JOIN datasets d ON d.id = v.dataset_id
         WHERE x.segment_id = $1
         ORDER BY v.number",
    )
    .bind(id)
    .fetch_all(db.read())
    .await?;
    let Some((name, dataset, _)) = rows.first() else {
        return Ok(String::new());
    };
    let numbers: Vec<String> = rows.iter().map(|(.., number)| number.to_string()).collect();
    let versions = if numbers.len() == 1 {
        "version"
    } else {
        "versions"
    };
    Ok(format!(
        " (rows of “{name}”, {dataset}, {versions} {})",
        numbers.join(", ")
    ))
}

/// Records of DataSets that cannot be read.
async fn unreadable_records(db: &Db) -> Result<Vec<Finding>> {
    let rows = sqlx::query(select_dataset!("ORDER BY d.id"))
        .fetch_all(db.read())
        .await?;
    let wrong = |(id, error): (String, Error)| {
        Finding::new(
            "record",
            id,
            format!(
                "its record cannot be read: {}",
                error.log_cause().0.as_deref().unwrap_or_default()
            ),
        )
    };
    Ok(rows
        .iter()
        .filter_map(|row| row::decode(row).err())
        .map(wrong)
        .collect())
}

async fn on_disk(segments: &Segments) -> Result<Vec<SegmentId>> {
    let segments = segments.clone();
    tokio::task::spawn_blocking(move || segments.files_before(i64::MAX))
        .await
        .map_err(Error::from)?
}

/// Files that are not in the catalogue.
async fn orphans(db: &Db, segments: &Segments, listed: Vec<SegmentId>) -> Result<Vec<Finding>> {
    let rows: Vec<(SegmentId,)> = sqlx::query_as("SELECT id FROM segments")
        .fetch_all(db.read())
        .await?;
    let named: HashSet<SegmentId> = rows.into_iter().map(|(id,)| id).collect();
    let nameless: Vec<SegmentId> = listed
        .into_iter()
        .filter(|id| !named.contains(id))
        .collect();
    if nameless.is_empty() {
        return Ok(Vec::new());
    }
    let there: HashSet<SegmentId> = on_disk(segments).await?.into_iter().collect();
    Ok(nameless
        .into_iter()
        .filter(|id| there.contains(id))
        .map(|id| Finding::new("orphan", id, "is a file that is not in the catalogue"))
        .collect())
}

async fn is_named(db: &Db, id: &SegmentId) -> Result<bool> {
    Ok(
        sqlx::query("SELECT 1 FROM segments WHERE id = $1 AND state <> 'dropped'")
            .bind(id)
            .fetch_optional(db.read())
            .await?
            .is_some(),
    )
}

/// A version must have every column of its segments.
async fn columns_of_versions(db: &Db) -> Result<Vec<Finding>> {
    let rows: Vec<(String, String, String, String)> = sqlx::query_as(
        "SELECT v.id, v.columns, s.id, s.columns
         FROM versions v
         JOIN version_segments x ON x.version_id = v.id
         JOIN segments s ON s.id = x.segment_id
         ORDER BY v.id, x.position",
    )
    .fetch_all(db.read())
    .await?;
    let read = |text: &str| serde_json::from_str::<Vec<ColumnInfo>>(text).ok();
    let mut found = Vec::new();
    for (version, all, segment, some) in rows {
        match (read(&all), read(&some)) {
            (Some(all), Some(some)) => {
                if let Some(column) = some.iter().find(|column| {
                    !all.iter().any(|of_version| {
                        of_version.name == column.name && of_version.kind == column.kind
                    })
                }) {
                    found.push(Finding::new(
                        "version_columns",
                        &version,
                        format!(
                            "does not have the column {} of segment {segment}",
                            column.name
                        ),
                    ));
                }
            }
            _ => found.push(Finding::new(
                "version_columns",
                &version,
                "its columns, or those of a segment, cannot be read",
            )),
        }
    }
    Ok(found)
}

/// Checks a segment's file; returns the violated rule and the message, or `None`. Blocks.
fn file(
    segments: &Segments,
    meta: &SegmentMeta,
    columns: &str,
    deep: bool,
) -> Option<(&'static str, String)> {
    if !segments.is_there(&meta.id) && trash::holds(segments.dir(), &meta.id) {
        return Some((
            "segment_file",
            "its file is in trash/; the server moves it back when it starts".to_owned(),
        ));
    }
    // The cause begins with the id of the segment, which the finding already contains, so the
    // prefix is removed.
    let because = |error: Error| {
        let cause = error
            .log_cause()
            .0
            .clone()
            .unwrap_or_else(|| error.message().to_owned());
        cause
            .strip_prefix(&format!("segment {}: ", meta.id))
            .map_or(cause.clone(), str::to_owned)
    };
    if deep && let Err(error) = segments.check_file(meta) {
        return Some(("segment_file", because(error)));
    }
    // Opening reads the footer and compares its number of rows with the catalogue.
    let open = match segments.open(meta) {
        Ok(open) => open,
        Err(error) => return Some(("segment_file", because(error))),
    };
    let Ok(stored_columns) = serde_json::from_str::<Vec<ColumnInfo>>(columns) else {
        return Some(("segment_columns", "its columns cannot be read".to_owned()));
    };
    let schema: SchemaRef = open.schema().clone();
    match columns::from_schema(&schema) {
        Ok(has)
            if has
                .iter()
                .map(|column| &column.name)
                .eq(stored_columns.iter().map(|column| &column.name)) => {}
        _ => {
            return Some((
                "segment_columns",
                "the columns of its file do not match the catalogue".to_owned(),
            ));
        }
    }
    if !deep {
        return None;
    }
    let digest = match digest_of(&open, &stored_columns) {
        Ok(digest) => digest,
        Err(error) => return Some(("segment_rows", because(error))),
    };
    if digest.rows != meta.rows {
        return Some((
            "segment_rows",
            format!(
                "its file has {} rows, but the catalogue has {}",
                digest.rows, meta.rows
            ),
        ));
    }
    let other = meta.digest.is_some_and(|expected| expected != digest);
    other.then(|| {
        (
            "segment_rows",
            "its rows do not match their digest in the catalogue".to_owned(),
        )
    })
}

/// The digest of all rows of a segment. Blocks.
pub(super) fn digest_of(open: &OpenSegment, columns: &[ColumnInfo]) -> Result<Digest> {
    let mut digest = Digest::default();
    for batch in open.read(&columns::to_schema(columns), None)? {
        digest.add_batch(&batch?)?;
    }
    Ok(digest)
}

#[cfg(test)]
mod tests;
