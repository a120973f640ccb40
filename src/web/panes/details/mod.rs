//! The Details pane: the report and its menus. Group, Login and Tag are read live from the account.

mod account_menus;
mod date_range;
mod menu_fields;

pub use account_menus::{check_choices, read_choices};
pub use menu_fields::render;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::FormContext;
use super::form_fields::FormFields;
use crate::accounts::Account;
use crate::connectors::report::{GroupBy, Menu, Report, Weekday};
use crate::connectors::{Connector, Menus, Window};
use crate::error::{Error, Result};
use crate::puller::schedules;

/// The validated values of the pane.
#[derive(Clone, Debug)]
pub struct Details {
    pub report: &'static Report,
    pub menus: Menus,
}

/// Validates the pane. Menus that the report does not have are ignored.
pub fn read(connector: Connector, typed: &FormFields) -> Result<Details> {
    let report = connector
        .report(&typed.report)
        .ok_or_else(|| Error::field("report", "Choose a report from the list."))?;
    let mut wrong = Vec::new();
    let mut days = |menu: Menu, text: &str| {
        let text = text.trim();
        if !report.takes(menu) {
            return None;
        }
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            wrong.push((
                menu.id().to_owned(),
                format!(
                    "{} must be a whole number of days before today, for example 7.",
                    menu.label()
                ),
            ));
            return None;
        }
        Some(text.parse().unwrap_or(u32::MAX))
    };
    let (start_days, end_days) = (
        days(Menu::StartDays, &typed.start_days),
        days(Menu::EndDays, &typed.end_days),
    );
    let choice =
        |menu: Menu, text: &str| (report.takes(menu) && !text.is_empty()).then(|| text.to_owned());
    let group_by = choice(Menu::GroupBy, &typed.group_by).map(|word| GroupBy::parse(&word));
    let weekday = choice(Menu::Weekday, &typed.report_weekday).map(|word| Weekday::parse(&word));
    for (menu, is_unknown) in [
        (Menu::GroupBy, group_by == Some(None)),
        (Menu::Weekday, weekday == Some(None)),
    ] {
        if is_unknown {
            wrong.push((
                field(menu).to_owned(),
                format!("{} must be an option from the list.", menu.label()),
            ));
        }
    }
    if !wrong.is_empty() {
        return Err(Error::fields(wrong));
    }
    // Menus with their default value stay absent, so that equal requests have equal menus.
    let menus = Menus {
        start_days,
        end_days,
        group: choice(Menu::Group, &typed.group),
        login: choice(Menu::Login, typed.login.trim()),
        group_by: group_by.flatten().filter(|by| *by != GroupBy::Automatic),
        tag: choice(Menu::Tag, typed.tag.trim()),
        weekday: weekday.flatten(),
        include_pending: (report.takes(Menu::IncludePending) && typed.include_pending)
            .then_some(true),
        agent_details: (report.takes(Menu::AgentDetails) && typed.agent_details).then_some(true),
    };
    let menus = menus.check(report).map_err(|wrong| {
        Error::fields(
            wrong
                .into_iter()
                .map(|(id, why)| {
                    (
                        Menu::parse(&id).map_or(id, |menu| field(menu).to_owned()),
                        why,
                    )
                })
                .collect(),
        )
    })?;
    Ok(Details { report, menus })
}

/// The form field of a menu. The schedule has its own weekday field.
fn field(menu: Menu) -> &'static str {
    match menu {
        Menu::Weekday => "report_weekday",
        menu => menu.id(),
    }
}

/// The time zone of the days; UTC until one is chosen.
pub fn zone(typed: &FormFields) -> (String, TimeZone) {
    match schedules::zone(&typed.time_zone) {
        Ok(zone) => (typed.time_zone.clone(), zone),
        Err(_) => ("UTC".to_owned(), TimeZone::UTC),
    }
}

/// Today in that zone.
pub fn today(f: &FormContext<'_>, zone: &TimeZone) -> Date {
    f.web.clock.timestamp().to_zoned(zone.clone()).date()
}

/// The number of days, both ends included.
pub fn day_count(window: Window) -> i64 {
    i64::from((window.to - window.from).get_days()) + 1
}

/// The summary: "Chat, 14 to 7 days ago, all groups, all logins, tag refund". Further menus only
/// appear if they are set.
pub fn summary(f: &FormContext<'_>, account: Option<&Account>, details: &Details) -> String {
    let mut parts = vec![details.report.title.to_owned()];
    if let (Some(start), Some(end)) = (details.menus.start_days, details.menus.end_days) {
        parts.push(match (start, end) {
            _ if start == end => ago(start),
            (2.., 2..) => format!("{start} to {}", ago(end)),
            _ => format!("{} to {}", ago(start), ago(end)),
        });
    }
    for (menu, value) in [
        (Menu::Group, &details.menus.group),
        (Menu::Login, &details.menus.login),
    ] {
        if !details.report.takes(menu) {
            continue;
        }
        let word = menu.label().to_lowercase();
        parts.push(match value {
            None => format!("all {word}s"),
            Some(value) => format!("{word} {}", label(f, account, menu, value)),
        });
    }
    let menus = &details.menus;
    let option = |menu: Menu, word: &str| {
        menu.options()
            .iter()
            .find(|(value, _)| *value == word)
            .map_or(word, |(_, label)| label)
            .to_owned()
    };
    parts.extend(menus.weekday.map(|day| option(Menu::Weekday, day.word())));
    parts.extend(
        menus
            .group_by
            .filter(|by| *by != GroupBy::Automatic)
            .map(|by| format!("by {}", by.word())),
    );
    parts.extend(menus.tag.as_ref().map(|tag| format!("tag {tag}")));
    parts.extend(
        menus
            .include_pending
            .filter(|on| *on)
            .map(|_| "with pending chats".to_owned()),
    );
    parts.extend(
        menus
            .agent_details
            .filter(|on| *on)
            .map(|_| "with agent details".to_owned()),
    );
    parts.join(", ")
}

fn label(f: &FormContext<'_>, account: Option<&Account>, menu: Menu, value: &str) -> String {
    let known = account
        .and_then(|a| f.web.accounts.cached_choices(&a.id, menu))
        .unwrap_or_default()
        .1;
    known
        .into_iter()
        .find(|choice| choice.value == value)
        .map_or_else(|| value.to_owned(), |choice| choice.label)
}

fn ago(days: u32) -> String {
    match days {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}
