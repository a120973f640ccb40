//! Converts a vendor's value into a cell. A value fits when the column's type can represent it
//! without loss. Otherwise the cell holds the nearest value of that type, or null, and the caller
//! stores the original value as a misfit.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::fmt::temporal::Pieces;
use serde::de::{self, Deserializer, Visitor};

use super::report::ColumnKind;
use super::table::Cell;

/// A decimal with at most this many significant digits fits a 64-bit float: 17 digits distinguish
/// all floats.
const MAX_FLOAT_DIGITS: usize = 17;
/// No 64-bit float has more significant digits than this.
const MAX_EXACT_DIGITS: usize = 767;
/// A whole number in a key is written out up to this many digits. A longer one, such as `1e999`,
/// keeps its original text.
const MAX_KEY_DIGITS: usize = 40;

/// The result of converting one value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Converted<'a> {
    pub cell: Cell<'a>,
    /// The cell represents the value exactly. If false, the caller must store the value as a
    /// misfit.
    pub fits: bool,
}

impl<'a> Converted<'a> {
    pub fn fitting(cell: Cell<'a>) -> Self {
        Self { cell, fits: true }
    }

    /// A misfit, with the nearest value of the column's type.
    pub fn nearest(cell: Cell<'a>) -> Self {
        Self { cell, fits: false }
    }

    /// A misfit for which the column's type has no near value.
    pub fn misfit() -> Self {
        Self::nearest(Cell::Null)
    }

    fn of(cell: Option<Cell<'a>>, fits: bool) -> Self {
        cell.map_or_else(Self::misfit, |cell| Self { cell, fits })
    }
}

/// A number, parsed from its text without rounding.
#[derive(Debug)]
pub(super) struct Decimal<'t> {
    text: &'t str,
    negative: bool,
    /// Without leading or trailing zeros; empty for zero.
    digits: String,
    /// The exponent (base 10) of the last digit.
    power: i64,
    /// The text follows JSON's number format: no leading plus or zero, and digits on both sides of
    /// the point.
    plain: bool,
}

impl<'t> Decimal<'t> {
    /// Returns `None` if the text is no number.
    pub fn read(text: &'t str) -> Option<Self> {
        let (sign, unsigned) = match text.as_bytes().first()? {
            b'-' => (-1, &text[1..]),
            b'+' => (1, &text[1..]),
            _ => (0, text),
        };
        let split = unsigned.split_once(['e', 'E']);
        let (mantissa, exponent) = split.map_or((unsigned, None), |(mantissa, exponent)| {
            (mantissa, Some(exponent))
        });
        let (whole, fraction) = mantissa
            .split_once('.')
            .map_or((mantissa, None), |(whole, fraction)| {
                (whole, Some(fraction))
            });
        let part = fraction.unwrap_or_default();
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !are_digits(whole) || !are_digits(part) || (whole.is_empty() && part.is_empty()) {
            return None;
        }
        let shift = exponent.map_or(Some(0), power_of)?;
        let all = format!("{whole}{part}");
        let trailing_zeros = all.len() - all.trim_end_matches('0').len();
        let digits = all.trim_matches('0').to_owned();
        let length = |of: usize| i64::try_from(of).unwrap_or(i64::MAX);
        let power = shift
            .saturating_sub(length(part.len()))
            .saturating_add(length(trailing_zeros));
        let is_plain_whole = whole == "0" || (!whole.is_empty() && !whole.starts_with('0'));
        let plain = sign != 1 && is_plain_whole && fraction.is_none_or(|part| !part.is_empty());
        Some(Self {
            text,
            negative: sign == -1,
            power: if digits.is_empty() { 0 } else { power },
            digits,
            plain,
        })
    }

