//! Parses the start and stop of an export: ISO 8601 with an offset, and the forms that clients
//! commonly send instead.

use std::ops::Range;

use jiff::civil::{Date, Time};
use jiff::tz::Offset;

use crate::clock::Millis;
use crate::error::{Error, Result};

/// The maximum length of a period: a leap year.
const MAX_PERIOD: Millis = 366 * 24 * 60 * 60 * 1_000;
const YEARS: std::ops::RangeInclusive<i16> = 1970..=2999;

/// The range from `start` to `stop` in whole milliseconds, without `stop`. `start` must not be in
/// the future.
pub fn parse(start: &str, stop: &str, now: Millis) -> Result<Range<Millis>> {
    let (from, to) = (parse_moment("start", start)?, parse_moment("stop", stop)?);
    if from > now {
        return Err(Error::field("start", "start must not be in the future."));
    }
    if to <= from {
        return Err(Error::field("stop", "stop must be later than start."));
    }
    if to - from > MAX_PERIOD {
        return Err(Error::field(
            "stop",
            "stop must be at most 366 days after start.",
        ));
    }
    Ok(from..to)
}

/// Parses the time in parameter `name`. Fractions of a millisecond are rounded up, so that a
/// half-open range keeps its meaning.
fn parse_moment(name: &'static str, text: &str) -> Result<Millis> {
    let wrong = |what: &str| Error::field(name, format!("{name} {what}"));
    if text.is_empty() {
        return Err(wrong("is missing. Example: 2026-11-20T08:15:30.000+01:00."));
    }
    let shape =
        || wrong("must be ISO 8601 with a UTC offset, for example 2026-11-20T08:15:30.000+01:00.");
    let bytes = text.as_bytes();
    if !text.is_ascii() || bytes.len() < 19 {
        return Err(shape());
    }
    let (clock, rest) = text.split_at(19);
    for (at, byte) in clock.bytes().enumerate() {
        let fits = match at {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            _ => byte.is_ascii_digit(),
        };
        if !fits {
            return Err(shape());
        }
    }
    let number = |range: Range<usize>| {
        clock
            .get(range)
            .and_then(|digits| digits.parse::<i16>().ok())
            .unwrap_or(-1)
    };
    let two_digits = |range: Range<usize>| i8::try_from(number(range)).unwrap_or(-1);
    let year = number(0..4);
    if !YEARS.contains(&year) {
        return Err(wrong("must have a year from 1970 to 2999."));
    }
    if two_digits(17..19) == 60 {
        return Err(wrong(
            "must not be a leap second. Use second 59, or 00 of the next minute.",
        ));
    }
    let no_such = |_| wrong("has a day or time that does not exist.");
    let date = Date::new(year, two_digits(5..7), two_digits(8..10)).map_err(no_such)?;
    let time = Time::new(
        two_digits(11..13),
        two_digits(14..16),
        two_digits(17..19),
        0,
    )
    .map_err(no_such)?;
    let (nanos, rest) = fraction(rest).ok_or_else(shape)?;
    if rest.is_empty() {
        return Err(wrong(
            "has no UTC offset. Add one, for example +01:00, or Z for UTC.",
        ));
    }
    let offset = offset(rest).ok_or_else(shape)?;
    let whole = offset
        .to_timestamp(date.to_datetime(time))
        .map_err(no_such)?;
    Ok(whole.as_millisecond() + i64::from(nanos.div_ceil(1_000_000)))
}

/// Parses an optional fraction of a second. Returns it in nanoseconds with the rest of the text.
fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(digits) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = digits.split_at(length);
    if !(1..=9).contains(&length) {
        return None;
    }
    Some((format!("{digits:0<9}").parse().ok()?, rest))
}

/// Parses `Z`, `+01:00`, `+0100` or `+01`. An unencoded `+` in a query string arrives as a space.
fn offset(text: &str) -> Option<Offset> {
    if text == "Z" {
        return Some(Offset::UTC);
    }
    let (sign, rest) = text.split_at_checked(1)?;
    let sign = match sign {
        "+" | " " => 1,
        "-" => -1,
        _ => return None,
    };
    let digits = match rest.as_bytes() {
        [_, _] | [_, _, _, _] => rest.to_owned(),
        [_, _, b':', _, _] => rest.replacen(':', "", 1),
        _ => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let hours: i32 = digits.get(..2)?.parse().ok()?;
    let minutes: i32 = digits
        .get(2..)
        .filter(|minutes| !minutes.is_empty())
        .map_or(Some(0), |minutes| minutes.parse().ok())?;
    // No time zone is more than 14 hours from UTC.
    let fits = minutes < 60 && hours * 60 + minutes <= 14 * 60;
    if fits {
        Offset::from_seconds(sign * (hours * 60 + minutes) * 60).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-20T12:00:00Z
    const NOW: Millis = 1_795_176_000_000;

    #[test]
    fn a_moment_is_read_in_every_form_that_is_taken() {
        for (text, millis) in [
            ("2026-11-20T12:00:00Z", NOW),
            ("2026-11-20T12:00:00.000Z", NOW),
            ("2026-11-20T13:00:00.000+01:00", NOW),
            ("2026-11-20T13:00:00.000 01:00", NOW),
            ("2026-11-20T13:00:00+0100", NOW),
            ("2026-11-20T13:00:00+01", NOW),
            ("2026-11-20T06:30:00.000-05:30", NOW),
            ("2026-11-20T12:00:00.5-00:00", NOW + 500),
            ("2026-11-20T12:00:00.123456789Z", NOW + 124),
            ("2026-11-20T12:00:00.123000000Z", NOW + 123),
            ("2008-08-18T19:24:18.884+02:00", 1_219_080_258_884),
        ] {
            assert_eq!(parse_moment("start", text).unwrap(), millis, "{text}");
        }
    }
}
