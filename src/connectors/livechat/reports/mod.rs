//! The reports of LiveChat: entries and nothing else, a file for each kind. Fields and their meanings are those of the vendor's
//! configuration and reports APIs, version 2.0. This file is the order people see, and the short words the entries are written in.

mod chats;
mod dashboards;
mod lists;
mod periods;
mod tickets;
mod visitors;

use crate::connectors::report::{Calls, Column, ColumnKind, From, Menu, MenuUse, Report, Request};

pub const REPORTS: &[Report] = &[
    lists::AGENTS,
    dashboards::AGENT_DASHBOARD_REPORT,
    periods::AVAILABILITY_REPORT,
    lists::CANNED_RESPONSES,
    chats::CHAT,
    chats::CHAT_AGENTS,
    chats::CHAT_CUSTOM_VARIABLES,
    periods::CHAT_ENGAGEMENT_REPORT,
    chats::CHAT_EVENTS,
    chats::CHAT_GOALS,
    chats::CHAT_INTEGRATION_VARIABLES,
    chats::CHAT_MESSAGES,
    chats::CHAT_POSTCHAT_SURVEY,
    chats::CHAT_PRECHAT_SURVEY,
    periods::CHAT_REPORT,
    chats::CHAT_SUPERVISORS,
    chats::CHAT_TAGS,
    chats::CHAT_TICKETS,
    periods::CHATTING_TIME_REPORT,
    dashboards::DASHBOARD_REPORT,
    periods::FIRST_RESPONSE_TIME_REPORT,
    lists::GOALS,
    periods::GOALS_REPORT,
    lists::GREETINGS,
    periods::GREETINGS_REPORT,
    lists::GROUPS,
    dashboards::GROUP_DASHBOARD_REPORT,
    periods::MISSED_CHATS_REPORT,
    tickets::NEW_TICKETS_REPORT,
    periods::QUEUE_WAITING_TIMES_REPORT,
    periods::QUEUED_VISITOR_REPORT,
    dashboards::RANKING_REPORT,
    periods::RATINGS_REPORT,
    periods::RESPONSE_TIME_REPORT,
    periods::SIMULTANEOUS_CHATS_REPORT,
    tickets::SOLVED_TICKET_REPORT,
    dashboards::STATUS_REPORT,
    lists::TAGS,
    tickets::TICKET_RANKING_REPORT,
    tickets::TICKET_RATINGS_REPORT,
    tickets::TICKET_RESOLUTION_TIME_REPORT,
    tickets::TICKET_SOURCES_REPORT,
    tickets::TICKETS,
    tickets::TICKETS_FIRST_RESPONSE_REPORT,
    visitors::VISITORS,
    visitors::VISITORS_OPERATORS,
    visitors::VISITORS_PRECHAT_SURVEY,
    visitors::VISITORS_VISIT_PATH,
];

const CONFIGURATION: &str = "https://developers.livechat.com/docs/management/configuration-api/v2.0";
const REPORTS_API: &str = "https://developers.livechat.com/docs/data-reporting/reports-api/v2.0";

const fn column(name: &'static str, kind: ColumnKind, from: From, meaning: &'static str) -> Column {
    Column { name, kind, meaning, from }
}

const fn text(name: &'static str, meaning: &'static str) -> Column {
    column(name, ColumnKind::Text, From::Path, meaning)
}

const fn verbatim(name: &'static str, meaning: &'static str) -> Column {
    column(name, ColumnKind::Text, From::Verbatim, meaning)
}

const fn integer(name: &'static str, meaning: &'static str) -> Column {
    column(name, ColumnKind::Integer, From::Path, meaning)
}

const fn number(name: &'static str, meaning: &'static str) -> Column {
    column(name, ColumnKind::Number, From::Path, meaning)
}

const fn boolean(name: &'static str, meaning: &'static str) -> Column {
    column(name, ColumnKind::Boolean, From::Path, meaning)
}

const fn json(name: &'static str, meaning: &'static str) -> Column {
    column(name, ColumnKind::Json, From::Path, meaning)
}

/// A moment that the vendor tells as an epoch in seconds.
const fn moment(name: &'static str, meaning: &'static str) -> Column {
    column(name, ColumnKind::Timestamp, From::EpochSeconds, meaning)
}

/// A list that answers in one call, without days.
const fn at(path: &'static str) -> Request {
    Request { path, calls: Calls::One, zone: false }
}

/// What takes days, in the DataSet's zone.
const fn within(path: &'static str) -> Request {
    Request { path, calls: Calls::One, zone: true }
}

/// What is asked for once for each choice of a menu.
const fn each(path: &'static str, menu: Menu) -> Request {
    Request { path, calls: Calls::Each(menu), zone: false }
}

const fn takes(menu: Menu, sent: &'static str) -> MenuUse {
    MenuUse { menu, required: false, extra: false, sent, typed: false }
}

const fn needs(menu: Menu, sent: &'static str) -> MenuUse {
    MenuUse { menu, required: true, extra: false, sent, typed: false }
}

const fn extra(menu: Menu, sent: &'static str) -> MenuUse {
    MenuUse { menu, required: false, extra: true, sent, typed: false }
}

const START: MenuUse = needs(Menu::StartDays, "date_from");
const END: MenuUse = needs(Menu::EndDays, "date_to");
const GROUP: MenuUse = takes(Menu::Group, "group");
const LOGIN: MenuUse = takes(Menu::Login, "agent");
const GROUP_BY: MenuUse = extra(Menu::GroupBy, "group_by");
const TAG: MenuUse = extra(Menu::Tag, "tag[]");
