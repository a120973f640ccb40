//! Statistics about chats by day, hour or month.

use super::{
    END, GROUP, GROUP_BY, LOGIN, REPORTS_API, START, TAG, column, integer, needs, number, takes,
    within,
};
use crate::connectors::report::ColumnKind::{Date, Number, Text, Timestamp};
use crate::connectors::report::ColumnSource::{
    Decimal, Path, Period, PeriodStart, PeriodValue, Ratio,
};
use crate::connectors::report::{Column, Menu, PeriodRows, Report, Shape, UpdateMode};

pub(super) const PERIOD_START: Column = column(
    "period_start",
    Timestamp,
    PeriodStart,
    "When the period begins, from the DataSet's time zone",
);
pub(super) const PERIOD: Column =
    column("period", Text, Period, "The period as LiveChat writes it");
pub(super) const BEGIN: Column = column(
    "begin",
    Date,
    Path,
    "The first day of a month that was counted; empty by day and by hour",
);
pub(super) const END_OF: Column = column(
    "end",
    Date,
    Path,
    "The last day of a month that was counted; empty by day and by hour",
);

pub const AVAILABILITY_REPORT: Report = Report {
    id: "availability_report",
    title: "Availability Report",
    about: "How long chats were accepted in each day, in hours and in minutes; in each hour when the range is one day.",
    source: REPORTS_API,
    request: within("/reports/availability"),
    menus: &[START, END, GROUP, LOGIN],
    shape: Shape::Periods(PeriodRows::HoursAndMinutes),
    columns: &[
        PERIOD_START,
        PERIOD,
        number("hours", "Hours in which chats were accepted"),
        number("minutes", "Minutes in which chats were accepted"),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const CHAT_ENGAGEMENT_REPORT: Report = Report {
    id: "chat_engagement_report",
    title: "Chat Engagement Report",
    about: "How chats began per day or hour: by an automatic greeting, by an agent's invitation or by the visitor.",
    source: REPORTS_API,
    request: within("/reports/chats/engagement"),
    menus: &[START, END, GROUP, LOGIN, GROUP_BY, TAG],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer(
            "chats_from_auto_invite",
            "Chats that began with an automatic greeting",
        ),
        integer(
            "chats_from_manual_invite",
            "Chats that began with an agent's invitation",
        ),
        integer("chats_from_immediate_start", "Chats that the visitor began"),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const CHAT_REPORT: Report = Report {
    id: "chat_report",
    title: "Chat Report",
    about: "How many chats there were in each day, or in each hour when the range is one day.",
    source: REPORTS_API,
    request: within("/reports/chats/total_chats"),
    menus: &[START, END, GROUP, LOGIN, GROUP_BY, TAG],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer("chats", "Chats in the period"),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const CHATTING_TIME_REPORT: Report = Report {
    id: "chatting_time_report",
    title: "Chatting Time Report",
    about: "How long agents were chatting in each day, in hours and in minutes; in each hour when the range is one day.",
    source: REPORTS_API,
    request: within("/reports/chats/chatting_time"),
    menus: &[START, END, GROUP, LOGIN, TAG],
    shape: Shape::Periods(PeriodRows::HoursAndMinutes),
    columns: &[
        PERIOD_START,
        PERIOD,
        number("hours", "Hours spent chatting"),
        number("minutes", "Minutes spent chatting"),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const FIRST_RESPONSE_TIME_REPORT: Report = Report {
    id: "first_response_time_report",
    title: "First Response Time Report",
    about: "How long visitors waited for the first answer per day or hour, on average.",
    source: REPORTS_API,
    request: within("/reports/chats/first_response_time"),
    menus: &[START, END, GROUP, LOGIN, GROUP_BY, TAG],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer("first_response_time_count", "Chats that were answered"),
        number(
            "first_response_time_seconds",
            "Average seconds until the first answer; empty when there was none",
        ),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const GOALS_REPORT: Report = Report {
    id: "goals_report",
    title: "Goals Report",
    about: "How many goals chats reached per day or hour, and what sales were worth, a row for each currency.",
    source: REPORTS_API,
    request: within("/reports/chats/goals"),
    menus: &[START, END, GROUP, LOGIN, GROUP_BY, TAG],
    shape: Shape::Periods(PeriodRows::Currencies),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer(
            "goals",
            "Goals that were reached; only in the first row of a period",
        ),
        column(
            "currency",
            Text,
            Path,
            "Currency of the sales; empty where there were none",
        ),
        integer("sales_count", "Sales in this currency"),
        column("value", Number, Decimal, "Their total value"),
    ],
    key: &["period_start", "period", "currency"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const GREETINGS_REPORT: Report = Report {
    id: "greetings_report",
    title: "Greetings Report",
    about: "How often greetings were shown, accepted and led to a goal per day or hour, with both rates.",
    source: REPORTS_API,
    request: within("/reports/chats/greetings"),
    menus: &[START, END, GROUP, GROUP_BY, TAG],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer("displayed", "Greetings that were shown"),
        integer("accepted", "Of these, accepted"),
        integer("goals", "Goals that were reached after them"),
        column(
            "acceptance_rate",
            Number,
            Ratio("accepted", "displayed"),
            "accepted divided by displayed",
        ),
        column(
            "goal_rate",
            Number,
            Ratio("goals", "displayed"),
            "goals divided by displayed",
        ),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const MISSED_CHATS_REPORT: Report = Report {
    id: "missed_chats_report",
    title: "Missed Chats Report",
    about: "How many chats nobody answered per day or hour.",
    source: REPORTS_API,
    request: within("/reports/chats/not_replied_chats"),
    menus: &[
        START,
        END,
        takes(Menu::Group, "groups[]"),
        takes(Menu::Login, "agents[]"),
        GROUP_BY,
        TAG,
    ],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer("not_replied", "Chats that nobody answered"),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const QUEUE_WAITING_TIMES_REPORT: Report = Report {
    id: "queue_waiting_times_report",
    title: "Queue Waiting Times Report",
    about: "How long visitors waited in the queue per day or hour: shortest, longest and on average, by how it ended.",
    source: REPORTS_API,
    request: within("/reports/chats/queued_visitors/waiting_times"),
    menus: &[START, END, GROUP, GROUP_BY],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer("queued_count", "Visitors who waited in the queue"),
        number(
            "queued_min_seconds",
            "The shortest wait of visitors who waited in the queue, in seconds",
        ),
        number(
            "queued_max_seconds",
            "The longest wait of visitors who waited in the queue, in seconds",
        ),
        number(
            "queued_average_seconds",
            "The average wait of visitors who waited in the queue, in seconds",
        ),
        integer("left_queue_count", "Visitors who left the queue"),
        number(
            "left_queue_min_seconds",
            "The shortest wait of visitors who left the queue, in seconds",
        ),
        number(
            "left_queue_max_seconds",
            "The longest wait of visitors who left the queue, in seconds",
        ),
        number(
            "left_queue_average_seconds",
            "The average wait of visitors who left the queue, in seconds",
        ),
        integer(
            "entered_chat_count",
            "Visitors who came from the queue into a chat",
        ),
        number(
            "entered_chat_min_seconds",
            "The shortest wait of visitors who came from the queue into a chat, in seconds",
        ),
        number(
            "entered_chat_max_seconds",
            "The longest wait of visitors who came from the queue into a chat, in seconds",
        ),
        number(
            "entered_chat_average_seconds",
            "The average wait of visitors who came from the queue into a chat, in seconds",
        ),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const QUEUED_VISITOR_REPORT: Report = Report {
    id: "queued_visitor_report",
    title: "Queued Visitor Report",
    about: "How many visitors waited in the queue per day or hour, how many left it and how many came to chat.",
    source: REPORTS_API,
    request: within("/reports/chats/queued_visitors"),
    menus: &[START, END, GROUP, GROUP_BY],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer("queued_count", "Visitors who waited in the queue"),
        integer("left_queue_count", "Visitors who left the queue"),
        integer(
            "entered_chat_count",
            "Visitors who came from the queue into a chat",
        ),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const RATINGS_REPORT: Report = Report {
    id: "ratings_report",
    title: "Ratings Report",
    about: "How chats were rated per day or hour.",
    source: REPORTS_API,
    request: within("/reports/chats/ratings"),
    menus: &[START, END, GROUP, LOGIN, GROUP_BY, TAG],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer("chats", "Chats in the period"),
        integer("good", "Rated good"),
        integer("bad", "Rated bad"),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const RESPONSE_TIME_REPORT: Report = Report {
    id: "response_time_report",
    title: "Response Time Report",
    about: "How long visitors waited for answers within a chat per day or hour, on average.",
    source: REPORTS_API,
    request: within("/reports/chats/response_time"),
    menus: &[START, END, GROUP, LOGIN, GROUP_BY, TAG],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        BEGIN,
        END_OF,
        integer("avg_response_time_count", "Chats that were counted"),
        number(
            "avg_response_time_seconds",
            "Average seconds until an answer; empty when there was none",
        ),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};

pub const SIMULTANEOUS_CHATS_REPORT: Report = Report {
    id: "simultaneous_chats_report",
    title: "Simultaneous Chats Report",
    about: "How many chats went on at the same time, at each hour of one day of the week.",
    source: REPORTS_API,
    request: within("/reports/chats/agents_occupancy"),
    menus: &[START, END, needs(Menu::Weekday, "weekday")],
    shape: Shape::Periods(PeriodRows::Each),
    columns: &[
        PERIOD_START,
        PERIOD,
        column(
            "simultaneous_chats",
            Number,
            PeriodValue,
            "Chats that went on at the same time",
        ),
    ],
    key: &["period_start", "period"],
    day: Some("period_start"),
    mode: UpdateMode::Replace,
};
