//! The archive of chats: one row for each chat, and one row for each of its parts (messages, tags,
//! goals and so on).

use super::{
    CONFIGURATION, END, GROUP, LOGIN, START, TAG, boolean, column, extra, integer, json, moment,
    text, verbatim, within,
};
use crate::connectors::report::ColumnKind::{Integer, Text, Timestamp};
use crate::connectors::report::ColumnSource::{
    Count, Item, Joined, ParentId, ParentStart, Position,
};
use crate::connectors::report::{
    Column, Menu, MenuUse, RecordRows, Report, ReportRequest, Shape, UpdateMode,
};

const CHATS: ReportRequest = within("/chats");
const MENUS: &[MenuUse] = &[
    START,
    END,
    GROUP,
    LOGIN,
    TAG,
    extra(Menu::IncludePending, "include_pending"),
];
const CHAT_ID: Column = column(
    "chat_id",
    Text,
    ParentId,
    "Id of the chat, as in the report Chat",
);
const CHAT_STARTED: Column = column(
    "chat_started_timestamp",
    Timestamp,
    ParentStart,
    "When the chat began",
);

const fn items(list: &'static str) -> Shape {
    Shape::Archive {
        records: "chats",
        rows: RecordRows::Items {
            list,
            start: "started_timestamp",
        },
    }
}

const fn position(meaning: &'static str) -> Column {
    column("position", Integer, Position, meaning)
}

pub const CHAT: Report = Report {
    id: "chat",
    title: "Chat",
    about: "One row per chat: who, when, how long, with which agents, rating, tags and what was asked before and after.",
    source: CONFIGURATION,
    request: CHATS,
    menus: MENUS,
    shape: Shape::Archive {
        records: "chats",
        rows: RecordRows::Records,
    },
    columns: &[
        text("id", "The chat's id"),
        text("type", "chat, or missed_chat when nobody answered"),
        text(
            "started",
            "When the chat began, as LiveChat writes it, in the zone of the column timezone",
        ),
        moment("started_timestamp", "When the chat began"),
        text("ended", "When the chat ended, as LiveChat writes it"),
        moment("ended_timestamp", "When the chat ended"),
        text("timezone", "The zone of started and ended"),
        integer("duration", "Length of the chat in seconds"),
        integer("queue_duration", "Seconds the visitor waited in the queue"),
        text(
            "engagement",
            "auto_invite, manual_invite or immediate_start",
        ),
        boolean("pending", "Whether the chat waits for an answer"),
        text("rate", "rated_good, rated_bad or not_rated"),
        text("visitor_id", "The visitor's id"),
        text("visitor_name", "The visitor's name"),
        text("visitor_email", "The visitor's email address"),
        text("visitor_ip", "The visitor's network address"),
        text("visitor_city", "The visitor's city"),
        text("visitor_region", "The visitor's region"),
        text("visitor_country", "The visitor's country"),
        text(
            "visitor_country_code",
            "The visitor's country in two letters",
        ),
        text("visitor_timezone", "The visitor's time zone"),
        text(
            "visitor_user_agent",
            "The visitor's browser, as it names itself",
        ),
        column(
            "agent_names",
            Text,
            Joined("agents", "display_name"),
            "Names of the agents, joined by commas",
        ),
        column(
            "agent_emails",
            Text,
            Joined("agents", "email"),
            "Email addresses of the agents, joined by commas",
        ),
        json("agents", "The agents, each with display_name and email"),
        json(
            "supervisors",
            "The supervisors, each with display_name and email",
        ),
        json("group", "Ids of the groups the chat belongs to"),
        json("tags", "The tags on the chat"),
        text("chat_start_url", "The page on which the chat began"),
        text("referrer", "The page the visitor came from"),
        column(
            "messages_count",
            Integer,
            Count("messages"),
            "How many messages the chat has",
        ),
        column(
            "events_count",
            Integer,
            Count("events"),
            "How many events the chat has, messages among them",
        ),
        json("prechat_survey", "Questions and answers before the chat"),
        json("postchat_survey", "Questions and answers after the chat"),
        json(
            "custom_variables",
            "Custom variables, each with key and value",
        ),
        json(
            "integration_variables",
            "Variables of integrations, each with key and value",
        ),
        json("goals", "The goals that were reached"),
        json("tickets", "The tickets created from the chat"),
    ],
    key: &["id"],
    day: Some("started_timestamp"),
    mode: UpdateMode::Replace,
};

