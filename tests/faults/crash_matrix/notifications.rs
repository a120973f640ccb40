//! A crash at a failpoint of the delivery of notifications.

use std::collections::BTreeSet;

use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::CrashMatrixFixture;
use super::NOTIFY;
use crate::support::mail::WebhookListener;
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_while_notifying_delivers_every_notification_at_least_once() {
    let (fixture, listener) = (
        CrashMatrixFixture::new("agents").await,
        WebhookListener::new().await,
    );
    let app = fixture.data_dir.command_app().await;
    let (hook, _) = app
        .puller
        .notifications
        .add_webhook("Team chat", &format!("{}/x", listener.address))
        .await
        .unwrap();
    app.stop().await;
    let server = fixture.data_dir.serve().await;
    fixture
        .call(
            &server,
            "PATCH",
            "/notifications",
            json!({"webhooks": [hook.id.as_str()], "emails": []}),
        )
        .await;
    server.stop().await;
    // Batched notifications are due, retries are due, and earlier notifications are old.
    let later = async || {
        fixture
            .do_sql(&[
                "UPDATE notifications SET created_at = 0 WHERE message_id IS NULL",
                "UPDATE messages SET next_try_at = 0 WHERE state = 'waiting'",
                "UPDATE messages SET created_at = created_at - 3600000",
            ])
            .await;
    };
    for (number, step) in NOTIFY.into_iter().enumerate() {
        let (state, kind) = if number % 2 == 0 {
            ("failed", "failure")
        } else {
            ("succeeded", "recovery")
        };
        match kind {
            "failure" => fixture.vendor.sandbox.faults().set(vec![
                Fault::new(FaultKind::Status { status: 400 }).on("/agents"),
            ]),
            _ => fixture.vendor.sandbox.faults().clear(),
        }
        let before = listener.all().len();
        let server = if matches!(step, "notify.written" | "end.done") {
            let server = fixture.dying(step).await;
            let (server, run) = fixture.die_during_run(server, step).await;
            assert_eq!(run["state"], state, "{step}: {run}");
            server
        } else {
            let server = fixture.data_dir.serve().await;
            let run = server.run(&fixture.dataset, &fixture.token).await;
            assert_eq!(
                server.over(&run, &fixture.token).await["state"],
                state,
                "{step}"
            );
            server.stop().await;
            later().await;
            // The server processes the outbox as soon as it starts.
            let server = fixture.data_dir.spawn_dying(step);
            until("the server dies", async || server.ended()).await;
            fixture.restart(step).await
        };
        server.stop().await;
        later().await;
        let server = fixture.data_dir.serve().await;
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(
            SqliteConnectOptions::new()
                .filename(fixture.data_dir.catalogue())
                .read_only(true),
        );
        let pool = pool.await.unwrap();
        until("everything is delivered", async || {
            let left = "SELECT (
                     SELECT COUNT(*)
                     FROM notifications
                     WHERE message_id IS NULL
                 ) + (SELECT COUNT(*) FROM messages WHERE state <> 'sent')";
            let left: i64 = sqlx::query_scalar(left).fetch_one(&pool).await.unwrap();
            (left == 0).then_some(())
        })
        .await;
        pool.close().await;
        let posts = listener.all().split_off(before);
        let ids: BTreeSet<String> = posts
            .iter()
            .map(|(headers, ..)| headers["x-chatlake-delivery"].to_str().unwrap().to_owned())
            .collect();
        assert_eq!(
            (ids.len(), posts.len()),
            (1, if step == "notify.delivered" { 2 } else { 1 }),
            "{step}: {posts:?}"
        );
        assert!(
            posts.iter().all(
                |(_, body, _)| body.contains(&format!("\"kind\":\"{kind}\""))
                    && *body == posts[0].1
            ),
            "{step}: {posts:?}"
        );
        fixture.check_verified(step).await;
        server.stop().await;
    }
}
