//! Settings, Notifications: the mail server, the webhooks, and what became of what was sent. For admins.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::auth::audit::{self, Deed};
use crate::clock::Millis;
use crate::error::{Error, Kind, Result};
use crate::ids::WebhookId;
use crate::notices::mail::{Encryption, Given, Server};
use crate::notices::outbox::Delivery;
use crate::secret::Secret;
use crate::web::client_address::ClientAddress;
use crate::web::forms::{Form, Id};
use crate::web::page::{Answer, go, go_from_form, show, show_with};
use crate::web::parts::{Choice, Chrome, Errors, Status, When};
use crate::web::person::{Admin, Person};
use crate::web::{Web, words};

const HERE: &str = "/settings/notifications";
/// So many deliveries are shown.
const MOST: i64 = 50;

#[derive(Template)]
#[template(path = "pages/notifications.html")]
struct Page {
    chrome: Chrome,
    mail: MailForm,
    webhooks: Vec<Hook>,
    new: NewHook,
    once: Option<Once>,
    deliveries: Vec<Row>,
}

struct MailForm {
    is_set: bool,
    host: String,
    port: String,
    encryptions: Vec<Choice>,
    username: String,
    password_help: String,
    sender: String,
    /// Where a test goes unless somebody says otherwise.
    to: String,
    errors: Errors,
}

struct Hook {
    id: WebhookId,
    name: String,
    host: String,
    made: When,
    /// Why the test that was just sent was not delivered.
    problem: String,
}

#[derive(Default)]
struct NewHook {
    name: String,
    errors: Errors,
}

/// The secret of a new webhook, shown this once.
struct Once {
    name: String,
    secret: String,
}

struct Row {
    made: When,
    to: String,
    channel: &'static str,
    subject: String,
    status: Status,
    error: String,
}

/// The fields of the mail server.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct MailFields {
    host: String,
    port: String,
    encryption: String,
    username: String,
    password: Secret,
    sender: String,
}

/// The fields of a new webhook. The address may be a secret of its own.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct HookFields {
    name: String,
    address: Secret,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct TestFields {
    to: String,
}

/// `GET /settings/notifications`
pub async fn notifications(State(web): State<Web>, Admin(person): Admin) -> Answer {
    show(&page(&web, &person).await?)
}

async fn page(web: &Web, person: &Person) -> Result<Page> {
    let now = web.clock.now();
    let server = web.puller.notices.mail_server().await?;
    let webhooks = web.puller.notices.webhooks().await?.into_iter();
    Ok(Page {
        chrome: web.chrome(&person.actor, &person.session, "settings").await,
        mail: mail_form(server.as_ref(), &person.actor.email),
        webhooks: webhooks
            .map(|hook| Hook { made: When::ago(hook.created_at, now, &TimeZone::UTC), id: hook.id, name: hook.name, host: hook.host, problem: String::new() })
            .collect(),
        new: NewHook::default(),
        once: None,
        deliveries: web.puller.notices.deliveries(MOST).await?.into_iter().map(|delivery| row(delivery, now)).collect(),
    })
}

fn encryptions(chosen: &str) -> Vec<Choice> {
    let label = |encryption| match encryption {
        Encryption::Tls => "TLS (usually port 465)",
        Encryption::StartTls => "STARTTLS, required (usually port 587)",
        Encryption::None => "None: email and password are sent without encryption",
    };
    Encryption::ALL.map(|e| Choice { value: e.word().to_owned(), label: label(e).to_owned(), selected: e.word() == chosen }).into()
}

fn mail_form(server: Option<&Server>, own_email: &str) -> MailForm {
    let stored = server.filter(|server| server.has_password);
    MailForm {
        is_set: server.is_some(),
        host: server.map(|s| s.host.clone()).unwrap_or_default(),
        port: server.map_or_else(|| "465".to_owned(), |s| s.port.to_string()),
        encryptions: encryptions(server.map_or(Encryption::Tls, |s| s.encryption).word()),
        username: server.map(|s| s.username.clone()).unwrap_or_default(),
        password_help: stored.map_or_else(
            || "Leave empty if the server needs no password.".to_owned(),
            |s| {
                format!(
                    "Set {}, stored encrypted. Leave empty to keep it. If you change the server, port or encryption, enter it again.",
                    words::exact(s.updated_at, &TimeZone::UTC)
                )
            },
        ),
        sender: server.map(|s| s.sender.clone()).unwrap_or_default(),
        to: own_email.to_owned(),
        errors: Errors::default(),
    }
}

fn row(delivery: Delivery, now: Millis) -> Row {
    let tries = if delivery.attempts > 1 { format!("{} attempts", delivery.attempts) } else { String::new() };
    let (status, error) = match delivery.state.as_str() {
        "sent" => (Status::new("good", false, "Sent", tries), String::new()),
        "failed" if delivery.is_test != 0 => (Status::new("bad", false, "Not delivered", ""), delivery.error.unwrap_or_default()),
        "failed" => (Status::new("bad", false, "Failed", tries), delivery.error.unwrap_or_default()),
        _ if delivery.error.is_some() => {
            let again = format!("next attempt {}", words::relative(delivery.next_try_at, now));
            (Status::new("warn", true, "Waiting", again), delivery.error.unwrap_or_default())
        }
        _ => (Status::new("info", true, "Sending", ""), String::new()),
    };
    Row {
        made: When::ago(delivery.created_at, now, &TimeZone::UTC),
        to: delivery.to_whom,
        channel: if delivery.channel == "mail" { "Email" } else { "Webhook" },
        subject: if delivery.notices > 1 { format!("{} ({} notifications)", delivery.subject, delivery.notices) } else { delivery.subject },
        status,
        error,
    }
}

