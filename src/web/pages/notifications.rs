//! Settings, Notifications: the mail server, the webhooks and the latest deliveries. For admins.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use jiff::tz::TimeZone;
use serde::Deserialize;

use crate::auth::audit::{self, AuditEvent};
use crate::clock::Millis;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::WebhookId;
use crate::notifications::mail::{Encryption, MailServer, MailServerInput};
use crate::notifications::outbox::Delivery;
use crate::secret::Secret;
use crate::web::client_address::ClientAddress;
use crate::web::components::{Choice, Chrome, DisplayTime, Errors, Status};
use crate::web::forms::{FirstPathId, Form};
use crate::web::page::{PageResult, redirect, redirect_from_form, render, render_with_status};
use crate::web::person::{Admin, Person};
use crate::web::{Web, humanize};

const PATH: &str = "/settings/notifications";
/// The number of deliveries shown.
const MAX_DELIVERIES: i64 = 50;

#[derive(Template)]
#[template(path = "pages/notifications.html")]
struct NotificationsPage {
    chrome: Chrome,
    mail: MailForm,
    webhooks: Vec<WebhookRow>,
    new: NewWebhookForm,
    once: Option<NewWebhookSecret>,
    deliveries: Vec<DeliveryRow>,
}

struct MailForm {
    is_set: bool,
    host: String,
    port: String,
    encryptions: Vec<Choice>,
    username: String,
    password_help: String,
    sender: String,
    /// The default recipient of a test email.
    to: String,
    errors: Errors,
}

struct WebhookRow {
    id: WebhookId,
    name: String,
    host: String,
    made: DisplayTime,
    /// Why the latest test was not delivered.
    problem: String,
}

#[derive(Default)]
struct NewWebhookForm {
    name: String,
    errors: Errors,
}

/// The secret of a new webhook, shown once.
struct NewWebhookSecret {
    name: String,
    secret: String,
}

struct DeliveryRow {
    made: DisplayTime,
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

/// The fields of a new webhook. The URL may contain a secret.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct WebhookFields {
    name: String,
    address: Secret,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct TestFields {
    to: String,
}

/// `GET /settings/notifications`
pub async fn notifications(State(web): State<Web>, Admin(person): Admin) -> PageResult {
    render(&page(&web, &person).await?)
}

async fn page(web: &Web, person: &Person) -> Result<NotificationsPage> {
    let now = web.clock.now();
    let server = web.puller.notifications.mail_server().await?;
    let webhooks = web.puller.notifications.webhooks().await?.into_iter();
    Ok(NotificationsPage {
        chrome: web.chrome(&person.actor, &person.session, "settings").await,
        mail: mail_form(server.as_ref(), &person.actor.email),
        webhooks: webhooks
            .map(|hook| WebhookRow {
                made: DisplayTime::ago(hook.created_at, now, &TimeZone::UTC),
                id: hook.id,
                name: hook.name,
                host: hook.host,
                problem: String::new(),
            })
            .collect(),
        new: NewWebhookForm::default(),
        once: None,
        deliveries: web
            .puller
            .notifications
            .deliveries(MAX_DELIVERIES)
            .await?
            .into_iter()
            .map(|delivery| row(delivery, now))
            .collect(),
    })
}

fn encryptions(chosen: &str) -> Vec<Choice> {
    let label = |encryption| match encryption {
        Encryption::Tls => "TLS (usually port 465)",
        Encryption::StartTls => "STARTTLS, required (usually port 587)",
        Encryption::None => "None: email and password are sent without encryption",
    };
    Encryption::ALL
        .map(|e| Choice {
            value: e.word().to_owned(),
            label: label(e).to_owned(),
            selected: e.word() == chosen,
        })
        .into()
}

fn mail_form(server: Option<&MailServer>, own_email: &str) -> MailForm {
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
                    humanize::exact(s.updated_at, &TimeZone::UTC)
                )
            },
        ),
        sender: server.map(|s| s.sender.clone()).unwrap_or_default(),
        to: own_email.to_owned(),
        errors: Errors::default(),
    }
}

