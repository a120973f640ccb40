//! The menus of the Details pane, and the values of those with fixed options.

use serde::{Deserialize, Serialize};

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
