//! Decodes rows one by one, so that a damaged row does not hide the others.

use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row};

use crate::error::Result;

/// Decodes the rows that can be decoded. A row that cannot is logged and left out.
pub fn decode_readable<T: for<'r> FromRow<'r, SqliteRow>>(rows: Vec<SqliteRow>) -> Vec<T> {
    decode_each(&rows, |row| Ok(T::from_row(row)?)).0
}

/// Like `decode_readable`, with `read` as the decoder. Also returns the ids of the rows that could
/// not be decoded.
pub fn decode_each<T>(
    rows: &[SqliteRow],
    read: impl Fn(&SqliteRow) -> Result<T>,
) -> (Vec<T>, Vec<String>) {
    let (mut all, mut damaged) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        match read(row) {
            Ok(one) => all.push(one),
            Err(error) => {
                let id: String = row.try_get("id").unwrap_or_default();
                tracing::error!(
                    id,
                    cause = ?error.log_cause(),
                    "a row of the catalogue cannot be read and is skipped: {error}"
                );
                damaged.push(id);
            }
        }
    }
    (all, damaged)
}