pub const CHAT_AGENTS: Report = Report {
    id: "chat_agents",
    title: "Chat Agents",
    about: "One row per agent of a chat: name and email address, with the chat's id and start.",
    source: CONFIGURATION,
    request: CHATS,
    menus: MENUS,
    shape: items("agents"),
    columns: &[
        CHAT_ID,
        CHAT_STARTED,
        position("Which agent of the chat this is, from 1"),
        text("display_name", "The name the visitor saw"),
        text("email", "The agent's login"),
    ],
    key: &["chat_id", "email"],
    day: Some("chat_started_timestamp"),
    mode: UpdateMode::Replace,
};

pub const CHAT_CUSTOM_VARIABLES: Report = Report {
    id: "chat_custom_variables",
    title: "Chat Custom Variables",
    about: "One row per custom variable of a chat: its name and value.",
    source: CONFIGURATION,
    request: CHATS,
    menus: MENUS,
    shape: items("custom_variables"),
    columns: &[
        CHAT_ID,
        CHAT_STARTED,
        position("Which custom variable of the chat this is, from 1"),
        text("key", "The variable's name"),
        verbatim("value", "The variable's value"),
    ],
    key: &["chat_id", "position"],
    day: Some("chat_started_timestamp"),
    mode: UpdateMode::Replace,
};

pub const CHAT_EVENTS: Report = Report {
    id: "chat_events",
    title: "Chat Events",
    about: "One row per event of a chat, such as a message, a file or the end of the chat: who, what and when.",
    source: CONFIGURATION,
    request: CHATS,
    menus: MENUS,
    shape: items("events"),
    columns: &[
        CHAT_ID,
        CHAT_STARTED,
        position("Which event of the chat this is, from 1"),
        text("type", "message, attachment or event"),
        text("event_type", "What happened, for example closed"),
        text("author_name", "Name of the person who did it"),
        text("user_type", "agent, visitor or supervisor"),
        text("agent_id", "Login of the agent who did it"),
        text("text", "What was written, or what happened in words"),
        json("files", "Addresses of the files that were sent"),
        text("date", "When it happened, as LiveChat writes it"),
        moment("timestamp", "When it happened"),
    ],
    key: &["chat_id", "position"],
    day: Some("chat_started_timestamp"),
    mode: UpdateMode::Replace,
};

pub const CHAT_GOALS: Report = Report {
    id: "chat_goals",
    title: "Chat Goals",
    about: "One row per goal a chat reached: which, when, and the order with its price where there was one.",
    source: CONFIGURATION,
    request: CHATS,
    menus: MENUS,
    shape: items("goals"),
    columns: &[
        CHAT_ID,
        CHAT_STARTED,
        position("Which goal of the chat this is, from 1"),
        integer("id", "The goal's id, as in the report Goals"),
        text("name", "The goal's name"),
        text("type", "The goal's type"),
        text("date", "When it was reached, as LiveChat writes it"),
        moment("timestamp", "When it was reached"),
        verbatim("order_id", "The order's id"),
        text("order_description", "What was ordered"),
        verbatim(
            "order_price",
            "The order's price, exactly as LiveChat sends it",
        ),
        text("order_currency", "The currency of the price"),
    ],
    key: &["chat_id", "position"],
    day: Some("chat_started_timestamp"),
    mode: UpdateMode::Replace,
};

pub const CHAT_INTEGRATION_VARIABLES: Report = Report {
    id: "chat_integration_variables",
    title: "Chat Integration Variables",
    about: "One row per variable that an integration put on a chat: its name and value.",
    source: CONFIGURATION,
    request: CHATS,
    menus: MENUS,
    shape: items("integration_variables"),
    columns: &[
        CHAT_ID,
        CHAT_STARTED,
        position("Which variable of the chat this is, from 1"),
        text("key", "The variable's name"),
        verbatim("value", "The variable's value"),
    ],
    key: &["chat_id", "position"],
    day: Some("chat_started_timestamp"),
    mode: UpdateMode::Replace,
};

