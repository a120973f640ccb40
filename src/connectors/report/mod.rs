//! The `Report` type and its closed sets. A report is data: anything new becomes a new enum variant
//! with its own test. `details_menu` has the menus that a report takes, and `declared_column` its
//! columns.

mod declared_column;
mod details_menu;

use serde::{Deserialize, Serialize};

pub use declared_column::{Column, ColumnKind, ColumnSource, arrow_field};
pub use details_menu::{GroupBy, Menu, MenuUse, Weekday};

/// A report's name for programs: its title in lower snake case. It must never change, because it is
/// in URLs, the catalogue and exports.
pub type ReportId = &'static str;

/// One kind of data of a vendor. Data only: every field is from a closed set.
#[derive(Debug)]
pub struct Report {
    pub id: ReportId,
    /// The exact name that people know.
    pub title: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// The page of the vendor's documentation.
    pub source: &'static str,
    pub request: ReportRequest,
    pub menus: &'static [MenuUse],
    pub shape: Shape,
    pub columns: &'static [Column],
    /// The columns that identify a row. For a nested report the first one is the parent.
    pub key: &'static [&'static str],
    /// The column whose day must be in the pulled window.
    pub day: Option<&'static str>,
    /// The default update mode.
    pub mode: UpdateMode,
}

/// The API request of a report. Reports with equal requests, menus and windows share one read of
/// the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportRequest {
    /// Below the vendor's root, with a leading slash. `{group}` and `{login}` are replaced by the
    /// choices of `calls`.
    pub path: &'static str,
    pub calls: Calls,
    /// The request takes the DataSet's time zone as well as days.
    pub zone: bool,
}

/// How many API calls read a report without pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// One call reads everything.
    One,
    /// One call for the menu's value; one for each of its choices when it has no value.
    Each(Menu),
}

/// The structure of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One array: the whole answer, or the value of its field `under`.
    List {
        under: Option<&'static str>,
        rows: RecordRows,
    },
    /// A paged archive with its records under `records` (for example `chats`), read window by
    /// window.
    Archive {
        records: &'static str,
        rows: RecordRows,
    },
    /// An object keyed by period.
    Periods(PeriodRows),
    /// One object that becomes one row. All its fields, also nested ones, become columns.
    Single,
    /// One XML document of any size for a period, read window by window.
    Export(ExportRows),
}

/// What becomes a row of an exported document of chats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportRows {
    Chats,
    Messages,
    Operators,
}

/// What becomes a row of a list or an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordRows {
    /// One row for each record.
    Records,
    /// One row for each item of the record's list `list`, with the record's id, the item's position
    /// and the record's start (`start`, seconds since 1970).
    Items {
        list: &'static str,
        start: &'static str,
    },
}

/// What becomes a row of a period report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeriodRows {
    /// One row for each period.
    Each,
    /// One row for each period. `hours` and `minutes` are both filled, although the vendor may send
    /// only one of them.
    HoursAndMinutes,
    /// One row for each currency of the period's `value`, or one row without a currency. The
    /// period's own counts are only in its first row, so that sums are right.
    Currencies,
}

/// How a run's new rows are combined with the existing rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateMode {
    /// The new rows replace all existing rows.
    Replace,
    /// The new rows are added to the existing rows.
    Append,
    /// The new rows are added; existing rows with the same key are dropped.
    Merge,
    /// The new rows are added; existing rows of the pulled days are dropped.
    Partition,
}

impl UpdateMode {
    pub const ALL: [UpdateMode; 4] = [
        UpdateMode::Replace,
        UpdateMode::Append,
        UpdateMode::Merge,
        UpdateMode::Partition,
    ];

    pub fn word(self) -> &'static str {
        match self {
            UpdateMode::Replace => "replace",
            UpdateMode::Append => "append",
            UpdateMode::Merge => "merge",
            UpdateMode::Partition => "partition",
        }
    }

    pub fn title(self) -> &'static str {
        match self {
            UpdateMode::Replace => "Replace",
            UpdateMode::Append => "Append",
            UpdateMode::Merge => "Merge",
            UpdateMode::Partition => "Partition",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.word() == word)
    }
}

impl Report {
    /// The report is a snapshot of the current state, which may be empty at any time.
    pub fn is_snapshot(&self) -> bool {
        self.request.path == "/visitors"
    }

    /// The column with the parent record's id, if a record becomes several rows. All rows of a
    /// parent are always read together.
    pub fn parent(&self) -> Option<&'static str> {
        let nested = matches!(
            self.shape,
            Shape::List {
                rows: RecordRows::Items { .. },
                ..
            } | Shape::Archive {
                rows: RecordRows::Items { .. },
                ..
            } | Shape::Export(ExportRows::Messages | ExportRows::Operators)
        );
        self.key.first().copied().filter(|_| nested)
    }

    /// The vendor's noun for the records of this report, singular and plural. A row is one record
    /// or a part of one.
    pub fn records(&self) -> (&'static str, &'static str) {
        match (self.shape, self.request.path) {
            (
                Shape::Archive {
                    records: "tickets", ..
                },
                _,
            ) => ("ticket", "tickets"),
            (Shape::Archive { .. } | Shape::Export(_), _) => ("chat", "chats"),
            (Shape::Periods(_), _) => ("day or hour", "days or hours"),
            (_, "/agents") => ("agent", "agents"),
            (_, "/canned_responses") => ("canned response", "canned responses"),
            (_, "/goals") => ("goal", "goals"),
            (_, "/greetings") => ("greeting", "greetings"),
            (_, "/groups") => ("group", "groups"),
            (_, "/tags") => ("tag", "tags"),
            (_, "/visitors") => ("visitor", "visitors"),
            _ => ("row", "rows"),
        }
    }

    pub fn takes(&self, menu: Menu) -> bool {
        self.menus.iter().any(|m| m.menu == menu)
    }

    /// The menu's value is typed instead of chosen from a list of the account.
    pub fn is_free_text(&self, menu: Menu) -> bool {
        self.menus.iter().any(|m| m.menu == menu && m.typed)
    }

    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|c| c.name == name)
    }
}
