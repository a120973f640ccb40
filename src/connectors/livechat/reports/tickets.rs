//! Tickets: one row for each ticket, and statistics about tickets.

use super::periods::{BEGIN, END_OF, PERIOD, PERIOD_START};
use super::{
    CONFIGURATION, END, GROUP, GROUP_BY, LOGIN, REPORTS_API, START, TAG, column, extra, integer,
    json, moment, number, takes, text, verbatim, within,
};
use crate::connectors::report::ColumnKind::Integer;
use crate::connectors::report::ColumnSource::Count;
use crate::connectors::report::{Menu, PeriodRows, RecordRows, Report, Shape, UpdateMode};

pub const TICKETS: Report = Report {
    id: "tickets",
    title: "Tickets",
    about: "One row per ticket with any activity in the range: subject, status, who asked, who answers, and what happened.",
    source: CONFIGURATION,
    request: within("/tickets"),
    menus: &[
        START,
        END,
        GROUP,
        takes(Menu::Login, "assignee"),
        extra(Menu::Tag, "tag"),
    ],
    shape: Shape::Archive {
        records: "tickets",
        rows: RecordRows::Records,
    },
    columns: &[
        verbatim("id", "The ticket's id"),
        text("subject", "What it is about"),
        text("status", "open, pending, solved or spam"),
        moment("modified", "When it was last changed"),
        verbatim("assignee_id", "Login of the assigned agent"),
        text("assignee_name", "Name of the assigned agent"),
        text("requester_name", "Name of the requester"),
        text("requester_mail", "Email address of the requester"),
        text(
            "source_type",
            "Where it came from: mail, chat window and so on",
        ),
        json("groups", "Ids of the groups it belongs to"),
        json("tags", "The tags on it"),
        json(
            "opened",
            "The times it was open, from and to, in seconds since 1970",
        ),
        json("firstResponse", "The first answer, where there was one"),
        column(
            "events_count",
            Integer,
            Count("events"),
            "Number of events of the ticket",
        ),
        json("events", "What happened to it: messages, notes and changes"),
    ],
    key: &["id"],
    day: None,
    mode: UpdateMode::Replace,
};

pub const NEW_TICKETS_REPORT: Report = Report {
    id: "new_tickets_report",
    title: "New Tickets Report",
    about: "How many tickets were created per day or hour.",
    source: REPORTS_API,
    request: within("/reports/tickets/new_tickets"),
    menus: &[START, END, GROUP, GROUP_BY, TAG],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer("new_tickets", "Tickets that were created"),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const SOLVED_TICKET_REPORT: Report = Report {
    id: "solved_ticket_report",
    title: "Solved Ticket Report",
    about: "How many tickets were solved per day or hour.",
    source: REPORTS_API,
    request: within("/reports/tickets/solved_tickets"),
    menus: &[START, END, GROUP, LOGIN, GROUP_BY, TAG],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer("solved_tickets", "Tickets that were solved"),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const TICKET_RANKING_REPORT: Report = Report {
    id: "ticket_ranking_report",
    title: "Ticket Ranking Report",
    about: "One row per agent: how their tickets were rated over the whole range.",
    source: REPORTS_API,
    request: within("/reports/tickets/ratings/ranking"),
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

pub const TICKET_RATINGS_REPORT: Report = Report {
    id: "ticket_ratings_report",
    title: "Ticket Ratings Report",
    about: "How tickets were rated per day or hour.",
    source: REPORTS_API,
    request: within("/reports/tickets/ratings"),
    menus: &[START, END, GROUP, LOGIN, GROUP_BY, TAG],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer("good", "Rated good"),
        integer("bad", "Rated bad"),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const TICKET_RESOLUTION_TIME_REPORT: Report = Report {
    id: "ticket_resolution_time_report",
    title: "Ticket Resolution Time Report",
    about: "How long it took to solve tickets per day or hour, on average.",
    source: REPORTS_API,
    request: within("/reports/tickets/resolution_time"),
    menus: &[START, END, GROUP, LOGIN, GROUP_BY, TAG],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer("count", "Tickets that were counted"),
        number(
            "hours",
            "Average hours until solved; empty when there was none",
        ),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const TICKET_SOURCES_REPORT: Report = Report {
    id: "ticket_sources_report",
    title: "Ticket Sources Report",
    about: "Where new tickets came from per day or hour.",
    source: REPORTS_API,
    request: within("/reports/tickets/ticket_sources"),
    menus: &[START, END, GROUP, GROUP_BY, TAG],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer("tickets_from_chat_window", "Tickets from the chat window"),
        integer("tickets_from_mail", "Tickets from email"),
        integer("tickets_from_chat", "Tickets created from chats"),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const TICKETS_FIRST_RESPONSE_REPORT: Report = Report {
    id: "tickets_first_response_report",
    title: "Tickets First Response Report",
    about: "How long tickets waited for the first answer per day or hour, on average.",
    source: REPORTS_API,
    request: within("/reports/tickets/first_response_time"),
    menus: &[START, END, GROUP, LOGIN, GROUP_BY, TAG],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer("count", "Tickets that were counted"),
        number(
            "hours",
            "Average hours until the first answer; empty when there was none",
        ),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};