pub const CHAT_MESSAGES: Report = Report {
    id: "chat_messages",
    title: "Chat Messages",
    about: "One row per message: who wrote what in which chat, and when.",
    source: CONFIGURATION,
    request: CHATS,
    menus: MENUS,
    shape: items("messages"),
    columns: &[
        CHAT_ID,
        CHAT_STARTED,
        position("Which message of the chat this is, from 1"),
        text("author_name", "Name of the author"),
        text("user_type", "agent, visitor or supervisor"),
        text("agent_id", "Login of the agent who wrote it"),
        text("text", "What was written"),
        text("date", "When it was written, as LiveChat writes it"),
        moment("timestamp", "When it was written"),
    ],
    key: &["chat_id", "position"],
    day: Some("chat_started_timestamp"),
    mode: UpdateMode::Replace,
};

pub const CHAT_POSTCHAT_SURVEY: Report = Report {
    id: "chat_postchat_survey",
    title: "Chat Postchat Survey",
    about: "One row per answer in the survey after a chat: the question and what was answered.",
    source: CONFIGURATION,
    request: CHATS,
    menus: MENUS,
    shape: items("postchat_survey"),
    columns: &[
        CHAT_ID,
        CHAT_STARTED,
        position("Which answer of the survey this is, from 1"),
        verbatim("id", "The question's id"),
        text("key", "The question"),
        verbatim("value", "The answer"),
    ],
    key: &["chat_id", "position"],
    day: Some("chat_started_timestamp"),
    mode: UpdateMode::Replace,
};

pub const CHAT_PRECHAT_SURVEY: Report = Report {
    id: "chat_prechat_survey",
    title: "Chat Prechat Survey",
    about: "One row per answer in the survey before a chat: the question and what was answered.",
    source: CONFIGURATION,
    request: CHATS,
    menus: MENUS,
    shape: items("prechat_survey"),
    columns: &[
        CHAT_ID,
        CHAT_STARTED,
        position("Which answer of the survey this is, from 1"),
        verbatim("id", "The question's id"),
        text("key", "The question"),
        verbatim("value", "The answer"),
    ],
    key: &["chat_id", "position"],
    day: Some("chat_started_timestamp"),
    mode: UpdateMode::Replace,
};

pub const CHAT_SUPERVISORS: Report = Report {
    id: "chat_supervisors",
    title: "Chat Supervisors",
    about: "One row per supervisor who watched a chat: name and email address.",
    source: CONFIGURATION,
    request: CHATS,
    menus: MENUS,
    shape: items("supervisors"),
    columns: &[
        CHAT_ID,
        CHAT_STARTED,
        position("Which supervisor of the chat this is, from 1"),
        text("display_name", "The supervisor's name"),
        text("email", "The supervisor's login"),
    ],
    key: &["chat_id", "email"],
    day: Some("chat_started_timestamp"),
    mode: UpdateMode::Replace,
};

pub const CHAT_TAGS: Report = Report {
    id: "chat_tags",
    title: "Chat Tags",
    about: "One row per tag on a chat.",
    source: CONFIGURATION,
    request: CHATS,
    menus: MENUS,
    shape: items("tags"),
    columns: &[
        CHAT_ID,
        CHAT_STARTED,
        position("Which tag of the chat this is, from 1"),
        column("tag", Text, Item, "The tag"),
    ],
    key: &["chat_id", "tag"],
    day: Some("chat_started_timestamp"),
    mode: UpdateMode::Replace,
};

pub const CHAT_TICKETS: Report = Report {
    id: "chat_tickets",
    title: "Chat Tickets",
    about: "One row per ticket created from a chat.",
    source: CONFIGURATION,
    request: CHATS,
    menus: MENUS,
    shape: items("tickets"),
    columns: &[
        CHAT_ID,
        CHAT_STARTED,
        position("Which ticket of the chat this is, from 1"),
        column(
            "id",
            Text,
            Item,
            "The ticket's id, as in the report Tickets",
        ),
    ],
    key: &["chat_id", "id"],
    day: Some("chat_started_timestamp"),
    mode: UpdateMode::Replace,
};
