//! What happens to existing days when single days are pulled, by update mode.

use crate::connectors::report::{Menu, Report, UpdateMode};

/// The effect of pulling single days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartialPull {
    /// Every run replaces all rows, so pulling some days would delete all others.
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

    /// Parses the stored name of an update mode.
    pub fn of_word(mode: &str) -> Self {
        match mode {
            "merge" | "partition" => Self::Replaces,
            "append" => Self::Appends,
            _ => Self::Unsupported,
        }
    }
}

/// Whether the report is pulled by days.
pub fn has_days(report: &Report) -> bool {
    report.takes(Menu::StartDays)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_modes_that_keep_old_rows_take_days_alone() {
        assert_eq!(
            PartialPull::of(UpdateMode::Replace),
            PartialPull::Unsupported
        );
        assert_eq!(
            ["append", "merge", "partition", "of another time"].map(PartialPull::of_word),
            [
                PartialPull::Appends,
                PartialPull::Replaces,
                PartialPull::Replaces,
                PartialPull::Unsupported
            ]
        );
    }
}
