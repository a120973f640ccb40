//! The completeness of a window or a whole run: how strong the evidence is that all records of the
//! vendor were read.
//!
//! Version 2 of LiveChat pages by number, newest first. When a record is deleted while pages are
//! read, all later records move up by one place, and one of them may move to a page that was
//! already read. The vendor's total shows this, unless another record is added at the same time. So
//! a total alone proves a window complete only when no record can be added to it any more.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// Ordered from the strongest evidence to the weakest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// The window is final (see `last_settled_day`) and the number of records read equals the
    /// vendor's total.
    Verified,
    /// Two consecutive reads agree: both contain all records that the vendor counted when the
    /// second read began.
    Reread,
    /// The number of records read equals the vendor's total, but the window is not final and was
    /// read only once.
    Counted,
    /// Pages changed during the read. They were read again until the vendor's total was reached, or
    /// rows are stored that the vendor removed meanwhile.
    Corrected,
    /// The window was read to its end, and the vendor reports no total.
    Complete,
    /// The vendor reports more records than it returned. Only used for a failed run.
    Short,
}

impl Completeness {
    pub const ALL: [Self; 6] = [
        Self::Verified,
        Self::Reread,
        Self::Counted,
        Self::Corrected,
        Self::Complete,
        Self::Short,
    ];

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
        Self::ALL
            .into_iter()
            .find(|completeness| completeness.word() == word)
    }

    /// `Some(true)` when completeness is proven, `Some(false)` when it is not, `None` when the
    /// vendor gives no total.
    pub fn verified(self) -> Option<bool> {
        match self {
            Self::Verified | Self::Reread => Some(true),
            Self::Counted | Self::Corrected | Self::Short => Some(false),
            Self::Complete => None,
        }
    }

    /// The completeness of two parts together: the weaker of both.
    #[must_use]
    pub fn with(self, other: Option<Self>) -> Self {
        other.map_or(self, |other| self.max(other))
    }
}

/// A day is final this many hours after its end: no record is added to it any more, but one may
/// still be deleted.
pub const SETTLED_AFTER_HOURS: i64 = 48;

/// The last day of `zone` that is final at `now`.
pub fn last_settled_day(now: Timestamp, zone: &TimeZone) -> Date {
    let then = now
        .checked_sub(Span::new().hours(SETTLED_AFTER_HOURS))
        .unwrap_or(Timestamp::MIN);
    // At that moment its own day had not ended, so the day before is the last final one.
    then.to_zoned(zone.clone())
        .date()
        .yesterday()
        .unwrap_or(Date::MIN)
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_day_is_final_48_hours_after_its_end() {
        let at = |text: &str, zone: &str| {
            last_settled_day(text.parse().unwrap(), &TimeZone::get(zone).unwrap())
        };
        assert_eq!(at("2026-11-20T00:00:00Z", "UTC"), date(2026, 11, 17));
        assert_eq!(at("2026-11-19T23:59:59.999Z", "UTC"), date(2026, 11, 16));
        // 17 November ended at 23:00 UTC in Oslo, and at 08:00 UTC on the 18th in Los Angeles.
        assert_eq!(
            at("2026-11-19T23:00:00Z", "Europe/Oslo"),
            date(2026, 11, 17)
        );
        assert_eq!(
            at("2026-11-20T07:59:59Z", "America/Los_Angeles"),
            date(2026, 11, 16)
        );
        // The 48 hours are elapsed time, not wall-clock time: 28 March had only 23 hours, so 27
        // March ended 48 hours before 23:00.
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
        assert_eq!(
            proven,
            [
                Some(true),
                Some(true),
                Some(false),
                Some(false),
                None,
                Some(false)
            ]
        );
    }
}
