//! The settings page: people, for admins, and information about this installation.

use askama::Template;
use axum::extract::State;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::confirm::ConfirmPage;
use crate::auth::invites::{self, Invite};
use crate::auth::users::{self, User};
use crate::auth::{Actor, Role};
use crate::clock::Millis;
use crate::error::{Error, Result};
use crate::ids::{InviteId, UserId};
use crate::secret::Secret;
use crate::web::client_address::ClientAddress;
use crate::web::components::{Chrome, DisplayTime, Fact, Status};
use crate::web::forms::{FirstPathId, Form};
use crate::web::page::{PageResult, redirect, render};
use crate::web::person::{Admin, Person};
use crate::web::{Web, humanize};

#[derive(Template)]
#[template(path = "pages/settings.html")]
struct SettingsPage {
    chrome: Chrome,
    admin: bool,
    people: Vec<PersonRow>,
    invited: Vec<InviteRow>,
    link: Option<NewLink>,
    about: Vec<Fact>,
}

struct PersonRow {
    id: UserId,
    name: String,
    email: String,
    initials: String,
    role: Role,
    state: Status,
    last_seen: DisplayTime,
    you: bool,
    disabled: bool,
}

/// An unused link.
struct InviteRow {
    id: InviteId,
    name: String,
    email: String,
    initials: String,
    role: Role,
    state: Status,
}

/// A new link, shown once.
struct NewLink {
    name: String,
    href: String,
    until: String,
}

/// The field of the form that changes the role of a person.
#[derive(Deserialize)]
pub struct RoleField {
    #[serde(default)]
    role: String,
}

/// `GET /settings`
pub async fn settings(State(web): State<Web>, person: Person) -> PageResult {
    render(&page(&web, &person, None).await?)
}

/// The page with a new one-time link. It is the response to the form itself, without a redirect,
/// because the link is not stored.
pub async fn with_link(web: &Web, person: &Person, invite: &Invite, code: &Secret) -> PageResult {
    let link = NewLink {
        name: invite.name.clone().unwrap_or_default(),
        href: format!("{}invite/{}", web.config.public_url, code.reveal()),
        until: humanize::exact_minute(invite.expires_at, &TimeZone::UTC),
    };
    render(&page(web, person, Some(link)).await?)
}

async fn page(
    web: &Web,
    Person { actor, session }: &Person,
    link: Option<NewLink>,
) -> Result<SettingsPage> {
    let admin = actor.manages_people();
    let (people, invited) = if admin {
        people(web, actor).await?
    } else {
        (Vec::new(), Vec::new())
    };
    Ok(SettingsPage {
        chrome: web.chrome(actor, session, "settings").await,
        admin,
        people,
        invited,
        link,
        about: about(web, admin),
    })
}

async fn people(web: &Web, actor: &Actor) -> Result<(Vec<PersonRow>, Vec<InviteRow>)> {
    let now = web.clock.now();
    let users = users::list(&web.db).await?;
    let open = invites::list(&web.db, &web.clock).await?;
    let seen = web.sessions.last_seen().await?;
    let link_of = |email: &str| {
        open.iter()
            .find(|invite| invite.email.as_deref() == Some(email))
    };
    let people = users.iter().map(|user| PersonRow {
        state: state(user, link_of(&user.email), now),
        last_seen: DisplayTime::maybe(seen.get(&user.id).copied(), now, &TimeZone::UTC),
        id: user.id.clone(),
        name: user.name.clone(),
        email: user.email.clone(),
        initials: humanize::initials(&user.name),
        role: user.role,
        you: user.id == actor.user,
        disabled: user.disabled_at.is_some(),
    });
    let people = people.collect();
    let new = open.iter().filter(|invite| {
        !users
            .iter()
            .any(|user| Some(user.email.as_str()) == invite.email.as_deref())
    });
    let invited = new.map(|invite| InviteRow {
        id: invite.id.clone(),
        initials: humanize::initials(invite.name.as_deref().unwrap_or_default()),
        name: invite.name.clone().unwrap_or_default(),
        email: invite.email.clone().unwrap_or_default(),
        role: invite.role,
        state: Status::new(
            "info",
            true,
            "Invited",
            link_words("invitation", invite, now),
        ),
    });
    Ok((people, invited.collect()))
}

fn state(user: &User, link: Option<&Invite>, now: Millis) -> Status {
    let line = link
        .map(|invite| link_words("password reset", invite, now))
        .unwrap_or_default();
    match user.disabled_at {
        Some(_) => Status::new("", true, "Deactivated", ""),
        None if !user.has_password => Status::new("", true, "No password yet", line),
        None => Status::new("good", false, "Active", line),
    }
}

fn link_words(kind: &str, invite: &Invite, now: Millis) -> String {
    format!(
        "{kind} link created, expires {}",
        humanize::relative(invite.expires_at, now)
    )
}

fn about(web: &Web, admin: bool) -> Vec<Fact> {
    let config = &web.config;
    let mut about = vec![
        Fact::new("Version", env!("CARGO_PKG_VERSION")),
        Fact::new("Address", config.public_url.as_str().trim_end_matches('/')),
    ];
    if admin {
        let retention = format!(
            "{} per DataSet, up to {}",
            humanize::counted(i64::from(config.keep_versions), "version", "versions"),
            humanize::counted(i64::from(config.keep_days), "day", "days")
        );
        let private: Vec<String> = config
            .allow_upstream
            .iter()
            .map(ToString::to_string)
            .collect();
        about.push(Fact::new("Concurrent runs", config.workers.to_string()));
        about.push(Fact::new("Retention", retention));
        about.push(Fact::new(
            "Allowed private hosts",
            if private.is_empty() {
                "none".to_owned()
            } else {
                private.join(", ")
            },
        ));
    }
    about
}

