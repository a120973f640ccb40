//! Reports of an account's configuration: agents, groups, canned responses, goals, greetings and
//! tags.

use super::{
    CONFIGURATION, GROUP, at, boolean, column, each, extra, integer, json, moment, text, verbatim,
};
use crate::connectors::report::ColumnKind::{Integer, Text};
use crate::connectors::report::ColumnSource::{Joined, PathOrChoice};
use crate::connectors::report::{Menu, RecordRows, Report, Shape, UpdateMode};

const RECORDS: Shape = Shape::List {
    under: None,
    rows: RecordRows::Records,
};

pub const AGENTS: Report = Report {
    id: "agents",
    title: "Agents",
    about: "One row per agent: name, login, permission and current status; with details also groups, limits and the last sign-out.",
    source: CONFIGURATION,
    request: at("/agents"),
    menus: &[extra(Menu::AgentDetails, "")],
    shape: RECORDS,
    columns: &[
        text("login", "The email address with which the agent signs in"),
        text("name", "The agent's name"),
        text("permission", "owner, administrator or normal"),
        text("status", "accepting chats, not accepting chats or offline"),
        text("avatar", "Address of the agent's picture"),
        text("job_title", "The agent's job title; a detail"),
        text(
            "login_status",
            "The status with which the agent signs in; a detail",
        ),
        boolean(
            "daily_summary",
            "Whether the agent gets a daily summary by email; a detail",
        ),
        integer(
            "max_chats_count",
            "How many chats the agent takes at once; a detail",
        ),
        column(
            "group_names",
            Text,
            Joined("groups", "name"),
            "Names of the agent's groups, joined by commas; a detail",
        ),
        json(
            "groups",
            "The agent's groups, each with id and name; a detail",
        ),
        json(
            "notifications",
            "Which notifications the agent gets, 1 or 0 each; a detail",
        ),
        moment("last_logout", "When the agent last signed out; a detail"),
    ],
    key: &["login"],
    day: None,
    mode: UpdateMode::Replace,
};

pub const CANNED_RESPONSES: Report = Report {
    id: "canned_responses",
    title: "Canned Responses",
    about: "One row per canned response: its text, tags, group, author and last change.",
    source: CONFIGURATION,
    request: each("/canned_responses", Menu::Group),
    menus: &[GROUP],
    shape: RECORDS,
    columns: &[
        integer("id", "The canned response's id"),
        column(
            "group",
            Integer,
            PathOrChoice,
            "Id of the group it belongs to; 0 is all operators",
        ),
        text("text", "What it says"),
        json("tags", "The shortcuts that insert it"),
        moment("creation_date", "When it was created"),
        text("created_by", "Login of the creator"),
        moment("modification_date", "When it was last changed"),
        text("modified_by", "Login of the last editor"),
    ],
    key: &["id"],
    day: None,
    mode: UpdateMode::Replace,
};

pub const GOALS: Report = Report {
    id: "goals",
    title: "Goals",
    about: "One row per goal: its name, type, whether it is on, and what counts as reaching it.",
    source: CONFIGURATION,
    request: at("/goals"),
    menus: &[],
    shape: RECORDS,
    columns: &[
        integer("id", "The goal's id"),
        text("name", "The goal's name"),
        boolean("active", "Whether it is on"),
        text("type", "custom_variable, url, api or sales_tracker"),
        text(
            "custom_variable_name",
            "The custom variable that is checked",
        ),
        text("custom_variable_value", "The value it must have"),
        text("url", "The address that must be visited"),
        text("match_type", "How the address is compared"),
        verbatim("sales_tracker_id", "The sales tracker's id"),
        text(
            "value_type",
            "Whether the value of a sale is fixed or read from the page",
        ),
        verbatim("value", "The fixed value of a sale"),
        text("currency", "The currency of the value"),
        verbatim("time_range", "How long after the chat a sale counts"),
        text(
            "order_field_name",
            "The field of the page that holds the order",
        ),
        text(
            "value_field_name",
            "The field of the page that holds the value",
        ),
    ],
    key: &["id"],
    day: None,
    mode: UpdateMode::Replace,
};

pub const GREETINGS: Report = Report {
    id: "greetings",
    title: "Greetings",
    about: "One row per greeting: its name, whether it is on, what triggers it and what it says.",
    source: CONFIGURATION,
    request: at("/greetings"),
    menus: &[GROUP],
    shape: RECORDS,
    columns: &[
        integer("id", "The greeting's id"),
        text("name", "The greeting's name"),
        boolean("active", "Whether it is on"),
        integer(
            "group",
            "Id of the group it belongs to, if LiveChat returns it",
        ),
        json(
            "rules",
            "What triggers it: rules with id, type, operator, condition and value",
        ),
        json("properties", "Its settings and texts, by name"),
    ],
    key: &["id"],
    day: None,
    mode: UpdateMode::Replace,
};

pub const GROUPS: Report = Report {
    id: "groups",
    title: "Groups",
    about: "One row per group: name, language, members and current status.",
    source: CONFIGURATION,
    request: at("/groups"),
    menus: &[],
    shape: RECORDS,
    columns: &[
        integer("id", "The group's id; 0 is all operators"),
        text("name", "The group's name"),
        text("language", "The group's language in two letters"),
        json("agents", "Logins of the agents in the group"),
        text("status", "Whether the group accepts chats"),
    ],
    key: &["id"],
    day: None,
    mode: UpdateMode::Replace,
};

pub const TAGS: Report = Report {
    id: "tags",
    title: "Tags",
    about: "One row per tag: its name, group, author, date, and number of chats and tickets.",
    source: CONFIGURATION,
    request: at("/tags"),
    menus: &[GROUP],
    shape: RECORDS,
    columns: &[
        text("name", "The tag"),
        integer("group", "Id of the group it belongs to"),
        text("author", "Login of the creator"),
        moment("creation_date", "When it was created"),
        integer("count_inChats", "How many chats have it"),
        integer("count_inTickets", "How many tickets have it"),
    ],
    key: &["name", "group"],
    day: None,
    mode: UpdateMode::Replace,
};
