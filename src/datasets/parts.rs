//! What pulling some days alone does to the days that are there, by update mode: the one place that says so.

use crate::connectors::report::{Menu, Report, UpdateMode};

/// Whether days can be pulled alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Every run replaces all rows, so a run of some days would lose the others.
    Refused,
    /// The rows come on top of those that are there: good for days that are missing, not for days that are held.
    Added,
    /// The days take the place of themselves.
    Renewed,
}

impl Parts {
    pub fn of(mode: UpdateMode) -> Self {
        Self::of_word(mode.word())
    }

    /// By the word that the catalogue holds.
    pub fn of_word(mode: &str) -> Self {
        match mode {
            "merge" | "partition" => Self::Renewed,
            "append" => Self::Added,
            _ => Self::Refused,
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
        assert_eq!(Parts::of(UpdateMode::Replace), Parts::Refused);
        assert_eq!(["append", "merge", "partition", "of another time"].map(Parts::of_word), [Parts::Added, Parts::Renewed, Parts::Renewed, Parts::Refused]);
    }
}
