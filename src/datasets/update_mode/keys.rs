//! Hashes row keys to 16 bytes, and holds them in sets that fit into memory.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use arrow::row::{RowConverter, Rows, SortField};
use sha2::{Digest, Sha256};

use crate::datasets::columns::ColumnInfo;
use crate::error::{Error, Result};

/// The approximate maximum number of keys in a set; more keys need another pass.
pub const MAX_KEYS_PER_PASS: usize = 2_000_000;

/// The keys of one pass.
pub type KeySet = HashSet<u128, BuildHasherDefault<IdentityHasher>>;

/// The keys are SHA-256 hashes, so they need no further hashing.
#[derive(Default)]
pub struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u128(&mut self, value: u128) {
        // The low half is as random as any other part.
        self.0 = value as u64;
    }
}

/// Computes what identifies a row: the values of its key columns or, if one of them has no value,
/// the values of other columns. A cell that is null, empty or blank has no value.
pub struct Keys {
    key: KeyPart,
    /// Used for rows without a value in a key column. `None`: an empty cell then counts as a value.
    fallback: Option<KeyPart>,
}

/// Some columns of a batch.
struct KeyPart {
    /// The positions of the columns.
    places: Vec<usize>,
    converter: RowConverter,
}

impl KeyPart {
    fn new(schema: &Schema, columns: &[ColumnInfo]) -> Result<Self> {
        let place = |column: &ColumnInfo| schema.index_of(&column.name).map_err(Error::internal);
        let places: Vec<usize> = columns.iter().map(place).collect::<Result<_>>()?;
        let fields = places
            .iter()
            .map(|at| SortField::new(schema.field(*at).data_type().clone()))
            .collect();
        Ok(Self {
            places,
            converter: RowConverter::new(fields).map_err(Error::internal)?,
        })
    }

    fn of(&self, columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let column = |at: &usize| {
            columns
                .get(*at)
                .map(with_nulls)
                .ok_or_else(|| Error::internal("a key lacks a column"))
        };
        self.places.iter().map(column).collect()
    }

    fn encoded(&self, columns: &[ArrayRef]) -> Result<Rows> {
        self.converter
            .convert_columns(columns)
            .map_err(Error::internal)
    }
}

impl Keys {
    /// Prepares for batches of this schema, which has the columns of `key` and of `fallback`;
    /// `fallback` is empty for the report's own key.
    pub fn new(schema: &Schema, key: &[ColumnInfo], fallback: &[ColumnInfo]) -> Result<Self> {
        let fallback = if fallback.is_empty() {
            None
        } else {
            Some(KeyPart::new(schema, fallback)?)
        };
        Ok(Self {
            key: KeyPart::new(schema, key)?,
            fallback,
        })
    }

    /// The key of each row. `None` if nothing identifies the row: it then matches no other row.
    pub fn of(&self, batch: &RecordBatch) -> Result<Vec<Option<u128>>> {
        self.of_columns(batch.columns(), batch.num_rows())
    }

    pub fn of_columns(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Option<u128>>> {
        const BY_KEY: u8 = 0;
        const BY_FALLBACK: u8 = 1;
        let key = self.key.of(columns)?;
        let encoded = self.key.encoded(&key)?;
        let is_empty =
            |columns: &[ArrayRef], row: usize| columns.iter().all(|column| column.is_null(row));
        let lacks_value = |row: usize| key.iter().any(|column| column.is_null(row));
        let Some(part) = self
            .fallback
            .as_ref()
            .filter(|_| key.iter().any(|column| column.null_count() > 0))
        else {
            return Ok((0..rows)
                .map(|row| (!is_empty(&key, row)).then(|| hash(BY_KEY, encoded.row(row).data())))
                .collect());
        };
        let other = part.of(columns)?;
        let encoded_other = part.encoded(&other)?;
        let of_row = |row: usize| match lacks_value(row) {
            false => Some(hash(BY_KEY, encoded.row(row).data())),
            true => {
                (!is_empty(&other, row)).then(|| hash(BY_FALLBACK, encoded_other.row(row).data()))
            }
        };
        Ok((0..rows).map(of_row).collect())
    }
}

/// Replaces empty and blank texts with null, because pages and CSV show them alike.
fn with_nulls(column: &ArrayRef) -> ArrayRef {
    let is_blank = |text: &str| text.trim().is_empty();
    match column.as_string_opt::<i32>() {
        Some(texts) if texts.iter().flatten().any(is_blank) => {
            let filled = texts.iter().map(|text| text.filter(|text| !is_blank(text)));
            Arc::new(filled.collect::<StringArray>())
        }
        _ => Arc::clone(column),
    }
}

fn hash(kind: u8, bytes: &[u8]) -> u128 {
    let digest = Sha256::new()
        .chain_update([kind])
        .chain_update(bytes)
        .finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(half)
}
