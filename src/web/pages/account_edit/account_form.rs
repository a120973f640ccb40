//! The page with the form of an account: empty, with the stored values, or with errors.

use askama::Template;
use axum::http::StatusCode;
use jiff::tz::TimeZone;

use super::submitted_fields::AccountFields;
use crate::accounts::Account;
use crate::clock::timestamp;
use crate::connectors::Connector;
use crate::error::{Error, ErrorKind, Result};
use crate::web::components::{Band, Chrome, Errors};
use crate::web::page::{PageResult, render_with_status};
use crate::web::panes::view::VendorNotes;
use crate::web::person::Person;
use crate::web::{Web, error_page, humanize};

#[derive(Template)]
#[template(path = "pages/account_edit.html")]
pub(super) struct AccountEditPage {
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

/// The form for a new account, with the input so far.
pub(super) async fn new_account_page(
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
pub(super) async fn edit_account_page(
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
    let used = humanize::counted(account.dataset_count, "DataSet", "DataSets");
    Ok(AccountEditPage {
        chrome: web.chrome(actor, session, "accounts").await,
        adding: false,
        action: format!("/accounts/{}/edit", account.id),
        shown_name: account.name.clone(),
        connector_name: account.connector.title(),
        monogram: account.connector.monogram(),
        name: account.name.clone(),
        used: if account.dataset_count == 0 {
            String::new()
        } else {
            format!("Used by {used}. A change applies to all DataSets of the account.")
        },
        shared: account.shared,
        may_share: true,
        other_users_note: match other_users {
            0 => String::new(),
            1 => "1 DataSet of another owner uses it. \
                 If you stop sharing, it stops updating until you share the account again."
                .to_owned(),
            many => format!(
                "{many} DataSets of other owners use it. \
                 If you stop sharing, they stop updating until you share the account again."
            ),
        },
        problem: None,
        w,
    })
}

impl AccountEditPage {
    /// Replaces the stored values with the submitted ones, except secrets.
    pub(super) fn refill(&mut self, typed: &AccountFields) {
        self.name = typed.text("name");
        self.shared = typed.contains("shared");
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
    pub(super) fn with_error(mut self, error: Error) -> PageResult {
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
