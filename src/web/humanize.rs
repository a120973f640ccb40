//! Formats numbers, times and durations for people.

use jiff::Zoned;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::components::DisplayTime;
use crate::accounts::Account;
use crate::clock::{Millis, iso, timestamp};

/// A count as `i64`, which the functions of this module take.
pub fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// With separators: 12,480.
pub fn grouped(number: i64) -> String {
    let sign = if number < 0 { "−" } else { "" };
    format!("{sign}{}", group_digits(&number.unsigned_abs().to_string()))
}

/// Adds a comma after every three digits, counted from the end.
pub fn group_digits(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "1 row", "12,480 rows"
pub fn counted(number: i64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { many }
    )
}

/// "2 hours ago", "in 5 minutes", "just now"
pub fn relative(at: Millis, now: Millis) -> String {
    let away = (now - at).abs() / 1_000;
    let (number, unit) = match away {
        0..45 => {
            return if at > now {
                "in a moment".to_owned()
            } else {
                "just now".to_owned()
            };
        }
        45..90 => (1, "minute"),
        90..3_600 => ((away + 30) / 60, "minute"),
        3_600..86_400 => ((away + 1_800) / 3_600, "hour"),
        _ => ((away + 43_200) / 86_400, "day"),
    };
    let plural = if number == 1 { "" } else { "s" };
    if at > now {
        format!("in {number} {unit}{plural}")
    } else {
        format!("{number} {unit}{plural} ago")
    }
}

/// "Wed 24 Mar 2027, 10:42 Europe/Oslo"
pub fn exact_minute(at: Millis, zone: &TimeZone) -> String {
    let local = timestamp(at).to_zoned(zone.clone());
    format!(
        "{} {}",
        local.strftime("%a %-d %b %Y, %H:%M"),
        zone.iana_name().unwrap_or("UTC")
    )
}

/// "Wed 24 Mar 2027, 10:42:05 Europe/Oslo"
pub fn exact(at: Millis, zone: &TimeZone) -> String {
    let local = timestamp(at).to_zoned(zone.clone());
    format!(
        "{} {}",
        local.strftime("%a %-d %b %Y, %H:%M:%S"),
        zone.iana_name().unwrap_or("UTC")
    )
}

/// Short forms for small spaces: "16 min ago", "2 h ago", "3 days ago".
pub fn relative_brief(at: Millis, now: Millis) -> String {
    relative(at, now)
        .replace(" minutes", " min")
        .replace(" minute", " min")
        .replace(" hours", " h")
        .replace(" hour", " h")
}

/// "24 Mar 10:42", with the year when it is not this one.
pub fn short(at: Millis, now: Millis, zone: &TimeZone) -> String {
    let local = timestamp(at).to_zoned(zone.clone());
    let this_year = timestamp(now).to_zoned(zone.clone()).year() == local.year();
    local
        .strftime(if this_year {
            "%-d %b %H:%M"
        } else {
            "%-d %b %Y %H:%M"
        })
        .to_string()
}

/// A future time: "today 18:00", "tomorrow 06:30", "Thu 25 Mar 18:00".
pub fn calendar_time(at: Millis, now: Millis, zone: &TimeZone) -> String {
    let local: Zoned = timestamp(at).to_zoned(zone.clone());
    let today = timestamp(now).to_zoned(zone.clone()).date();
    let time = local.strftime("%H:%M").to_string();
    match (local.date() - today).get_days() {
        0 => format!("today {time}"),
        1 => format!("tomorrow {time}"),
        -1 => format!("yesterday {time}"),
        _ if local.year() == today.year() => format!("{} {time}", local.strftime("%a %-d %b")),
        _ => format!("{} {time}", local.strftime("%a %-d %b %Y")),
    }
}

/// "14:05" today, otherwise as `calendar_time`.
pub fn until(at: Millis, now: Millis, zone: &TimeZone) -> String {
    let words = calendar_time(at, now, zone);
    words
        .strip_prefix("today ")
        .map_or(words.clone(), str::to_owned)
}

/// "LiveChat ends this API on Wed 30 Jun 2027", if the vendor has announced it.
pub fn api_ends(account: &Account) -> Option<String> {
    account.vendor_hints.api_ends_on.map(|date| {
        format!(
            "{} ends this API on {}",
            account.connector.title(),
            day(date)
        )
    })
}

/// "Wed 10 Mar 2027"
pub fn day(date: Date) -> String {
    date.strftime("%a %-d %b %Y").to_string()
}

/// "Wed 10 Mar to Wed 17 Mar 2027", or one day.
pub fn days(from: Date, to: Date) -> String {
    if from == to {
        return day(from);
    }
    let first = if from.year() == to.year() {
        from.strftime("%a %-d %b").to_string()
    } else {
        day(from)
    };
    format!("{first} to {}", day(to))
}

