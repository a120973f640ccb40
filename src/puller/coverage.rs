//! The coverage calendar: the state of every day of a DataSet, from the ledger of all runs whose
//! rows are in the current version.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::ledger::{self, LedgerLine};
use super::schedules;
use crate::clock::{Clock, Millis, timestamp};
use crate::connectors::report::UpdateMode;
use crate::connectors::{Completeness, Window};
use crate::datasets::Dataset;
use crate::datasets::partial_pull::has_days;
use crate::db::Db;
use crate::error::Result;
use crate::ids::{DatasetId, RunId, VersionId};

/// The state of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DayState {
    /// The current version has the rows of the day, and they are proven complete: by the vendor's
    /// total of a settled day, or by two equal reads.
    Verified,
    /// The current version has rows of the day. The vendor gives no total, or its total does not
    /// prove that the rows are complete.
    Unverified,
    /// Today: the current version has the rows up to the time of the last read.
    SoFar,
    /// The current version may lack rows of the day: it was last read before the day ended, or a
    /// later read was incomplete and was not saved.
    Stale,
    /// No rows: in the last read, the vendor reported more records than it returned.
    Short,
    /// No rows: no run of the current version read the day.
    Missing,
}

impl DayState {
    pub const ALL: [Self; 6] = [
        Self::Verified,
        Self::Unverified,
        Self::SoFar,
        Self::Stale,
        Self::Short,
        Self::Missing,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unverified => "held",
            Self::SoFar => "so_far",
            Self::Stale => "stale",
            Self::Short => "short",
            Self::Missing => "missing",
        }
    }

    /// Whether the current version has rows of the day.
    pub fn has_rows(self) -> bool {
        !matches!(self, Self::Short | Self::Missing)
    }
}

/// A day of the calendar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoverageDay {
    pub day: Date,
    pub state: DayState,
    /// When the day was last read completely.
    pub read_at: Option<Millis>,
    /// How complete that read was.
    pub completeness: Option<Completeness>,
    pub run: Option<RunId>,
}

/// The state of every day in ascending order, from the first to the last day that has rows or is in
/// the DataSet's date range. Empty for a report without days and before the first run.
pub async fn of_dataset(db: &Db, clock: &Clock, dataset: &Dataset) -> Result<Vec<CoverageDay>> {
    if !has_days(dataset.report) {
        return Ok(Vec::new());
    }
    let zone = schedules::zone(&dataset.time_zone)?;
    let today = clock.timestamp().to_zoned(zone.clone()).date();
    let covered = match &dataset.current {
        Some(current) => windows_of_version(db, &current.version).await?,
        None => Vec::new(),
    };
    let short = ledger::short_windows(db, &dataset.id).await?;
    let wanted = dataset
        .menus
        .range(today)
        .filter(|_| dataset.current.is_some() || !short.is_empty());
    let merges = dataset.update_mode == UpdateMode::Merge;
    Ok(calendar(&covered, &short, wanted, today, &zone, merges))
}

/// The windows whose rows are in a version, newest run first.
async fn windows_of_version(db: &Db, version: &VersionId) -> Result<Vec<LedgerLine>> {
    let run: Option<Option<RunId>> =
        sqlx::query_scalar("SELECT run_id FROM versions WHERE id = $1")
            .bind(version)
            .fetch_optional(db.read())
            .await?;
    let Some(run) = run.flatten() else {
        return Ok(Vec::new());
    };
    ledger::contributing_windows(db, &run).await
}

