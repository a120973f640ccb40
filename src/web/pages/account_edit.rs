//! The form of an account, to add one and to change one. The vendor is asked with the credentials before anything is kept; secrets
//! are typed and never shown again.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use jiff::tz::TimeZone;

use super::connect::spaces_in_words;
use crate::accounts::{Account, ChangeAccount, DEFAULT_PER_MINUTE, NewAccount};
use crate::clock::timestamp;
use crate::connectors::Connector;
use crate::error::{Error, Kind, Result};
use crate::ids::AccountId;
use crate::secret::Secret;
use crate::web::forms::{Form, Id};
use crate::web::page::{Answer, go_from_form, show, show_with};
use crate::web::panes::view::VendorWords;
use crate::web::parts::{Band, Chrome, Errors};
use crate::web::person::{Keeper, Person};
use crate::web::{Web, error_page, words};

#[derive(Template)]
#[template(path = "pages/account_edit.html")]
struct Page {
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
    /// What happens when it is no longer shared; nothing while nobody else uses it.
    of_others: String,
    problem: Option<Band>,
    w: AccountForm,
}

/// What `panes/credential_fields.html` shows.
struct AccountForm {
    credential_fields: Vec<CredentialField>,
    where_to_find: String,
    api_url: String,
    requests_per_minute: String,
    account_zone: String,
    advanced_open: bool,
    vendor: VendorWords,
    errors: Errors,
}

struct CredentialField {
    id: String,
    label: String,
    help: String,
    secret: bool,
    /// Of a secret: what the empty field says.
    value: String,
}

/// The fields as they were typed. Of a name that comes twice, the first counts.
struct Typed(BTreeMap<String, Secret>);

impl Typed {
    fn new(fields: Vec<(String, Secret)>) -> Self {
        let mut typed = BTreeMap::new();
        for (name, value) in fields {
            typed.entry(name).or_insert(value);
        }
        Self(typed)
    }

    /// Of a field that is no secret.
    fn text(&self, name: &str) -> String {
        self.0.get(name).map(|value| value.reveal().trim().to_owned()).unwrap_or_default()
    }

    fn credentials(&self, connector: Connector) -> BTreeMap<String, Secret> {
        let of = |id: &str| self.0.get(&format!("credentials.{id}")).cloned();
        connector.fields().iter().filter_map(|field| Some((field.id.to_owned(), of(field.id)?))).collect()
    }

    /// Empty is the usual number; what is no number is one that does not fit.
    fn per_minute(&self) -> i64 {
        let text = self.text("requests_per_minute");
        if text.is_empty() { i64::from(DEFAULT_PER_MINUTE) } else { text.parse().unwrap_or(0) }
    }

    fn zone(&self) -> String {
        let text = self.text("account_zone");
        if text.is_empty() { "UTC".to_owned() } else { text }
    }

    fn api_url(&self) -> Option<String> {
        Some(self.text("api_url")).filter(|url| !url.is_empty())
    }
}

/// The form for a new account, with what was typed so far.
async fn adding(web: &Web, Person { actor, session }: &Person, connector: Connector, typed: &Typed) -> Page {
    let fields = connector.fields().iter().map(|field| CredentialField {
        id: field.id.to_owned(),
        label: field.label.to_owned(),
        help: field.help.to_owned(),
        secret: field.secret,
        value: if field.secret { String::new() } else { typed.text(&format!("credentials.{}", field.id)) },
    });
    let w = AccountForm {
        credential_fields: fields.collect(),
        where_to_find: String::new(),
        api_url: typed.text("api_url"),
        requests_per_minute: typed.text("requests_per_minute"),
        account_zone: typed.text("account_zone"),
        advanced_open: false,
        vendor: VendorWords::of(connector, &typed.text("api_url")),
        errors: Errors::default(),
    };
    Page {
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
        of_others: String::new(),
        problem: None,
        w,
    }
}

