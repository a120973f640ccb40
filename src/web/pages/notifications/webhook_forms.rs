//! The forms of webhooks: add, test and delete.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;

use super::{done, page};
use crate::auth::audit::{self, AuditEvent};
use crate::error::ErrorKind;
use crate::ids::WebhookId;
use crate::secret::Secret;
use crate::web::client_address::ClientAddress;
use crate::web::components::{Chrome, DisplayTime, Errors};
use crate::web::forms::{FirstPathId, Form};
use crate::web::page::{PageResult, render, render_with_status};
use crate::web::person::Admin;
use crate::web::{Web, humanize};

pub(super) struct WebhookRow {
    pub(super) id: WebhookId,
    pub(super) name: String,
    pub(super) host: String,
    pub(super) made: DisplayTime,
    /// Why the latest test was not delivered.
    pub(super) problem: String,
}

#[derive(Default)]
pub(super) struct NewWebhookForm {
    pub(super) name: String,
    pub(super) errors: Errors,
}

/// The secret of a new webhook, shown once.
pub(super) struct NewWebhookSecret {
    pub(super) name: String,
    pub(super) secret: String,
}

/// The fields of a new webhook. The URL may contain a secret.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct WebhookFields {
    name: String,
    address: Secret,
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
struct WebhookRemovePage {
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
    render(&WebhookRemovePage {
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
