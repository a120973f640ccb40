//! The Details pane: the report and what it is asked for. Group and Login are read live from the account.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::For;
use super::typed::Typed;
use super::view::{Day, ReportChoice, Wizard};
use crate::accounts::Account;
use crate::connectors::report::{Menu, Report};
use crate::connectors::{self, Connector, Menus, Window};
use crate::error::{Error, Kind, Result};
use crate::puller::schedules;
use crate::web::parts::{Choice, Errors};
use crate::web::words;

/// The picture has at most so many cells.
const MOST_CELLS: u32 = 60;

/// What the pane holds when everything in it is right.
#[derive(Clone, Debug)]
pub struct Details {
    pub report: &'static Report,
    pub menus: Menus,
}

/// Reads the pane. Menus that the report does not take are passed over, whatever they hold.
pub fn read(connector: Connector, typed: &Typed) -> Result<Details> {
    let report = connector.report(&typed.report).ok_or_else(|| Error::field("report", "Choose a report of the list."))?;
    let mut wrong = Vec::new();
    let mut days = |menu: Menu, text: &str| {
        let text = text.trim();
        if !report.takes(menu) {
            return None;
        }
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            wrong.push((menu.id().to_owned(), format!("{} must be a whole number of days before today, for example 7.", menu.label())));
            return None;
        }
        Some(text.parse().unwrap_or(u32::MAX))
    };
    let (start_days, end_days) = (days(Menu::StartDays, &typed.start_days), days(Menu::EndDays, &typed.end_days));
    if !wrong.is_empty() {
        return Err(Error::fields(wrong));
    }
    let choice = |menu: Menu, text: &str| (report.takes(menu) && !text.is_empty()).then(|| text.to_owned());
    let menus = Menus { start_days, end_days, group: choice(Menu::Group, &typed.group), login: choice(Menu::Login, &typed.login) };
    let menus = menus.check(report).map_err(Error::fields)?;
    Ok(Details { report, menus })
}

