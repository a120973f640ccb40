//! The `Report` type and its closed sets. A report is data: anything new becomes a new enum variant
//! with its own test.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

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

/// A menu of the Details pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Menu {
    StartDays,
    EndDays,
    Group,
    Login,
    Weekday,
    GroupBy,
    Tag,
    IncludePending,
    AgentDetails,
}

/// A menu that a report takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MenuUse {
    pub menu: Menu,
    pub required: bool,
    /// Shown under "More options".
    pub extra: bool,
    /// The vendor's name of the query parameter; empty if the menu is not sent as one.
    pub sent: &'static str,
    /// The person types the value, because the vendor has no list to choose from.
    pub typed: bool,
}

impl MenuUse {
    /// The kind of input: see `Menu::kind`, or `text` for a typed value.
    pub fn kind(&self) -> &'static str {
        if self.typed { "text" } else { self.menu.kind() }
    }
}

impl Menu {
    pub const ALL: [Menu; 9] = [
        Menu::StartDays,
        Menu::EndDays,
        Menu::Group,
        Menu::Login,
        Menu::Weekday,
        Menu::GroupBy,
        Menu::Tag,
        Menu::IncludePending,
        Menu::AgentDetails,
    ];

    pub fn id(self) -> &'static str {
        match self {
            Menu::StartDays => "start_days",
            Menu::EndDays => "end_days",
            Menu::Group => "group",
            Menu::Login => "login",
            Menu::Weekday => "weekday",
            Menu::GroupBy => "group_by",
            Menu::Tag => "tag",
            Menu::IncludePending => "include_pending",
            Menu::AgentDetails => "agent_details",
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Menu::StartDays => "Start Days",
            Menu::EndDays => "End Days",
            Menu::Group => "Group",
            Menu::Login => "Login",
            Menu::Weekday => "Weekday",
            Menu::GroupBy => "Group by",
            Menu::Tag => "Tag",
            Menu::IncludePending => "Include pending chats",
            Menu::AgentDetails => "Include agent details",
        }
    }

    /// The kind of input: `days` (a whole number of days before today), `choice` (one of the
    /// account's choices), `options` (one of `options`) or `switch` (true or false).
    pub fn kind(self) -> &'static str {
        match self {
            Menu::StartDays | Menu::EndDays => "days",
            Menu::Group | Menu::Login | Menu::Tag => "choice",
            Menu::Weekday | Menu::GroupBy => "options",
            Menu::IncludePending | Menu::AgentDetails => "switch",
        }
    }

    /// Value and label of each option of an `options` menu. The first one is the default. Empty for
    /// other kinds.
    pub fn options(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Menu::Weekday => Weekday::OPTIONS,
            Menu::GroupBy => GroupBy::OPTIONS,
            _ => &[],
        }
    }

    pub fn parse(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|menu| menu.id() == id)
    }
}

/// The length of the periods of a period report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// By hour if the range is one day, else by day.
    Automatic,
    Hour,
    Day,
    Month,
}

impl GroupBy {
    const OPTIONS: &[(&str, &str)] = &[
        ("automatic", "Automatic"),
        ("hour", "Hour"),
        ("day", "Day"),
        ("month", "Month"),
    ];

    pub fn word(self) -> &'static str {
        Self::OPTIONS[self as usize].0
    }

    pub fn parse(word: &str) -> Option<Self> {
        [Self::Automatic, Self::Hour, Self::Day, Self::Month]
            .into_iter()
            .find(|by| by.word() == word)
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Weekday {
    const OPTIONS: &[(&str, &str)] = &[
        ("mon", "Monday"),
        ("tue", "Tuesday"),
        ("wed", "Wednesday"),
        ("thu", "Thursday"),
        ("fri", "Friday"),
        ("sat", "Saturday"),
        ("sun", "Sunday"),
    ];

    pub fn word(self) -> &'static str {
        Self::OPTIONS[self as usize].0
    }

    pub fn parse(word: &str) -> Option<Self> {
        [
            Self::Mon,
            Self::Tue,
            Self::Wed,
            Self::Thu,
            Self::Fri,
            Self::Sat,
            Self::Sun,
        ]
        .into_iter()
        .find(|day| day.word() == word)
    }
}

/// A declared column of a report. Declared columns never change type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The full path of a nested value, joined by `_`.
    pub name: &'static str,
    pub kind: ColumnKind,
    pub meaning: &'static str,
    pub from: ColumnSource,
}

/// The type of a column's cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    Text,
    /// 64 bits, signed.
    Integer,
    /// A 64-bit float, written in its shortest exact form.
    Number,
    Boolean,
    /// A day without a time zone.
    Date,
    /// A timestamp, milliseconds in UTC.
    Timestamp,
    /// JSON text, unchanged.
    Json,
}

impl ColumnKind {
    pub fn word(self) -> &'static str {
        match self {
            ColumnKind::Text => "text",
            ColumnKind::Integer => "integer",
            ColumnKind::Number => "number",
            ColumnKind::Boolean => "boolean",
            ColumnKind::Date => "date",
            ColumnKind::Timestamp => "timestamp",
            ColumnKind::Json => "json",
        }
    }

    /// The Arrow type of the values in memory and on disk.
    pub fn arrow(self) -> DataType {
        match self {
            ColumnKind::Text | ColumnKind::Json => DataType::Utf8,
            ColumnKind::Integer => DataType::Int64,
            ColumnKind::Number => DataType::Float64,
            ColumnKind::Boolean => DataType::Boolean,
            ColumnKind::Date => DataType::Date32,
            ColumnKind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        }
    }
}

/// The Arrow field of a column in every batch. Its metadata contains the kind and whether the
/// report declares the column.
pub fn arrow_field(name: &str, kind: ColumnKind, declared: bool) -> Field {
    let metadata = HashMap::from([
        ("kind".to_owned(), kind.word().to_owned()),
        ("declared".to_owned(), declared.to_string()),
    ]);
    Field::new(name, kind.arrow(), true).with_metadata(metadata)
}

/// The source of a column's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnSource {
    /// The value whose path, joined by `_`, is the column's name: `visitor_name` is both
    /// `{"visitor": {"name"}}` and the older `{"visitor_name"}`.
    Path,
    /// Like `Path`, with seconds since 1970 that become a timestamp.
    EpochSeconds,
    /// Like `Path`, with a text, or a number in its original digits.
    Verbatim,
    /// Like `Path`, with a number that may be written as a text.
    Decimal,
    /// Like `Verbatim`, or the list item itself if it is no object.
    Item,
    /// The value of the period itself, if it is no object.
    PeriodValue,
    /// The menu's choice for which the call was made.
    Choice,
    /// Like `Path`, or the choice for which the call was made if the vendor does not repeat it.
    PathOrChoice,
    /// The quotient of two values of this row; null if either is missing or the second one is 0.
    Ratio(&'static str, &'static str),
    /// The time of the vendor's answer.
    ReadAt,
    /// The number of items in the list at this path.
    Count(&'static str),
    /// The field `.1` of each item of the list at `.0`, joined by ", ".
    Joined(&'static str, &'static str),
    /// The record's id, in a row made of one of its items.
    ParentId,
    /// The record's start, in a row made of one of its items.
    ParentStart,
    /// The position of this row's item in the record's list, from 1.
    Position,
    /// The period in the vendor's spelling.
    Period,
    /// The start of the period.
    PeriodStart,
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
            (Shape::Periods(_), _) => ("period", "periods"),
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
