//! The form to add or change an account. Credentials are tested with the vendor before they are
//! saved; secrets are never shown again.

mod account_form;
mod submitted_fields;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};

use super::connect::outer_spaces_note;
use crate::accounts::{Account, ChangeAccount, DEFAULT_REQUESTS_PER_MINUTE, NewAccount};
use crate::connectors::Connector;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::AccountId;
use crate::secret::Secret;
use crate::web::Web;
use crate::web::forms::{FirstPathId, Form};
use crate::web::page::{PageResult, redirect_from_form, render};
use crate::web::person::{AccountsViewer, Person};
use account_form::{edit_account_page, new_account_page};
use submitted_fields::AccountFields;

/// `GET /accounts/new?connector=`
pub async fn add_form(
    State(web): State<Web>,
    AccountsViewer(person): AccountsViewer,
    uri: Uri,
) -> PageResult {
    let connector = connector(&uri)?;
    let usual = [
        (
            "requests_per_minute",
            DEFAULT_REQUESTS_PER_MINUTE.to_string(),
        ),
        ("account_zone", "UTC".to_owned()),
    ];
    let typed = AccountFields::new(
        usual
            .map(|(field, value)| (field.to_owned(), Secret::new(value)))
            .into(),
    );
    render(&new_account_page(&web, &person, connector, &typed).await)
}

/// `POST /accounts/new?connector=`: tests the credentials with the vendor, then saves the account.
pub async fn add(
    State(web): State<Web>,
    AccountsViewer(person): AccountsViewer,
    uri: Uri,
    headers: HeaderMap,
    Form(fields): Form<Vec<(String, Secret)>>,
) -> PageResult {
    let connector = connector(&uri)?;
    let typed = AccountFields::new(fields);
    let new = NewAccount {
        connector,
        name: typed.text("name"),
        credentials: typed.credentials(connector),
        api_url: typed.api_url(),
        requests_per_minute: Some(typed.per_minute()),
        time_zone: Some(typed.zone()),
    };
    match connect(&web, &person, &new).await {
        Ok((account, seen)) => {
            let spaces = outer_spaces_note(connector, &new.credentials);
            web.flash(
                &person.session,
                format!("{} is connected: {seen}.{spaces}", account.name),
            )
            .await;
            redirect_from_form(&headers, "/accounts")
        }
        Err(error) => new_account_page(&web, &person, connector, &typed)
            .await
            .with_error(error),
    }
}

async fn connect(web: &Web, person: &Person, new: &NewAccount) -> Result<(Account, String)> {
    let seen = web.accounts.try_credentials(&person.actor, new).await?;
    let account = web.accounts.create(&person.actor, new).await?;
    web.accounts
        .record_health(&account.id, Ok(&seen), web.clock.now())
        .await?;
    Ok((account, seen))
}

/// `GET /accounts/{id}/edit`
pub async fn edit_form(
    State(web): State<Web>,
    AccountsViewer(person): AccountsViewer,
    FirstPathId(id): FirstPathId<AccountId>,
) -> PageResult {
    let account = web.accounts.get_to_change(&person.actor, &id).await?;
    render(&edit_account_page(&web, &person, &account).await?)
}

/// `POST /accounts/{id}/edit`: if the credentials change, tests them with the vendor; then saves
/// the change.
pub async fn edit(
    State(web): State<Web>,
    AccountsViewer(person): AccountsViewer,
    FirstPathId(id): FirstPathId<AccountId>,
    headers: HeaderMap,
    Form(fields): Form<Vec<(String, Secret)>>,
) -> PageResult {
    let account = web.accounts.get_to_change(&person.actor, &id).await?;
    let typed = AccountFields::new(fields);
    let change = ChangeAccount {
        name: Some(typed.text("name")),
        credentials: typed.credentials(account.connector),
        // Only admins see the field. A form without it leaves the address unchanged.
        api_url: typed.contains("api_url").then(|| typed.api_url()),
        requests_per_minute: Some(typed.per_minute()),
        time_zone: Some(typed.zone()),
        shared: Some(typed.contains("shared")),
    };
    match save(&web, &person, &id, &change).await {
        Ok((account, Some(seen))) => {
            let spaces = outer_spaces_note(account.connector, &change.credentials);
            web.flash(
                &person.session,
                format!("{} is saved and connected: {seen}.{spaces}", account.name),
            )
            .await;
            redirect_from_form(&headers, "/accounts")
        }
        Ok((after, None)) => {
            let stop = if account.shared && !after.shared {
                web.accounts.count_datasets_of_others(&id).await?
            } else {
                0
            };
            let stops = match stop {
                0 => String::new(),
                1 => {
                    " It is no longer shared: 1 DataSet of another owner stops updating.".to_owned()
                }
                many => format!(
                    " It is no longer shared: {many} DataSets of other owners stop updating."
                ),
            };
            web.flash(&person.session, format!("{} is saved.{stops}", after.name))
                .await;
            redirect_from_form(&headers, "/accounts")
        }
        Err(error) => {
            let mut page = edit_account_page(&web, &person, &account).await?;
            page.refill(&typed);
            page.with_error(error)
        }
    }
}

async fn save(
    web: &Web,
    person: &Person,
    id: &AccountId,
    change: &ChangeAccount,
) -> Result<(Account, Option<String>)> {
    let seen = web.accounts.try_change(&person.actor, id, change).await?;
    let account = web.accounts.update(&person.actor, id, change).await?;
    if let Some(seen) = &seen {
        web.accounts
            .record_health(id, Ok(seen), web.clock.now())
            .await?;
    }
    // The change may restart schedules that stopped because of the credentials, or stop those of
    // people who lose access.
    web.puller.wake_deadlines.notify_one();
    Ok((account, seen))
}

fn connector(uri: &Uri) -> Result<Connector> {
    let query = uri.query().unwrap_or_default().as_bytes();
    let named = url::form_urlencoded::parse(query)
        .find(|(name, _)| name == "connector")
        .and_then(|(_, id)| Connector::parse(&id));
    let unknown = || {
        Error::new(
            ErrorKind::NotFound,
            "not_found",
            "Choose LiveChat or LiveLeader.",
        )
        .action("Open Accounts and press Add account.")
    };
    named.ok_or_else(unknown)
}
