//! The Report type and its closed sets. A report is data: what does not fit is a new variant here, with its own test.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

/// A report's name for programs: its title in lower snake case. Stable for ever; it is in addresses, the catalogue and exports.
pub type ReportId = &'static str;

/// One thing a vendor can be asked for. Data only: every field is from a closed set.
#[derive(Debug)]
pub struct Report {
    pub id: ReportId,
    /// The name people know, exactly.
    pub title: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// The vendor page a reviewer opens.
    pub source: &'static str,
    pub request: Request,
    pub menus: &'static [MenuUse],
    pub shape: Shape,
    pub columns: &'static [Column],
    /// The columns that tell one row from another. For a nested report the first one is the parent.
    pub key: &'static [&'static str],
    /// The column whose day belongs to the pulled window.
    pub day: Option<&'static str>,
    /// The default.
    pub mode: UpdateMode,
}

/// Where a report is asked for: reports with equal requests, menus and windows share one reading of the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Below the vendor's root, with a leading slash; `{group}` and `{login}` stand for what `calls` chooses.
    pub path: &'static str,
    pub calls: Calls,
    /// Takes the DataSet's zone beside the days.
    pub zone: bool,
}

/// How many calls tell a report without pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// One tells all.
    One,
    /// One for what this menu holds; for each of its choices when it holds none.
    Each(Menu),
}

/// How an answer becomes rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One array, the answer itself or what is in its field `under`.
    List { under: Option<&'static str>, rows: RecordRows },
    /// A paged archive under `records` (for example `chats`), read window by window.
    Archive { records: &'static str, rows: RecordRows },
    /// An object keyed by period.
    Periods(PeriodRows),
    /// One object, one row: whatever is in it becomes columns, objects within objects too.
    Single,
    /// One XML document for a period, whatever its size, read window by window.
    Export(ExportRows),
}

/// What is a row of an exported document of chats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportRows {
    Chats,
    Messages,
    Operators,
}

/// What is a row of a list or an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordRows {
    /// One row a record.
    Records,
    /// One row an item of the record's list `list`, with the record's id, the item's position and the record's start, an epoch in
    /// seconds under `start`.
    Items { list: &'static str, start: &'static str },
}

/// What is a row of a period report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeriodRows {
    /// One row a period.
    Each,
    /// One row a period, whose `hours` and `minutes` are both told where the vendor tells one of them.
    HoursAndMinutes,
    /// One row for each currency of the period's `value`, or one without a currency. The period's own counts are on its first row
    /// alone, so that they add up.
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
    /// Shown only to those who ask for more.
    pub extra: bool,
    /// The vendor's name for it among the arguments; empty where it is not sent as one.
    pub sent: &'static str,
    /// Written by the person, as the vendor lists none to choose from.
    pub typed: bool,
}

impl MenuUse {
    /// How its value is given: as `Menu::kind` says, or `text` where it is written.
    pub fn kind(&self) -> &'static str {
        if self.typed { "text" } else { self.menu.kind() }
    }
}

impl Menu {
    pub const ALL: [Menu; 9] =
        [Menu::StartDays, Menu::EndDays, Menu::Group, Menu::Login, Menu::Weekday, Menu::GroupBy, Menu::Tag, Menu::IncludePending, Menu::AgentDetails];

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

    /// How its value is given: `days` (a whole number of days before today), `choice` (one of what the account offers), `options`
    /// (one of `options`) or `switch` (true or false).
    pub fn kind(self) -> &'static str {
        match self {
            Menu::StartDays | Menu::EndDays => "days",
            Menu::Group | Menu::Login | Menu::Tag => "choice",
            Menu::Weekday | Menu::GroupBy => "options",
            Menu::IncludePending | Menu::AgentDetails => "switch",
        }
    }

    /// Value and label of what an `options` menu offers, the first one being meant when nothing is chosen; empty for other kinds.
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

/// How long the periods of a period report are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// By hour when the range is one day, else by day.
    Automatic,
    Hour,
    Day,
    Month,
}

impl GroupBy {
    const OPTIONS: &[(&str, &str)] = &[("automatic", "Automatic"), ("hour", "Hour"), ("day", "Day"), ("month", "Month")];