fn row(delivery: Delivery, now: Millis) -> DeliveryRow {
    let tries = if delivery.attempts > 1 {
        format!("{} attempts", delivery.attempts)
    } else {
        String::new()
    };
    let (status, error) = match delivery.state.as_str() {
        "sent" => (Status::new("good", false, "Sent", tries), String::new()),
        "failed" if delivery.is_test != 0 => (
            Status::new("bad", false, "Not delivered", ""),
            delivery.error.unwrap_or_default(),
        ),
        "failed" => (
            Status::new("bad", false, "Failed", tries),
            delivery.error.unwrap_or_default(),
        ),
        _ if delivery.error.is_some() => {
            let again = format!(
                "next attempt {}",
                humanize::relative(delivery.next_try_at, now)
            );
            (
                Status::new("warn", true, "Waiting", again),
                delivery.error.unwrap_or_default(),
            )
        }
        _ => (Status::new("info", true, "Sending", ""), String::new()),
    };
    DeliveryRow {
        made: DisplayTime::ago(delivery.created_at, now, &TimeZone::UTC),
        to: delivery.recipient,
        channel: if delivery.channel == "mail" {
            "Email"
        } else {
            "Webhook"
        },
        subject: if delivery.notification_count > 1 {
            format!(
                "{} ({} notifications)",
                delivery.subject, delivery.notification_count
            )
        } else {
            delivery.subject
        },
        status,
        error,
    }
}

