//! The page on which an admin sets up the mail server and webhooks.

use axum::http::StatusCode;
use chatlake::actor::Role;
use chatlake::datasets::policies::{NotificationKind, NotificationSettings};

use super::header;
use super::signature;
use crate::support::context::TestContext;
use crate::support::mail::{MailServer, WebhookAnswer, WebhookListener};

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_sets_up_notifications_on_the_page_and_sees_no_secret_twice() {
    let (ctx, listener, server) = (
        TestContext::new().await,
        WebhookListener::new().await,
        MailServer::new(&[]).await,
    );
    let (admin, mut browser) = ctx.signed_in_person("ada", Role::Admin).await;
    let port = server.port.to_string();
    let odd = browser
        .post(
            "/settings/notifications/mail",
            &[
                ("host", "not a host"),
                ("port", "0"),
                ("encryption", "x"),
                ("sender", "nobody"),
            ],
        )
        .await;
    assert_eq!(odd.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        ["host", "port", "encryption", "sender"]
            .iter()
            .all(|field| !odd.wrong(field).is_empty()),
        "{}",
        odd.text
    );
    let good = [
        ("host", "127.0.0.1"),
        ("port", port.as_str()),
        ("encryption", "none"),
        ("sender", "chatlake@house.test"),
    ];
    assert!(
        browser
            .submit("/settings/notifications/mail", &good)
            .await
            .toast()
            .starts_with("Mail server saved.")
    );
    let tested = browser
        .submit("/settings/notifications/mail/test", &[("to", &admin.email)])
        .await;
    assert_eq!(
        tested.toast(),
        "The mail server accepted the test email for ada@house.test."
    );
    assert_eq!(server.count(1).await[0]["to"][0], "ada@house.test");
    // The error about a server that does not answer is next to the server.
    drop(server);
    let refused = browser
        .post("/settings/notifications/mail/test", &[("to", &admin.email)])
        .await;
    assert!(
        refused.status == StatusCode::UNPROCESSABLE_ENTITY
            && refused
                .wrong("host")
                .starts_with("Could not connect to the mail server"),
        "{}",
        refused.wrong("host")
    );

    let private = browser
        .post(
            "/settings/notifications/webhooks",
            &[
                ("name", "Team chat"),
                ("address", "https://10.1.2.3/kanarie"),
            ],
        )
        .await;
    assert!(
        private.wrong("address").contains("not a public address")
            && !private.text.contains("kanarie"),
        "{}",
        private.wrong("address")
    );
    let address = format!("{}/services/kanarie", listener.address);
    let made = browser
        .post(
            "/settings/notifications/webhooks",
            &[("name", "Team chat"), ("address", &address)],
        )
        .await;
    let secret = made.words("#webhook-secret");
    assert!(
        secret.starts_with("whsec_") && !made.text.contains("kanarie"),
        "{}",
        made.text
    );
    let page = browser.get("/settings/notifications").await;
    assert!(
        !page.text.contains(&secret) && page.text.contains(&listener.address),
        "{}",
        page.text
    );
    let test = page
        .attribute("form[action$='/test'][action*='hook_']", "action")
        .unwrap();
    assert_eq!(
        browser.submit(&test, &[]).await.toast(),
        "“Team chat” accepted the test."
    );
    let (headers, body, _) = listener.count(1).await.remove(0);
    assert_eq!(
        header(&headers, "x-chatlake-signature"),
        signature(&secret, &headers, &body)
    );
    listener.answer(WebhookAnswer::With(410));
    // The error of a test that fails stays on the page.
    let failed = browser.post(&test, &[]).await;
    assert_eq!(failed.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        failed.words("table .wrong"),
        "The test was not delivered. The webhook returned status 410."
    );

    // A DataSet offers the existing webhooks.
    let account = ctx.account(&admin, "Support").await.id;
    let dataset = ctx.dataset(&admin, &account, "agents", "Agents").await;
    let (settings, notify) = (
        format!("/datasets/{dataset}/settings"),
        format!("/datasets/{dataset}/notifications"),
    );
    let page = browser.get(&settings).await;
    let hook = page.attribute("input[name=webhook]", "value").unwrap();
    let odd = [
        ("to", "these"),
        ("emails", "a@b.test, nobody"),
        ("webhook", &hook),
        ("on", "late"),
        ("after", "x"),
    ];
    let wrong = browser.post(&notify, &odd).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        wrong.wrong("emails").contains("“nobody”")
            && !wrong.wrong("after").is_empty()
            && wrong.text.contains("a@b.test, nobody"),
        "{}",
        wrong.text
    );
    let good = [
        ("to", "these"),
        ("emails", "a@b.test\r\nc@d.test"),
        ("webhook", &hook),
        ("on", "late"),
        ("on", "failure"),
        ("after", "2"),
    ];
    assert!(
        browser
            .submit(&notify, &good)
            .await
            .toast()
            .starts_with("Notifications saved.")
    );
    let kept = ctx
        .app
        .datasets
        .for_run(&dataset)
        .await
        .unwrap()
        .policies
        .notification_settings();
    let emails = vec!["a@b.test".to_owned(), "c@d.test".to_owned()];
    assert_eq!(
        kept,
        NotificationSettings {
            emails: Some(emails),
            webhooks: vec![hook],
            on: vec![NotificationKind::Failure, NotificationKind::Late],
            after: 2
        }
    );
    let twice = browser
        .post(
            "/settings/notifications/webhooks",
            &[("name", "Team chat"), ("address", &address)],
        )
        .await;
    assert!(
        twice.status == StatusCode::UNPROCESSABLE_ENTITY
            && twice.wrong("name").contains("has this name"),
        "{}",
        twice.wrong("name")
    );
    let remove = test.replace("/test", "/remove");
    let ask = browser.get(&remove).await;
    assert!(
        ask.text.contains("1 DataSet uses this webhook")
            && ask.text.contains("Delete the webhook “Team chat”?"),
        "{}",
        ask.text
    );
    assert!(
        browser
            .submit(&remove, &[])
            .await
            .toast()
            .contains("deleted")
    );
    assert!(!browser.get(&settings).await.has("input[name=webhook]"));
}
