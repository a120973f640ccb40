//! Formats values as text, the same way for downloads and for cells on a page. Dates and timestamps
//! are formatted here because this is many times faster than Arrow's formatter, which formats the
//! rest. A NUL becomes U+FFFD: PostgreSQL accepts no NUL in a text, and SQLite and browsers cut the
//! text there. The stored row keeps it.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch, RecordBatchOptions,
    StringArray, StringBuilder,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::datatypes::{DataType, Date32Type, Schema, TimeUnit, TimestampMicrosecondType};
use arrow::util::display::FormatOptions;

use crate::error::{Error, Result};

/// A day in microseconds.
const DAY: i64 = 86_400_000_000;
/// Days from 0000-01-01 to 9999-12-31, whose year has four digits.
const FOUR_DIGITS: std::ops::Range<i64> = -719_528..2_932_897;

/// The Arrow format options for the values of a `printable` batch.
pub(in crate::datasets) fn format_options() -> FormatOptions<'static> {
    FormatOptions::default().with_null("")
}

/// Converts dates to text such as `2026-11-20` and timestamps to text such as
/// `2026-11-20T08:15:30Z`, with a fraction if there is one, and replaces NUL characters.
pub(in crate::datasets) fn printable(batch: &RecordBatch) -> Result<RecordBatch> {
    printable_of(batch, true)
}

/// Like `printable`. `may_have_nul`: false if it is known that no text contains a NUL.
pub(super) fn printable_of(batch: &RecordBatch, may_have_nul: bool) -> Result<RecordBatch> {
    with_columns(batch, |array| match array.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            let moments = array.as_primitive::<TimestampMicrosecondType>();
            // Years beyond four digits need the general formatter, which knows offsets but no time
            // zone names.
            Some(
                texts(moments, |micros| micros.div_euclid(DAY), moment)
                    .unwrap_or_else(|| Arc::new(moments.clone().with_timezone("+00:00"))),
            )
        }
        DataType::Utf8 if may_have_nul => without_nul(array.as_string::<i32>()),
        DataType::Date32 => texts(
            array.as_primitive::<Date32Type>(),
            i64::from,
            |_, day, text| text.extend_from_slice(day),
        ),
        _ => None,
    })
}

/// Replaces each NUL with U+FFFD.
pub(super) fn replace_nul(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The bytes of all texts of a column, without those outside the array's slice.
fn bytes_of(texts: &StringArray) -> &[u8] {
    let offsets = texts.value_offsets();
    let at = |end: Option<&i32>| {
        end.and_then(|offset| usize::try_from(*offset).ok())
            .unwrap_or(0)
    };
    texts
        .value_data()
        .get(at(offsets.first())..at(offsets.last()))
        .unwrap_or_default()
}

/// Whether any text of a batch contains a NUL character. Much faster than `count_nul`.
pub(super) fn has_nul(batch: &RecordBatch) -> bool {
    batch
        .columns()
        .iter()
        .filter_map(|array| array.as_string_opt::<i32>())
        .any(|texts| bytes_of(texts).contains(&0))
}

/// The number of NUL characters in the texts of a batch.
pub(super) fn count_nul(batch: &RecordBatch) -> u64 {
    let texts = batch
        .columns()
        .iter()
        .filter_map(|array| array.as_string_opt::<i32>());
    texts
        .map(bytes_of)
        .filter(|bytes| bytes.contains(&0))
        .map(|bytes| bytes.iter().filter(|byte| **byte == 0).count() as u64)
        .sum()
}

/// Replaces each NUL with U+FFFD; `None` if there is no NUL.
fn without_nul(texts: &StringArray) -> Option<ArrayRef> {
    if !bytes_of(texts).contains(&0) {
        return None;
    }
    let mut clean = StringBuilder::with_capacity(texts.len(), bytes_of(texts).len());
    for text in texts {
        clean.append_option(text.map(replace_nul));
    }
    Some(Arc::new(clean.finish()))
}

/// Formats each value with `write`, which gets the text of the value's day; `None` if a day is out
/// of range. Consecutive values are often of the same day, so the last day's text is reused.
fn texts<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    day_of: impl Fn(T::Native) -> i64,
    write: impl Fn(T::Native, &[u8; 10], &mut Vec<u8>),
) -> Option<ArrayRef> {
    let mut text = Vec::with_capacity(array.len() * 24);
    let mut lengths = Vec::with_capacity(array.len());
    let (mut last, mut day) = (0, *b"1970-01-01");
    for value in array {
        let before = text.len();
        if let Some(value) = value {
            let this = day_of(value);
            if this != last {
                if !FOUR_DIGITS.contains(&this) {
                    return None;
                }
                (last, day) = (this, date(this));
            }
            write(value, &day, &mut text);
        }
        lengths.push(text.len() - before);
    }
    let offsets = OffsetBuffer::from_lengths(lengths);
    StringArray::try_new(offsets, Buffer::from_vec(text), array.nulls().cloned())
        .ok()
        .map(|texts| Arc::new(texts) as ArrayRef)
}

