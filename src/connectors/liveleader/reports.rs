//! The reports of LiveLeader: declarations only. Elements and their descriptions are from the
//! vendor's page "Exporting data".

use crate::connectors::report::ColumnKind::{Integer, Json, Text, Timestamp};
use crate::connectors::report::{
    Calls, Column, ColumnKind, ColumnSource, ExportRows, Menu, MenuUse, Report, ReportRequest,
    Shape, UpdateMode,
};

pub const REPORTS: &[Report] = &[CHATS, CHAT_MESSAGES, CHAT_OPERATORS];

const SOURCE: &str = "https://www.liveleader.com/en/support/exporting-data";
const EXPORT: ReportRequest = ReportRequest {
    path: "/a/Srv",
    calls: Calls::One,
    zone: true,
};
const MENUS: &[MenuUse] = &[
    days(Menu::StartDays),
    days(Menu::EndDays),
    MenuUse {
        menu: Menu::Login,
        required: false,
        extra: false,
        sent: "",
        typed: true,
    },
];

const fn days(menu: Menu) -> MenuUse {
    MenuUse {
        menu,
        required: true,
        extra: false,
        sent: "",
        typed: false,
    }
}

const fn column(name: &'static str, kind: ColumnKind, meaning: &'static str) -> Column {
    Column {
        name,
        kind,
        meaning,
        from: ColumnSource::Path,
    }
}

const CHATS: Report = Report {
    id: "chats",
    title: "Chats",
    about: "One row per chat: when, how long, where on the site, with which operators, and all messages.",
    source: SOURCE,
    request: EXPORT,
    menus: MENUS,
    shape: Shape::Export(ExportRows::Chats),
    columns: &[
        column("id", Text, "The chat's id"),
        column("referrer", Text, "The page the visitor came from"),
        column(
            "keywords",
            Text,
            "What the visitor had searched for on a search engine",
        ),
        column(
            "operators",
            Text,
            "Email addresses of the operators who answered, joined by commas",
        ),
        column("operator_count", Integer, "How many operators answered"),
        column("visitor_ip", Text, "The visitor's network address"),
        column("start", Timestamp, "When the first message was sent"),
        column("stop", Timestamp, "When the last message was sent"),
        column("duration", Integer, "Length of the chat in seconds"),
        column("url", Text, "The page on which the chat took place"),
        column("message_count", Integer, "How many messages the chat has"),
        column(
            "transcript",
            Json,
            "The messages in order, each with from (visitor, or the operator's email address), time and text",
        ),
    ],
    key: &["id"],
    day: Some("start"),
    mode: UpdateMode::Replace,
};

const CHAT_MESSAGES: Report = Report {
    id: "chat_messages",
    title: "Chat Messages",
    about: "One row per message of a chat: who, when and what, with the chat's id.",
    source: SOURCE,
    request: EXPORT,
    menus: MENUS,
    shape: Shape::Export(ExportRows::Messages),
    columns: &[
        column("chat_id", Text, "Id of the chat, as in the report Chats"),
        column(
            "position",
            Integer,
            "Which message of the chat it is, from 1",
        ),
        column("from", Text, "visitor, or the operator's email address"),
        column("sender", Text, "visitor or operator"),
        column("time", Timestamp, "When the message was sent"),
        column("text", Text, "What was said"),
    ],
    key: &["chat_id", "position"],
    day: None,
    mode: UpdateMode::Replace,
};

const CHAT_OPERATORS: Report = Report {
    id: "chat_operators",
    title: "Chat Operators",
    about: "One row per operator of a chat: the email address, with the chat's id.",
    source: SOURCE,
    request: EXPORT,
    menus: MENUS,
    shape: Shape::Export(ExportRows::Operators),
    columns: &[
        column("chat_id", Text, "Id of the chat, as in the report Chats"),
        column("operator", Text, "The operator's email address"),
    ],
    key: &["chat_id", "operator"],
    day: None,
    mode: UpdateMode::Replace,
};
