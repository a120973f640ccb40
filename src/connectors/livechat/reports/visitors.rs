//! The visitors on the site now: one row for each visitor, and one row for each of a visitor's
//! parts.

use super::{CONFIGURATION, at, column, integer, json, moment, takes, text, verbatim};
use crate::connectors::report::ColumnKind::{Integer, Text, Timestamp};
use crate::connectors::report::ColumnSource::{Joined, ParentId, ParentStart, Position};
use crate::connectors::report::{
    Column, Menu, MenuUse, RecordRows, Report, ReportRequest, Shape, UpdateMode,
};

const ON_THE_SITE: ReportRequest = at("/visitors");
const MENUS: &[MenuUse] = &[takes(Menu::Group, "group[]")];
const VISITOR_ID: Column = column(
    "visitor_id",
    Text,
    ParentId,
    "Id of the visitor, as in the report Visitors",
);
const VISITOR_ENTERED: Column = column(
    "visitor_page_entered_ts",
    Timestamp,
    ParentStart,
    "When the visitor came to the page, as in the report Visitors",
);

const fn items(list: &'static str) -> Shape {
    Shape::List {
        under: None,
        rows: RecordRows::Items {
            list,
            start: "page_entered_ts",
        },
    }
}

pub const VISITORS: Report = Report {
    id: "visitors",
    title: "Visitors",
    about: "One row per person on the site now: where from, on which page, in what state, and what came before.",
    source: CONFIGURATION,
    request: ON_THE_SITE,
    menus: MENUS,
    shape: Shape::List {
        under: None,
        rows: RecordRows::Records,
    },
    columns: &[
        text("id", "The visitor's id"),
        text("name", "The visitor's name"),
        text("state", "browsing, chatting, queued, invited and so on"),
        integer("group", "Id of the group the visitor belongs to"),
        text("ip", "The visitor's network address"),
        text("host", "The host name of that address"),
        text("browser", "The visitor's browser"),
        text("language", "The visitor's language"),
        text("city", "The visitor's city"),
        text("region", "The visitor's region"),
        text("country", "The visitor's country"),
        text("country_code", "The visitor's country in two letters"),
        verbatim(
            "latitude",
            "The visitor's latitude in degrees north, exactly as LiveChat sends it",
        ),
        verbatim(
            "longitude",
            "The visitor's longitude in degrees east, exactly as LiveChat sends it",
        ),
        text("timezone", "The visitor's time zone"),
        text("chat_id", "Id of the visitor's chat"),
        text(
            "chat_start_time",
            "When that chat began, as LiveChat writes it",
        ),
        moment("chat_start_time_ts", "When that chat began"),
        moment(
            "queue_start_time",
            "When the visitor began to wait in the queue",
        ),
        verbatim("invitation", "The greeting or invitation the visitor got"),
        text("referrer", "The page the visitor came from"),
        text("page_current", "The page the visitor is on"),
        text("page_address", "The address of that page"),
        text("page_title", "The title of that page"),
        text(
            "page_entered",
            "When the visitor came to the page, as LiveChat writes it",
        ),
        moment("page_entered_ts", "When the visitor came to the page"),
        text(
            "page_time",
            "How long the visitor has been on the page, as LiveChat writes it",
        ),
        integer("page_time_ts", "The same as LiveChat counts it, in seconds"),
        text(
            "last_visit",
            "When the visitor was here before, as LiveChat writes it",
        ),
        moment("last_visit_ts", "When the visitor was here before"),
        integer("page_views", "How many pages the visitor has seen"),
        integer("visits", "How many visits the visitor has made"),
        integer("chats", "How many chats the visitor has had"),
        integer("greetings_all", "How many greetings the visitor was shown"),
        integer(
            "greetings_accepted",
            "How many of them the visitor accepted",
        ),
        integer("greetings_refused", "How many of them the visitor refused"),
        column(
            "operator_names",
            Text,
            Joined("operators", "display_name"),
            "Names of the agents who talk with the visitor, joined by commas",
        ),
        json(
            "operators",
            "The agents who talk with the visitor, each with id and display_name",
        ),
        json("prechat_survey", "Questions and answers before the chat"),
        json(
            "custom_variables",
            "Custom variables, each with key and value",
        ),
        json("visit_path", "The pages the visitor has seen"),
    ],
    key: &["id"],
    day: None,
    mode: UpdateMode::Replace,
};

pub const VISITORS_OPERATORS: Report = Report {
    id: "visitors_operators",
    title: "Visitors Operators",
    about: "One row per agent who talks with a visitor on the site now.",
    source: CONFIGURATION,
    request: ON_THE_SITE,
    menus: MENUS,
    shape: items("operators"),
    columns: &[
        VISITOR_ID,
        VISITOR_ENTERED,
        column(
            "position",
            Integer,
            Position,
            "Which agent of the visitor this is, from 1",
        ),
        verbatim("id", "The agent's login"),
        text("display_name", "The name the visitor sees"),
    ],
    key: &["visitor_id", "id"],
    day: None,
    mode: UpdateMode::Replace,
};

pub const VISITORS_PRECHAT_SURVEY: Report = Report {
    id: "visitors_prechat_survey",
    title: "Visitors Prechat Survey",
    about: "One row per answer that a visitor on the site now gave before a chat.",
    source: CONFIGURATION,
    request: ON_THE_SITE,
    menus: MENUS,
    shape: items("prechat_survey"),
    columns: &[
        VISITOR_ID,
        VISITOR_ENTERED,
        column(
            "position",
            Integer,
            Position,
            "Which answer of the survey this is, from 1",
        ),
        text("key", "The question"),
        verbatim("value", "The answer"),
    ],
    key: &["visitor_id", "position"],
    day: None,
    mode: UpdateMode::Replace,
};

pub const VISITORS_VISIT_PATH: Report = Report {
    id: "visitors_visit_path",
    title: "Visitors Visit Path",
    about: "One row per page that a visitor on the site now has seen, in order.",
    source: CONFIGURATION,
    request: ON_THE_SITE,
    menus: MENUS,
    shape: items("visit_path"),
    columns: &[
        VISITOR_ID,
        VISITOR_ENTERED,
        column(
            "position",
            Integer,
            Position,
            "Which step of the visit this is, from 1",
        ),
        text("page", "The address of the page"),
        text("title", "The title of the page"),
        verbatim(
            "invitation",
            "The greeting or invitation the visitor got there",
        ),
        text("time", "When the visitor came to it, as LiveChat writes it"),
        verbatim(
            "time_ref",
            "The time as LiveChat counts it from the start of the visit",
        ),
        moment("time_ts", "When the visitor came to it"),
    ],
    key: &["visitor_id", "position"],
    day: None,
    mode: UpdateMode::Replace,
};