/// `GET /settings/people/{id}/disable`
pub async fn disable_form(
    State(web): State<Web>,
    Admin(person): Admin,
    FirstPathId(id): FirstPathId<UserId>,
) -> PageResult {
    let user = users::get(&web.db, &id).await?;
    render(&ConfirmPage {
        chrome: web.chrome(&person.actor, &person.session, "settings").await,
        question: format!("Deactivate {}?", user.name),
        ends: "All sessions of this person end at once, and the API tokens and export passwords \
               are revoked."
            .to_owned(),
        stays: "DataSets and accounts of this person stay, and their schedules continue. \
                You can reactivate the person later. Revoked tokens stay revoked."
            .to_owned(),
        action: format!("/settings/people/{id}/disable"),
        button: format!("Deactivate {}", user.name),
        back: "/settings",
    })
}

/// `POST /settings/people/{id}/disable`
pub async fn disable(
    State(web): State<Web>,
    from: ClientAddress,
    Admin(person): Admin,
    FirstPathId(id): FirstPathId<UserId>,
) -> PageResult {
    let user = users::get(&web.db, &id).await?;
    users::disable(
        &web.db,
        &web.clock,
        &user.id,
        Some(person.audit_actor(from)),
    )
    .await?;
    done(
        &web,
        &person,
        format!(
            "{} deactivated. All sessions and tokens of this person are revoked.",
            user.name
        ),
    )
    .await
}

/// `POST /settings/people/{id}/enable`
pub async fn enable(
    State(web): State<Web>,
    from: ClientAddress,
    Admin(person): Admin,
    FirstPathId(id): FirstPathId<UserId>,
) -> PageResult {
    let user = users::get(&web.db, &id).await?;
    users::enable(
        &web.db,
        &web.clock,
        &user.id,
        Some(person.audit_actor(from)),
    )
    .await?;
    done(
        &web,
        &person,
        format!(
            "{} can sign in again. Old tokens and export passwords stay revoked.",
            user.name
        ),
    )
    .await
}

/// `POST /settings/people/{id}/role`
pub async fn change_role(
    State(web): State<Web>,
    from: ClientAddress,
    Admin(person): Admin,
    FirstPathId(id): FirstPathId<UserId>,
    Form(field): Form<RoleField>,
) -> PageResult {
    let role = Role::parse(&field.role)
        .ok_or_else(|| Error::field("role", "Choose viewer, editor or admin."))?;
    let user = users::get(&web.db, &id).await?;
    users::set_role(
        &web.db,
        &web.clock,
        &user.id,
        role,
        Some(person.audit_actor(from)),
    )
    .await?;
    done(
        &web,
        &person,
        format!("{} is now {}.", user.name, with_article(role)),
    )
    .await
}

/// `POST /settings/people/{id}/link`: creates a link with which an existing person chooses a new
/// password.
pub async fn create_password_reset(
    State(web): State<Web>,
    from: ClientAddress,
    Admin(person): Admin,
    FirstPathId(id): FirstPathId<UserId>,
) -> PageResult {
    let user = users::get(&web.db, &id).await?;
    let (invite, code) =
        invites::create_password_reset(&web.db, &web.clock, person.audit_actor(from), &user)
            .await?;
    with_link(&web, &person, &invite, &code).await
}

/// `GET /settings/invites/{id}/withdraw`
pub async fn withdraw_form(
    State(web): State<Web>,
    Admin(person): Admin,
    FirstPathId(id): FirstPathId<InviteId>,
) -> PageResult {
    let invite = invites::list(&web.db, &web.clock)
        .await?
        .into_iter()
        .find(|invite| invite.id == id)
        .ok_or_else(|| Error::not_found("link"))?;
    let name = invite.name.unwrap_or_default();
    render(&ConfirmPage {
        chrome: web.chrome(&person.actor, &person.session, "settings").await,
        question: format!("Revoke the link of {name}?"),
        ends: "The link stops working at once.".to_owned(),
        stays: "You can create a new link later.".to_owned(),
        action: format!("/settings/invites/{id}/withdraw"),
        button: "Revoke link".to_owned(),
        back: "/settings",
    })
}

/// `POST /settings/invites/{id}/withdraw`
pub async fn withdraw(
    State(web): State<Web>,
    from: ClientAddress,
    Admin(person): Admin,
    FirstPathId(id): FirstPathId<InviteId>,
) -> PageResult {
    invites::withdraw(&web.db, &web.clock, person.audit_actor(from), &id).await?;
    done(&web, &person, "Link revoked.".to_owned()).await
}

async fn done(web: &Web, person: &Person, sentence: String) -> PageResult {
    web.flash(&person.session, sentence).await;
    redirect("/settings")
}

pub fn with_article(role: Role) -> &'static str {
    match role {
        Role::Viewer => "a viewer",
        Role::Editor => "an editor",
        Role::Admin => "an admin",
    }
}
