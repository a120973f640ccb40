//! Reports of the current state and the ranking of agents. The vendor does not document their
//! fields, so all fields become columns.

use super::{
    CONFIGURATION, END, GROUP, REPORTS_API, START, TAG, at, column, each, integer, number, takes,
    text, within,
};
use crate::connectors::report::ColumnKind::{Integer, Text, Timestamp};
use crate::connectors::report::ColumnSource::{Choice, ReadAt};
use crate::connectors::report::{Column, Menu, RecordRows, Report, Shape, UpdateMode};

const READ_AT: Column = column(
    "read_at",
    Timestamp,
    ReadAt,
    "When the data was read from LiveChat",
);

pub const AGENT_DASHBOARD_REPORT: Report = Report {
    id: "agent_dashboard_report",
    title: "Agent Dashboard Report",
    about: "One row per agent: the numbers of the last seven days, as LiveChat's dashboard shows them.",
    source: REPORTS_API,
    request: each("/reports/dashboard/agent/{login}", Menu::Login),
    menus: &[takes(Menu::Login, "")],
    shape: Shape::Single,
    columns: &[column("login", Text, Choice, "The agent's login"), READ_AT],
    key: &["login"],
    day: None,
    mode: UpdateMode::Replace,
};

pub const DASHBOARD_REPORT: Report = Report {
    id: "dashboard_report",
    title: "Dashboard Report",
    about: "One row for the whole account: the numbers of the last seven days, as LiveChat's dashboard shows them.",
    source: REPORTS_API,
    request: at("/reports/dashboard"),
    menus: &[],
    shape: Shape::Single,
    columns: &[READ_AT],
    key: &["read_at"],
    day: None,
    mode: UpdateMode::Replace,
};

pub const GROUP_DASHBOARD_REPORT: Report = Report {
    id: "group_dashboard_report",
    title: "Group Dashboard Report",
    about: "One row per group: the numbers of the last seven days, as LiveChat's dashboard shows them.",
    source: REPORTS_API,
    request: each("/reports/dashboard/group/{group}", Menu::Group),
    menus: &[takes(Menu::Group, "")],
    shape: Shape::Single,
    columns: &[
        column(
            "group",
            Integer,
            Choice,
            "The group's id; 0 is all operators",
        ),
        READ_AT,
    ],
    key: &["group"],
    day: None,
    mode: UpdateMode::Replace,
};

pub const RANKING_REPORT: Report = Report {
    id: "ranking_report",
    title: "Ranking Report",
    about: "One row per agent: how their chats were rated over the whole range.",
    source: REPORTS_API,
    request: within("/reports/chats/ratings/ranking"),
    menus: &[START, END, GROUP, TAG],
    shape: Shape::List {
        under: Some("ranking"),
        rows: RecordRows::Records,
    },
    columns: &[
        text("name", "The agent's login"),
        integer("good", "Rated good"),
        integer("bad", "Rated bad"),
        integer("total", "All ratings"),
        number("score", "LiveChat's score, from 0 to 1"),
    ],
    key: &["name"],
    day: None,
    mode: UpdateMode::Replace,
};

pub const STATUS_REPORT: Report = Report {
    id: "status_report",
    title: "Status Report",
    about: "One row per group: whether it accepts chats now.",
    source: CONFIGURATION,
    request: each("/status/{group}", Menu::Group),
    menus: &[takes(Menu::Group, "")],
    shape: Shape::Single,
    columns: &[
        column(
            "group",
            Integer,
            Choice,
            "The group's id; 0 is all operators",
        ),
        text("status", "online or offline"),
        READ_AT,
    ],
    key: &["group"],
    day: None,
    mode: UpdateMode::Replace,
};
