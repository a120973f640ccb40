//! Notifications by email and webhook, and the outbox that stores them.

mod email;
mod outbox;
mod reminders;
mod run_events;
mod settings_page;
mod webhooks;

use axum::http::HeaderMap;
use chatlake::actor::{Actor, Role};
use chatlake::datasets::policies::{NotificationKind, NotificationSettings};
use chatlake::ids::{AccountId, DatasetId};
use chatlake::sandbox::faults::{Fault, FaultKind};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::support::context::TestContext;
use crate::support::mail::WebhookListener;

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// The signature, computed as a receiver computes it.
fn signature(secret: &str, headers: &HeaderMap, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{}.{body}", header(headers, "x-chatlake-timestamp")).as_bytes());
    format!(
        "sha256={}",
        mac.finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    )
}

async fn failed_run(ctx: &TestContext, owner: &Actor, dataset: &DatasetId) {
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 400 })]);
    ctx.run(owner, dataset).await;
}

async fn good_run(ctx: &TestContext, owner: &Actor, dataset: &DatasetId) {
    ctx.sandbox.faults().clear();
    ctx.run(owner, dataset).await;
}

async fn add_webhook(ctx: &TestContext, listener: &WebhookListener) -> (String, String) {
    let (webhook, secret) = ctx
        .app
        .puller
        .notifications
        .add_webhook(
            "Team chat",
            &format!("{}/services/kanarie?token=kanarie", listener.address),
        )
        .await
        .unwrap();
    (webhook.id.to_string(), secret.reveal().to_owned())
}

async fn notify_webhook(ctx: &TestContext, owner: &Actor, dataset: &DatasetId, hook: &str) {
    let notify = NotificationSettings::new(
        Some(Vec::new()),
        vec![hook.to_owned()],
        NotificationKind::ALL.into(),
        1,
    )
    .unwrap();
    ctx.app
        .datasets
        .set_notifications(owner, dataset, &notify)
        .await
        .unwrap();
}

async fn owner_with_dataset(ctx: &TestContext) -> (Actor, AccountId, DatasetId) {
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx
        .dataset(&owner, &account, "agents", "Agents & groups")
        .await;
    (owner, account, dataset)
}