/// `covered`: newest run first; `short`: newest first. `merges`: rows of an earlier read stay when
/// a later read does not contain them.
fn calendar(
    covered: &[LedgerLine],
    short: &[LedgerLine],
    wanted: Option<Window>,
    today: Date,
    zone: &TimeZone,
    merges: bool,
) -> Vec<CoverageDay> {
    let mut days: BTreeMap<Date, CoverageDay> = BTreeMap::new();
    for line in covered {
        let Some(window) = line.window else { continue };
        for day in days_in(window) {
            days.entry(day).or_insert_with(|| {
                let later = short.iter().find(|other| {
                    other.finished_at > line.finished_at
                        && other.window.is_some_and(|w| w.from <= day && day <= w.to)
                });
                let mut state_of_day = day_from_line(day, line, today, zone);
                let had_more = |other: &LedgerLine| {
                    other.window == line.window && other.counts.kept > line.counts.kept
                };
                if merges
                    && state_of_day.state == DayState::Verified
                    && covered.iter().any(had_more)
                {
                    state_of_day.state = DayState::Unverified;
                }
                if later.is_some() {
                    CoverageDay {
                        state: DayState::Stale,
                        ..state_of_day
                    }
                } else {
                    state_of_day
                }
            });
        }
    }
    let ends = [
        days.keys().next().copied(),
        days.keys().next_back().copied(),
    ]
    .into_iter()
    .flatten()
    .chain(wanted.into_iter().flat_map(|w| [w.from, w.to]));
    let Some((first, last)) = ends.fold(None, |ends: Option<(Date, Date)>, day| {
        Some(ends.map_or((day, day), |(a, b)| (a.min(day), b.max(day))))
    }) else {
        return Vec::new();
    };
    for day in days_in(Window {
        from: first,
        to: last,
    }) {
        days.entry(day).or_insert_with(|| {
            let line = short
                .iter()
                .find(|line| line.window.is_some_and(|w| w.from <= day && day <= w.to));
            let state = if line.is_some() {
                DayState::Short
            } else {
                DayState::Missing
            };
            let completeness = line.and_then(LedgerLine::completeness);
            CoverageDay {
                day,
                state,
                read_at: line.and_then(|line| line.finished_at),
                completeness,
                run: line.map(|line| line.run.clone()),
            }
        });
    }
    days.into_values().collect()
}

fn day_from_line(day: Date, line: &LedgerLine, today: Date, zone: &TimeZone) -> CoverageDay {
    // A read takes time. A day is complete only if it was over when the read of its window ended.
    let read_on = line
        .finished_at
        .map(|at| timestamp(at).to_zoned(zone.clone()).date());
    let state = match read_on {
        Some(read_on) if read_on <= day && day >= today => DayState::SoFar,
        Some(read_on) if read_on <= day => DayState::Stale,
        _ if line.counts.verified() == Some(true) => DayState::Verified,
        _ => DayState::Unverified,
    };
    CoverageDay {
        day,
        state,
        read_at: line.finished_at,
        completeness: line.completeness(),
        run: Some(line.run.clone()),
    }
}

fn days_in(window: Window) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(window.from), move |day| {
        day.tomorrow().ok().filter(|next| *next <= window.to)
    })
    .take_while(move |day| *day <= window.to)
}

