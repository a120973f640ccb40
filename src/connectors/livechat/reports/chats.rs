//! The reports of LiveChat: entries and nothing else. Fields and their meanings are those of the vendor's configuration and reports
//! APIs, version 2.0.

use crate::connectors::report::ColumnKind::{Boolean, Integer, Json, Text, Timestamp};
use crate::connectors::report::From::{Count, EpochSeconds, Joined, ParentId, ParentStart, Path, Period, PeriodStart, Position};
use crate::connectors::report::{ArchiveRows, Column, ColumnKind, From, Menu, MenuUse, Report, Request, Shape, UpdateMode};

const CONFIGURATION: &str = "https://developers.livechat.com/docs/management/configuration-api/v2.0";
const REPORTS_API: &str = "https://developers.livechat.com/docs/data-reporting/reports-api/v2.0";

const fn column(name: &'static str, kind: ColumnKind, from: From, meaning: &'static str) -> Column {
    Column { name, kind, meaning, from }
}

const fn takes(menu: Menu, required: bool) -> MenuUse {
    MenuUse { menu, required }
}

const DAYS_GROUP_LOGIN: &[MenuUse] = &[takes(Menu::StartDays, true), takes(Menu::EndDays, true), takes(Menu::Group, false), takes(Menu::Login, false)];