/// The form for an account as it is kept.
async fn editing(web: &Web, Person { actor, session }: &Person, account: &Account) -> Result<Page> {
    let of_others = web.accounts.count_of_others(&account.id).await?;
    let set_on = timestamp(account.sealed_at).to_zoned(TimeZone::UTC).strftime("%-d %B %Y").to_string();
    let kept = format!("Set on {set_on}, stored encrypted. Leave empty to keep it.");
    let fields = account.connector.fields().iter().map(|field| CredentialField {
        id: field.id.to_owned(),
        label: field.label.to_owned(),
        help: if field.secret { format!("{kept} {}", field.help) } else { field.help.to_owned() },
        secret: field.secret,
        value: if field.secret { "Stored".to_owned() } else { account.fields.get(field.id).cloned().unwrap_or_default() },
    });
    let w = AccountForm {
        credential_fields: fields.collect(),
        where_to_find: String::new(),
        api_url: account.api_url.clone().unwrap_or_default(),
        requests_per_minute: account.requests_per_minute.to_string(),
        account_zone: account.time_zone.clone(),
        advanced_open: account.api_url.is_some() && actor.is_admin(),
        vendor: VendorWords::of(account.connector, account.api_url.as_deref().unwrap_or_default()),
        errors: Errors::default(),
    };
    let used = words::counted(account.dataset_count, "DataSet uses it", "DataSets use it");
    Ok(Page {
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
        of_others: match of_others {
            0 => String::new(),
            1 => "1 DataSet of another owner uses it. If you stop sharing, it stops updating until you share the account again.".to_owned(),
            many => format!("{many} DataSets of other owners use it. If you stop sharing, they stop updating until you share the account again."),
        },
        problem: None,
        w,
    })
}

impl Page {
    /// Puts what was typed over what is kept; never a secret.
    fn typed(&mut self, typed: &Typed) {
        self.name = typed.text("name");
        self.shared = typed.0.contains_key("shared");
        for field in self.w.credential_fields.iter_mut().filter(|field| !field.secret) {
            field.value = typed.text(&format!("credentials.{}", field.id));
        }
        self.w.api_url = typed.text("api_url");
        self.w.requests_per_minute = typed.text("requests_per_minute");
        self.w.account_zone = typed.text("account_zone");
    }

    /// Asks again, saying what is wrong.
    fn again(mut self, error: Error) -> Answer {
        if matches!(error.kind(), Kind::Forbidden | Kind::NotFound | Kind::Internal) {
            return Err(error.into());
        }
        let mut status = StatusCode::UNPROCESSABLE_ENTITY;
        for (field, sentence) in error.field_errors() {
            self.w.errors.add(if field == "time_zone" { "account_zone" } else { field }, sentence);
        }
        if self.w.errors.is_empty() {
            status = error_page::status(error.kind());
            let text = format!("Nothing was saved. {}", error.next_step().unwrap_or_default());
            self.problem = Some(Band { tone: "bad".to_owned(), title: error.message().to_owned(), text, actions: Vec::new() });
        }
        self.w.advanced_open |= ["api_url", "requests_per_minute", "account_zone"].iter().any(|field| !self.w.errors.of(field).is_empty());
        show_with(status, &self)
    }
}

/// `GET /accounts/new?connector=`
pub async fn add_form(State(web): State<Web>, Keeper(person): Keeper, uri: Uri) -> Answer {
    let connector = connector(&uri)?;
    let usual = [("requests_per_minute", DEFAULT_PER_MINUTE.to_string()), ("account_zone", "UTC".to_owned())];
    let typed = Typed::new(usual.map(|(field, value)| (field.to_owned(), Secret::new(value))).into());
    show(&adding(&web, &person, connector, &typed).await)
}

