//! The menus of the Details pane that are read from the account: Group, Login and Tag.

use crate::accounts::Account;
use crate::connectors::report::Menu;
use crate::connectors::{self, Menus};
use crate::error::{Error, ErrorKind, Result};
use crate::web::components::Errors;
use crate::web::humanize;
use crate::web::panes::FormContext;

/// The menus that are filled from the account.
pub(super) const FROM_ACCOUNT: [Menu; 3] = [Menu::Group, Menu::Login, Menu::Tag];

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

pub(super) fn choices_words(
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