pub const REPORTS: &[Report] = &[
    Report {
        id: "agents",
        title: "Agents",
        about: "One row per agent: name, login, permission and current status.",
        source: CONFIGURATION,
        request: Request { path: "/agents" },
        menus: &[],
        shape: Shape::List,
        columns: &[
            column("login", Text, Path, "The e-mail address the agent signs in with"),
            column("name", Text, Path, "The agent's name"),
            column("permission", Text, Path, "owner, administrator or normal"),
            column("status", Text, Path, "accepting chats, not accepting chats or offline"),
            column("avatar", Text, Path, "Address of the agent's picture"),
        ],
        key: &["login"],
        day: None,
        mode: UpdateMode::Replace,
    },
    Report {
        id: "chat",
        title: "Chat",
        about: "One row per chat: who, when, how long, with which agents, rating, tags and what was asked before and after.",
        source: CONFIGURATION,
        request: Request { path: "/chats" },
        menus: DAYS_GROUP_LOGIN,
        shape: Shape::Archive { records: "chats", rows: ArchiveRows::Records },
        columns: &[
            column("id", Text, Path, "The chat's id"),
            column("type", Text, Path, "chat, or missed_chat when nobody answered"),
            column("started", Text, Path, "When the chat began, as LiveChat writes it, in the zone of the column timezone"),
            column("started_timestamp", Timestamp, EpochSeconds, "When the chat began"),
            column("ended", Text, Path, "When the chat ended, as LiveChat writes it"),
            column("ended_timestamp", Timestamp, EpochSeconds, "When the chat ended"),
            column("timezone", Text, Path, "The zone of started and ended"),
            column("duration", Integer, Path, "Length of the chat in seconds"),
            column("queue_duration", Integer, Path, "Seconds the visitor waited in the queue"),
            column("engagement", Text, Path, "auto_invite, manual_invite or immediate_start"),
            column("pending", Boolean, Path, "Whether the chat waits for an answer"),
            column("rate", Text, Path, "rated_good, rated_bad or not_rated"),
            column("visitor_id", Text, Path, "The visitor's id"),
            column("visitor_name", Text, Path, "The visitor's name"),
            column("visitor_email", Text, Path, "The visitor's e-mail address"),
            column("visitor_ip", Text, Path, "The visitor's network address"),
            column("visitor_city", Text, Path, "The visitor's city"),
            column("visitor_region", Text, Path, "The visitor's region"),
            column("visitor_country", Text, Path, "The visitor's country"),
            column("visitor_country_code", Text, Path, "The visitor's country in two letters"),
            column("visitor_timezone", Text, Path, "The visitor's time zone"),
            column("visitor_user_agent", Text, Path, "The visitor's browser, as it names itself"),
            column("agent_names", Text, Joined("agents", "display_name"), "Names of the agents, joined by commas"),
            column("agent_emails", Text, Joined("agents", "email"), "E-mail addresses of the agents, joined by commas"),
            column("agents", Json, Path, "The agents, each with display_name and email"),
            column("supervisors", Json, Path, "The supervisors, each with display_name and email"),
            column("group", Json, Path, "Ids of the groups the chat belongs to"),
            column("tags", Json, Path, "The tags on the chat"),
            column("chat_start_url", Text, Path, "The page on which the chat began"),
            column("referrer", Text, Path, "The page the visitor came from"),
            column("messages_count", Integer, Count("messages"), "How many messages the chat has"),
            column("events_count", Integer, Count("events"), "How many events the chat has, messages among them"),
            column("prechat_survey", Json, Path, "Questions and answers before the chat"),
            column("postchat_survey", Json, Path, "Questions and answers after the chat"),
            column("custom_variables", Json, Path, "Custom variables, each with key and value"),
            column("integration_variables", Json, Path, "Variables of integrations, each with key and value"),
            column("goals", Json, Path, "The goals that were reached"),
            column("tickets", Json, Path, "The tickets made from the chat"),
        ],
        key: &["id"],
        day: Some("started_timestamp"),
        mode: UpdateMode::Replace,
    },
    Report {
        id: "chat_messages",
        title: "Chat Messages",
        about: "One row per message of a chat: who wrote it, when, and the text.",
        source: CONFIGURATION,
        request: Request { path: "/chats" },
        menus: DAYS_GROUP_LOGIN,
        shape: Shape::Archive { records: "chats", rows: ArchiveRows::Items { list: "messages", start: "started_timestamp" } },
        columns: &[
            column("chat_id", Text, ParentId, "Id of the chat, as in the report Chat"),
            column("chat_started_timestamp", Timestamp, ParentStart, "When the chat began"),
            column("position", Integer, Position, "Which message of the chat this is, from 1"),
            column("author_name", Text, Path, "Name of who wrote it"),
            column("user_type", Text, Path, "agent, visitor or supervisor"),
            column("agent_id", Text, Path, "Login of the agent who wrote it"),
            column("text", Text, Path, "What was written"),
            column("date", Text, Path, "When it was written, as LiveChat writes it"),
            column("timestamp", Timestamp, EpochSeconds, "When it was written"),
        ],
        key: &["chat_id", "position"],
        day: Some("chat_started_timestamp"),
        mode: UpdateMode::Replace,
    },
    Report {
        id: "chat_report",
        title: "Chat Report",
        about: "How many chats there were in each day, or in each hour when the range is one day.",
        source: REPORTS_API,
        request: Request { path: "/reports/chats/total_chats" },
        menus: DAYS_GROUP_LOGIN,
        shape: Shape::Periods,
        columns: &[
            column("period_start", Timestamp, PeriodStart, "When the period begins, from the DataSet's time zone"),
            column("period", Text, Period, "The period as LiveChat writes it"),
            column("chats", Integer, Path, "Chats in the period"),
        ],
        key: &["period_start"],
        day: Some("period_start"),
        mode: UpdateMode::Replace,
    },
    Report {
        id: "groups",
        title: "Groups",
        about: "One row per group: name, language, members and current status.",
        source: CONFIGURATION,
        request: Request { path: "/groups" },
        menus: &[],
        shape: Shape::List,
        columns: &[
            column("id", Integer, Path, "The group's id; 0 is all operators"),
            column("name", Text, Path, "The group's name"),
            column("language", Text, Path, "The group's language in two letters"),
            column("agents", Json, Path, "Logins of the agents in the group"),
            column("status", Text, Path, "Whether the group accepts chats"),
        ],
        key: &["id"],
        day: None,
        mode: UpdateMode::Replace,
    },
];
