//! The days that a person requests for a backfill, validated.

use jiff::civil::Date;

use crate::connectors::Window;
use crate::error::{Error, Result};

/// The maximum number of days of a chunk: as many as a run requests day by day.
pub const MAX_CHUNK_DAYS: u32 = 31;
/// The maximum number of days of a backfill.
pub const MAX_BACKFILL_DAYS: i64 = 3_660;

/// The requested days of a backfill, validated: see `BackfillRange::check`.
#[derive(Clone, Copy, Debug)]
pub struct BackfillRange {
    pub(super) days: Window,
    pub(super) chunk_days: u32,
}

impl BackfillRange {
    /// Parses and validates the input. `today`: in the DataSet's time zone.
    pub fn check(from: &str, to: &str, chunk_days: &str, today: Date) -> Result<Self> {
        let mut wrong = Vec::new();
        let mut day = |field: &str, text: &str| match text.trim().parse::<Date>() {
            Ok(day) => day,
            Err(_) => {
                wrong.push((
                    field.to_owned(),
                    "Enter a date such as 2026-02-17.".to_owned(),
                ));
                today
            }
        };
        let (from, to) = (day("from", from), day("to", to));
        let chunk_days: u32 = chunk_days.trim().parse().unwrap_or(0);
        if wrong.is_empty() && from > to {
            wrong.push((
                "from".to_owned(),
                format!("The first day must be {to} (the last day) or earlier."),
            ));
        }
        if to > today {
            wrong.push((
                "to".to_owned(),
                format!("The last day must be {today} (today) or earlier."),
            ));
        } else if wrong.is_empty() && i64::from((to - from).get_days()) >= MAX_BACKFILL_DAYS {
            wrong.push((
                "from".to_owned(),
                format!("A backfill must cover {MAX_BACKFILL_DAYS} days (10 years) or less."),
            ));
        }
        if !(1..=MAX_CHUNK_DAYS).contains(&chunk_days) {
            wrong.push((
                "chunk_days".to_owned(),
                format!("A date range must have from 1 to {MAX_CHUNK_DAYS} days."),
            ));
        }
        if wrong.is_empty() {
            Ok(Self {
                days: Window { from, to },
                chunk_days,
            })
        } else {
            Err(Error::fields(wrong))
        }
    }
}