fn moment(micros: i64, day: &[u8; 10], text: &mut Vec<u8>) {
    let of_day = micros.rem_euclid(DAY);
    let two = |number: i64| [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    let ([h1, h2], [m1, m2], [s1, s2]) = (
        two(of_day / 3_600_000_000),
        two(of_day / 60_000_000 % 60),
        two(of_day / 1_000_000 % 60),
    );
    text.extend_from_slice(day);
    text.extend_from_slice(&[b'T', h1, h2, b':', m1, m2, b':', s1, s2]);
    let fraction = of_day % 1_000_000;
    if fraction != 0 {
        let ([f2, f3], [f5, f6]) = (two(fraction / 1_000), two(fraction));
        text.extend_from_slice(&[b'.', b'0' + (fraction / 100_000) as u8, f2, f3]);
        if fraction % 1_000 != 0 {
            text.extend_from_slice(&[b'0' + (fraction / 100 % 10) as u8, f5, f6]);
        }
    }
    text.push(b'Z');
}

/// Formats days since 1970-01-01 as `2026-11-20`. The year must have four digits.
fn date(day: i64) -> [u8; 10] {
    // Counts from 0000-03-01 in eras of 400 years, so that the leap day is the last day of its
    // year.
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let digit = |number: i64| b'0' + (number % 10) as u8;
    [
        digit(year / 1_000),
        digit(year / 100),
        digit(year / 10),
        digit(year),
        b'-',
        digit(month / 10),
        digit(month),
        b'-',
        digit(of_month / 10),
        digit(of_month),
    ]
}

/// Replaces the columns for which `change` returns one.
pub(super) fn with_columns(
    batch: &RecordBatch,
    change: impl Fn(&ArrayRef) -> Option<ArrayRef>,
) -> Result<RecordBatch> {
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut arrays = Vec::with_capacity(batch.num_columns());
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let array = change(array).unwrap_or_else(|| array.clone());
        fields.push(if field.data_type() == array.data_type() {
            field.clone()
        } else {
            Arc::new(
                field
                    .as_ref()
                    .clone()
                    .with_data_type(array.data_type().clone()),
            )
        });
        arrays.push(array);
    }
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &rows)
        .map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use arrow::array::TimestampMicrosecondArray;
    use arrow::util::display::ArrayFormatter;
    use proptest::prelude::*;

    use super::super::super::testing::{batch, date};
    use super::*;
    use crate::connectors::report::ColumnKind;

    /// `moment` in microseconds.
    fn written(moment: i64, day: i32) -> [String; 2] {
        let moments: ArrayRef = Arc::new(
            TimestampMicrosecondArray::from(vec![None, Some(moment)]).with_timezone("UTC"),
        );
        let batch = printable(&batch(vec![
            ("m", ColumnKind::Timestamp, moments),
            ("d", ColumnKind::Date, date(vec![None, Some(day)])),
        ]))
        .unwrap();
        let options = format_options();
        [0, 1].map(|column| {
            ArrayFormatter::try_new(batch.column(column), &options)
                .unwrap()
                .value(1)
                .to_string()
        })
    }

    #[test]
    fn the_ends_of_four_digits_and_beyond() {
        let first = FOUR_DIGITS.start;
        let last = FOUR_DIGITS.end - 1;
        assert_eq!(
            written(first * DAY, first as i32),
            ["0000-01-01T00:00:00Z", "0000-01-01"]
        );
        assert_eq!(
            written(last * DAY + DAY - 1, last as i32),
            ["9999-12-31T23:59:59.999999Z", "9999-12-31"]
        );
        assert_eq!(
            written((last + 1) * DAY, last as i32 + 1)[0],
            "+10000-01-01T00:00:00Z"
        );
        assert_eq!(
            written(-1, -1),
            ["1969-12-31T23:59:59.999999Z", "1969-12-31"]
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]
        #[test]
        fn moments_and_days_are_written_as_jiff_writes_them(
            micros in -62_167_219_200_000_000_i64..253_402_200_000_000_000,
            whole in 0..3,
        ) {
            let micros = match whole {
                0 => micros,
                1 => micros.div_euclid(1_000) * 1_000,
                _ => micros.div_euclid(1_000_000) * 1_000_000,
            };
            let moment = jiff::Timestamp::from_microsecond(micros).unwrap();
            let day = i32::try_from(micros.div_euclid(DAY)).unwrap();
            let expected = match (micros % 1_000_000, micros % 1_000) {
                (0, _) => format!("{moment:.0}"),
                (_, 0) => format!("{moment:.3}"),
                _ => format!("{moment:.6}"),
            };
            let date = moment.to_zoned(jiff::tz::TimeZone::UTC).date();
            prop_assert_eq!(written(micros, day), [expected, date.to_string()]);
        }
    }
}
