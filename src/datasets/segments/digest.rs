//! A digest of rows that depends only on their values, not on how they are spread over segments, on
//! the Parquet encoding, on columns that are entirely null, or on the run that wrote them. It shows
//! whether a run changed anything, and becomes the ETag of downloads. The hashes are fast and not
//! cryptographic: they protect against chance, not against deliberate collisions.

use std::ops::Add;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

use crate::datasets::update_mode::{BATCH_ID, BATCH_LAST_RUN};
use crate::error::{Error, Result};

/// The Mersenne prime 2^127 - 1: sums of ordered rows are computed modulo this.
const PRIME: u128 = (1 << 127) - 1;
/// The base of the polynomial; any number below the prime works.
const BASE: u128 = 0x5bd1_e995_7f4a_7c15_9e37_79b9_7f4a_7c15;

/// The digest of ordered rows. Digests of consecutive rows can be added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    pub rows: u64,
    /// Depends on the order of the rows; includes the batch columns.
    pub ordered: u128,
    /// Independent of the order; excludes the batch columns, which only record which run pulled a
    /// row.
    pub unordered: u128,
}

impl Digest {
    /// The stored text: both sums in hex. The number of rows is stored separately.
    pub fn to_text(self) -> String {
        format!("{:032x}:{:032x}", self.ordered, self.unordered)
    }

    /// Parses the result of `to_text` for this number of rows. `None` for invalid text.
    pub fn parse(text: &str, rows: u64) -> Option<Self> {
        let (ordered, unordered) = text.split_once(':')?;
        Some(Self {
            rows,
            ordered: u128::from_str_radix(ordered, 16).ok()?,
            unordered: u128::from_str_radix(unordered, 16).ok()?,
        })
    }

    /// The digest of the rows of a batch.
    pub fn of(batch: &RecordBatch) -> Result<Self> {
        let mut digest = Self::default();
        digest.add_batch(batch)?;
        Ok(digest)
    }

    /// Appends the rows of a batch.
    pub fn add_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let (values, of_batch) = row_values(batch)?;
        for (value, of_batch) in values.into_iter().zip(of_batch) {
            // Adds one, so that a row without values counts too.
            let row = reduce(value.wrapping_add(of_batch).wrapping_add(1));
            self.ordered = reduce(multiply(self.ordered, BASE) + row);
            self.unordered = self.unordered.wrapping_add(unordered(value));
            self.rows += 1;
        }
        Ok(())
    }
}

/// The contribution of each row of a batch to the `unordered` digest.
pub fn of_rows(batch: &RecordBatch) -> Result<Vec<u128>> {
    Ok(row_values(batch)?.0.into_iter().map(unordered).collect())
}

fn unordered(row: u128) -> u128 {
    xxh3_128_with_seed(&row.to_le_bytes(), 0)
}

/// For each row, the sum of the hashes of its values, and the sum for its batch columns.
fn row_values(batch: &RecordBatch) -> Result<(Vec<u128>, Vec<u128>)> {
    let mut values = vec![0_u128; batch.num_rows()];
    let mut batch_columns = vec![0_u128; batch.num_rows()];
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let kind = field.metadata().get("kind").map_or("", String::as_str);
        let seed = xxh3_64(format!("{}\0{kind}", field.name()).as_bytes());
        let of_batch = matches!(field.name().as_str(), BATCH_ID | BATCH_LAST_RUN);
        add_column(
            column,
            seed,
            if of_batch {
                &mut batch_columns
            } else {
                &mut values
            },
        )?;
    }
    Ok((values, batch_columns))
}

impl Add for Digest {
    type Output = Self;

    fn add(self, next: Self) -> Self {
        Self {
            rows: self.rows + next.rows,
            ordered: reduce(multiply(self.ordered, power(BASE, next.rows)) + next.ordered),
            unordered: self.unordered.wrapping_add(next.unordered),
        }
    }
}

/// The digest of consecutive segments; `None` if the digest of one of them is unknown.
pub fn sum(all: impl IntoIterator<Item = Option<Digest>>) -> Option<Digest> {
    all.into_iter()
        .try_fold(Digest::default(), |sum, next| Some(sum + next?))
}

/// Adds the hash of each value of a column to its row. Null adds nothing.
fn add_column(column: &dyn Array, seed: u64, rows: &mut [u128]) -> Result<()> {
    match column.data_type() {
        DataType::Utf8 => add_values(column.as_string::<i32>().iter(), seed, rows, |text| text),
        DataType::Int64 => add_values(
            column.as_primitive::<Int64Type>().iter(),
            seed,
            rows,
            i64::to_le_bytes,
        ),
        DataType::Float64 => add_values(
            column.as_primitive::<Float64Type>().iter(),
            seed,
            rows,
            |number| number.to_bits().to_le_bytes(),
        ),
        DataType::Boolean => add_values(column.as_boolean().iter(), seed, rows, |truth| {
            [u8::from(truth)]
        }),
        DataType::Date32 => add_values(
            column.as_primitive::<Date32Type>().iter(),
            seed,
            rows,
            i32::to_le_bytes,
        ),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            add_values(
                column.as_primitive::<TimestampMicrosecondType>().iter(),
                seed,
                rows,
                i64::to_le_bytes,
            );
        }
        other => {
            return Err(Error::internal(format!(
                "no digest of a column of type {other}"
            )));
        }
    }
    Ok(())
}

