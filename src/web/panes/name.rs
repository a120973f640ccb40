//! The last pane: Name & Describe Your DataSet, and what happens on saving.

use super::FormContext;
use super::details::{self, Details};
use super::form_fields::FormFields;
use super::view::Wizard;
use crate::accounts::Account;
use crate::datasets::{DatasetDescription, DatasetName};
use crate::error::{Error, Result};
use crate::web::humanize;

/// Validates the pane.
pub fn read(typed: &FormFields) -> Result<(DatasetName, DatasetDescription)> {
    match (
        DatasetName::parse(&typed.name),
        DatasetDescription::parse(&typed.description),
    ) {
        (Ok(name), Ok(description)) => Ok((name, description)),
        (name, description) => {
            let wrong = [name.err(), description.err()]
                .into_iter()
                .flatten()
                .flat_map(|why| why.field_errors().to_vec())
                .collect();
            Err(Error::fields(wrong))
        }
    }
}

/// Suggests a name, unless the person entered another one.
pub fn suggest(typed: &mut FormFields, account: Option<&Account>, details: &Details) {
    if typed.name != typed.suggested {
        return;
    }
    let name = match account {
        Some(account) => format!("{}, {}", details.report.title, account.name),
        None => details.report.title.to_owned(),
    };
    let name: String = name.chars().take(200).collect();
    typed.name.clone_from(&name);
    typed.suggested = name;
}

/// Renders the pane into the wizard.
pub fn render(w: &mut Wizard, f: &FormContext<'_>, typed: &FormFields) {
    w.name.clone_from(&typed.name);
    w.suggested.clone_from(&typed.suggested);
    w.name_help =
        "Describe the content. Pages show the connector and the days separately.".to_owned();
    w.description.clone_from(&typed.description);
    w.cost = cost(f, typed);
}

fn cost(f: &FormContext<'_>, typed: &FormFields) -> String {
    if f.dataset.is_some() {
        return "The next run uses these settings. Until then the rows are unchanged.".to_owned();
    }
    let (_, zone) = details::zone(typed);
    let range = details::read(f.connector, typed)
        .ok()
        .and_then(|d| d.menus.range(details::today(f, &zone)));
    range.map_or_else(
        || "The first run starts at once.".to_owned(),
        |range| {
            format!(
                "The first run starts at once: {}.",
                humanize::counted(details::day_count(range), "day", "days")
            )
        },
    )
}
