//! The last pane: Name & Describe Your DataSet, and what saving starts.

use super::For;
use super::details::{self, Details};
use super::typed::Typed;
use super::view::Wizard;
use crate::accounts::Account;
use crate::datasets::{Description, Name};
use crate::error::{Error, Result};
use crate::web::words;

/// Reads the pane.
pub fn read(typed: &Typed) -> Result<(Name, Description)> {
    match (Name::parse(&typed.name), Description::parse(&typed.description)) {
        (Ok(name), Ok(description)) => Ok((name, description)),
        (name, description) => {
            let wrong = [name.err(), description.err()].into_iter().flatten().flat_map(|why| why.field_errors().to_vec()).collect();
            Err(Error::fields(wrong))
        }
    }
}

/// Proposes a name, as long as nobody wrote another one.
pub fn suggest(typed: &mut Typed, account: Option<&Account>, details: &Details) {
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

/// Fills the pane.
pub fn fill(w: &mut Wizard, f: &For<'_>, typed: &Typed) {
    w.name.clone_from(&typed.name);
    w.suggested.clone_from(&typed.suggested);
    w.name_help = "Describe the content. Pages show the connector and the days separately.".to_owned();
    w.description.clone_from(&typed.description);
    w.cost = cost(f, typed);
}

fn cost(f: &For<'_>, typed: &Typed) -> String {
    if f.dataset.is_some() {
        return "The next run uses these settings. Until then the rows are unchanged.".to_owned();
    }
    let (_, zone) = details::zone(typed);
    let range = details::read(f.connector, typed).ok().and_then(|d| d.menus.range(details::today(f, &zone)));
    range.map_or_else(
        || "The first run starts at once.".to_owned(),
        |range| format!("The first run starts at once: {}.", words::counted(details::length(range), "day", "days")),
    )
}
