//! One JSON value into one cell. A value that does not fit says so; nothing is rounded, cut or guessed.

use std::borrow::Cow;
use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use serde::de::{self, DeserializeSeed, Deserializer, Visitor};

use crate::clock::Millis;
use crate::connectors::Window;
use crate::connectors::report::ColumnKind;
pub(super) use crate::connectors::table::Cell;

/// How a value is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Take {
    As(ColumnKind),
    /// Text, or a number in the digits that came.
    Verbatim,
    /// A number, also one that is written as a text.
    Decimal,
    /// Seconds since 1970, which become a moment.
    Epoch,
}

/// The largest whole number below which a 64-bit float holds every whole number.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl<'de> DeserializeSeed<'de> for Take {
    type Value = Cell<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Cell<'de>, D::Error> {
        match self {
            Take::As(ColumnKind::Json) => {
                let raw: &'de serde_json::value::RawValue = de::Deserialize::deserialize(from)?;
                Ok(if raw.get() == "null" { Cell::Null } else { Cell::Text(Cow::Borrowed(raw.get())) })
            }
            Take::Verbatim => {
                let raw: &'de serde_json::value::RawValue = de::Deserialize::deserialize(from)?;
                match raw.get().as_bytes().first() {
                    Some(b'-' | b'0'..=b'9') => Ok(Cell::Text(Cow::Borrowed(raw.get()))),
                    _ => Take::As(ColumnKind::Text).deserialize(&mut serde_json::Deserializer::from_str(raw.get())).map_err(de::Error::custom),
                }
            }
            Take::Decimal => {
                let raw: &'de serde_json::value::RawValue = de::Deserialize::deserialize(from)?;
                match raw.get().trim_matches('"') {
                    "null" | "" => Ok(Cell::Null),
                    text => number(text).map(Cell::Number).ok_or_else(|| misfit(self)),
                }
            }
            // A float alone does not tell whether its text held more digits.
            Take::As(ColumnKind::Number) => {
                let raw: &'de serde_json::value::RawValue = de::Deserialize::deserialize(from)?;
                match raw.get() {
                    "null" | "\"\"" => Ok(Cell::Null),
                    text => number(text).map(Cell::Number).ok_or_else(|| misfit(self)),
                }
            }
            _ => from.deserialize_any(Scalar(self)),
        }
    }
}

struct Scalar(Take);

fn misfit<E: de::Error>(take: Take) -> E {
    E::custom(format_args!("not what {take:?} takes"))
}

