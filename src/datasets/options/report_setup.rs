//! Checks options against a report, its menus and the update mode: which ones are not allowed, and
//! which ones have unexpected effects.

use super::{DatasetOptions, OnEmpty};
use crate::connectors::report::{GroupBy, Menu, Report, Shape, UpdateMode};
use crate::connectors::{MAX_DAYS, Menus};
use crate::datasets::columns::ColumnInfo;

/// A key has at most this many columns.
const MAX_KEY_COLUMNS: usize = 16;

/// The report and settings that options must fit.
#[derive(Clone, Copy, Debug)]
pub struct ReportSetup<'a> {
    pub report: &'static Report,
    pub mode: UpdateMode,
    pub menus: &'a Menus,
}

impl ReportSetup<'_> {
    /// Whether a day can be pulled without the others: the days of a run are the days of the
    /// records.
    pub fn supports_single_days(&self) -> bool {
        self.report.takes(Menu::StartDays)
            && matches!(self.report.shape, Shape::Archive { .. } | Shape::Export(_))
    }

    fn is_by_month(&self) -> bool {
        self.menus.group_by == Some(GroupBy::Month)
    }

    /// What happens when a run pulls no rows.
    pub fn on_empty(&self, chosen: OnEmpty) -> OnEmpty {
        match chosen {
            OnEmpty::Usual if self.mode == UpdateMode::Replace && !self.report.is_snapshot() => {
                OnEmpty::Keep
            }
            OnEmpty::Usual => OnEmpty::Check,
            chosen => chosen,
        }
    }

    /// Whether a second read is useful: the report comes in pages that may change while they are
    /// read.
    pub fn takes_second_read(&self) -> bool {
        matches!(self.report.shape, Shape::Archive { .. })
    }

    pub fn takes_look_back(&self) -> bool {
        matches!(self.mode, UpdateMode::Merge | UpdateMode::Partition)
            && self.supports_single_days()
    }
}

impl DatasetOptions {
    /// The key columns.
    pub fn key_of<'a>(&'a self, report: &'static Report) -> Vec<&'a str> {
        if self.key.is_empty() {
            report.key.to_vec()
        } else {
            self.key.iter().map(String::as_str).collect()
        }
    }

    /// Validates the options. Returns field and message for each invalid one. `existing`: the
    /// columns that the DataSet has in addition to the declared ones.
    pub fn check(
        mut self,
        setup: &ReportSetup<'_>,
        existing: &[ColumnInfo],
    ) -> std::result::Result<Self, Vec<(String, String)>> {
        let ReportSetup { report, mode, .. } = *setup;
        let mut wrong = Vec::new();
        if self
            .key
            .iter()
            .map(String::as_str)
            .eq(report.key.iter().copied())
        {
            self.key.clear();
        }
        if let Some(why) = self.wrong_key(report, existing) {
            wrong.push(("key".to_owned(), why));
        } else if mode == UpdateMode::Merge && self.key_of(report).is_empty() {
            let why = format!(
                "Merge needs a key, and {} has none. Enter the columns that identify a row.",
                report.title
            );
            wrong.push(("key".to_owned(), why));
        }
        if mode == UpdateMode::Partition && report.day.is_none() {
            let why = format!(
                "Partition needs a day on every row, and the rows of {} have none. Choose Merge or \
                 Replace.",
                report.title
            );
            wrong.push(("update_mode".to_owned(), why));
        } else if mode == UpdateMode::Partition && setup.is_by_month() {
            let why = "Partition replaces days, and these rows are months. Choose Merge, or \
                       another Group by.";
            wrong.push(("update_mode".to_owned(), why.to_owned()));
        }
        if self.look_back > MAX_DAYS {
            wrong.push((
                "look_back".to_owned(),
                format!("Days to pull again must be {MAX_DAYS} or less (10 years)."),
            ));
        } else if self.look_back > 0 && !setup.takes_look_back() {
            let why = if matches!(mode, UpdateMode::Merge | UpdateMode::Partition) {
                format!(
                    "{} always pulls the whole date range. Set Days to pull again to 0.",
                    report.title
                )
            } else {
                format!(
                    "{} does not use Days to pull again. Set it to 0, or choose Merge or \
                     Partition.",
                    mode.title()
                )
            };
            wrong.push(("look_back".to_owned(), why));
        }
        if self.hold_drop > 99 {
            wrong.push((
                "hold_drop".to_owned(),
                "The percentage must be from 0 to 99. 0 turns this safeguard off.".to_owned(),
            ));
        } else if self.hold_drop > 0 && mode == UpdateMode::Append {
            wrong.push((
                "hold_drop".to_owned(),
                "Append never drops rows. Set this safeguard to 0.".to_owned(),
            ));
        }
        if wrong.is_empty() {
            Ok(self)
        } else {
            Err(wrong)
        }
    }

    fn wrong_key(&self, report: &Report, existing: &[ColumnInfo]) -> Option<String> {
        if self.key.len() > MAX_KEY_COLUMNS {
            return Some(format!("A key has at most {MAX_KEY_COLUMNS} columns."));
        }
        for (at, name) in self.key.iter().enumerate() {
            let is_there =
                report.column(name).is_some() || existing.iter().any(|column| column.name == *name);
            if name.is_empty() || name.starts_with('_') || !is_there {
                return Some(format!(
                    "{} has no column “{name}”. Enter the names of existing columns.",
                    report.title
                ));
            }
            if self.key[..at].contains(name) {
                return Some(format!("The column “{name}” is entered twice."));
            }
        }
        None
    }

    /// Warnings about allowed options with effects that people may not expect.
    pub fn warnings(&self, setup: &ReportSetup<'_>) -> Vec<String> {
        let ReportSetup {
            report,
            mode,
            menus,
        } = *setup;
        let mut warnings = Vec::new();
        let days = menus
            .start_days
            .zip(menus.end_days)
            .map(|(start, end)| start.saturating_sub(end) + 1);
        match mode {
            UpdateMode::Append => warnings.push(match days {
                Some(1) => "A second run on the same day adds that day again, so its rows appear \
                            twice."
                    .to_owned(),
                Some(days) => {
                    let or_partition = if report.day.is_some() {
                        " or Partition"
                    } else {
                        ""
                    };
                    format!(
                        "Every run pulls {days} days. Rows of days that were pulled before appear \
                         twice. Choose Merge{or_partition}, or set Start Days and End Days to the \
                         same number."
                    )
                }
                None => format!(
                    "Every run adds a snapshot of {}. _batch_last_run identifies the run.",
                    report.title
                ),
            }),
            UpdateMode::Merge if self.key_of(report) == ["read_at"] => {
                let why = "The key is the run time, which is different each time. Every run adds \
                           its rows, as with Append.";
                warnings.push(why.to_owned());
            }
            UpdateMode::Merge if !self.key.is_empty() && report.parent().is_some() => {
                let parent = report.parent().unwrap_or_default();
                warnings.push(format!(
                    "With your own key, rows deleted in LiveChat or LiveLeader are kept. The \
                     report's own key uses {parent} and deletes such rows."
                ));
            }
            UpdateMode::Merge if setup.is_by_month() && days.is_some() => {
                let why = "If only some days of a month are pulled, they replace the whole month.";
                warnings.push(why.to_owned());
            }
            UpdateMode::Partition
                if menus.group.is_some() || menus.login.is_some() || menus.tag.is_some() =>
            {
                let why = "Partition replaces whole days. If you change Group, Login or Tag, days \
                           that are pulled again contain only rows of the new choice.";
                warnings.push(why.to_owned());
            }
            _ => {}
        }
        warnings
    }
}
