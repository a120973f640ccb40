//! Notifications by webhook: signatures, retries, and receivers that never answer.

use chatlake::datasets::policies::{NotificationKind, NotificationSettings};
use chatlake::notifications::outbox::{BATCH_WINDOW, GIVE_UP_AFTER};
use serde_json::Value;

use super::add_webhook;
use super::failed_run;
use super::header;
use super::notify_webhook;
use super::owner_with_dataset;
use super::signature;
use crate::support::context::TestContext;
use crate::support::mail::{MailServer, WebhookAnswer, WebhookListener};
use crate::support::{HOUR, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_and_retried_with_the_same_id_until_it_is_accepted() {
    let (ctx, listener) = (
        TestContext::stopped_with_workers().await,
        WebhookListener::new().await,
    );
    let (owner, _, dataset) = owner_with_dataset(&ctx).await;
    let (id, secret) = add_webhook(&ctx, &listener).await;
    notify_webhook(&ctx, &owner, &dataset, &id).await;
    listener.answer(WebhookAnswer::With(500));
    failed_run(&ctx, &owner, &dataset).await;
    ctx.clock.advance(BATCH_WINDOW);
    listener.count(1).await;
    let error = async || {
        ctx.app
            .puller
            .notifications
            .deliveries(1)
            .await
            .unwrap()
            .remove(0)
            .error
    };
    assert_eq!(
        until("it is noted", error).await,
        "The webhook returned status 500."
    );
    listener.answer(WebhookAnswer::Elsewhere);
    ctx.clock.advance(60_000);
    listener.count(2).await;
    until("it is noted", async || {
        error()
            .await
            .filter(|why| why.starts_with("The webhook returned a redirect (status 302)"))
    })
    .await;
    listener.answer(WebhookAnswer::With(204));
    ctx.clock.advance(120_000);
    let received_mails = listener.count(3).await;
    until("it is sent", async || {
        (ctx.app.puller.notifications.deliveries(1).await.unwrap()[0].state == "sent").then_some(())
    })
    .await;
    assert!(
        received_mails
            .iter()
            .all(|(_, _, uri)| uri == "/services/kanarie?token=kanarie"),
        "no redirect is followed: {received_mails:?}"
    );
    let ids: Vec<&str> = received_mails
        .iter()
        .map(|(headers, ..)| header(headers, "x-chatlake-delivery"))
        .collect();
    assert!(
        ids[0].starts_with("msg_") && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
    for (headers, body, _) in &received_mails {
        assert_eq!(
            header(headers, "x-chatlake-signature"),
            signature(&secret, headers, body)
        );
    }
    let body: Value = serde_json::from_str(&received_mails[0].1).unwrap();
    assert_eq!(
        (
            body["id"].as_str(),
            body["notices"][0]["kind"].as_str(),
            body["notices"][0]["code"].as_str()
        ),
        (Some(ids[0]), Some("failure"), Some("refused"))
    );
    assert_eq!(
        body["notices"][0]["link"],
        format!("http://127.0.0.1:8080/datasets/{dataset}")
    );
    assert!(
        body["text"]
            .as_str()
            .unwrap()
            .starts_with("“Agents &amp; groups” failed."),
        "{body}"
    );
    assert!(
        !String::from_utf8_lossy(&ctx.on_disk()).contains("kanarie"),
        "neither the address nor an answer is on the disk"
    );
    assert!(!String::from_utf8_lossy(&ctx.on_disk()).contains(&secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_webhook_delays_no_other_and_is_given_up_after_a_day_and_shown() {
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
    let notify =
        NotificationSettings::new(None, vec![id], NotificationKind::ALL.into(), 1).unwrap();
    ctx.app
        .datasets
        .set_notifications(&owner, &dataset, &notify)
        .await
        .unwrap();
    listener.answer(WebhookAnswer::Never);
    failed_run(&ctx, &owner, &dataset).await;
    ctx.clock.advance(BATCH_WINDOW);
    listener.count(1).await;
    server.count(1).await;
    // Events in the meantime are sent by email while the webhook is still pending.
    let other = ctx.dataset(&owner, &account, "agents", "Other").await;
    failed_run(&ctx, &owner, &other).await;
    ctx.clock.advance(BATCH_WINDOW);
    server.count(2).await;
    let stalls = ctx
        .app
        .puller
        .notifications
        .deliveries(10)
        .await
        .unwrap()
        .into_iter()
        .find(|delivery| delivery.channel == "webhook")
        .unwrap();
    assert_eq!(
        (stalls.state.as_str(), stalls.error),
        ("waiting", None),
        "it has not ended"
    );
    let state = async |wanted: &str| {
        let all = ctx.app.puller.notifications.deliveries(10).await.unwrap();
        all.into_iter().find(|delivery| {
            delivery.channel == "webhook" && delivery.state == wanted && delivery.error.is_some()
        })
    };
    let waiting = until("patience ends", async || state("waiting").await).await;
    assert_eq!(
        waiting.error.as_deref(),
        Some("The webhook did not answer within 15 seconds.")
    );
    listener.answer(WebhookAnswer::With(503));
    let mut tries = 1;
    while state("failed").await.is_none() {
        ctx.clock.advance(HOUR);
        tries += 1;
        listener.count(tries).await;
        until("the try is noted", async || {
            let all = ctx.app.puller.notifications.deliveries(10).await.unwrap();
            all.into_iter()
                .find(|d| {
                    d.channel == "webhook"
                        && d.attempts == i64::try_from(tries).unwrap()
                        && d.error.as_deref() == Some("The webhook returned status 503.")
                })
                .map(drop)
        })
        .await;
        assert!(tries < 30, "never given up");
    }
    let given_up = state("failed").await.unwrap();
    assert!(
        given_up.ended_at.unwrap() - given_up.created_at <= GIVE_UP_AFTER,
        "{given_up:?}"
    );
    let mut browser = ctx.signed_in(&owner).await;
    let page = browser.get("/settings/notifications").await;
    let row = page
        .all(".deliveries tbody tr")
        .into_iter()
        .find(|row| row.contains("Team chat"))
        .unwrap();
    assert!(
        row.contains("Failed") && row.contains("The webhook returned status 503."),
        "{row}"
    );
}
