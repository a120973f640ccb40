//! One's own export passwords: made, shown once, revoked. They are listed on the page of `me.rs`.

use axum::extract::State;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::me::{until, with_export_password, without_export_password};
use crate::actor::Actor;
use crate::auth::export_passwords::{self, DEFAULT_DAYS, ExportPassword, NewExportPassword};
use crate::clock::Millis;
use crate::error::Error;
use crate::ids::ExportPasswordId;
use crate::web::client_address::ClientAddress;
use crate::web::forms::{Form, Id};
use crate::web::page::{Answer, go};
use crate::web::parts::When;
use crate::web::person::Person;
use crate::web::{Web, words};

/// What the page shows of them.
pub struct Exports {
    pub made: Option<Made>,
    pub list: Vec<Row>,
    pub typed: Typed,
    /// Where they are used.
    pub address: String,
    /// Whether anything is published there.
    pub any_published: bool,
}

/// Shown once, right after it was made.
pub struct Made {
    pub name: String,
    pub text: String,
    pub until: String,
}

pub struct Row {
    pub id: String,
    pub name: String,
    pub made: When,
    pub last_used: When,
    pub until: String,
    pub works: bool,
    pub exposed: bool,
}

/// `POST /me/export-passwords`
#[derive(Deserialize)]
pub struct Typed {
    #[serde(default)]
    pub export_name: String,
    #[serde(default)]
    pub days: String,
}

impl Default for Typed {
    fn default() -> Self {
        Self { export_name: String::new(), days: DEFAULT_DAYS.to_string() }
    }
}

impl Row {
    fn new(one: ExportPassword, now: Millis) -> Self {
        let zone = &TimeZone::UTC;
        Self {
            id: one.id.to_string(),
            made: When::ago(one.created_at, now, zone),
            last_used: When::maybe(one.last_used_at, now, zone),
            until: until(one.revoked_at, one.expires_at, now),
            works: one.revoked_at.is_none() && one.expires_at > now,
            exposed: one.exposed_at.is_some(),
            name: one.name,
        }
    }
}

impl Exports {
    pub async fn of(web: &Web, actor: &Actor, now: Millis) -> Result<Self, Error> {
        let list = export_passwords::list(&web.db, Some(&actor.user)).await?.into_iter().map(|one| Row::new(one, now)).collect();
        let any_published = web.datasets.any_published().await?;
        Ok(Self { made: None, list, typed: Typed::default(), address: address(web), any_published })
    }
}

/// Where LiveLeader's API is served.
pub fn address(web: &Web) -> String {
    format!("{}a/Srv", web.config.public_url)
}

/// `POST /me/export-passwords`: it is shown in the answer and kept nowhere.
pub async fn make(State(web): State<Web>, from: ClientAddress, person: Person, Form(typed): Form<Typed>) -> Answer {
    let new = NewExportPassword { name: typed.export_name.clone(), days: typed.days.trim().parse().unwrap_or(0) };
    match export_passwords::create(&web.db, &web.clock, person.by(from), &new).await {
        Ok((made, text)) => {
            let until = words::exact(made.expires_at, &TimeZone::UTC);
            with_export_password(&web, &person, Made { name: made.name, text: text.reveal().to_owned(), until }).await
        }
        Err(error) => without_export_password(&web, &person, error, typed).await,
    }
}

/// `POST /me/export-passwords/{id}/revoke`
pub async fn revoke(State(web): State<Web>, from: ClientAddress, person: Person, Id(id): Id<ExportPasswordId>) -> Answer {
    export_passwords::revoke(&web.db, &web.clock, &id, Some(person.by(from))).await?;
    web.say_next(&person.session, "Export password revoked.").await;
    go("/me")
}
