//! The form of the mail server: save, test and delete.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::{PATH, done, page};
use crate::auth::audit::{self, AuditEvent};
use crate::error::{Error, ErrorKind, Result};
use crate::notifications::mail::{Encryption, MailServer, MailServerInput};
use crate::secret::Secret;
use crate::web::client_address::ClientAddress;
use crate::web::components::{Choice, Errors};
use crate::web::forms::Form;
use crate::web::page::{PageResult, redirect_from_form, render, render_with_status};
use crate::web::pages::confirm::ConfirmPage;
use crate::web::person::Admin;
use crate::web::{Web, humanize};

pub(super) struct MailForm {
    pub(super) is_set: bool,
    pub(super) host: String,
    pub(super) port: String,
    pub(super) encryptions: Vec<Choice>,
    pub(super) username: String,
    pub(super) password_help: String,
    pub(super) sender: String,
    /// The default recipient of a test email.
    pub(super) to: String,
    pub(super) errors: Errors,
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

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct TestFields {
    to: String,
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

pub(super) fn mail_form(server: Option<&MailServer>, own_email: &str) -> MailForm {
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
                    "Set {}, stored encrypted. Leave empty to keep it. \
                     If you change the server, port or encryption, enter it again.",
                    humanize::exact_minute(s.updated_at, &TimeZone::UTC)
                )
            },
        ),
        sender: server.map(|s| s.sender.clone()).unwrap_or_default(),
        to: own_email.to_owned(),
        errors: Errors::default(),
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
            add_delivery_error(why, &mut page.mail.errors)?;
            render_with_status(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
    }
}

/// Shows why a test failed: next to its field, or next to the server.
fn add_delivery_error(why: Error, errors: &mut Errors) -> Result<()> {
    match errors.take(why) {
        None => Ok(()),
        Some(why) if why.kind() == ErrorKind::Unavailable => {
            errors.add("host", why.message());
            Ok(())
        }
        Some(why) => Err(why),
    }
}

/// `GET /settings/notifications/mail/remove`
pub async fn remove_mail_form(State(web): State<Web>, Admin(person): Admin) -> PageResult {
    render(&ConfirmPage {
        chrome: web.chrome(&person.actor, &person.session, "settings").await,
        question: "Delete the mail server?".to_owned(),
        ends: "Chatlake sends no emails until you set up a mail server again.".to_owned(),
        stays: "Its password is deleted. Webhooks continue to work.".to_owned(),
        action: format!("{PATH}/mail/remove"),
        button: "Delete mail server".to_owned(),
        back: PATH,
    })
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
