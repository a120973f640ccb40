//! Parses the periods of a period report in the vendor's spellings.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use crate::clock::Millis;
use crate::connectors::Window;

/// The start of a period: `2013-01-29`, `14:00` (of the window's only day), `2013-01` or
/// `2013-01-29 14:00`, in the DataSet's time zone.
pub(super) fn period_start(period: &str, window: Window, zone: &TimeZone) -> Option<Millis> {
    let midnight = |day: Date| day.to_datetime(Time::midnight());
    let at: DateTime = match period.len() {
        10 => midnight(period.parse().ok()?),
        7 => midnight(format!("{period}-01").parse().ok()?),
        5 => window
            .from
            .to_datetime(format!("{period}:00").parse().ok()?),
        16 => period.replacen(' ', "T", 1).parse().ok()?,
        _ => return None,
    };
    Some(at.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_in_the_zone_of_the_dataset() {
        let day = Window {
            from: Date::constant(2026, 10, 25),
            to: Date::constant(2026, 10, 25),
        };
        let zone = TimeZone::get("Europe/Oslo").unwrap();
        let start = |text: &str| period_start(text, day, &zone).map(crate::clock::iso);
        assert_eq!(start("2026-10-25").as_deref(), Some("2026-10-24T22:00:00Z"));
        assert_eq!(start("00:00").as_deref(), Some("2026-10-24T22:00:00Z"));
        // Of an hour that occurs twice, the first one is used.
        assert_eq!(start("02:00").as_deref(), Some("2026-10-25T00:00:00Z"));
        assert_eq!(start("03:00").as_deref(), Some("2026-10-25T02:00:00Z"));
        assert_eq!(start("2026-10").as_deref(), Some("2026-09-30T22:00:00Z"));
        assert_eq!(
            start("2026-10-25 14:00").as_deref(),
            Some("2026-10-25T13:00:00Z")
        );
        for bad in ["error", "", "2026-13", "25:00", "2026-02-30"] {
            assert_eq!(start(bad), None, "{bad}");
        }
    }
}
