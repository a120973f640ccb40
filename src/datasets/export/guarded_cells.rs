//! Counts the cells that `guard` marks in a CSV for spreadsheets, before the first byte is sent.

use arrow::array::AsArray;

use super::super::columns::{self, ColumnInfo};
use super::super::segments::Segments;
use super::super::versions::Pin;
use super::cell_text::printable;
use super::csv::{needs_guard, select_columns};
use crate::connectors::report::ColumnKind;
use crate::error::{Error, Result};

/// Cells of larger versions are not counted, because counting reads all texts one more time.
pub const MAX_ROWS: u64 = 200_000;

/// Counts the cells, including column names, that `guard` marks in a version with these columns.
/// `None` for a version of more than `MAX_ROWS` rows.
pub async fn count(
    segments: &Segments,
    version: Pin,
    columns: Option<Vec<String>>,
) -> Result<Option<u64>> {
    if version.rows > MAX_ROWS {
        return Ok(None);
    }
    let segments = segments.clone();
    tokio::task::spawn_blocking(move || {
        count_blocking(&segments, &version, columns.as_deref()).map(Some)
    })
    .await
    .map_err(Error::from)?
}

fn count_blocking(segments: &Segments, version: &Pin, columns: Option<&[String]>) -> Result<u64> {
    let chosen = select_columns(&version.columns, columns)?;
    let mut marked = chosen
        .iter()
        .filter(|column| needs_guard(&column.name))
        .count();
    let texts: Vec<ColumnInfo> = chosen
        .into_iter()
        .filter(|column| matches!(column.kind, ColumnKind::Text | ColumnKind::Json))
        .collect();
    if texts.is_empty() {
        return Ok(marked as u64);
    }
    let schema = columns::to_schema(&texts);
    for meta in &version.segments {
        for batch in segments.open(meta)?.read(&schema, None)? {
            let batch = printable(&batch?)?;
            let texts = batch
                .columns()
                .iter()
                .filter_map(|array| array.as_string_opt::<i32>());
            marked += texts
                .map(|texts| {
                    texts
                        .iter()
                        .flatten()
                        .filter(|text| needs_guard(text))
                        .count()
                })
                .sum::<usize>();
        }
    }
    Ok(marked as u64)
}
