//! Keys of rows as hashes of 16 bytes, and sets of them that fit into memory.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::row::{RowConverter, SortField};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// A set has about this many keys; what is more is another pass.
pub const MOST_KEYS: usize = 2_000_000;

/// Keys of one pass.
pub type KeySet = HashSet<u128, BuildHasherDefault<AsItIs>>;

/// Hashes of SHA-256 need no further hashing.
#[derive(Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
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
        // The low half is as good as any.
        self.0 = value as u64;
    }
}

/// Reads the keys of batches whose columns are the key's, in its order.
pub struct Keys {
    converter: RowConverter,
}

impl Keys {
    /// For batches of this schema.
    pub fn new(schema: &arrow::datatypes::Schema) -> Result<Self> {
        let fields = schema.fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Self { converter: RowConverter::new(fields).map_err(Error::internal)? })
    }

    /// The key of each row. None where every cell of it is empty: such a row is like no other. One empty cell among others counts as a
    /// value of its own.
    pub fn of(&self, batch: &RecordBatch) -> Result<Vec<Option<u128>>> {
        self.of_columns(batch.columns(), batch.num_rows())
    }

    pub fn of_columns(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<Option<u128>>> {
        let encoded = self.converter.convert_columns(columns).map_err(Error::internal)?;
        let is_empty = |row: usize| columns.iter().all(|column| column.is_null(row));
        Ok((0..rows).map(|row| (!is_empty(row)).then(|| hash(encoded.row(row).data()))).collect())
    }
}

fn hash(bytes: &[u8]) -> u128 {
    let digest = Sha256::digest(bytes);
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_le_bytes(half)
}
