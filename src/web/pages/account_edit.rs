//! The form to add or change an account. Credentials are tested with the vendor before they are
//! saved; secrets are never shown again.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use jiff::tz::TimeZone;

use super::connect::outer_spaces_note;
use crate::accounts::{Account, ChangeAccount, DEFAULT_REQUESTS_PER_MINUTE, NewAccount};
use crate::clock::timestamp;
use crate::connectors::Connector;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::AccountId;
use crate::secret::Secret;
use crate::web::components::{Band, Chrome, Errors};
use crate::web::forms::{FirstPathId, Form};
use crate::web::page::{PageResult, redirect_from_form, render, render_with_status};
use crate::web::panes::view::VendorNotes;
use crate::web::person::{AccountsViewer, Person};
use crate::web::{Web, error_page, humanize};

#[derive(Template)]
#[template(path = "pages/account_edit.html")]
struct AccountEditPage {
    chrome: Chrome,
    adding: bool,
    action: String,
    shown_name: String,
    connector_name: &'static str,
    monogram: &'static str,
    name: String,
    used: String,
    shared: bool,
    may_share: bool,
    /// What happens when the account is no longer shared; empty if no DataSet of another owner uses
    /// it.
    other_users_note: String,
    problem: Option<Band>,
    w: AccountForm,
}

/// The fields of `panes/credential_fields.html`.
struct AccountForm {
    credential_fields: Vec<CredentialField>,
    where_to_find: String,
    api_url: String,
    requests_per_minute: String,
    account_zone: String,
    advanced_open: bool,
    vendor: VendorNotes,
    errors: Errors,
}

struct CredentialField {
    id: String,
    label: String,
    help: String,
    secret: bool,
    /// For a secret: the placeholder of the empty field.
    value: String,
}

/// The submitted fields. Of a repeated name, the first value counts.
struct AccountFields(BTreeMap<String, Secret>);

impl AccountFields {
    fn new(fields: Vec<(String, Secret)>) -> Self {
        let mut typed = BTreeMap::new();
        for (name, value) in fields {
            typed.entry(name).or_insert(value);
        }
        Self(typed)
    }

    /// The value of a field that is not secret.
    fn text(&self, name: &str) -> String {
        self.0
            .get(name)
            .map(|value| value.reveal().trim().to_owned())
            .unwrap_or_default()
    }

    fn credentials(&self, connector: Connector) -> BTreeMap<String, Secret> {
        let of = |id: &str| self.0.get(&format!("credentials.{id}")).cloned();
        connector
            .fields()
            .iter()
            .filter_map(|field| Some((field.id.to_owned(), of(field.id)?)))
            .collect()
    }

    /// The requests per minute. Empty means the default; text that is not a number becomes an
    /// invalid number.
    fn per_minute(&self) -> i64 {
        let text = self.text("requests_per_minute");
        if text.is_empty() {
            i64::from(DEFAULT_REQUESTS_PER_MINUTE)
        } else {
            text.parse().unwrap_or(0)
        }
    }

    fn zone(&self) -> String {
        let text = self.text("account_zone");
        if text.is_empty() {
            "UTC".to_owned()
        } else {
            text
        }
    }

    fn api_url(&self) -> Option<String> {
        Some(self.text("api_url")).filter(|url| !url.is_empty())
    }
}

/// The form for a new account, with the input so far.
async fn new_account_page(
    web: &Web,
    Person { actor, session }: &Person,
    connector: Connector,
    typed: &AccountFields,
) -> AccountEditPage {
    let fields = connector.fields().iter().map(|field| CredentialField {
        id: field.id.to_owned(),
        label: field.label.to_owned(),
        help: field.help.to_owned(),
        secret: field.secret,
        value: if field.secret {
            String::new()
        } else {
            typed.text(&format!("credentials.{}", field.id))
        },
    });
    let w = AccountForm {
        credential_fields: fields.collect(),
        where_to_find: String::new(),
        api_url: typed.text("api_url"),
        requests_per_minute: typed.text("requests_per_minute"),
        account_zone: typed.text("account_zone"),
        advanced_open: false,
        vendor: VendorNotes::of(connector, &typed.text("api_url")),
        errors: Errors::default(),
    };
    AccountEditPage {
        chrome: web.chrome(actor, session, "accounts").await,
        adding: true,
        action: format!("/accounts/new?connector={}", connector.id()),
        shown_name: String::new(),
        connector_name: connector.title(),
        monogram: connector.monogram(),
        name: typed.text("name"),
        used: String::new(),
        shared: false,
        may_share: false,
        other_users_note: String::new(),
        problem: None,
        w,
    }
}

