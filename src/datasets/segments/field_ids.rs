//! The ids of columns in files. Query engines identify a column by its id, so a column of a DataSet
//! always has the same id.

use std::collections::HashMap;

use sqlx::{Sqlite, Transaction};

use crate::datasets::columns::ColumnInfo;
use crate::error::Result;
use crate::ids::DatasetId;

/// The field ids of these columns: the ids that the DataSet already uses, or the next free ones.
pub(super) async fn field_ids(
    tx: &mut Transaction<'static, Sqlite>,
    dataset: &DatasetId,
    columns: &[ColumnInfo],
) -> Result<Vec<i64>> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as("SELECT name, field_id FROM dataset_columns WHERE dataset_id = $1")
            .bind(dataset)
            .fetch_all(&mut **tx)
            .await?;
    let mut next = rows.iter().map(|(_, id)| *id).max().unwrap_or(0) + 1;
    let mut known: HashMap<String, i64> = rows.into_iter().collect();
    let mut ids = Vec::with_capacity(columns.len());
    for column in columns {
        if let Some(id) = known.get(&column.name) {
            ids.push(*id);
            continue;
        }
        sqlx::query("INSERT INTO dataset_columns (dataset_id, name, field_id) VALUES ($1, $2, $3)")
            .bind(dataset)
            .bind(&column.name)
            .bind(next)
            .execute(&mut **tx)
            .await?;
        known.insert(column.name.clone(), next);
        ids.push(next);
        next += 1;
    }
    Ok(ids)
}