/// `POST /settings/notifications/mail`
pub async fn set_mail(
    State(web): State<Web>,
    from: ClientAddress,
    Admin(person): Admin,
    headers: HeaderMap,
    Form(fields): Form<MailFields>,
) -> PageResult {
    let MailFields {
        host,
        port,
        encryption,
        username,
        password,
        sender,
    } = fields;
    let input = MailServerInput {
        host,
        port,
        encryption,
        username,
        password,
        sender,
    };
    match web.puller.notifications.set_mail_server(&input).await {
        Ok(()) => {
            audit::record_alone(
                &web.db,
                &web.clock,
                AuditEvent::done(Some(person.audit_actor(from)), "mail_server.set", "mail"),
            )
            .await?;
            web.flash(
                &person.session,
                "Mail server saved. Press Send a test to check it.",
            )
            .await;
            redirect_from_form(&headers, PATH)
        }
        Err(why) => {
            let mut page = page(&web, &person).await?;
            let form = &mut page.mail;
            if let Some(why) = form.errors.take(why) {
                return Err(why.into());
            }
            form.encryptions = encryptions(&input.encryption);
            (form.host, form.port, form.username, form.sender) =
                (input.host, input.port, input.username, input.sender);
            render_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
    }
}

/// `POST /settings/notifications/mail/test`
pub async fn test_mail(
    State(web): State<Web>,
    Admin(person): Admin,
    Form(fields): Form<TestFields>,
) -> PageResult {
    match web.puller.notifications.test_mail(&fields.to).await {
        Ok(()) => {
            done(
                &web,
                &person,
                &format!(
                    "The mail server accepted the test email for {}.",
                    fields.to.trim()
                ),
            )
            .await
        }
        Err(why) => {
            let mut page = page(&web, &person).await?;
            page.mail.to = fields.to;
            add_delivery_error(why, &mut page.mail.errors, "to")?;
            render_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
    }
}

/// Shows the result of a failed test next to its field.
fn add_delivery_error(why: Error, errors: &mut Errors, field: &str) -> Result<()> {
    match errors.take(why) {
        None => Ok(()),
        Some(why) if why.kind() == ErrorKind::Unavailable => {
            errors.add(field, why.message());
            Ok(())
        }
        Some(why) => Err(why),
    }
}

/// `POST /settings/notifications/mail/remove`
pub async fn remove_mail(
    State(web): State<Web>,
    from: ClientAddress,
    Admin(person): Admin,
) -> PageResult {
    web.puller.notifications.remove_mail_server().await?;
    audit::record_alone(
        &web.db,
        &web.clock,
        AuditEvent::done(Some(person.audit_actor(from)), "mail_server.remove", "mail"),
    )
    .await?;
    done(&web, &person, "Mail server deleted. No emails are sent.").await
}

/// `POST /settings/notifications/webhooks`: the response shows the secret, which is stored
/// encrypted and never shown again.
pub async fn add_webhook(
    State(web): State<Web>,
    from: ClientAddress,
    Admin(person): Admin,
    Form(fields): Form<WebhookFields>,
) -> PageResult {
    match web
        .puller
        .notifications
        .add_webhook(&fields.name, fields.address.reveal())
        .await
    {
        Ok((webhook, secret)) => {
            audit::record_alone(
                &web.db,
                &web.clock,
                AuditEvent::done(
                    Some(person.audit_actor(from)),
                    "webhook.create",
                    webhook.id.as_str(),
                ),
            )
            .await?;
            let mut page = page(&web, &person).await?;
            page.once = Some(NewWebhookSecret {
                name: webhook.name,
                secret: secret.reveal().to_owned(),
            });
            render(&page)
        }
        Err(why) => {
            let mut page = page(&web, &person).await?;
            if let Some(why) = page.new.errors.take(why) {
                return Err(why.into());
            }
            page.new.name = fields.name;
            render_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
    }
}

/// `POST /settings/notifications/webhooks/{id}/test`
pub async fn test_webhook(
    State(web): State<Web>,
    Admin(person): Admin,
    FirstPathId(id): FirstPathId<WebhookId>,
) -> PageResult {
    match web.puller.notifications.test_webhook(&id).await {
        Ok(webhook) => {
            done(
                &web,
                &person,
                &format!("“{}” accepted the test.", webhook.name),
            )
            .await
        }
        Err(why) if why.kind() == ErrorKind::Unavailable => {
            let mut page = page(&web, &person).await?;
            for hook in page.webhooks.iter_mut().filter(|hook| hook.id == id) {
                hook.problem = format!("The test was not delivered. {}", why.message());
            }
            render_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page)
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
pub async fn remove_webhook_form(
    State(web): State<Web>,
    Admin(person): Admin,
    FirstPathId(id): FirstPathId<WebhookId>,
) -> PageResult {
    let webhook = web.puller.notifications.webhook(&id).await?;
    let uses = match web.datasets.count_using_webhook(&id).await? {
        0 => "No DataSet uses this webhook.".to_owned(),
        1 => "1 DataSet uses this webhook and stops notifying it.".to_owned(),
        many => format!(
            "{} DataSets use this webhook and stop notifying it.",
            humanize::grouped(many)
        ),
    };
    let chrome = web.chrome(&person.actor, &person.session, "settings").await;
    render(&RemovePage {
        chrome,
        id: id.to_string(),
        name: webhook.name,
        host: webhook.host,
        uses,
    })
}

/// `POST /settings/notifications/webhooks/{id}/remove`
pub async fn remove_webhook(
    State(web): State<Web>,
    from: ClientAddress,
    Admin(person): Admin,
    FirstPathId(id): FirstPathId<WebhookId>,
) -> PageResult {
    let webhook = web.puller.notifications.remove_webhook(&id).await?;
    audit::record_alone(
        &web.db,
        &web.clock,
        AuditEvent::done(
            Some(person.audit_actor(from)),
            "webhook.remove",
            id.as_str(),
        ),
    )
    .await?;
    done(
        &web,
        &person,
        &format!("Webhook “{}” deleted.", webhook.name),
    )
    .await
}

async fn done(web: &Web, person: &Person, sentence: &str) -> PageResult {
    web.flash(&person.session, sentence).await;
    redirect(PATH)
}
