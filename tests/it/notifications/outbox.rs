//! The outbox delivers every notification, also after a crash, and sends none twice.

use chatlake::notifications::outbox::BATCH_WINDOW;
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::Value;

use super::add_webhook;
use super::failed_run;
use super::header;
use super::notify_webhook;
use super::owner_with_dataset;
use crate::support::context::TestContext;
use crate::support::data_dir::DataDir;
use crate::support::mail::{MailServer, WebhookAnswer, WebhookListener};
use crate::support::sandbox::LocalSandbox;
use crate::support::server::Server;
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_becomes_due_during_an_attempt_is_not_sent_twice() {
    let (ctx, listener, server) = (
        TestContext::stopped_with_workers().await,
        WebhookListener::new().await,
        MailServer::new(&[]).await,
    );
    let (owner, account, dataset) = owner_with_dataset(&ctx).await;
    ctx.app
        .puller
        .notifications
        .set_mail_server(&server.mail_settings("none", None))
        .await
        .unwrap();
    let (id, _) = add_webhook(&ctx, &listener).await;
    notify_webhook(&ctx, &owner, &dataset, &id).await;
    listener.answer(WebhookAnswer::Never);
    failed_run(&ctx, &owner, &dataset).await;
    ctx.clock.advance(BATCH_WINDOW);
    listener.count(1).await;
    // The next attempt is due a minute after the start of the first one.
    ctx.clock.advance(60_000);
    let other = ctx.dataset(&owner, &account, "agents", "Other").await;
    failed_run(&ctx, &owner, &other).await;
    ctx.clock.advance(BATCH_WINDOW);
    // The email was sent after the outbox was processed again.
    server.count(1).await;
    assert_eq!(listener.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_neither_notifications_nor_retries() {
    let (data_dir, vendor, listener) = (
        DataDir::new(),
        LocalSandbox::new(20).await,
        WebhookListener::new().await,
    );
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let dataset = data_dir.dataset(&email, &account, "agents").await;
    let app = data_dir.command_app().await;
    let (hook, _) = app
        .puller
        .notifications
        .add_webhook("Team chat", &format!("{}/x", listener.address))
        .await
        .unwrap();
    app.stop().await;
    let server = data_dir.serve().await;
    let chosen = serde_json::json!({"webhooks": [hook.id.as_str()], "emails": []});
    assert_eq!(
        server
            .send(
                "PATCH",
                &format!("/api/v1/datasets/{dataset}/notifications"),
                &token,
                Some(chosen)
            )
            .await
            .status(),
        200
    );
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Shape {
            body: "nonsense".to_owned(),
        })
        .on("/agents"),
    ]);
    let failed = server
        .over(&server.run(&dataset, &token).await, &token)
        .await;
    // As soon as the failure is visible, notification and retry are stored.
    server.kill();
    assert_eq!(failed["error"]["code"], "malformed", "{failed}");
    assert!(listener.all().is_empty());
    let due = async |server: &Server| {
        server.get(&format!("/datasets/{dataset}"), &token).await.1["retry_at"].clone()
    };

    // Killed again during a delivery: it is delivered again, with the same id.
    listener.answer(WebhookAnswer::Never);
    let server = data_dir.serve().await;
    let retry_at = due(&server).await;
    assert!(retry_at.is_string(), "{retry_at}");
    let first = listener.count(1).await.remove(0);
    server.kill();
    listener.answer(WebhookAnswer::With(200));
    let mut catalogue =
        sqlx::SqlitePool::connect(&format!("sqlite://{}", data_dir.catalogue().display()))
            .await
            .unwrap()
            .acquire()
            .await
            .unwrap()
            .detach();
    sqlx::query("UPDATE messages SET next_try_at = 0")
        .execute(&mut catalogue)
        .await
        .unwrap();
    sqlx::query("UPDATE datasets SET retry_at = 1")
        .execute(&mut catalogue)
        .await
        .unwrap();
    sqlx::Connection::close(catalogue).await.unwrap();
    vendor.sandbox.faults().clear();
    let server = data_dir.serve().await;
    let second = listener.count(2).await.remove(1);
    assert_eq!(
        (header(&first.0, "x-chatlake-delivery"), &first.1),
        (header(&second.0, "x-chatlake-delivery"), &second.1)
    );
    // The retry is a separate run, and there is only one.
    let runs = until("the retry", async || {
        let (_, runs) = server
            .get(&format!("/datasets/{dataset}/runs"), &token)
            .await;
        (runs["items"].as_array()?.len() == 2 && runs["items"][0]["state"] == "succeeded")
            .then_some(runs)
    })
    .await;
    assert_eq!(
        (runs["items"][0]["trigger"].as_str(), due(&server).await),
        (Some("retry"), Value::Null),
        "{runs}"
    );
    // The recovery is notified.
    let third = listener.count(3).await.remove(2);
    assert!(third.1.contains("\"kind\":\"recovery\""), "{}", third.1);
    server.stop().await;
}
