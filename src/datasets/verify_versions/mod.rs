//! Verifies stored data: versions against segments, and segments against files, in both directions.
//! Read-only; works with a running server.

mod catalogue_rules;

use std::collections::HashSet;

use arrow::datatypes::SchemaRef;
use serde::Serialize;
use sqlx::{FromRow, Row};

use super::columns::{self, ColumnInfo};
use super::row::{self, select_dataset};
use super::segments::digest::Digest;
use super::segments::{OpenSegment, SegmentMeta, SegmentRow, Segments};
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

/// Returns all violated rules of versions, segments and files. `deep`: also reads every value of
/// every file.
pub async fn verify(db: &Db, segments: &Segments, deep: bool) -> Result<Vec<Finding>> {
    let mut found: Vec<Finding> = db
        .find_damage()
        .await?
        .into_iter()
        .map(|line| Finding::new("catalogue", "chatlake.db", line))
        .collect();
    found.extend(catalogue_rules::violations(db).await?);
    found.extend(unreadable_records(db).await?);
    // A catalogue row is created before its file, so the files are listed first.
    let listed = on_disk(segments).await?;
    found.extend(columns_of_versions(db).await?);
    let rows = sqlx::query(
        "SELECT s.id, s.rows, s.bytes, s.checksums, s.digest, s.columns
         FROM segments s
         WHERE s.state = 'kept'
             -- The recorded segments of a run, from which it continues after an interruption.
             OR (
                 s.state = 'staged'
                 AND s.columns <> '[]'
                 AND EXISTS (
                     SELECT 1
                     FROM windows w
                     WHERE w.run_id = s.run_id AND w.checkpointed = 1
                 )
             )
         ORDER BY s.id",
    )
    .fetch_all(db.read())
    .await?;
    for row in rows {
        // The id is read by itself, so that an entry that cannot be read becomes a finding.
        let (id, columns): (SegmentId, String) = (row.try_get("id")?, row.try_get("columns")?);
        let meta = SegmentRow::from_row(&row)
            .map_err(Error::from)
            .and_then(SegmentMeta::try_from);
        let meta = match meta {
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

/// A version that uses a segment.
#[derive(FromRow)]
struct SegmentUserRow {
    dataset: String,
    dataset_name: String,
    version_number: i64,
}

/// The versions that use a segment, in words: " (rows of “Agents”, ds_1, version 5)".
async fn versions_of_segment(db: &Db, id: &SegmentId) -> Result<String> {
    let rows: Vec<SegmentUserRow> = sqlx::query_as(
        "SELECT d.id AS dataset, d.name AS dataset_name, v.number AS version_number
         FROM version_segments x
         JOIN versions v ON v.id = x.version_id
         JOIN datasets d ON d.id = v.dataset_id
         WHERE x.segment_id = $1
         ORDER BY v.number",
    )
    .bind(id)
    .fetch_all(db.read())
    .await?;
    let Some(first) = rows.first() else {
        return Ok(String::new());
    };
    let numbers: Vec<String> = rows
        .iter()
        .map(|row| row.version_number.to_string())
        .collect();
    let versions = if numbers.len() == 1 {
        "version"
    } else {
        "versions"
    };
    Ok(format!(
        " (rows of “{}”, {}, {versions} {})",
        first.dataset_name,
        first.dataset,
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
    let ids: Vec<SegmentId> = sqlx::query_scalar("SELECT id FROM segments")
        .fetch_all(db.read())
        .await?;
    let named: HashSet<SegmentId> = ids.into_iter().collect();
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

/// A version and one of its segments, each with its columns as JSON.
#[derive(FromRow)]
struct VersionSegmentRow {
    version: String,
    version_columns: String,
    segment: String,
    segment_columns: String,
}

/// A version must have every column of its segments.
async fn columns_of_versions(db: &Db) -> Result<Vec<Finding>> {
    let rows: Vec<VersionSegmentRow> = sqlx::query_as(
        "SELECT
             v.id AS version, v.columns AS version_columns, s.id AS segment,
             s.columns AS segment_columns
         FROM versions v
         JOIN version_segments x ON x.version_id = v.id
         JOIN segments s ON s.id = x.segment_id
         ORDER BY v.id, x.position",
    )
    .fetch_all(db.read())
    .await?;
    let read = |text: &str| serde_json::from_str::<Vec<ColumnInfo>>(text).ok();
    let mut found = Vec::new();
    for row in rows {
        match (read(&row.version_columns), read(&row.segment_columns)) {
            (Some(all), Some(some)) => {
                if let Some(column) = some.iter().find(|column| {
                    !all.iter().any(|of_version| {
                        of_version.name == column.name && of_version.kind == column.kind
                    })
                }) {
                    found.push(Finding::new(
                        "version_columns",
                        &row.version,
                        format!(
                            "does not have the column {} of segment {}",
                            column.name, row.segment
                        ),
                    ));
                }
            }
            _ => found.push(Finding::new(
                "version_columns",
                &row.version,
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