/// The form for an existing account.
async fn edit_account_page(
    web: &Web,
    Person { actor, session }: &Person,
    account: &Account,
) -> Result<AccountEditPage> {
    let other_users = web.accounts.count_datasets_of_others(&account.id).await?;
    let set_on = timestamp(account.sealed_at)
        .to_zoned(TimeZone::UTC)
        .strftime("%-d %B %Y")
        .to_string();
    let stored_note = format!("Set on {set_on}, stored encrypted. Leave empty to keep it.");
    let fields = account
        .connector
        .fields()
        .iter()
        .map(|field| CredentialField {
            id: field.id.to_owned(),
            label: field.label.to_owned(),
            help: if field.secret {
                format!("{stored_note} {}", field.help)
            } else {
                field.help.to_owned()
            },
            secret: field.secret,
            value: if field.secret {
                "Stored".to_owned()
            } else {
                account.fields.get(field.id).cloned().unwrap_or_default()
            },
        });
    let w = AccountForm {
        credential_fields: fields.collect(),
        where_to_find: String::new(),
        api_url: account.api_url.clone().unwrap_or_default(),
        requests_per_minute: account.requests_per_minute.to_string(),
        account_zone: account.time_zone.clone(),
        advanced_open: account.api_url.is_some() && actor.is_admin(),
        vendor: VendorNotes::of(
            account.connector,
            account.api_url.as_deref().unwrap_or_default(),
        ),
        errors: Errors::default(),
    };
    let used = humanize::counted(account.dataset_count, "DataSet uses it", "DataSets use it");
    Ok(AccountEditPage {
        chrome: web.chrome(actor, session, "accounts").await,
        adding: false,
        action: format!("/accounts/{}/edit", account.id),
        shown_name: account.name.clone(),
        connector_name: account.connector.title(),
        monogram: account.connector.monogram(),
        name: account.name.clone(),
        used: if account.dataset_count == 0 { String::new() } else { format!("{used}. A change applies to all DataSets of the account.") },
        shared: account.shared,
        may_share: true,
        other_users_note: match other_users {
            0 => String::new(),
            1 => "1 DataSet of another owner uses it. If you stop sharing, it stops updating until you share the account again.".to_owned(),
            many => format!("{many} DataSets of other owners use it. If you stop sharing, they stop updating until you share the account again."),
        },
        problem: None,
        w,
    })
}

impl AccountEditPage {
    /// Replaces the stored values with the submitted ones, except secrets.
    fn refill(&mut self, typed: &AccountFields) {
        self.name = typed.text("name");
        self.shared = typed.0.contains_key("shared");
        for field in self
            .w
            .credential_fields
            .iter_mut()
            .filter(|field| !field.secret)
        {
            field.value = typed.text(&format!("credentials.{}", field.id));
        }
        self.w.api_url = typed.text("api_url");
        self.w.requests_per_minute = typed.text("requests_per_minute");
        self.w.account_zone = typed.text("account_zone");
    }

    /// Shows the form again with the errors.
    fn with_error(mut self, error: Error) -> PageResult {
        if matches!(
            error.kind(),
            ErrorKind::Forbidden | ErrorKind::NotFound | ErrorKind::Internal
        ) {
            return Err(error.into());
        }
        let mut status = StatusCode::UNPROCESSABLE_ENTITY;
        for (field, sentence) in error.field_errors() {
            self.w.errors.add(
                if field == "time_zone" {
                    "account_zone"
                } else {
                    field
                },
                sentence,
            );
        }
        if self.w.errors.is_empty() {
            status = error_page::http_status(error.kind());
            let text = format!(
                "Nothing was saved. {}",
                error.suggested_action().unwrap_or_default()
            );
            self.problem = Some(Band {
                tone: "bad".to_owned(),
                title: error.message().to_owned(),
                text,
                actions: Vec::new(),
            });
        }
        self.w.advanced_open |= ["api_url", "requests_per_minute", "account_zone"]
            .iter()
            .any(|field| !self.w.errors.of(field).is_empty());
        render_with_status(status, &self)
    }
}

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
        api_url: typed.0.contains_key("api_url").then(|| typed.api_url()),
        requests_per_minute: Some(typed.per_minute()),
        time_zone: Some(typed.zone()),
        shared: Some(typed.0.contains_key("shared")),
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
    named.ok_or_else(|| Error::not_found("connector"))
}
