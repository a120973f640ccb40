//! How far it is proven that a window, or a whole run, holds every record that the vendor has.
//!
//! Version 2 of LiveChat pages by number, newest first. A record that is deleted while pages are read moves all later records up by one
//! place, and one of them may move to a page that was read already. The vendor's total shows that, unless another record is added
//! meanwhile. So a total alone proves a window only when nothing is added to it any more.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// From the strongest evidence to the weakest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// The window is settled, see `last_settled_day`, and the vendor's total is what was read.
    Verified,
    /// Two consecutive reads agree: all records that the vendor counted when the second of them began are in both.
    Reread,
    /// The vendor's total is what was read, but the window is not settled and was read only once.
    Counted,
    /// Pages changed while they were read. They were read again until the vendor's total was met, or records are kept that the vendor
    /// removed meanwhile.
    Corrected,
    /// It was read to its end, and the vendor gives no total.
    Complete,
    /// The vendor reports more records than it returned. Only of a run that failed.
    Short,
}

impl Completeness {
    pub const ALL: [Self; 6] = [Self::Verified, Self::Reread, Self::Counted, Self::Corrected, Self::Complete, Self::Short];

    pub fn word(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Reread => "reread",
            Self::Counted => "counted",
            Self::Corrected => "corrected",
            Self::Complete => "complete",
            Self::Short => "short",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|completeness| completeness.word() == word)
    }

    /// Whether it is proven that every record is there; none where the vendor gives no total to prove it by.
    pub fn verified(self) -> Option<bool> {
        match self {
            Self::Verified | Self::Reread => Some(true),
            Self::Counted | Self::Corrected | Self::Short => Some(false),
            Self::Complete => None,
        }
    }

    /// What is said of two parts together: the weaker of both.
    #[must_use]
    pub fn with(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| self.max(other))
    }
}

/// A day is settled when it ended this many hours ago: no record is added to it any more, though one may still be deleted.
pub const SETTLED_AFTER_HOURS: i64 = 48;

/// The last day of `zone` that is settled at `now`.
pub fn last_settled_day(now: Timestamp, zone: &TimeZone) -> Date {
    let then = now.checked_sub(Span::new().hours(SETTLED_AFTER_HOURS)).unwrap_or(Timestamp::MIN);
    // The day of that moment had not ended then.
    then.to_zoned(zone.clone()).date().yesterday().unwrap_or(Date::MIN)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_day_is_settled_from_the_very_moment_48_hours_after_its_end() {
        let at = |text: &str, zone: &str| last_settled_day(text.parse().unwrap(), &TimeZone::get(zone).unwrap());
        assert_eq!(at("2026-11-20T00:00:00Z", "UTC"), date(2026, 11, 17));
        assert_eq!(at("2026-11-19T23:59:59.999Z", "UTC"), date(2026, 11, 16));
        // The 17th ended at 23:00 UTC in Oslo, and at 08:00 UTC of the 18th in Los Angeles.
        assert_eq!(at("2026-11-19T23:00:00Z", "Europe/Oslo"), date(2026, 11, 17));
        assert_eq!(at("2026-11-20T07:59:59Z", "America/Los_Angeles"), date(2026, 11, 16));
        // Hours that pass, not hours of the clock: the 27th of March had its end 48 hours before 23:00, since the 28th had 23 hours.
        assert_eq!(at("2027-03-29T22:59:00Z", "Europe/Oslo"), date(2027, 3, 26));
        assert_eq!(at("2027-03-29T23:00:00Z", "Europe/Oslo"), date(2027, 3, 27));
    }

    #[test]
    fn the_weaker_of_two_counts_and_every_word_is_read_back() {
        for one in Completeness::ALL {
            assert_eq!(Completeness::parse(one.word()), Some(one));
            assert_eq!(serde_json::to_value(one).unwrap(), one.word());
            assert_eq!(one.with(None), one);
            assert_eq!(one.with(Some(Completeness::Verified)), one);
            assert_eq!(Completeness::Short.with(Some(one)), Completeness::Short);
        }
        let proven: Vec<_> = Completeness::ALL.map(Completeness::verified).into();
        assert_eq!(proven, [Some(true), Some(true), Some(false), Some(false), None, Some(false)]);
    }
}