impl<'de> Visitor<'de> for Scalar {
    type Value = Cell<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the column's type")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Cell<'de>, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Cell<'de>, E> {
        if self.0 == Take::As(ColumnKind::Boolean) { Ok(Cell::Boolean(value)) } else { Err(misfit(self.0)) }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Cell<'de>, E> {
        match self.0 {
            Take::As(ColumnKind::Integer) => Ok(Cell::Integer(value)),
            // Vendors write yes and no as 1 and 0.
            Take::As(ColumnKind::Boolean) if value == 0 || value == 1 => Ok(Cell::Boolean(value == 1)),
            Take::Epoch => epoch(value).ok_or_else(|| misfit(self.0)),
            other => Err(misfit(other)),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Cell<'de>, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Err(misfit(self.0)),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Cell<'de>, E> {
        if value.abs() >= EXACT {
            return Err(misfit(self.0));
        }
        #[expect(clippy::cast_possible_truncation, reason = "below 2^53 the whole part of a float is an i64")]
        match self.0 {
            Take::Epoch => {
                let cell = epoch(value.floor() as i64).ok_or_else(|| misfit(self.0))?;
                let Cell::Timestamp(at) = cell else { return Err(misfit(self.0)) };
                Ok(Cell::Timestamp(at + (value.fract().rem_euclid(1.0) * 1000.0).round() as i64))
            }
            take if value.fract() == 0.0 => self.visit_i64(value as i64).map_err(|_: E| misfit(take)),
            take => Err(misfit(take)),
        }
    }

    fn visit_borrowed_str<E: de::Error>(self, value: &'de str) -> Result<Cell<'de>, E> {
        match self.0 {
            Take::As(ColumnKind::Text) => Ok(Cell::Text(Cow::Borrowed(value))),
            take => text(take, value).ok_or_else(|| misfit(take)),
        }
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Cell<'de>, E> {
        match self.0 {
            Take::As(ColumnKind::Text) => Ok(Cell::Text(Cow::Owned(value.to_owned()))),
            take => text(take, value).ok_or_else(|| misfit(take)),
        }
    }
}

/// Text where the column is not text: a day, a moment, or empty where the vendor means nothing.
fn text<'a>(take: Take, value: &str) -> Option<Cell<'a>> {
    if value.is_empty() {
        return Some(Cell::Null);
    }
    match take {
        Take::As(ColumnKind::Date) => Some(Cell::Date((value.parse::<Date>().ok()? - Date::constant(1970, 1, 1)).get_days())),
        Take::As(ColumnKind::Timestamp) => Some(Cell::Timestamp(value.parse::<jiff::Timestamp>().ok()?.as_millisecond())),
        _ => None,
    }
}

fn epoch<'a>(seconds: i64) -> Option<Cell<'a>> {
    Some(Cell::Timestamp(jiff::Timestamp::from_second(seconds).ok()?.as_millisecond()))
}

/// The float that the text of a JSON number stands for, if the float's shortest form is the same number.
pub(super) fn number(text: &str) -> Option<f64> {
    let first = text.as_bytes().first()?;
    if !(first.is_ascii_digit() || *first == b'-') {
        return None;
    }
    let value: f64 = text.parse().ok().filter(|v: &f64| v.is_finite())?;
    (digits(text)? == digits(&format!("{value:e}"))?).then_some(value)
}

/// Sign, digits without zeros around them, and the power of ten of the last digit: equal for equal numbers.
fn digits(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{part}");
    let kept = all.trim_start_matches('0').trim_end_matches('0');
    if kept.is_empty() {
        return Some((false, String::new(), 0));
    }
    let zeros = all.len() - all.trim_end_matches('0').len();
    let power: i64 = power.parse().ok()?;
    Some((negative, kept.to_owned(), power.checked_sub(i64::try_from(part.len()).ok()?)?.checked_add(i64::try_from(zeros).ok()?)?))
}

/// When a period begins: `2013-01-29`, `14:00` (of the window's one day), `2013-01` or `2013-01-29 14:00`, in the DataSet's zone.
pub(super) fn period_start(period: &str, window: Window, zone: &TimeZone) -> Option<Millis> {
    let midnight = |day: Date| day.to_datetime(Time::midnight());
    let at: DateTime = match period.len() {
        10 => midnight(period.parse().ok()?),
        7 => midnight(format!("{period}-01").parse().ok()?),
        5 => window.from.to_datetime(format!("{period}:00").parse().ok()?),
        16 => period.replacen(' ', "T", 1).parse().ok()?,
        _ => return None,
    };
    Some(at.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(take: Take, text: &str) -> Option<Cell<'_>> {
        take.deserialize(&mut serde_json::Deserializer::from_str(text)).ok()
    }

    #[test]
    fn numbers_keep_every_digit_or_do_not_fit() {
        for good in ["0", "-0.0", "1.50", "0.1", "1e3", "123456789.125", "9007199254740993e0", "5e-324", "100", "1.7976931348623157e308"] {
            let exact = number(good).is_some();
            assert_eq!(exact, good != "9007199254740993e0", "{good}");
        }
        for bad in ["1e999", "0.1000000000000000055511151231257827", "9007199254740993", "12345678901234567890", "\"7\"", "true", "[1]"] {
            assert_eq!(number(bad), None, "{bad}");
        }
        let integer = Take::As(ColumnKind::Integer);
        assert_eq!(read(integer, "9007199254740993"), Some(Cell::Integer(9_007_199_254_740_993)));
        assert_eq!(read(integer, "5.0"), Some(Cell::Integer(5)));
        assert_eq!(read(integer, "\"\""), Some(Cell::Null));
        for bad in ["9223372036854775808", "1e999", "5.5", "\"5\"", "true", "[]", "{}"] {
            assert_eq!(read(integer, bad), None, "{bad}");
        }
    }

    #[test]
    fn moments_days_and_yes_or_no() {
        assert_eq!(read(Take::Epoch, "1358937653"), Some(Cell::Timestamp(1_358_937_653_000)));
        assert_eq!(read(Take::Epoch, "-1.5"), Some(Cell::Timestamp(-1_500)));
        assert_eq!(read(Take::Epoch, "1358937653000000"), None);
        assert_eq!(read(Take::Epoch, "\"\""), Some(Cell::Null));
        assert_eq!(read(Take::As(ColumnKind::Boolean), "1"), Some(Cell::Boolean(true)));
        assert_eq!(read(Take::As(ColumnKind::Boolean), "2"), None);
        assert_eq!(read(Take::As(ColumnKind::Date), "\"1970-01-02\""), Some(Cell::Date(1)));
        assert_eq!(read(Take::As(ColumnKind::Text), "\"\\ud83d\""), None);
        assert_eq!(read(Take::As(ColumnKind::Text), "7"), None);
        assert_eq!(read(Take::As(ColumnKind::Text), "\"a\\nb\""), Some(Cell::Text("a\nb".into())));
        assert_eq!(read(Take::Verbatim, "12345678901234567890.50"), Some(Cell::Text("12345678901234567890.50".into())));
        assert_eq!(read(Take::Verbatim, "\"a\\nb\""), Some(Cell::Text("a\nb".into())));
        assert_eq!((read(Take::Verbatim, "true"), read(Take::Verbatim, "[]")), (None, None));
        assert_eq!(read(Take::Decimal, "\"15.00\""), Some(Cell::Number(15.0)));
        assert_eq!((read(Take::Decimal, "1.5"), read(Take::Decimal, "\"1,5\"")), (Some(Cell::Number(1.5)), None));
        assert_eq!(read(Take::As(ColumnKind::Json), "[1e999]"), Some(Cell::Text("[1e999]".into())));
    }

    #[test]
    fn periods_begin_in_the_zone_of_the_dataset() {
        let day = Window { from: Date::constant(2026, 10, 25), to: Date::constant(2026, 10, 25) };
        let zone = TimeZone::get("Europe/Oslo").unwrap();
        let start = |text: &str| period_start(text, day, &zone).map(crate::clock::iso);
        assert_eq!(start("2026-10-25").as_deref(), Some("2026-10-24T22:00:00Z"));
        assert_eq!(start("00:00").as_deref(), Some("2026-10-24T22:00:00Z"));
        // The hour that comes twice is its first one.
        assert_eq!(start("02:00").as_deref(), Some("2026-10-25T00:00:00Z"));
        assert_eq!(start("03:00").as_deref(), Some("2026-10-25T02:00:00Z"));
        assert_eq!(start("2026-10").as_deref(), Some("2026-09-30T22:00:00Z"));
        assert_eq!(start("2026-10-25 14:00").as_deref(), Some("2026-10-25T13:00:00Z"));
        for bad in ["error", "", "2026-13", "25:00", "2026-02-30"] {
            assert_eq!(start(bad), None, "{bad}");
        }
    }
}