    /// The nearest 64-bit float; null when the number is out of range.
    pub fn float(&self) -> Converted<'static> {
        let nearest = self
            .text
            .parse::<f64>()
            .ok()
            .filter(|value| value.is_finite());
        Converted::of(
            nearest.map(Cell::Number),
            nearest.is_some_and(|value| self.is_float(value)),
        )
    }

    /// Whether the float equals this number, up to half a unit in the 17th digit.
    fn is_float(&self, value: f64) -> bool {
        let count = self.digits.len();
        if !self.plain || count == 0 {
            return self.plain;
        }
        if count > MAX_FLOAT_DIGITS {
            let exact = format!("{:.*e}", MAX_EXACT_DIGITS - 1, value.abs());
            return Decimal::read(&exact)
                .is_some_and(|float| float.digits == self.digits && float.power == self.power);
        }
        value.is_normal() || self.is_tiny_float(value)
    }

    /// Like `is_float`, for floats so close to zero that they have fewer digits.
    fn is_tiny_float(&self, value: f64) -> bool {
        const SHIFT: i64 = 300;
        const PRECISION: f64 = 1e-15;
        let scaled = format!("{}e{}", self.digits, self.power.saturating_add(SHIFT))
            .parse::<f64>()
            .unwrap_or_default();
        let is_near = value != 0.0 && (value.abs() * 1e300 - scaled).abs() <= scaled * PRECISION;
        is_near
            || Decimal::read(&format!("{value:e}"))
                .is_some_and(|float| float.digits == self.digits && float.power == self.power)
    }

    /// The nearest 64-bit integer (ties go away from zero); null when the number is out of range.
    pub fn integer(&self) -> Converted<'static> {
        let (nearest, exact) = self.rounded(0);
        Converted::of(nearest.map(Cell::Integer), exact && self.plain)
    }

    /// Multiplies this number by a power of ten and rounds it to a whole number. Returns the result
    /// and whether it is exact.
    fn rounded(&self, shift: i64) -> (Option<i64>, bool) {
        let power = self.power.saturating_add(shift);
        let (kept_digits, up) = match usize::try_from(power.unsigned_abs()) {
            Ok(zeros) if power >= 0 => {
                // A 64-bit integer has at most 19 digits.
                if self.digits.len().saturating_add(zeros) > 19 && !self.digits.is_empty() {
                    return (None, false);
                }
                (
                    if self.digits.is_empty() {
                        String::new()
                    } else {
                        format!("{}{}", self.digits, "0".repeat(zeros))
                    },
                    false,
                )
            }
            Ok(cut) => {
                let whole = self.digits.len().saturating_sub(cut);
                let next = if cut > self.digits.len() {
                    None
                } else {
                    self.digits.as_bytes().get(whole)
                };
                (
                    self.digits[..whole].to_owned(),
                    next.is_some_and(|digit| *digit >= b'5'),
                )
            }
            Err(_) => return (None, false),
        };
        let whole = if kept_digits.is_empty() {
            Some(0)
        } else {
            kept_digits.parse::<i128>().ok()
        };
        let signed =
            whole.map(|whole| (whole + i128::from(up)) * if self.negative { -1 } else { 1 });
        (
            signed.and_then(|value| i64::try_from(value).ok()),
            power >= 0 || self.digits.is_empty(),
        )
    }

    /// Converts seconds since 1970 into a timestamp with milliseconds.
    fn epoch(&self) -> Converted<'static> {
        let (millis, exact) = self.rounded(3);
        let at = millis.filter(|millis| Timestamp::from_millisecond(*millis).is_ok());
        Converted::of(at.map(Cell::Timestamp), exact && self.plain)
    }

    /// 1 is true and 0 is false.
    fn boolean(&self) -> Converted<'static> {
        match self.rounded(0) {
            (Some(value @ (0 | 1)), true) => Converted {
                cell: Cell::Boolean(value == 1),
                fits: self.plain,
            },
            _ => Converted::misfit(),
        }
    }

    /// The digits of a whole number, so that all spellings of one number give one text; any other
    /// number keeps its original text.
    pub fn key(&self) -> Cow<'t, str> {
        if self.digits.is_empty() {
            return Cow::Borrowed("0");
        }
        match usize::try_from(self.power) {
            Ok(zeros) if self.digits.len().saturating_add(zeros) <= MAX_KEY_DIGITS => {
                Cow::Owned(format!(
                    "{}{}{}",
                    if self.negative { "-" } else { "" },
                    self.digits,
                    "0".repeat(zeros)
                ))
            }
            _ => Cow::Borrowed(self.text),
        }
    }
}

/// Parses an exponent, which may have more digits than an integer holds. `None` if it is not one.
fn power_of(exponent: &str) -> Option<i64> {
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Sums with this value stay within 64 bits.
    const FAR: i64 = i64::MAX / 4;
    let power = digits.parse::<i64>().unwrap_or(FAR).min(FAR);
    Some(if exponent.starts_with('-') {
        -power
    } else {
        power
    })
}

/// How a timestamp is encoded: as text, or as seconds since 1970 in a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimestampEncoding {
    Text,
    Epoch,
}

