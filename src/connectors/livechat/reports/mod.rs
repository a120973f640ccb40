//! The reports of LiveChat: declarations only, one file for each category. Fields and their
//! descriptions are from the vendor's configuration and reports APIs, version 2.0. This file has
//! the order in which people see the reports, and short constructors for the declarations.

mod chats;
mod dashboards;
mod lists;
mod periods;
mod tickets;
mod visitors;

use crate::connectors::report::{
    Calls, Column, ColumnKind, ColumnSource, Menu, MenuUse, Report, ReportRequest,
};

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

const CONFIGURATION: &str =
    "https://developers.livechat.com/docs/management/configuration-api/v2.0";
const REPORTS_API: &str = "https://developers.livechat.com/docs/data-reporting/reports-api/v2.0";

const fn column(
    name: &'static str,
    kind: ColumnKind,
    from: ColumnSource,
    meaning: &'static str,
) -> Column {
    Column {
        name,
        kind,
        meaning,
        from,
    }
}

const fn text(name: &'static str, meaning: &'static str) -> Column {
    column(name, ColumnKind::Text, ColumnSource::Path, meaning)
}

const fn verbatim(name: &'static str, meaning: &'static str) -> Column {
    column(name, ColumnKind::Text, ColumnSource::Verbatim, meaning)
}

const fn integer(name: &'static str, meaning: &'static str) -> Column {
    column(name, ColumnKind::Integer, ColumnSource::Path, meaning)
}

const fn number(name: &'static str, meaning: &'static str) -> Column {
    column(name, ColumnKind::Number, ColumnSource::Path, meaning)
}

const fn boolean(name: &'static str, meaning: &'static str) -> Column {
    column(name, ColumnKind::Boolean, ColumnSource::Path, meaning)
}

const fn json(name: &'static str, meaning: &'static str) -> Column {
    column(name, ColumnKind::Json, ColumnSource::Path, meaning)
}

/// A timestamp that the vendor sends as seconds since 1970.
const fn moment(name: &'static str, meaning: &'static str) -> Column {
    column(
        name,
        ColumnKind::Timestamp,
        ColumnSource::EpochSeconds,
        meaning,
    )
}

/// A list with one call and without days.
const fn at(path: &'static str) -> ReportRequest {
    ReportRequest {
        path,
        calls: Calls::One,
        zone: false,
    }
}

/// A report with days, in the DataSet's time zone.
const fn within(path: &'static str) -> ReportRequest {
    ReportRequest {
        path,
        calls: Calls::One,
        zone: true,
    }
}

/// A report with one call for each choice of a menu.
const fn each(path: &'static str, menu: Menu) -> ReportRequest {
    ReportRequest {
        path,
        calls: Calls::Each(menu),
        zone: false,
    }
}

const fn takes(menu: Menu, sent: &'static str) -> MenuUse {
    MenuUse {
        menu,
        required: false,
        extra: false,
        sent,
        typed: false,
    }
}

const fn needs(menu: Menu, sent: &'static str) -> MenuUse {
    MenuUse {
        menu,
        required: true,
        extra: false,
        sent,
        typed: false,
    }
}

const fn extra(menu: Menu, sent: &'static str) -> MenuUse {
    MenuUse {
        menu,
        required: false,
        extra: true,
        sent,
        typed: false,
    }
}

const START: MenuUse = needs(Menu::StartDays, "date_from");
const END: MenuUse = needs(Menu::EndDays, "date_to");
const GROUP: MenuUse = takes(Menu::Group, "group");
const LOGIN: MenuUse = takes(Menu::Login, "agent");
const GROUP_BY: MenuUse = extra(Menu::GroupBy, "group_by");
const TAG: MenuUse = extra(Menu::Tag, "tag[]");
