//! Renders the fields of the Details pane.

use super::account_menus::{FROM_ACCOUNT, choices_words};
use super::date_range::{day_cells, days_back, typed_range};
use super::{day_count, field, today, zone};
use crate::accounts::Account;
use crate::connectors;
use crate::connectors::report::{GroupBy, Menu, Report};
use crate::web::components::Choice;
use crate::web::humanize;
use crate::web::panes::FormContext;
use crate::web::panes::form_fields::FormFields;
use crate::web::panes::view::{ReportChoice, Wizard};

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
