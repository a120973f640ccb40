//! Parses times of LiveLeader: the usual spellings of ISO 8601, and the format in the vendor's
//! documentation, `23-10-2008T12:49:1231`.

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::fmt::temporal::{DateTimeParser, Pieces};
use jiff::tz::{Offset, TimeZone};

use crate::clock::Millis;

static ISO: DateTimeParser = DateTimeParser::new();

/// A parsed time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    pub at: Timestamp,
    /// The text has an offset. Without one, the time is read in the account's time zone.
    pub has_offset: bool,
}

/// Parses a time, to the millisecond: see `read`.
pub fn moment(text: &str, zone: &TimeZone) -> Option<Millis> {
    read(text, zone).map(|moment| moment.at.as_millisecond())
}

/// Parses a time; `None` if it has another format. A time without offset is read in `zone`: of an
/// hour that occurs twice the first one is used, and a skipped time is moved by the length of the
/// gap.
pub(super) fn read(text: &str, zone: &TimeZone) -> Option<Moment> {
    let text = text.trim();
    if text.len() > 64 {
        return None;
    }
    if let Some((at, offset)) = parse_common(text.as_bytes()) {
        return moment_at(at, offset);
    }
    parse_sample(text).map_or_else(|| parse_iso(text, zone), |at| local(at, zone))
}

/// A fast path for the most common spelling, `2008-08-18T19:24:18.884+02:00` or with a `Z`: each
/// message has one, and the general parser takes several times as long. Returns `None` for all
/// other spellings.
fn parse_common(text: &[u8]) -> Option<(DateTime, Offset)> {
    let (body, offset) = match text {
        [body @ .., b'Z'] => (body, Offset::UTC),
        [body @ .., sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let seconds = i32::from(two(*h1, *h2)?) * 3_600 + i32::from(below_60(*m1, *m2)?) * 60;
            (
                body,
                Offset::from_seconds(if *sign == b'-' { -seconds } else { seconds }).ok()?,
            )
        }
        _ => return None,
    };
    let (whole, fraction) = body.split_at_checked(19)?;
    let &[
        y1,
        y2,
        y3,
        y4,
        b'-',
        m1,
        m2,
        b'-',
        d1,
        d2,
        b'T',
        h1,
        h2,
        b':',
        n1,
        n2,
        b':',
        s1,
        s2,
    ] = whole
    else {
        return None;
    };
    let nanos = match fraction {
        [] => 0,
        [b'.', digits @ ..] if (1..=3).contains(&digits.len()) => {
            let missing = 9 - u32::try_from(digits.len()).ok()?;
            digits.iter().try_fold(0, |sum, digit| {
                Some(sum * 10 + i32::from(digit_of(*digit)?))
            })? * 10_i32.pow(missing)
        }
        _ => return None,
    };
    let year = i16::from(two(y1, y2)?) * 100 + i16::from(two(y3, y4)?);
    let at = DateTime::new(
        year,
        two(m1, m2)?,
        two(d1, d2)?,
        two(h1, h2)?,
        below_60(n1, n2)?,
        below_60(s1, s2)?,
        nanos,
    )
    .ok()?;
    Some((at, offset))
}

fn digit_of(byte: u8) -> Option<i8> {
    byte.is_ascii_digit().then(|| (byte - b'0').cast_signed())
}

fn two(tens: u8, ones: u8) -> Option<i8> {
    Some(digit_of(tens)? * 10 + digit_of(ones)?)
}

fn below_60(tens: u8, ones: u8) -> Option<i8> {
    two(tens, ones).filter(|number| *number < 60)
}

fn parse_iso(text: &str, zone: &TimeZone) -> Option<Moment> {
    // Time zone names in brackets are not part of ISO 8601.
    if text.contains('[') {
        return None;
    }
    let pieces = ISO
        .parse_pieces(text)
        .or_else(|_| Pieces::parse(text))
        .ok()?;
    let at = DateTime::from_parts(pieces.date(), pieces.time().unwrap_or(Time::midnight()));
    match pieces.to_numeric_offset() {
        Some(offset) => moment_at(at, offset),
        None if text.ends_with(['z', 'Z']) => moment_at(at, Offset::UTC),
        None => local(at, zone),
    }
}

fn moment_at(at: DateTime, offset: Offset) -> Option<Moment> {
    Some(Moment {
        at: offset.to_timestamp(at).ok()?,
        has_offset: true,
    })
}

fn local(at: DateTime, zone: &TimeZone) -> Option<Moment> {
    Some(Moment {
        at: zone.to_zoned(at).ok()?.timestamp(),
        has_offset: false,
    })
}

