//! The Details pane: the report and its menus. Group, Login and Tag are read live from the account.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::FormContext;
use super::form_fields::FormFields;
use super::view::{DayRangeCell, ReportChoice, Wizard};
use crate::accounts::Account;
use crate::connectors::report::{GroupBy, Menu, Report, Weekday};
use crate::connectors::{self, Connector, MAX_DAYS, Menus, Window};
use crate::error::{Error, ErrorKind, Result};
use crate::puller::schedules;
use crate::web::components::{Choice, Errors};
use crate::web::humanize;

/// The maximum number of cells in the date range picture.
const MAX_CELLS: u32 = 60;

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

/// The menus that are filled from the account.
const FROM_ACCOUNT: [Menu; 3] = [Menu::Group, Menu::Login, Menu::Tag];

fn chosen(menus: &Menus, menu: Menu) -> Option<&String> {
    match menu {
        Menu::Group => menus.group.as_ref(),
        Menu::Login => menus.login.as_ref(),
        Menu::Tag => menus.tag.as_ref(),
        _ => None,
    }
}

/// Checks that the account has the selected group, login and tag. A menu that cannot be read now
/// rejects nothing, and the stored values of a DataSet stay valid with its account.
pub async fn check_choices(f: &FormContext<'_>, account: &Account, menus: &Menus) -> Result<()> {
    let stored = f
        .dataset
        .filter(|d| d.account_id.as_ref() == Some(&account.id))
        .map(|d| &d.menus);
    let mut wrong = Vec::new();
    for menu in FROM_ACCOUNT
        .into_iter()
        .filter(|menu| f.connector.fills_menu(*menu))
    {
        let Some(value) = chosen(menus, menu)
            .filter(|value| Some(*value) != stored.and_then(|m| chosen(m, menu)))
        else {
            continue;
        };
        if let Ok(known) = f.web.accounts.choices(f.actor, &account.id, menu).await
            && !known.iter().any(|choice| choice.value == *value)
        {
            let word = menu.label().to_lowercase();
            wrong.push((
                menu.id().to_owned(),
                format!(
                    "The account “{}” has no {word} “{value}”. Choose one from the list.",
                    account.name
                ),
            ));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(Error::fields(wrong))
    }
}

/// Reads Group, Login and Tag from the account concurrently. A menu that cannot be read gets an
/// error next to its field.
pub async fn read_choices(
    f: &FormContext<'_>,
    account: &Account,
    errors: &mut Errors,
) -> Result<()> {
    let load = async |menu: Menu| {
        if f.connector.fills_menu(menu) {
            f.web
                .accounts
                .choices(f.actor, &account.id, menu)
                .await
                .map(drop)
        } else {
            Ok(())
        }
    };
    let (groups, logins, tags) =
        tokio::join!(load(Menu::Group), load(Menu::Login), load(Menu::Tag));
    for (menu, read) in FROM_ACCOUNT.into_iter().zip([groups, logins, tags]) {
        let Err(why) = read else { continue };
        if why.kind() == ErrorKind::Internal || why.kind() == ErrorKind::NotFound {
            return Err(why);
        }
        // Without the tags, the tag field is a text field whose help explains it, so it gets no
        // error.
        if menu != Menu::Tag && errors.of(menu.id()).is_empty() {
            let next = why.suggested_action().unwrap_or_default();
            errors.add(
                menu.id(),
                format!("The list could not be loaded. {} {next}", why.message()).trim_end(),
            );
        }
    }
    Ok(())
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

/// Renders the pane from the form fields and the menus that were read from the account.
pub fn render(w: &mut Wizard, f: &FormContext<'_>, typed: &FormFields, account: Option<&Account>) {
    let report = f.connector.report(&typed.report);
    w.reports = f
        .connector
        .reports()
        .iter()
        .map(|r| report_choice(r, report))
        .collect();
    w.report_about = report.map(|r| r.about.to_owned()).unwrap_or_default();
    let takes = |menu: Menu| report.is_some_and(|r| r.takes(menu));
    (w.takes_days, w.takes_group, w.takes_login) = (
        takes(Menu::StartDays),
        takes(Menu::Group),
        takes(Menu::Login),
    );
    (w.takes_weekday, w.takes_group_by, w.takes_tag) =
        (takes(Menu::Weekday), takes(Menu::GroupBy), takes(Menu::Tag));
    (w.takes_pending, w.takes_details) = (takes(Menu::IncludePending), takes(Menu::AgentDetails));
    w.start_days.clone_from(&typed.start_days);
    w.end_days.clone_from(&typed.end_days);
    let (name, zone) = zone(typed);
    let today = today(f, &zone);
    w.today = today.to_string();
    if let Some(range) = typed_range(typed, today) {
        w.days_range = humanize::days(range.from, range.to);
        w.days_rest = format!(
            ", {} in {name}.",
            humanize::counted(day_count(range), "whole day", "whole days")
        );
        w.days = day_cells(days_back(today, range.from), days_back(today, range.to));
    }
    w.zone = name;
    let read = |menu: Menu| account.and_then(|a| f.web.accounts.cached_choices(&a.id, menu));
    let (groups, logins, tags) = (read(Menu::Group), read(Menu::Login), read(Menu::Tag));
    w.choices_words = choices_words(f, groups.as_ref(), logins.as_ref());
    w.has_choices = FROM_ACCOUNT
        .into_iter()
        .all(|menu| !f.connector.fills_menu(menu) || read(menu).is_some());
    w.types_login = report.is_some_and(|r| r.is_free_text(Menu::Login));
    w.login.clone_from(&typed.login);
    let list = |known: Option<(i64, Vec<connectors::Choice>)>| known.unwrap_or_default().1;
    w.groups = options("All groups", list(groups), &typed.group);
    w.logins = options("All logins", list(logins), &typed.login);
    w.tags = tags
        .map(|(_, known)| options("All tags", known, &typed.tag))
        .unwrap_or_default();
    w.tag.clone_from(&typed.tag);
    w.report_weekdays = fixed_options(Menu::Weekday, &typed.report_weekday);
    w.group_bys = fixed_options(Menu::GroupBy, &typed.group_by);
    (w.include_pending, w.agent_details) = (typed.include_pending, typed.agent_details);
    let is_chosen = [
        (
            Menu::GroupBy,
            !typed.group_by.is_empty() && typed.group_by != GroupBy::Automatic.word(),
        ),
        (Menu::Tag, !typed.tag.is_empty()),
        (Menu::IncludePending, typed.include_pending),
        (Menu::AgentDetails, typed.agent_details),
    ];
    w.more_open = is_chosen
        .into_iter()
        .any(|(menu, chosen)| takes(menu) && (chosen || !w.errors.of(field(menu)).is_empty()));
}

/// The options of a menu with fixed options. An unknown selected value is listed, too, next to its
/// error.
fn fixed_options(menu: Menu, chosen: &str) -> Vec<Choice> {
    let mut options: Vec<Choice> = menu
        .options()
        .iter()
        .map(|(value, label)| Choice {
            value: (*value).to_owned(),
            label: (*label).to_owned(),
            selected: *value == chosen,
        })
        .collect();
    if !chosen.is_empty() && !options.iter().any(|option| option.selected) {
        options.push(Choice {
            value: chosen.to_owned(),
            label: chosen.to_owned(),
            selected: true,
        });
    }
    options
}

/// The date range of the entered numbers, for any report: a script may show it for another one.
fn typed_range(typed: &FormFields, today: Date) -> Option<Window> {
    let number = |text: &str| {
        text.trim()
            .parse::<u32>()
            .ok()
            .filter(|days| *days <= MAX_DAYS)
    };
    let (start_days, end_days) = (number(&typed.start_days), number(&typed.end_days));
    if end_days > start_days {
        return None;
    }
    Menus {
        start_days,
        end_days,
        ..Menus::default()
    }
    .range(today)
}

fn report_choice(report: &Report, chosen: Option<&Report>) -> ReportChoice {
    let word = |menu: Menu| {
        if menu == Menu::StartDays {
            "days"
        } else {
            menu.id()
        }
    };
    ReportChoice {
        id: report.id.to_owned(),
        title: report.title.to_owned(),
        about: report.about.to_owned(),
        menus: Menu::ALL
            .into_iter()
            .filter(|menu| *menu != Menu::EndDays && report.takes(*menu))
            .map(word)
            .collect::<Vec<_>>()
            .join(" "),
        selected: chosen.is_some_and(|c| c.id == report.id),
    }
}

/// "All", then the options of the account. A selected value that the account does not have is
/// listed, too.
fn options(all: &str, known: Vec<connectors::Choice>, chosen: &str) -> Vec<Choice> {
    let mut options = vec![Choice {
        value: String::new(),
        label: all.to_owned(),
        selected: chosen.is_empty(),
    }];
    let is_known = known.iter().any(|choice| choice.value == chosen);
    options.extend(known.into_iter().map(|choice| Choice {
        selected: choice.value == chosen,
        value: choice.value,
        label: choice.label,
    }));
    if !chosen.is_empty() && !is_known {
        options.push(Choice {
            value: chosen.to_owned(),
            label: chosen.to_owned(),
            selected: true,
        });
    }
    options
}

fn choices_words(
    f: &FormContext<'_>,
    groups: Option<&(i64, Vec<connectors::Choice>)>,
    logins: Option<&(i64, Vec<connectors::Choice>)>,
) -> String {
    let count = |read: &(i64, Vec<connectors::Choice>), one: &str, many: &str| {
        humanize::counted(i64::try_from(read.1.len()).unwrap_or(i64::MAX), one, many)
    };
    let counts: Vec<String> = groups
        .map(|read| count(read, "group", "groups"))
        .into_iter()
        .chain(logins.map(|read| count(read, "login", "logins")))
        .collect();
    let Some(oldest) = groups.into_iter().chain(logins).map(|read| read.0).min() else {
        return "Not loaded yet.".to_owned();
    };
    format!(
        "{}, loaded from {} {}.",
        counts.join(" and "),
        f.connector.title(),
        humanize::relative(oldest, f.web.clock.now())
    )
}

fn days_back(today: Date, day: Date) -> u32 {
    u32::try_from((today - day).get_days()).unwrap_or(0)
}

/// One cell per day from the first pulled day to today, or one for several days if they do not fit.
/// `static/js/days_line.js` draws the same while the person types.
fn day_cells(from: u32, to: u32) -> Vec<DayRangeCell> {
    let cells = (from + 1).min(MAX_CELLS);
    let day_of = |cell: u32| {
        let scale = f64::from(from + 1) / f64::from(cells);
        (f64::from(from) - f64::from(cell) * scale).round() as i64
    };
    (0..cells)
        .map(|cell| {
            let last = cell + 1 == cells;
            let inside = day_of(cell) >= i64::from(to) && !(last && to > 0);
            let edge = inside && (last || day_of(cell + 1) < i64::from(to));
            let place = f64::from(cell) / f64::from(cells);
            let label = match cell {
                0 => ago(from),
                _ if last => ago(0),
                _ if edge && place > 0.35 && place < 0.85 => ago(to),
                _ => String::new(),
            };
            let kind = match (inside, last) {
                (true, true) => "in is-today",
                (true, false) => "in",
                (false, true) => "today",
                (false, false) => "out",
            };
            DayRangeCell {
                kind: kind.to_owned(),
                label,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_ends_with_today() {
        let days = day_cells(14, 7);
        assert_eq!(days.len(), 15);
        assert_eq!(days.iter().filter(|d| d.kind == "in").count(), 8);
        assert_eq!(
            (
                days[0].label.as_str(),
                days[7].label.as_str(),
                days[14].label.as_str()
            ),
            ("14 days ago", "7 days ago", "today")
        );
        assert_eq!(days[14].kind, "today");
        assert_eq!(
            day_cells(0, 0),
            [DayRangeCell {
                kind: "in is-today".to_owned(),
                label: "today".to_owned()
            }]
        );
        assert_eq!(day_cells(3_660, 0).len(), 60);
    }
}
