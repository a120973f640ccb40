//! Converts one JSON value into one cell. A value that fits is deserialized directly; any other
//! value is converted from its text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, Visitor};

use crate::connectors::convert::{self, Converted, Decimal, TimestampEncoding};
use crate::connectors::report::{Column, ColumnKind};
pub(super) use crate::connectors::table::Cell;

/// How a value is converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Converter {
    As(ColumnKind),
    /// Text that is part of the key. Whole numbers are normalized to their digits.
    Key,
    /// Seconds since 1970, converted to a timestamp.
    Epoch,
}

/// Deserializes a value that fits; an error means that it must be converted from its text.
impl<'de> DeserializeSeed<'de> for Converter {
    type Value = Cell<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Cell<'de>, D::Error> {
        match self {
            // A float does not contain the original digits.
            Converter::As(ColumnKind::Json | ColumnKind::Number) => {
                let raw: &'de serde_json::value::RawValue = de::Deserialize::deserialize(from)?;
                let Converted { cell, fits } = self.convert(raw.get());
                if fits { Ok(cell) } else { Err(misfit(self)) }
            }
            _ => from.deserialize_any(ScalarVisitor(self)),
        }
    }
}

impl Converter {
    /// The converter of a column. `key`: the key columns of the report.
    pub fn of(column: &Column, key: &[&str]) -> Self {
        match column.kind {
            ColumnKind::Text if key.contains(&column.name) => Converter::Key,
            kind => Converter::As(kind),
        }
    }

    /// Converts the text of a single value.
    pub fn convert(self, json: &str) -> Converted<'_> {
        let (kind, encoding) = match self {
            Converter::As(kind) => (kind, TimestampEncoding::Text),
            Converter::Key => (ColumnKind::Text, TimestampEncoding::Text),
            Converter::Epoch => (ColumnKind::Timestamp, TimestampEncoding::Epoch),
        };
        match (json.as_bytes().first(), kind) {
            (Some(b'n'), _) => Converted::fitting(Cell::Null),
            (_, ColumnKind::Json) => Converted::fitting(Cell::Text(Cow::Borrowed(json))),
            (Some(b'"'), _) => {
                convert::decoded(json).map_or_else(Converted::misfit, |(text, whole)| {
                    let converted = convert::text(kind, encoding, text);
                    Converted {
                        fits: converted.fits && whole,
                        ..converted
                    }
                })
            }
            (Some(b'-' | b'0'..=b'9'), _) => {
                match Decimal::read(json).filter(|_| self == Converter::Key) {
                    Some(number) => Converted::fitting(Cell::Text(number.key())),
                    None => convert::number(kind, encoding, json),
                }
            }
            (Some(b't' | b'f'), ColumnKind::Boolean) => {
                Converted::fitting(Cell::Boolean(json == "true"))
            }
            (Some(b't' | b'f'), ColumnKind::Text) => {
                Converted::fitting(Cell::Text(Cow::Borrowed(json)))
            }
            _ => Converted::misfit(),
        }
    }
}

struct ScalarVisitor(Converter);

fn misfit<E: de::Error>(converter: Converter) -> E {
    E::custom(format_args!("not what {converter:?} takes"))
}

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Cell<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the column's type")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Cell<'de>, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Cell<'de>, E> {
        if self.0 == Converter::As(ColumnKind::Boolean) {
            Ok(Cell::Boolean(value))
        } else {
            Err(misfit(self.0))
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Cell<'de>, E> {
        match self.0 {
            Converter::As(ColumnKind::Integer) => Ok(Cell::Integer(value)),
            // Vendors write booleans as 1 and 0.
            Converter::As(ColumnKind::Boolean) if value == 0 || value == 1 => {
                Ok(Cell::Boolean(value == 1))
            }
            Converter::As(ColumnKind::Text) | Converter::Key => {
                Ok(Cell::Text(Cow::Owned(value.to_string())))
            }
            Converter::Epoch => epoch(value).ok_or_else(|| misfit(self.0)),
            other => Err(misfit(other)),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Cell<'de>, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Err(misfit(self.0)),
        }
    }

    fn visit_borrowed_str<E: de::Error>(self, value: &'de str) -> Result<Cell<'de>, E> {
        self.text(Cow::Borrowed(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Cell<'de>, E> {
        self.text(Cow::Owned(value.to_owned()))
    }
}

impl ScalarVisitor {
    fn text<'a, E: de::Error>(self, value: Cow<'a, str>) -> Result<Cell<'a>, E> {
        let converted = match self.0 {
            Converter::As(ColumnKind::Text) | Converter::Key => return Ok(Cell::Text(value)),
            Converter::As(kind) => convert::text(kind, TimestampEncoding::Text, value),
            Converter::Epoch => {
                convert::text(ColumnKind::Timestamp, TimestampEncoding::Epoch, value)
            }
        };
        if converted.fits {
            Ok(converted.cell)
        } else {
            Err(misfit(self.0))
        }
    }
}