/// "11 to 24 Mar", "28 Feb to 3 Mar", "24 Mar", the year only when it is not `this_year`'s.
pub fn days_brief(from: Date, to: Date, this_year: i16) -> String {
    let year = if to.year() == this_year {
        String::new()
    } else {
        format!(" {}", to.year())
    };
    let last = format!("{}{year}", to.strftime("%-d %b"));
    if from == to {
        return last;
    }
    let first = match (from.year() == to.year(), from.month() == to.month()) {
        (true, true) => from.strftime("%-d").to_string(),
        (true, false) => from.strftime("%-d %b").to_string(),
        (false, _) => from.strftime("%-d %b %Y").to_string(),
    };
    format!("{first} to {last}")
}

/// "1 min 9 s", "42 s", "under 1 s", "2 h 5 min"
pub fn span(millis: Millis) -> String {
    let seconds = millis / 1_000;
    match seconds {
        ..1 => "under 1 s".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// "4.2 MB"
pub fn size(bytes: i64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} bytes")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// The maximum number of names that are listed.
const MAX_NAMES: usize = 3;

/// Like `listed`, for a list that may be long: “A”, “B”, “C” and 4 more.
pub fn first_listed(mut names: impl ExactSizeIterator<Item = String>) -> String {
    let mut first: Vec<String> = names.by_ref().take(MAX_NAMES).collect();
    if names.len() > 0 {
        first.push(format!("{} more", names.len()));
    }
    listed(&first)
}

/// "A", "A and B", "A, B and C"
pub fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Capitalizes the first letter.
pub fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(letters)
        .collect()
}

/// The initials: "MA" for Maren Aasen.
pub fn initials(name: &str) -> String {
    let mut words = name
        .split_whitespace()
        .filter_map(|word| word.chars().find(|c| c.is_alphanumeric()));
    let first = words.next();
    let last = words.next_back();
    first
        .into_iter()
        .chain(last)
        .flat_map(char::to_uppercase)
        .take(2)
        .collect()
}

impl DisplayTime {
    pub fn never() -> Self {
        Self::default()
    }

    /// A relative time: "2 hours ago".
    pub fn ago(at: Millis, now: Millis, zone: &TimeZone) -> Self {
        Self {
            iso: iso(at),
            exact: exact(at, zone),
            words: relative(at, now),
        }
    }

    pub fn maybe(at: Option<Millis>, now: Millis, zone: &TimeZone) -> Self {
        at.map_or_else(Self::never, |at| Self::ago(at, now, zone))
    }

    /// A clock time: "Wed 24 Mar 10:42".
    pub fn clock(at: Millis, zone: &TimeZone) -> Self {
        let local = timestamp(at).to_zoned(zone.clone());
        Self {
            iso: iso(at),
            exact: exact(at, zone),
            words: local.strftime("%a %-d %b %H:%M").to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1_000, 12_480, 1_234_567, -1_000].map(grouped),
            ["0", "999", "1,000", "12,480", "1,234,567", "−1,000"]
        );
        assert_eq!(
            (counted(1, "row", "rows"), counted(2, "row", "rows")),
            ("1 row".to_owned(), "2 rows".to_owned())
        );
    }

    #[test]
    fn times_are_written_relative_to_now() {
        let now = 1_800_000_000_000;
        for (seconds, words) in [
            (0, "just now"),
            (60, "1 minute ago"),
            (7_200, "2 hours ago"),
            (3 * 86_400, "3 days ago"),
            (-300, "in 5 minutes"),
        ] {
            assert_eq!(relative(now - seconds * 1_000, now), words);
        }
    }

    #[test]
    fn date_ranges_are_written_short() {
        let day = |text: &str| text.parse::<Date>().unwrap();
        for (from, to, words) in [
            ("2026-03-11", "2026-03-24", "11 to 24 Mar"),
            ("2026-02-28", "2026-03-03", "28 Feb to 3 Mar"),
            ("2026-03-24", "2026-03-24", "24 Mar"),
            ("2025-12-30", "2026-01-02", "30 Dec 2025 to 2 Jan"),
            ("2025-11-03", "2025-11-04", "3 to 4 Nov 2025"),
        ] {
            assert_eq!(days_brief(day(from), day(to), 2026), words);
        }
    }

    #[test]
    fn initials_are_of_the_first_and_last_name() {
        assert_eq!(
            [
                "Maren Aasen",
                "Bjørn-Erik van Østen",
                "Oda",
                "",
                "سارة الخطيب"
            ]
            .map(initials),
            ["MA", "BØ", "O", "", "سا"]
        );
    }
}
