//! Creates, shows once and revokes the person's own export passwords. The page of `me.rs` lists
//! them.

use axum::extract::State;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::confirm::ConfirmPage;
use super::me::{page_with_export_error, page_with_export_password, status};
use crate::actor::Actor;
use crate::auth::export_passwords::{self, DEFAULT_DAYS, ExportPassword, NewExportPassword};
use crate::clock::Millis;
use crate::error::Error;
use crate::ids::ExportPasswordId;
use crate::web::client_address::ClientAddress;
use crate::web::components::{DisplayTime, Status};
use crate::web::forms::{FirstPathId, Form};
use crate::web::page::{PageResult, redirect, render};
use crate::web::person::Person;
use crate::web::{Web, humanize};

/// The export passwords on the page.
pub struct ExportPasswordsView {
    pub made: Option<CreatedExportPassword>,
    pub list: Vec<ExportPasswordRow>,
    pub typed: ExportPasswordFields,
    /// The URL where they are used.
    pub address: String,
    /// Whether any DataSet is published.
    pub any_published: bool,
}

/// A new export password, shown once.
pub struct CreatedExportPassword {
    pub name: String,
    pub text: String,
    pub until: String,
}

pub struct ExportPasswordRow {
    pub id: String,
    pub name: String,
    pub made: DisplayTime,
    pub last_used: DisplayTime,
    pub status: Status,
    pub until: String,
    pub works: bool,
    pub exposed: bool,
}

/// `POST /me/export-passwords`
#[derive(Deserialize)]
pub struct ExportPasswordFields {
    #[serde(default)]
    pub export_name: String,
    #[serde(default)]
    pub days: String,
}

impl Default for ExportPasswordFields {
    fn default() -> Self {
        Self {
            export_name: String::new(),
            days: DEFAULT_DAYS.to_string(),
        }
    }
}

impl ExportPasswordRow {
    fn new(one: ExportPassword, now: Millis) -> Self {
        let zone = &TimeZone::UTC;
        Self {
            id: one.id.to_string(),
            made: DisplayTime::ago(one.created_at, now, zone),
            last_used: DisplayTime::maybe(one.last_used_at, now, zone),
            status: status(one.revoked_at, one.expires_at, now),
            until: humanize::short(one.expires_at, now, zone),
            works: one.revoked_at.is_none() && one.expires_at > now,
            exposed: one.exposed_at.is_some(),
            name: one.name,
        }
    }
}

impl ExportPasswordsView {
    pub async fn of(web: &Web, actor: &Actor, now: Millis) -> Result<Self, Error> {
        let list = export_passwords::list(&web.db, Some(&actor.user))
            .await?
            .into_iter()
            .map(|one| ExportPasswordRow::new(one, now))
            .collect();
        let any_published = web.datasets.any_published().await?;
        Ok(Self {
            made: None,
            list,
            typed: ExportPasswordFields::default(),
            address: export_api_url(web),
            any_published,
        })
    }
}

/// The URL of the LiveLeader API.
pub fn export_api_url(web: &Web) -> String {
    format!("{}a/Srv", web.config.public_url)
}

/// `POST /me/export-passwords`: the response shows the password, which is not stored.
pub async fn make(
    State(web): State<Web>,
    from: ClientAddress,
    person: Person,
    Form(typed): Form<ExportPasswordFields>,
) -> PageResult {
    let new = NewExportPassword {
        name: typed.export_name.clone(),
        days: typed.days.trim().parse().unwrap_or(0),
    };
    match export_passwords::create(&web.db, &web.clock, person.audit_actor(from), &new).await {
        Ok((made, text)) => {
            let until = humanize::exact_minute(made.expires_at, &TimeZone::UTC);
            page_with_export_password(
                &web,
                &person,
                CreatedExportPassword {
                    name: made.name,
                    text: text.reveal().to_owned(),
                    until,
                },
            )
            .await
        }
        Err(error) => page_with_export_error(&web, &person, error, typed).await,
    }
}

/// `GET /me/export-passwords/{id}/revoke`
pub async fn revoke_form(
    State(web): State<Web>,
    person: Person,
    FirstPathId(id): FirstPathId<ExportPasswordId>,
) -> PageResult {
    let owner = Some(&person.actor.user).filter(|_| !person.actor.is_admin());
    let password = export_passwords::list(&web.db, owner)
        .await?
        .into_iter()
        .find(|password| password.id == id)
        .ok_or_else(|| Error::not_found("export password"))?;
    render(&ConfirmPage {
        chrome: web.chrome(&person.actor, &person.session, "").await,
        question: format!("Revoke the export password “{}”?", password.name),
        ends: "Scripts that use it stop working at once.".to_owned(),
        stays: "DataSets stay published. You can create a new export password.".to_owned(),
        action: format!("/me/export-passwords/{id}/revoke"),
        button: "Revoke export password".to_owned(),
        back: "/me",
    })
}

/// `POST /me/export-passwords/{id}/revoke`
pub async fn revoke(
    State(web): State<Web>,
    from: ClientAddress,
    person: Person,
    FirstPathId(id): FirstPathId<ExportPasswordId>,
) -> PageResult {
    export_passwords::revoke(&web.db, &web.clock, &id, Some(person.audit_actor(from))).await?;
    web.flash(&person.session, "Export password revoked.").await;
    redirect("/me")
}