    pub fn word(self) -> &'static str {
        Self::OPTIONS[self as usize].0
    }

    pub fn parse(word: &str) -> Option<Self> {
        [Self::Automatic, Self::Hour, Self::Day, Self::Month].into_iter().find(|by| by.word() == word)
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
    const OPTIONS: &[(&str, &str)] =
        &[("mon", "Monday"), ("tue", "Tuesday"), ("wed", "Wednesday"), ("thu", "Thursday"), ("fri", "Friday"), ("sat", "Saturday"), ("sun", "Sunday")];

    pub fn word(self) -> &'static str {
        Self::OPTIONS[self as usize].0
    }

    pub fn parse(word: &str) -> Option<Self> {
        [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun].into_iter().find(|day| day.word() == word)
    }
}

/// A column that a report declares. Declared columns never change type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The whole path of a nested value joined by `_`.
    pub name: &'static str,
    pub kind: ColumnKind,
    pub meaning: &'static str,
    pub from: From,
}

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    Text,
    /// 64 bits, signed.
    Integer,
    /// A 64-bit float in its shortest exact form.
    Number,
    Boolean,
    /// A day without a zone.
    Date,
    /// A moment, milliseconds in UTC.
    Timestamp,
    /// JSON text, verbatim.
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

    /// How its values are held in memory and on disk.
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

/// A column as every batch carries it: the kind and whether the report declares it ride along as metadata.
pub fn arrow_field(name: &str, kind: ColumnKind, declared: bool) -> Field {
    let metadata = HashMap::from([("kind".to_owned(), kind.word().to_owned()), ("declared".to_owned(), declared.to_string())]);
    Field::new(name, kind.arrow(), true).with_metadata(metadata)
}

/// Where a column's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The value whose path, joined by `_`, is the column's name: `visitor_name` is both `{"visitor": {"name"}}` and the older
    /// `{"visitor_name"}`.
    Path,
    /// As `Path`, an epoch in whole seconds that becomes a timestamp.
    EpochSeconds,
    /// As `Path`, a text, or a number in the very digits that came.
    Verbatim,
    /// As `Path`, a number, also one that is written as a text.
    Decimal,
    /// As `Verbatim`, or the item (of a list of items) itself where it is no object.
    Item,
    /// The value of the period itself, where it is no object.
    Whole,
    /// What the call was made for: one of the menu's choices.
    Choice,
    /// As `Path`, or what the call was made for where the vendor does not say it again.
    PathOrChoice,
    /// One value divided by another, both of this row; null where either is missing or the second is 0.
    Ratio(&'static str, &'static str),
    /// When the vendor answered.
    ReadAt,
    /// How many items the list at this path holds.
    Count(&'static str),
    /// The field `.1` of each item of the list at `.0`, joined by ", ".
    Joined(&'static str, &'static str),
    /// The record's id, on a row made of one of its items.
    ParentId,
    /// The record's start, on a row made of one of its items.
    ParentStart,
    /// Which item of the record's list this row is, from 1.
    Position,
    /// The period as the vendor wrote it.
    Period,
    /// The start of the period.
    PeriodStart,
}

/// How a run's rows meet the rows that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateMode {
    /// The new rows take the place of all rows.
    Replace,
    /// The new rows come after the old ones.
    Append,
    /// As Append; old rows whose key is in the new ones go.
    Merge,
    /// As Append; old rows whose day was pulled go.
    Partition,
}

impl UpdateMode {
    pub const ALL: [UpdateMode; 4] = [UpdateMode::Replace, UpdateMode::Append, UpdateMode::Merge, UpdateMode::Partition];

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
    /// It tells what is there just now, which may be nothing at any time.
    pub fn comes_and_goes(&self) -> bool {
        self.request.path == "/visitors"
    }

    /// The column of the record that a row is a part of, where a record becomes several rows: all of them are read at once.
    pub fn parent(&self) -> Option<&'static str> {
        let nested = matches!(
            self.shape,
            Shape::List { rows: RecordRows::Items { .. }, .. }
                | Shape::Archive { rows: RecordRows::Items { .. }, .. }
                | Shape::Export(ExportRows::Messages | ExportRows::Operators)
        );
        self.key.first().copied().filter(|_| nested)
    }

    /// What the vendor counts in this report, one and many: a row is one of these, or a part of one.
    pub fn records(&self) -> (&'static str, &'static str) {
        match (self.shape, self.request.path) {
            (Shape::Archive { records: "tickets", .. }, _) => ("ticket", "tickets"),
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

    /// The menu's value is written rather than chosen from a list of the account.
    pub fn types(&self, menu: Menu) -> bool {
        self.menus.iter().any(|m| m.menu == menu && m.typed)
    }

    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|c| c.name == name)
    }
}