/// The ledger lines whose window contains a day, newest run first, at most 100.
pub async fn of_day(db: &Db, dataset: &DatasetId, day: Date) -> Result<Vec<LedgerLine>> {
    ledger::of_day(db, dataset, day).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::WindowCounts;

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    /// A finished window that was read on `read`.
    fn line(from: &str, to: &str, read: &str, kept: u64, total: Option<u64>) -> LedgerLine {
        let at = read
            .parse::<jiff::civil::DateTime>()
            .unwrap()
            .to_zoned(TimeZone::UTC)
            .unwrap()
            .timestamp()
            .as_millisecond();
        let window = Some(Window {
            from: day(from),
            to: day(to),
        });
        let completeness = Some(total.map_or(Completeness::Complete, |total| {
            if total == kept {
                Completeness::Reread
            } else {
                Completeness::Corrected
            }
        }));
        let counts = WindowCounts {
            kept,
            total,
            completeness,
            ..WindowCounts::default()
        };
        LedgerLine {
            run: RunId::new(),
            position: 0,
            window,
            done: true,
            short: false,
            counts,
            finished_at: Some(at),
        }
    }

    fn states(days: &[CoverageDay]) -> Vec<(String, &'static str)> {
        days.iter()
            .map(|day| (day.day.strftime("%-d").to_string(), day.state.word()))
            .collect()
    }

    #[test]
    fn every_day_has_the_state_of_the_window_that_was_read_last() {
        let covered = [
            line("2026-11-19", "2026-11-20", "2026-11-20T12:00", 5, None),
            line("2026-11-17", "2026-11-17", "2026-11-18T01:00", 7, Some(7)),
            line("2026-11-16", "2026-11-16", "2026-11-16T23:59", 7, Some(7)),
            // The same day in an earlier read: the later read counts.
            line("2026-11-17", "2026-11-17", "2026-11-17T01:00", 1, Some(1)),
            line("2026-11-14", "2026-11-14", "2026-11-20T12:00", 9, Some(8)),
            line("2026-11-13", "2026-11-13", "2026-11-14T12:00", 4, Some(4)),
        ];
        let mut short = line("2026-11-18", "2026-11-18", "2026-11-20T12:00", 3, Some(9));
        (short.done, short.short) = (false, true);
        let later = LedgerLine {
            done: false,
            short: true,
            ..line("2026-11-13", "2026-11-13", "2026-11-15T12:00", 4, Some(6))
        };
        let wanted = Some(Window {
            from: day("2026-11-15"),
            to: day("2026-11-20"),
        });
        let days = calendar(
            &covered,
            &[short, later],
            wanted,
            day("2026-11-20"),
            &TimeZone::UTC,
            false,
        );
        let expected = [
            ("13", "stale"),
            ("14", "held"),
            ("15", "missing"),
            ("16", "stale"),
            ("17", "verified"),
            ("18", "short"),
            ("19", "held"),
            ("20", "so_far"),
        ];
        assert_eq!(
            states(&days),
            expected.map(|(day, state)| (day.to_owned(), state))
        );
        assert_eq!(days[4].run, Some(covered[1].run.clone()));
        assert!(days[2].read_at.is_none() && days[5].read_at.is_some());
    }

    #[test]
    fn a_day_that_is_over_elsewhere_may_not_be_over_here() {
        let covered = [line(
            "2026-11-19",
            "2026-11-19",
            "2026-11-20T04:00",
            5,
            Some(5),
        )];
        let of = |zone: &str| {
            calendar(
                &covered,
                &[],
                None,
                day("2026-11-21"),
                &TimeZone::get(zone).unwrap(),
                false,
            )[0]
            .state
        };
        assert_eq!(
            (of("UTC"), of("US/Pacific")),
            (DayState::Verified, DayState::Stale)
        );
    }

    #[test]
    fn a_merge_keeps_rows_that_a_later_read_lacks_and_the_day_is_not_verified() {
        let covered = [
            line("2026-11-17", "2026-11-17", "2026-11-19T01:00", 0, Some(0)),
            line("2026-11-17", "2026-11-17", "2026-11-18T01:00", 7, Some(7)),
        ];
        let of = |merges: bool| {
            calendar(
                &covered,
                &[],
                None,
                day("2026-11-20"),
                &TimeZone::UTC,
                merges,
            )[0]
            .state
        };
        assert_eq!(
            (of(true), of(false)),
            (DayState::Unverified, DayState::Verified)
        );
    }

    #[test]
    fn a_day_is_verified_only_by_a_proof_of_completeness() {
        for completeness in Completeness::ALL
            .into_iter()
            .filter(|completeness| *completeness != Completeness::Short)
        {
            let mut covered = line("2026-11-17", "2026-11-17", "2026-11-18T01:00", 7, Some(7));
            covered.counts.completeness = Some(completeness);
            let days = calendar(
                &[covered],
                &[],
                None,
                day("2026-11-20"),
                &TimeZone::UTC,
                false,
            );
            let wanted = if completeness.verified() == Some(true) {
                DayState::Verified
            } else {
                DayState::Unverified
            };
            assert_eq!(
                (days[0].state, days[0].completeness),
                (wanted, Some(completeness))
            );
        }
    }

    #[test]
    fn without_windows_the_calendar_is_empty() {
        assert!(calendar(&[], &[], None, day("2026-11-20"), &TimeZone::UTC, false).is_empty());
        assert_eq!(
            days_in(Window {
                from: day("2026-02-27"),
                to: day("2026-03-01")
            })
            .count(),
            3
        );
        assert_eq!(
            days_in(Window {
                from: day("2026-02-27"),
                to: day("2026-02-26")
            })
            .count(),
            0
        );
    }
}