/// Converts a JSON number into a cell of this kind. A text column gets the original digits.
pub(super) fn number(kind: ColumnKind, encoding: TimestampEncoding, text: &str) -> Converted<'_> {
    let Some(decimal) = Decimal::read(text) else {
        return Converted::misfit();
    };
    match kind {
        ColumnKind::Text | ColumnKind::Json => Converted::fitting(Cell::Text(Cow::Borrowed(text))),
        ColumnKind::Number => decimal.float(),
        ColumnKind::Integer => decimal.integer(),
        ColumnKind::Boolean => decimal.boolean(),
        ColumnKind::Timestamp if encoding == TimestampEncoding::Epoch => decimal.epoch(),
        ColumnKind::Timestamp | ColumnKind::Date => Converted::misfit(),
    }
}

/// Converts a text into a cell of this kind. White space alone is null, except in a text column.
pub(super) fn text(
    kind: ColumnKind,
    encoding: TimestampEncoding,
    text: Cow<'_, str>,
) -> Converted<'_> {
    let trimmed = text.trim();
    match kind {
        ColumnKind::Text | ColumnKind::Json => Converted::fitting(Cell::Text(text)),
        _ if trimmed.is_empty() => Converted::fitting(Cell::Null),
        ColumnKind::Boolean if trimmed.eq_ignore_ascii_case("true") => {
            Converted::fitting(Cell::Boolean(true))
        }
        ColumnKind::Boolean if trimmed.eq_ignore_ascii_case("false") => {
            Converted::fitting(Cell::Boolean(false))
        }
        ColumnKind::Number => {
            Decimal::read(trimmed).map_or_else(Converted::misfit, |decimal| decimal.float())
        }
        ColumnKind::Integer => {
            Decimal::read(trimmed).map_or_else(Converted::misfit, |decimal| decimal.integer())
        }
        ColumnKind::Boolean => {
            Decimal::read(trimmed).map_or_else(Converted::misfit, |decimal| decimal.boolean())
        }
        ColumnKind::Date => day(trimmed),
        ColumnKind::Timestamp => {
            match Decimal::read(trimmed).filter(|_| encoding == TimestampEncoding::Epoch) {
                Some(seconds) => seconds.epoch(),
                None => trimmed
                    .parse::<Timestamp>()
                    .map_or_else(|_| Converted::misfit(), moment),
            }
        }
    }
}

/// A timestamp, truncated to the millisecond: rounding up could move it to the next day.
pub(super) fn moment(at: Timestamp) -> Converted<'static> {
    Converted {
        cell: Cell::Timestamp(at.as_millisecond()),
        fits: at.subsec_nanosecond() % 1_000_000 == 0,
    }
}

/// A day. For a timestamp, the day that its text names.
fn day(text: &str) -> Converted<'static> {
    let days = |day: Date| Cell::Date((day - Date::constant(1970, 1, 1)).get_days());
    match text.parse::<Date>() {
        Ok(date) if text.len() == "2026-11-20".len() => Converted::fitting(days(date)),
        _ => Pieces::parse(text).map_or_else(
            |_| Converted::misfit(),
            |pieces| Converted::nearest(days(pieces.date())),
        ),
    }
}

/// Decodes a JSON string. The flag is false if a lone surrogate was replaced by U+FFFD. Returns
/// `None` if the JSON is no string.
pub(super) fn decoded(json: &str) -> Option<(Cow<'_, str>, bool)> {
    serde_json::Deserializer::from_str(json)
        .deserialize_bytes(LossyJsonText)
        .ok()
}

/// Deserializes a JSON string as bytes, in which a lone surrogate becomes three bytes that are not
/// valid UTF-8.
pub(super) struct LossyJsonText;

impl<'de> Visitor<'de> for LossyJsonText {
    type Value = (Cow<'de, str>, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_bytes<E: de::Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(std::str::from_utf8(bytes).map_or_else(
            |_| (Cow::Owned(replace_surrogate_halves(bytes)), false),
            |text| (Cow::Borrowed(text), true),
        ))
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(std::str::from_utf8(bytes).map_or_else(
            |_| (Cow::Owned(replace_surrogate_halves(bytes)), false),
            |text| (Cow::Owned(text.to_owned()), true),
        ))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok((Cow::Borrowed(text), true))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok((Cow::Owned(text.to_owned()), true))
    }
}

/// Decodes the bytes and replaces each lone surrogate by U+FFFD.
fn replace_surrogate_halves(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        // from_utf8 reports an error for each of the three bytes of a lone surrogate; the first
        // byte identifies it.
        match chunk.invalid() {
            [] => {}
            [0x80..=0xbf, ..] => {}
            _ => text.push('\u{fffd}'),
        }
    }
    text
}

#[cfg(test)]
mod tests;
