//! What pulling single days does to the days that a DataSet has, by update mode.

use crate::connectors::report::{Menu, Report, UpdateMode};

/// Whether days can be pulled alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartialPull {
    /// Every run replaces all rows, so pulling some days would delete the others.
    Unsupported,
    /// The new rows are added: right for missing days, wrong for days that exist.
    Appends,
    /// The pulled days replace the same days.
    Replaces,
}

impl PartialPull {
    pub fn of(mode: UpdateMode) -> Self {
        Self::of_word(mode.word())
    }

    /// By the word that the catalogue holds.
    pub fn of_word(mode: &str) -> Self {
        match mode {
            "merge" | "partition" => Self::Replaces,
            "append" => Self::Appends,
            _ => Self::Unsupported,
        }
    }
}

/// Whether a report is asked for by days at all.
pub fn has_days(report: &Report) -> bool {
    report.takes(Menu::StartDays)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_modes_that_keep_old_rows_take_days_alone() {
        assert_eq!(PartialPull::of(UpdateMode::Replace), PartialPull::Unsupported);
        assert_eq!(
            ["append", "merge", "partition", "of another time"].map(PartialPull::of_word),
            [PartialPull::Appends, PartialPull::Replaces, PartialPull::Replaces, PartialPull::Unsupported]
        );
    }
}