fn epoch<'a>(seconds: i64) -> Option<Cell<'a>> {
    Some(Cell::Timestamp(
        jiff::Timestamp::from_second(seconds).ok()?.as_millisecond(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deserializes a value directly, as the streaming pass does.
    fn read(converter: Converter, json: &str) -> Option<Cell<'_>> {
        converter
            .deserialize(&mut serde_json::Deserializer::from_str(json))
            .ok()
    }

    /// Tests every kind of column with every kind of value. A cell is written as its value; `!`
    /// marks a misfit.
    #[test]
    fn each_kind_of_column_converts_each_kind_of_value_as_in_the_table() {
        use ColumnKind::{Boolean, Date, Integer, Json, Number, Text, Timestamp};
        const TAKES: [Converter; 9] = [
            Converter::As(Text),
            Converter::As(Integer),
            Converter::As(Number),
            Converter::As(Boolean),
            Converter::As(Date),
            Converter::As(Timestamp),
            Converter::As(Json),
            Converter::Epoch,
            Converter::Key,
        ];
        // Each row: a value, and its cells as text, integer, number, boolean, date, timestamp, JSON,
        // epoch and key.
        let table: &[(&str, &str)] = &[
            ("null", "-|-|-|-|-|-|-|-|-"),
            ("true", "true|-!|-!|true|-!|-!|true|-!|true"),
            ("false", "false|-!|-!|false|-!|-!|false|-!|false"),
            ("0", "0|0|0|false|-!|-!|0|0ms|0"),
            ("1", "1|1|1|true|-!|-!|1|1000ms|1"),
            ("125", "125|125|125|-!|-!|-!|125|125000ms|125"),
            ("-7", "-7|-7|-7|-!|-!|-!|-7|-7000ms|-7"),
            ("5.0", "5.0|5|5|-!|-!|-!|5.0|5000ms|5"),
            ("5e2", "5e2|500|500|-!|-!|-!|5e2|500000ms|500"),
            ("5.5", "5.5|6!|5.5|-!|-!|-!|5.5|5500ms|5.5"),
            ("-5.4", "-5.4|-5!|-5.4|-!|-!|-!|-5.4|-5400ms|-5.4"),
            ("0.0004", "0.0004|0!|0.0004|-!|-!|-!|0.0004|0ms!|0.0004"),
            ("1e999", "1e999|-!|-!|-!|-!|-!|1e999|-!|1e999"),
            ("1e-999", "1e-999|0!|0!|-!|-!|-!|1e-999|0ms!|1e-999"),
            (r#""""#, r#"|-|-|-|-|-|""|-|"#),
            (r#"" ""#, r#" |-|-|-|-|-|" "|-| "#),
            (r#""word""#, r#"word|-!|-!|-!|-!|-!|"word"|-!|word"#),
            (r#""125""#, r#"125|125|125|-!|-!|-!|"125"|125000ms|125"#),
            (
                r#""0125""#,
                r#"0125|125!|125!|-!|-!|-!|"0125"|125000ms!|0125"#,
            ),
            (r#""1.5""#, r#"1.5|2!|1.5|-!|-!|-!|"1.5"|1500ms|1.5"#),
            (r#""1,5""#, r#"1,5|-!|-!|-!|-!|-!|"1,5"|-!|1,5"#),
            (r#""inf""#, r#"inf|-!|-!|-!|-!|-!|"inf"|-!|inf"#),
            (r#""1""#, r#"1|1|1|true|-!|-!|"1"|1000ms|1"#),
            (r#""true""#, r#"true|-!|-!|true|-!|-!|"true"|-!|true"#),
            (r#""False""#, r#"False|-!|-!|false|-!|-!|"False"|-!|False"#),
            (
                r#""1970-01-03""#,
                r#"1970-01-03|-!|-!|-!|2d|-!|"1970-01-03"|-!|1970-01-03"#,
            ),
            (
                r#""1970-01-03T00:00:01Z""#,
                "1970-01-03T00:00:01Z|-!|-!|-!|2d!|172801000ms|\
                 \"1970-01-03T00:00:01Z\"|172801000ms|1970-01-03T00:00:01Z",
            ),
            (
                r#""1970-01-01T00:00:00.0006Z""#,
                "1970-01-01T00:00:00.0006Z|-!|-!|-!|0d!|0ms!|\
                 \"1970-01-01T00:00:00.0006Z\"|0ms!|1970-01-01T00:00:00.0006Z",
            ),
            (r#""a\nb""#, "a\nb|-!|-!|-!|-!|-!|\"a\\nb\"|-!|a\nb"),
            (
                r#""a\ud83d b""#,
                "a\u{fffd} b!|-!|-!|-!|-!|-!|\"a\\ud83d b\"|-!|a\u{fffd} b!",
            ),
            (
                r#""\ude00\ud83d""#,
                "\u{fffd}\u{fffd}!|-!|-!|-!|-!|-!|\"\\ude00\\ud83d\"|-!|\u{fffd}\u{fffd}!",
            ),
            (
                r#""\ud83d\ude00""#,
                "\u{1f600}|-!|-!|-!|-!|-!|\"\\ud83d\\ude00\"|-!|\u{1f600}",
            ),
            (r#"[1,"\ud83d"]"#, r#"-!|-!|-!|-!|-!|-!|[1,"\ud83d"]|-!|-!"#),
            (r#"{"a":1e999}"#, r#"-!|-!|-!|-!|-!|-!|{"a":1e999}|-!|-!"#),
        ];
        let written = |converted: &Converted<'_>| {
            let cell = match &converted.cell {
                Cell::Null => "-".to_owned(),
                Cell::Text(text) => text.to_string(),
                Cell::Integer(value) => value.to_string(),
                Cell::Number(value) => value.to_string(),
                Cell::Boolean(value) => value.to_string(),
                Cell::Date(days) => format!("{days}d"),
                Cell::Timestamp(at) => format!("{at}ms"),
            };
            format!("{cell}{}", if converted.fits { "" } else { "!" })
        };
        for (json, wanted) in table {
            assert_eq!(wanted.split('|').count(), TAKES.len(), "{json}");
            for (converter, wanted) in TAKES.into_iter().zip(wanted.split('|')) {
                let converted = converter.convert(json);
                assert_eq!(written(&converted), wanted, "{json} as {converter:?}");
                // The streaming pass reads the same value, or leaves it to the conversion.
                if let Some(cell) = read(converter, json) {
                    assert_eq!(
                        Converted::fitting(cell),
                        converted,
                        "{json} as {converter:?}, deserialized directly"
                    );
                }
            }
        }
    }

    #[test]
    fn usual_values_are_deserialized_directly() {
        for (converter, json) in [
            (Converter::As(ColumnKind::Integer), "9007199254740993"),
            (Converter::As(ColumnKind::Integer), "\"125\""),
            (Converter::As(ColumnKind::Number), "0.6103094355280591"),
            (Converter::As(ColumnKind::Boolean), "1"),
            (Converter::As(ColumnKind::Date), "\"1970-01-02\""),
            (Converter::As(ColumnKind::Text), "7"),
            (Converter::As(ColumnKind::Text), "\"a\\nb\""),
            (Converter::Key, "70000"),
            (Converter::Epoch, "1358937653"),
        ] {
            assert_eq!(
                read(converter, json).map(Converted::fitting),
                Some(converter.convert(json)),
                "{json} as {converter:?}"
            );
        }
        assert_eq!(
            Converter::As(ColumnKind::Text)
                .convert("12345678901234567890.50")
                .cell,
            Cell::Text("12345678901234567890.50".into())
        );
        assert_eq!(
            Converter::Epoch.convert("1358937653000000"),
            Converted::misfit()
        );
    }
}
