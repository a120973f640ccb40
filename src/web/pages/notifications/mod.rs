//! Settings, Notifications: the mail server, the webhooks and the latest deliveries. For admins.

mod delivery_rows;
mod mail_server_form;
mod webhook_forms;

pub use mail_server_form::{remove_mail, remove_mail_form, set_mail, test_mail};
pub use webhook_forms::{add_webhook, remove_webhook, remove_webhook_form, test_webhook};

use askama::Template;
use axum::extract::State;
use jiff::tz::TimeZone;

use crate::error::Result;
use crate::web::Web;
use crate::web::components::{Chrome, DisplayTime};
use crate::web::page::{PageResult, redirect, render};
use crate::web::person::{Admin, Person};
use delivery_rows::{DeliveryRow, delivery_row};
use mail_server_form::{MailForm, mail_form};
use webhook_forms::{NewWebhookForm, NewWebhookSecret, WebhookRow};

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
            .map(|delivery| delivery_row(delivery, now))
            .collect(),
    })
}

async fn done(web: &Web, person: &Person, sentence: &str) -> PageResult {
    web.flash(&person.session, sentence).await;
    redirect(PATH)
}