/// `POST /accounts/new?connector=`: asks the vendor, then keeps the account.
pub async fn add(State(web): State<Web>, Keeper(person): Keeper, uri: Uri, headers: HeaderMap, Form(fields): Form<Vec<(String, Secret)>>) -> Answer {
    let connector = connector(&uri)?;
    let typed = Typed::new(fields);
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
            let spaces = spaces_in_words(connector, &new.credentials);
            web.say_next(&person.session, format!("{} is connected: {seen}.{spaces}", account.name)).await;
            go_from_form(&headers, "/accounts")
        }
        Err(error) => adding(&web, &person, connector, &typed).await.again(error),
    }
}

async fn connect(web: &Web, person: &Person, new: &NewAccount) -> Result<(Account, String)> {
    let seen = web.accounts.try_credentials(&person.actor, new).await?;
    let account = web.accounts.create(&person.actor, new).await?;
    web.accounts.record_health(&account.id, Ok(&seen), web.clock.now()).await?;
    Ok((account, seen))
}

/// `GET /accounts/{id}/edit`
pub async fn edit_form(State(web): State<Web>, Keeper(person): Keeper, Id(id): Id<AccountId>) -> Answer {
    let account = web.accounts.get_to_change(&person.actor, &id).await?;
    show(&editing(&web, &person, &account).await?)
}

/// `POST /accounts/{id}/edit`: asks the vendor when the credentials change, then keeps the change.
pub async fn edit(
    State(web): State<Web>,
    Keeper(person): Keeper,
    Id(id): Id<AccountId>,
    headers: HeaderMap,
    Form(fields): Form<Vec<(String, Secret)>>,
) -> Answer {
    let account = web.accounts.get_to_change(&person.actor, &id).await?;
    let typed = Typed::new(fields);
    let change = ChangeAccount {
        name: Some(typed.text("name")),
        credentials: typed.credentials(account.connector),
        // A form without the field, which only admins see, leaves the address alone.
        api_url: typed.0.contains_key("api_url").then(|| typed.api_url()),
        requests_per_minute: Some(typed.per_minute()),
        time_zone: Some(typed.zone()),
        shared: Some(typed.0.contains_key("shared")),
    };
    match save(&web, &person, &id, &change).await {
        Ok((account, Some(seen))) => {
            let spaces = spaces_in_words(account.connector, &change.credentials);
            web.say_next(&person.session, format!("{} is saved and connected: {seen}.{spaces}", account.name)).await;
            go_from_form(&headers, "/accounts")
        }
        Ok((after, None)) => {
            let stop = if account.shared && !after.shared { web.accounts.count_of_others(&id).await? } else { 0 };
            let stops = match stop {
                0 => String::new(),
                1 => " It is no longer shared: 1 DataSet of another owner stops updating.".to_owned(),
                many => format!(" It is no longer shared: {many} DataSets of other owners stop updating."),
            };
            web.say_next(&person.session, format!("{} is saved.{stops}", after.name)).await;
            go_from_form(&headers, "/accounts")
        }
        Err(error) => {
            let mut page = editing(&web, &person, &account).await?;
            page.typed(&typed);
            page.again(error)
        }
    }
}

async fn save(web: &Web, person: &Person, id: &AccountId, change: &ChangeAccount) -> Result<(Account, Option<String>)> {
    let seen = web.accounts.try_change(&person.actor, id, change).await?;
    let account = web.accounts.update(&person.actor, id, change).await?;
    if let Some(seen) = &seen {
        web.accounts.record_health(id, Ok(seen), web.clock.now()).await?;
    }
    // What these credentials had taken off its schedule comes back, and what an account is taken back from comes off it.
    web.puller.kept.notify_one();
    Ok((account, seen))
}

fn connector(uri: &Uri) -> Result<Connector> {
    let query = uri.query().unwrap_or_default().as_bytes();
    let named = url::form_urlencoded::parse(query).find(|(name, _)| name == "connector").and_then(|(_, id)| Connector::parse(&id));
    named.ok_or_else(|| Error::not_found("connector"))
}