fn add_values<T, B: AsRef<[u8]>>(
    values: impl Iterator<Item = Option<T>>,
    seed: u64,
    rows: &mut [u128],
    bytes: impl Fn(T) -> B,
) {
    for (row, value) in rows.iter_mut().zip(values) {
        if let Some(value) = value {
            *row = row.wrapping_add(xxh3_128_with_seed(bytes(value).as_ref(), seed));
        }
    }
}

/// The number modulo the prime.
fn reduce(number: u128) -> u128 {
    let folded = (number & PRIME) + (number >> 127);
    if folded >= PRIME {
        folded - PRIME
    } else {
        folded
    }
}

/// The product of two numbers below the prime, modulo the prime.
fn multiply(a: u128, b: u128) -> u128 {
    const LOW: u128 = u64::MAX as u128;
    let (a_high, a_low, b_high, b_low) = (a >> 64, a & LOW, b >> 64, b & LOW);
    // Both high halves are below 2^63, so that no sum overflows. 2^127 is 1, so 2^128 is 2.
    let middle = a_high * b_low + a_low * b_high;
    let high = reduce((a_high * b_high) << 1) + reduce((middle >> 64) << 1);
    let low = reduce((middle & LOW) << 64) + reduce(a_low * b_low);
    reduce(reduce(high) + reduce(low))
}

fn power(mut base: u128, mut exponent: u64) -> u128 {
    let mut product = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            product = multiply(product, base);
        }
        base = multiply(base, base);
        exponent >>= 1;
    }
    product
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::connectors::report::ColumnKind;
    use crate::datasets::testing::{batch, integer, mixed, text, timestamp};

    fn of(batches: &[RecordBatch]) -> Digest {
        let mut digest = Digest::default();
        batches
            .iter()
            .for_each(|batch| digest.add_batch(batch).unwrap());
        digest
    }

    /// Computes the product by adding and doubling.
    fn slow_multiply(a: u128, b: u128) -> u128 {
        (0..127).rev().fold(0, |sum, bit| {
            let doubled = reduce(sum << 1);
            if b >> bit & 1 == 1 {
                reduce(doubled + a)
            } else {
                doubled
            }
        })
    }

    proptest! {
        #[test]
        fn products_are_right(a in 0..PRIME, b in 0..PRIME) {
            prop_assert_eq!(multiply(a, b), slow_multiply(a, b));
            prop_assert_eq!(multiply(a, PRIME - 1), reduce(PRIME - a));
        }

        #[test]
        fn parts_add_up_to_the_whole(first in 0..40_i64, second in 0..40_i64, third in 0..40_i64) {
            let (a, b) = (first, first + second);
            let parts = [of(&[mixed(0, a)]), of(&[mixed(a, b)]), of(&[mixed(b, b + third)])];
            prop_assert_eq!(parts[0] + parts[1] + parts[2], of(&[mixed(0, b + third)]));
        }
    }

    #[test]
    fn each_value_and_the_order_count_and_the_order_only_where_it_should() {
        let rows = |ids: Vec<Option<i64>>| batch(vec![("id", ColumnKind::Integer, integer(ids))]);
        let one = of(&[rows(vec![Some(1), Some(2), None])]);
        let other = of(&[rows(vec![Some(2), Some(1), None])]);
        assert_ne!(one.ordered, other.ordered);
        assert_eq!(one.unordered, other.unordered);
        for changed in [
            vec![Some(1), Some(3), None],
            vec![Some(1), Some(2), Some(0)],
            vec![Some(1), Some(2)],
            vec![Some(1), Some(2), None, None],
        ] {
            let changed = of(&[rows(changed)]);
            assert!(changed.ordered != one.ordered && changed.unordered != one.unordered);
        }
        // Exchanges the same numbers of two rows between columns.
        let two = |a: Vec<Option<i64>>, b: Vec<Option<i64>>| {
            of(&[batch(vec![
                ("a", ColumnKind::Integer, integer(a)),
                ("b", ColumnKind::Integer, integer(b)),
            ])])
        };
        assert_ne!(
            two(vec![Some(1), Some(2)], vec![Some(3), Some(4)]).unordered,
            two(vec![Some(1), Some(2)], vec![Some(4), Some(3)]).unordered
        );
    }

    #[test]
    fn a_column_that_is_null_throughout_and_the_batch_columns_are_no_change() {
        let plain = batch(vec![("id", ColumnKind::Integer, integer(vec![Some(1)]))]);
        let wide = batch(vec![
            ("id", ColumnKind::Integer, integer(vec![Some(1)])),
            ("x_new", ColumnKind::Text, text(vec![None])),
        ]);
        assert_eq!(of(std::slice::from_ref(&plain)), of(&[wide]));
        let stamped = |run: i64| {
            batch(vec![
                ("id", ColumnKind::Integer, integer(vec![Some(1)])),
                (BATCH_ID, ColumnKind::Integer, integer(vec![Some(run)])),
                (
                    BATCH_LAST_RUN,
                    ColumnKind::Timestamp,
                    timestamp(vec![Some(run)]),
                ),
            ])
        };
        let (first, second) = (of(&[stamped(1)]), of(&[stamped(2)]));
        assert_eq!(
            (first.unordered, second.unordered),
            (of(std::slice::from_ref(&plain)).unordered, first.unordered)
        );
        assert_ne!(first.ordered, second.ordered);
    }

    #[test]
    fn a_digest_survives_the_catalogue() {
        let digest = of(&[mixed(0, 30)]);
        assert_eq!(Digest::parse(&digest.to_text(), 30), Some(digest));
        assert_eq!(Digest::parse("", 0), None);
        assert_eq!(sum([Some(digest), None]), None);
        assert_eq!(sum([]), Some(Digest::default()));
    }
}