/// Parses day, month and year, then hours, minutes, seconds and hundredths of a second.
fn parse_sample(text: &str) -> Option<DateTime> {
    let bytes = text.as_bytes();
    let fits = matches!(bytes.len(), 19 | 21)
        && [(2, b'-'), (5, b'-'), (13, b':'), (16, b':')]
            .iter()
            .all(|(at, sign)| bytes[*at] == *sign)
        && matches!(bytes[10], b'T' | b't' | b' ')
        && [0..2, 3..5, 6..10, 11..13, 14..16, 17..bytes.len()]
            .into_iter()
            .flatten()
            .all(|at| bytes[at].is_ascii_digit());
    if !fits {
        return None;
    }
    let number = |from: usize, to: usize| {
        bytes[from..to]
            .iter()
            .fold(0_i32, |sum, digit| sum * 10 + i32::from(digit - b'0'))
    };
    let small = |from: usize| i8::try_from(number(from, from + 2)).ok();
    let hundredths = if bytes.len() == 21 { number(19, 21) } else { 0 };
    DateTime::new(
        i16::try_from(number(6, 10)).ok()?,
        small(3)?,
        small(0)?,
        small(11)?,
        small(14)?,
        small(17)?,
        hundredths * 10_000_000,
    )
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_in_oslo(text: &str) -> Option<String> {
        moment(text, &TimeZone::get("Europe/Oslo").unwrap())
            .map(|at| crate::clock::timestamp(at).to_string())
    }

    #[test]
    fn iso_in_all_its_usual_spellings() {
        for (text, is) in [
            ("2008-08-18T19:24:18.884+02:00", "2008-08-18T17:24:18.884Z"),
            ("2008-08-18T19:24:18.884Z", "2008-08-18T19:24:18.884Z"),
            ("2008-08-18T19:24:18z", "2008-08-18T19:24:18Z"),
            ("2008-08-18T19:24:18,5+02", "2008-08-18T17:24:18.5Z"),
            ("2008-08-18T19:24:18+0200", "2008-08-18T17:24:18Z"),
            ("2008-08-18 19:24:18-03:30", "2008-08-18T22:54:18Z"),
            (
                "2008-08-18t19:24:18.123456789+00:00",
                "2008-08-18T19:24:18.123Z",
            ),
            ("20080818T192418Z", "2008-08-18T19:24:18Z"),
            ("20080818T192418.25+0200", "2008-08-18T17:24:18.25Z"),
            ("2008-08-18T19:24Z", "2008-08-18T19:24:00Z"),
            ("2008-08-18T19:24:18", "2008-08-18T17:24:18Z"),
            ("2008-01-18T19:24:18.5", "2008-01-18T18:24:18.5Z"),
            ("2008-08-18", "2008-08-17T22:00:00Z"),
            ("  2008-08-18T19:24:18Z\n", "2008-08-18T19:24:18Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(read_in_oslo(text).as_deref(), Some(is), "{text}");
        }
    }

    #[test]
    fn the_format_of_the_sample_is_day_month_year_and_hundredths() {
        for (text, is) in [
            ("23-10-2008T12:49:1231", "2008-10-23T10:49:12.31Z"),
            ("23-10-2008T12:49:1200", "2008-10-23T10:49:12Z"),
            ("01-02-2008T00:00:0099", "2008-01-31T23:00:00.99Z"),
            ("23-10-2008 12:49:12", "2008-10-23T10:49:12Z"),
            // Of an hour that occurs twice the first one is used; a skipped time is moved by the
            // length of the gap.
            ("26-10-2008T02:30:0000", "2008-10-26T00:30:00Z"),
            ("30-03-2008T02:30:0000", "2008-03-30T01:30:00Z"),
        ] {
            assert_eq!(read_in_oslo(text).as_deref(), Some(is), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_fast_path_agrees_with_the_slow_path(
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]\
                     ([.][0-9]{0,4})?(Z|[+-][0-2][0-9]:[0-6][0-9])"
        ) {
            let short = parse_common(text.as_bytes()).map(|(at, offset)| moment_at(at, offset));
            proptest::prop_assert!(
                short.is_none_or(|short| short == parse_iso(&text, &TimeZone::UTC)),
                "{} {:?}", text, short
            );
        }
    }

    #[test]
    fn text_in_another_format_is_no_time() {
        for text in [
            "",
            " ",
            "yesterday",
            "1358937653",
            "12:49",
            "23/10/2008 12:49",
            "32-10-2008T12:49:1231",
            "23-13-2008T12:49:1231",
            "23-10-2008T24:49:1231",
            "23-10-08T12:49:1231",
            "23-10-2008T12:49:123",
            "23-10-2008T12:49:12345",
            "2008-02-30T00:00:00Z",
            "2008-08-18T25:00:00Z",
            "2008-08-18T19:24:18+99:00",
            "2008-08-18T19:24:18 02:00",
            "99999-08-18T19:24:18Z",
            "２００８-08-18T19:24:18Z",
            "2008-08-18T19:24:18+02:00[Europe/Oslo]",
        ] {
            assert_eq!(read_in_oslo(text), None, "{text}");
        }
        assert_eq!(read_in_oslo(&"2".repeat(9_000)), None);
    }
}