/// `POST /settings/notifications/mail`
pub async fn set_mail(State(web): State<Web>, from: ClientAddress, Admin(person): Admin, headers: HeaderMap, Form(fields): Form<MailFields>) -> Answer {
    let MailFields { host, port, encryption, username, password, sender } = fields;
    let given = Given { host, port, encryption, username, password, sender };
    match web.puller.notices.set_mail_server(&given).await {
        Ok(()) => {
            audit::note(&web.db, &web.clock, Deed::done(Some(person.by(from)), "mail_server.set", "mail")).await?;
            web.say_next(&person.session, "Mail server saved. Press Send a test to check it.").await;
            go_from_form(&headers, HERE)
        }
        Err(why) => {
            let mut page = page(&web, &person).await?;
            let form = &mut page.mail;
            if let Some(why) = form.errors.take(why) {
                return Err(why.into());
            }
            form.encryptions = encryptions(&given.encryption);
            (form.host, form.port, form.username, form.sender) = (given.host, given.port, given.username, given.sender);
            show_with(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
    }
}

/// `POST /settings/notifications/mail/test`
pub async fn test_mail(State(web): State<Web>, Admin(person): Admin, Form(fields): Form<TestFields>) -> Answer {
    match web.puller.notices.test_mail(&fields.to).await {
        Ok(()) => done(&web, &person, &format!("The mail server accepted the test email for {}.", fields.to.trim())).await,
        Err(why) => {
            let mut page = page(&web, &person).await?;
            page.mail.to = fields.to;
            untaken(why, &mut page.mail.errors, "to")?;
            show_with(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
    }
}

/// What a test came to is told beside its field.
fn untaken(why: Error, errors: &mut Errors, field: &str) -> Result<()> {
    match errors.take(why) {
        None => Ok(()),
        Some(why) if why.kind() == Kind::Unavailable => {
            errors.add(field, why.message());
            Ok(())
        }
        Some(why) => Err(why),
    }
}

/// `POST /settings/notifications/mail/remove`
pub async fn remove_mail(State(web): State<Web>, from: ClientAddress, Admin(person): Admin) -> Answer {
    web.puller.notices.remove_mail_server().await?;
    audit::note(&web.db, &web.clock, Deed::done(Some(person.by(from)), "mail_server.remove", "mail")).await?;
    done(&web, &person, "Mail server deleted. No emails are sent.").await
}

/// `POST /settings/notifications/webhooks`: the answer shows the secret, which is kept nowhere that anybody could read.
pub async fn add_webhook(State(web): State<Web>, from: ClientAddress, Admin(person): Admin, Form(fields): Form<HookFields>) -> Answer {
    match web.puller.notices.add_webhook(&fields.name, fields.address.reveal()).await {
        Ok((webhook, secret)) => {
            audit::note(&web.db, &web.clock, Deed::done(Some(person.by(from)), "webhook.create", webhook.id.as_str())).await?;
            let mut page = page(&web, &person).await?;
            page.once = Some(Once { name: webhook.name, secret: secret.reveal().to_owned() });
            show(&page)
        }
        Err(why) => {
            let mut page = page(&web, &person).await?;
            if let Some(why) = page.new.errors.take(why) {
                return Err(why.into());
            }
            page.new.name = fields.name;
            show_with(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
    }
}

/// `POST /settings/notifications/webhooks/{id}/test`
pub async fn test_webhook(State(web): State<Web>, Admin(person): Admin, Id(id): Id<WebhookId>) -> Answer {
    match web.puller.notices.test_webhook(&id).await {
        Ok(webhook) => done(&web, &person, &format!("“{}” accepted the test.", webhook.name)).await,
        Err(why) if why.kind() == Kind::Unavailable => {
            let mut page = page(&web, &person).await?;
            for hook in page.webhooks.iter_mut().filter(|hook| hook.id == id) {
                hook.problem = format!("The test was not delivered. {}", why.message());
            }
            show_with(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
        Err(why) => Err(why.into()),
    }
}

#[derive(Template)]
#[template(path = "pages/webhook_remove.html")]
struct RemovePage {
    chrome: Chrome,
    id: String,
    name: String,
    host: String,
    uses: String,
}

/// `GET /settings/notifications/webhooks/{id}/remove`
pub async fn ask_remove_webhook(State(web): State<Web>, Admin(person): Admin, Id(id): Id<WebhookId>) -> Answer {
    let webhook = web.puller.notices.webhook(&id).await?;
    let uses = match web.datasets.told_by_webhook(&id).await? {
        0 => "No DataSet uses this webhook.".to_owned(),
        1 => "1 DataSet uses this webhook and stops notifying it.".to_owned(),
        many => format!("{} DataSets use this webhook and stop notifying it.", words::grouped(many)),
    };
    let chrome = web.chrome(&person.actor, &person.session, "settings").await;
    show(&RemovePage { chrome, id: id.to_string(), name: webhook.name, host: webhook.host, uses })
}

/// `POST /settings/notifications/webhooks/{id}/remove`
pub async fn remove_webhook(State(web): State<Web>, from: ClientAddress, Admin(person): Admin, Id(id): Id<WebhookId>) -> Answer {
    let webhook = web.puller.notices.remove_webhook(&id).await?;
    audit::note(&web.db, &web.clock, Deed::done(Some(person.by(from)), "webhook.remove", id.as_str())).await?;
    done(&web, &person, &format!("Webhook “{}” deleted.", webhook.name)).await
}

async fn done(web: &Web, person: &Person, sentence: &str) -> Answer {
    web.say_next(&person.session, sentence).await;
    go(HERE)
}