/// Whether the account has the chosen group and login. A menu that cannot be read just now refuses nothing, and what a DataSet
/// holds already stays good with its account.
pub async fn check_choices(f: &For<'_>, account: &Account, menus: &Menus) -> Result<()> {
    let stored = f.dataset.filter(|d| d.account_id.as_ref() == Some(&account.id)).map(|d| &d.menus);
    let mut wrong = Vec::new();
    for (menu, value, stored) in
        [(Menu::Group, &menus.group, stored.and_then(|m| m.group.as_ref())), (Menu::Login, &menus.login, stored.and_then(|m| m.login.as_ref()))]
    {
        let Some(value) = value.as_ref().filter(|value| Some(*value) != stored) else { continue };
        if let Ok(known) = f.web.accounts.choices(f.actor, &account.id, menu).await
            && !known.iter().any(|choice| choice.value == *value)
        {
            let word = menu.label().to_lowercase();
            wrong.push((menu.id().to_owned(), format!("The account “{}” has no {word} “{value}”. Choose one of the list.", account.name)));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(Error::fields(wrong)) }
}

/// Reads Group and Login from the account, both at once; a menu that cannot be read says so beside its field.
pub async fn read_choices(f: &For<'_>, account: &Account, errors: &mut Errors) -> Result<()> {
    let ask = async |menu: Menu| {
        let taken = f.connector.reports().iter().any(|report| report.takes(menu));
        if taken { f.web.accounts.choices(f.actor, &account.id, menu).await.map(drop) } else { Ok(()) }
    };
    let (groups, logins) = tokio::join!(ask(Menu::Group), ask(Menu::Login));
    for (menu, read) in [(Menu::Group, groups), (Menu::Login, logins)] {
        let Err(why) = read else { continue };
        if why.kind() == Kind::Internal || why.kind() == Kind::NotFound {
            return Err(why);
        }
        if errors.of(menu.id()).is_empty() {
            errors.add(menu.id(), format!("The list could not be read. {}", why.message()));
        }
    }
    Ok(())
}

/// The zone in which days are meant; UTC until one is chosen.
pub fn zone(typed: &Typed) -> (String, TimeZone) {
    match schedules::zone(&typed.time_zone) {
        Ok(zone) => (typed.time_zone.clone(), zone),
        Err(_) => ("UTC".to_owned(), TimeZone::UTC),
    }
}

/// Today in that zone.
pub fn today(f: &For<'_>, zone: &TimeZone) -> Date {
    f.web.clock.timestamp().to_zoned(zone.clone()).date()
}

/// How many days, both ends included.
pub fn length(window: Window) -> i64 {
    i64::from((window.to - window.from).get_days()) + 1
}

/// "Chat, 14 to 7 days ago, all groups, all logins"
pub fn summary(f: &For<'_>, account: Option<&Account>, details: &Details) -> String {
    let mut parts = vec![details.report.title.to_owned()];
    if let (Some(start), Some(end)) = (details.menus.start_days, details.menus.end_days) {
        parts.push(match (start, end) {
            _ if start == end => ago(start),
            (2.., 2..) => format!("{start} to {}", ago(end)),
            _ => format!("{} to {}", ago(start), ago(end)),
        });
    }
    for (menu, value) in [(Menu::Group, &details.menus.group), (Menu::Login, &details.menus.login)] {
        if !details.report.takes(menu) {
            continue;
        }
        let word = menu.label().to_lowercase();
        parts.push(match value {
            None => format!("all {word}s"),
            Some(value) => format!("{word} {}", label(f, account, menu, value)),
        });
    }
    parts.join(", ")
}

fn label(f: &For<'_>, account: Option<&Account>, menu: Menu, value: &str) -> String {
    let known = account.and_then(|a| f.web.accounts.remembered(&a.id, menu)).unwrap_or_default().1;
    known.into_iter().find(|choice| choice.value == value).map_or_else(|| value.to_owned(), |choice| choice.label)
}

fn ago(days: u32) -> String {
    match days {
        0 => "today".to_owned(),
        1 => "yesterday".to_owned(),
        days => format!("{days} days ago"),
    }
}

/// Fills the pane from what is typed and what was read from the account before.
pub fn fill(w: &mut Wizard, f: &For<'_>, typed: &Typed, account: Option<&Account>) {
    let report = f.connector.report(&typed.report);
    w.reports = f.connector.reports().iter().map(|r| report_choice(r, report)).collect();
    w.report_about = report.map(|r| r.about.to_owned()).unwrap_or_default();
    let takes = |menu: Menu| report.is_some_and(|r| r.takes(menu));
    (w.takes_days, w.takes_group, w.takes_login) = (takes(Menu::StartDays), takes(Menu::Group), takes(Menu::Login));
    w.start_days.clone_from(&typed.start_days);
    w.end_days.clone_from(&typed.end_days);
    let (name, zone) = zone(typed);
    let today = today(f, &zone);
    w.today = today.to_string();
    if let Some(range) = read(f.connector, typed).ok().and_then(|details| details.menus.range(today)) {
        w.days_range = words::days(range.from, range.to);
        w.days_rest = format!(", {} in {name}.", words::counted(length(range), "whole day", "whole days"));
        w.days = picture(days_back(today, range.from), days_back(today, range.to));
    }
    w.zone = name;
    let read = |menu: Menu| account.and_then(|a| f.web.accounts.remembered(&a.id, menu));
    let (groups, logins) = (read(Menu::Group), read(Menu::Login));
    w.choices_words = choices_words(f, groups.as_ref(), logins.as_ref());
    w.has_choices = groups.is_some() && logins.is_some();
    let list = |known: Option<(i64, Vec<connectors::Choice>)>| known.unwrap_or_default().1;
    w.groups = options("All groups", list(groups), &typed.group);
    w.logins = options("All logins", list(logins), &typed.login);
}

fn report_choice(report: &Report, chosen: Option<&Report>) -> ReportChoice {
    let menus = [(Menu::StartDays, "days"), (Menu::Group, "group"), (Menu::Login, "login")];
    ReportChoice {
        id: report.id.to_owned(),
        title: report.title.to_owned(),
        about: report.about.to_owned(),
        menus: menus.iter().filter(|(menu, _)| report.takes(*menu)).map(|(_, word)| *word).collect::<Vec<_>>().join(" "),
        selected: chosen.is_some_and(|c| c.id == report.id),
    }
}

/// All, then what the account has; a chosen value that it does not have stays to be seen.
fn options(all: &str, known: Vec<connectors::Choice>, chosen: &str) -> Vec<Choice> {
    let mut options = vec![Choice { value: String::new(), label: all.to_owned(), selected: chosen.is_empty() }];
    let is_known = known.iter().any(|choice| choice.value == chosen);
    options.extend(known.into_iter().map(|choice| Choice { selected: choice.value == chosen, value: choice.value, label: choice.label }));
    if !chosen.is_empty() && !is_known {
        options.push(Choice { value: chosen.to_owned(), label: chosen.to_owned(), selected: true });
    }
    options
}

fn choices_words(f: &For<'_>, groups: Option<&(i64, Vec<connectors::Choice>)>, logins: Option<&(i64, Vec<connectors::Choice>)>) -> String {
    let count = |read: &(i64, Vec<connectors::Choice>), one: &str, many: &str| words::counted(i64::try_from(read.1.len()).unwrap_or(i64::MAX), one, many);
    let said: Vec<String> = groups.map(|read| count(read, "group", "groups")).into_iter().chain(logins.map(|read| count(read, "login", "logins"))).collect();
    let Some(oldest) = groups.into_iter().chain(logins).map(|read| read.0).min() else { return "Not read from the account yet.".to_owned() };
    format!("{}, read from the account {}.", said.join(" and "), words::relative(oldest, f.web.clock.now()))
}

fn days_back(today: Date, day: Date) -> u32 {
    u32::try_from((today - day).get_days()).unwrap_or(0)
}

/// One cell a day from the first pulled day to today, or every few days when there are more than fit. `static/js/days_line.js` draws
/// the same while somebody types.
fn picture(from: u32, to: u32) -> Vec<Day> {
    let cells = (from + 1).min(MOST_CELLS);
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
            Day { kind: kind.to_owned(), label }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_ends_with_today() {
        let days = picture(14, 7);
        assert_eq!(days.len(), 15);
        assert_eq!(days.iter().filter(|d| d.kind == "in").count(), 8);
        assert_eq!((days[0].label.as_str(), days[7].label.as_str(), days[14].label.as_str()), ("14 days ago", "7 days ago", "today"));
        assert_eq!(days[14].kind, "today");
        assert_eq!(picture(0, 0), [Day { kind: "in is-today".to_owned(), label: "today".to_owned() }]);
        assert_eq!(picture(3_660, 0).len(), 60);
    }
}
