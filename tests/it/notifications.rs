//! Who is told: mail to a real mail server, webhooks to a listener that fails, stalls and leads
//! elsewhere, and an outbox that loses nothing when the server is killed.

use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use chatlake::actor::{Actor, Role};
use chatlake::clock::Clock;
use chatlake::config::Config;
use chatlake::datasets::policies::{NotificationKind, NotificationSettings};
use chatlake::ids::{AccountId, DatasetId};
use chatlake::notifications::outbox::{BATCH_WINDOW, GIVE_UP_AFTER, MAX_PER_HOUR};
use chatlake::sandbox::faults::{Fault, FaultKind};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::support::context::TestContext;
use crate::support::data_dir::DataDir;
use crate::support::mail::{MailServer, WebhookAnswer, WebhookListener};
use crate::support::sandbox::LocalSandbox;
use crate::support::server::Server;
use crate::support::tls_vendor::certificate;
use crate::support::{HOUR, until};

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// The signature, made as a receiver makes it.
fn signature(secret: &str, headers: &HeaderMap, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{}.{body}", text(headers, "x-chatlake-timestamp")).as_bytes());
    format!(
        "sha256={}",
        mac.finalize()
            .into_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    )
}

async fn fails(ctx: &TestContext, owner: &Actor, dataset: &DatasetId) {
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 400 })]);
    ctx.run(owner, dataset).await;
}

async fn works(ctx: &TestContext, owner: &Actor, dataset: &DatasetId) {
    ctx.sandbox.faults().clear();
    ctx.run(owner, dataset).await;
}

async fn hook(ctx: &TestContext, listener: &WebhookListener) -> (String, String) {
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

async fn to_hook(ctx: &TestContext, owner: &Actor, dataset: &DatasetId, hook: &str) {
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

async fn one(ctx: &TestContext) -> (Actor, AccountId, DatasetId) {
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx
        .dataset(&owner, &account, "agents", "Agents & groups")
        .await;
    (owner, account, dataset)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_gets_mail_about_a_failure_and_the_recovery() {
    let (ctx, server) = (
        TestContext::stopped_with_workers().await,
        MailServer::new(&["--login", "ann:kanarie-4711"]).await,
    );
    let (owner, _, dataset) = one(&ctx).await;
    fails(&ctx, &owner, &dataset).await;
    works(&ctx, &owner, &dataset).await;
    ctx.clock.advance(BATCH_WINDOW);
    ctx.app
        .puller
        .notifications
        .set_mail_server(&server.mail_settings("none", Some(("ann", "kanarie-4711"))))
        .await
        .unwrap();
    fails(&ctx, &owner, &dataset).await;
    ctx.clock.advance(BATCH_WINDOW);
    let mail = server.count(1).await.remove(0);
    assert_eq!(
        (
            mail["to"][0].as_str(),
            mail["from"].as_str(),
            mail["login"].as_str()
        ),
        (
            Some("olga@house.test"),
            Some("chatlake@house.test"),
            Some("ann")
        ),
        "{mail}"
    );
    assert_eq!(
        (mail["subject"].as_str(), mail["auto"].as_str()),
        (Some("“Agents & groups” failed"), Some("auto-generated")),
        "{mail}"
    );
    let said = mail["text"].as_str().unwrap();
    for part in [
        "What happened: LiveChat refused the request (status 400)",
        "Who can fix it: The owner of the DataSet",
        "What happens next: Change the settings",
        &format!("http://127.0.0.1:8080/datasets/{dataset}"),
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(
        mail["id"].as_str().unwrap().starts_with("<msg_")
            && mail["id"].as_str().unwrap().ends_with("@house.test>"),
        "{mail}"
    );
    // A second failure in a row is nothing new.
    fails(&ctx, &owner, &dataset).await;
    ctx.clock.advance(BATCH_WINDOW);
    works(&ctx, &owner, &dataset).await;
    ctx.clock.advance(BATCH_WINDOW);
    let mails = server.count(2).await;
    assert_eq!(mails[1]["subject"], "“Agents & groups” is up to date again");
    assert!(
        mails[1]["text"]
            .as_str()
            .unwrap()
            .contains("after 2 failed runs"),
        "{}",
        mails[1]
    );
    // What works on is not told, and what was before there was a mail server is not told either.
    works(&ctx, &owner, &dataset).await;
    ctx.clock.advance(BATCH_WINDOW);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.all().len(), 2);
    assert!(
        !String::from_utf8_lossy(&ctx.on_disk()).contains("kanarie-4711"),
        "the password is sealed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_is_greeted_with_the_host_of_the_public_address_or_the_name_that_is_set() {
    let server = MailServer::new(&["--wants-full-name"]).await;
    let clock = || Clock::system();
    let at =
        |url: &'static str| move |config: &mut Config| config.public_url = url.parse().unwrap();
    let named = |name: &'static str| {
        move |config: &mut Config| config.mail_hello = Some(url::Host::parse(name).unwrap())
    };
    for (ctx, hello) in [
        (
            TestContext::with(clock(), at("https://chatlake.example.com")).await,
            Some("chatlake.example.com"),
        ),
        (
            TestContext::with(clock(), named("mail.example.org")).await,
            Some("mail.example.org"),
        ),
        (
            TestContext::with(clock(), at("http://127.0.0.1:8080")).await,
            None,
        ),
    ] {
        let notifications = &ctx.app.puller.notifications;
        notifications
            .set_mail_server(&server.mail_settings("none", None))
            .await
            .unwrap();
        let before = server.all().len();
        let sent = notifications.test_mail("olga@house.test").await;
        match hello {
            Some(hello) => {
                sent.unwrap();
                assert_eq!(server.count(before + 1).await[before]["hello"], hello);
            }
            // The address of a server without a name is no full name.
            None => {
                sent.unwrap_err();
                assert_eq!(server.all().len(), before);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_trouble_of_fifty_datasets_is_one_mail_and_nobody_gets_more_than_a_few_an_hour() {
    let (ctx, server) = (
        TestContext::stopped_with_workers().await,
        MailServer::new(&[]).await,
    );
    ctx.app
        .puller
        .notifications
        .set_mail_server(&server.mail_settings("none", None))
        .await
        .unwrap();
    let (owner, account, dataset) = one(&ctx).await;
    let mut all = vec![dataset.clone()];
    for number in 1..50 {
        all.push(
            ctx.dataset(&owner, &account, "agents", &format!("D{number}"))
                .await,
        );
    }
    for dataset in &all {
        fails(&ctx, &owner, dataset).await;
    }
    ctx.clock.advance(BATCH_WINDOW);
    let mail = server.count(1).await.remove(0);
    assert_eq!(mail["subject"], "50 DataSets of “Support” failed");
    let said = mail["text"].as_str().unwrap();
    assert!(
        said.matches("What happened").count() == 1
            && said.contains("and 30 more: http://127.0.0.1:8080/datasets?quick=attention"),
        "{said}"
    );
    // It comes and goes: the sixth mail within the hour is the last, and what comes after is one
    // mail.
    for round in 1..8 {
        works(&ctx, &owner, &dataset).await;
        fails(&ctx, &owner, &dataset).await;
        ctx.clock.advance(BATCH_WINDOW);
        let wanted = usize::try_from(MAX_PER_HOUR).unwrap().min(round + 1);
        server.count(wanted).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.all().len(), usize::try_from(MAX_PER_HOUR).unwrap());
    ctx.clock.advance(HOUR);
    let last = server.count(7).await.remove(6);
    assert_eq!(
        last["subject"], "“Agents & groups” is up to date again, and 1 more",
        "{last}"
    );
    let kept: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM notifications WHERE message_id IS NULL")
            .fetch_one(ctx.app.db.read())
            .await
            .unwrap();
    assert_eq!(kept, 0, "nothing is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_does_not_go_readable_unless_that_was_chosen_and_a_password_only_where_it_was_entered_for()
 {
    let (ctx, server, other) = (
        TestContext::new().await,
        MailServer::new(&["--login", "ann:kanarie-4711"]).await,
        MailServer::new(&[]).await,
    );
    let notifications = &ctx.app.puller.notifications;
    for encryption in ["tls", "starttls"] {
        notifications
            .set_mail_server(&server.mail_settings(encryption, Some(("ann", "kanarie-4711"))))
            .await
            .unwrap();
        let refused = notifications
            .test_mail("olga@house.test")
            .await
            .unwrap_err();
        assert_eq!(refused.code(), "not_delivered", "{refused}");
        assert!(!refused.message().contains("kanarie"), "{refused}");
    }
    assert!(server.all().is_empty());
    notifications
        .set_mail_server(&server.mail_settings("none", Some(("ann", "wrong kanarie"))))
        .await
        .unwrap();
    let refused = notifications
        .test_mail("olga@house.test")
        .await
        .unwrap_err();
    assert!(!refused.message().contains("wrong kanarie"), "{refused}");
    // An empty password keeps the one that is stored; another server or port needs it again.
    notifications
        .set_mail_server(&server.mail_settings("none", Some(("ann", "kanarie-4711"))))
        .await
        .unwrap();
    notifications
        .set_mail_server(&server.mail_settings("none", Some(("ann", ""))))
        .await
        .unwrap();
    notifications.test_mail("olga@house.test").await.unwrap();
    assert_eq!(
        server.count(1).await[0]["subject"],
        "Chatlake test notification"
    );
    for moved in [
        other.mail_settings("none", Some(("ann", ""))),
        server.mail_settings("starttls", Some(("ann", ""))),
        server.mail_settings("tls", Some(("ann", ""))),
    ] {
        let refused = notifications.set_mail_server(&moved).await.unwrap_err();
        assert!(
            refused.field_errors()[0].0 == "password" && refused.message().contains("again"),
            "{refused}"
        );
    }
    assert!(other.all().is_empty());
    // A row that was changed behind the program's back does not send the password in the clear
    // either.
    notifications
        .set_mail_server(&server.mail_settings("tls", Some(("ann", "kanarie-4711"))))
        .await
        .unwrap();
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE mail_server SET encryption = 'none'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let refused = notifications
        .test_mail("olga@house.test")
        .await
        .unwrap_err();
    assert!(
        refused
            .message()
            .contains("was entered for another mail server"),
        "{refused}"
    );
    assert_eq!(server.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_over_tls_to_a_server_whose_certificate_is_good() {
    let data_dir = DataDir::new();
    let email = data_dir.person("olga", "admin").await;
    let right = certificate("right.pem");
    let authority = certificate("authority.pem");
    for (option, encryption) in [("--tls", "tls"), ("--starttls", "starttls")] {
        let server = MailServer::new(&[option, right.to_str().unwrap()]).await;
        let app = data_dir.command_app().await;
        app.puller
            .notifications
            .set_mail_server(&server.mail_settings(encryption, None))
            .await
            .unwrap();
        app.stop().await;
        let account = data_dir
            .account(&email, "http://127.0.0.1:9", "sandbox-key")
            .await;
        let dataset = data_dir.dataset(&email, &account, "agents").await;
        let token = data_dir.token(&email, "manage").await;
        let serving = data_dir.spawn_in(
            &[("SSL_CERT_FILE", authority.to_str().unwrap())],
            &["--allow-mail-server", "127.0.0.1"],
        );
        serving.ready().await;
        // The account leads nowhere.
        serving
            .over(&serving.run(&dataset, &token).await, &token)
            .await;
        let mail = server.count(1).await.remove(0);
        assert_eq!(
            (mail["tls"].as_bool(), mail["subject"].as_str()),
            (Some(true), Some("“Mine” failed")),
            "{mail}"
        );
        serving.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_and_tried_again_with_the_same_id_until_it_is_taken() {
    let (ctx, listener) = (
        TestContext::stopped_with_workers().await,
        WebhookListener::new().await,
    );
    let (owner, _, dataset) = one(&ctx).await;
    let (id, secret) = hook(&ctx, &listener).await;
    to_hook(&ctx, &owner, &dataset, &id).await;
    listener.answer(WebhookAnswer::With(500));
    fails(&ctx, &owner, &dataset).await;
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
        .map(|(headers, ..)| text(headers, "x-chatlake-delivery"))
        .collect();
    assert!(
        ids[0].starts_with("msg_") && ids.iter().all(|id| *id == ids[0]),
        "{ids:?}"
    );
    for (headers, body, _) in &received_mails {
        assert_eq!(
            text(headers, "x-chatlake-signature"),
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
async fn a_delivery_that_becomes_due_during_an_attempt_is_not_sent_twice() {
    let (ctx, listener, server) = (
        TestContext::stopped_with_workers().await,
        WebhookListener::new().await,
        MailServer::new(&[]).await,
    );
    let (owner, account, dataset) = one(&ctx).await;
    ctx.app
        .puller
        .notifications
        .set_mail_server(&server.mail_settings("none", None))
        .await
        .unwrap();
    let (id, _) = hook(&ctx, &listener).await;
    to_hook(&ctx, &owner, &dataset, &id).await;
    listener.answer(WebhookAnswer::Never);
    fails(&ctx, &owner, &dataset).await;
    ctx.clock.advance(BATCH_WINDOW);
    listener.count(1).await;
    // The next try is due a minute after the first one began.
    ctx.clock.advance(60_000);
    let other = ctx.dataset(&owner, &account, "agents", "Other").await;
    fails(&ctx, &owner, &other).await;
    ctx.clock.advance(BATCH_WINDOW);
    // The mail was sent after the outbox was looked through again.
    server.count(1).await;
    assert_eq!(listener.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stalls_holds_up_nobody_and_what_is_not_taken_for_a_day_is_given_up_and_shown() {
    let (ctx, listener, server) = (
        TestContext::stopped_with_workers().await,
        WebhookListener::new().await,
        MailServer::new(&[]).await,
    );
    let (owner, account, dataset) = one(&ctx).await;
    ctx.app
        .puller
        .notifications
        .set_mail_server(&server.mail_settings("none", None))
        .await
        .unwrap();
    let (id, _) = hook(&ctx, &listener).await;
    let notify =
        NotificationSettings::new(None, vec![id], NotificationKind::ALL.into(), 1).unwrap();
    ctx.app
        .datasets
        .set_notifications(&owner, &dataset, &notify)
        .await
        .unwrap();
    listener.answer(WebhookAnswer::Never);
    fails(&ctx, &owner, &dataset).await;
    ctx.clock.advance(BATCH_WINDOW);
    listener.count(1).await;
    server.count(1).await;
    // What happens meanwhile is told by mail while the webhook is still waited for.
    let other = ctx.dataset(&owner, &account, "agents", "Other").await;
    fails(&ctx, &owner, &other).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_sets_it_up_on_the_page_and_sees_no_secret_twice() {
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
    // One that does not answer is told beside the field.
    drop(server);
    let refused = browser
        .post("/settings/notifications/mail/test", &[("to", &admin.email)])
        .await;
    assert!(
        refused.status == StatusCode::UNPROCESSABLE_ENTITY
            && refused
                .wrong("to")
                .starts_with("Could not connect to the mail server"),
        "{}",
        refused.wrong("to")
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
        text(&headers, "x-chatlake-signature"),
        signature(&secret, &headers, &body)
    );
    listener.answer(WebhookAnswer::With(410));
    // One that fails is told where it stays to be read.
    let failed = browser.post(&test, &[]).await;
    assert_eq!(failed.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        failed.words("table .wrong"),
        "The test was not delivered. The webhook returned status 410."
    );

    // A DataSet chooses among what there is.
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

#[tokio::test(flavor = "multi_thread")]
async fn lateness_stops_and_sunsets_are_notified_once_to_their_recipients() {
    let (ctx, server) = (
        TestContext::stopped_with_workers().await,
        MailServer::new(&[]).await,
    );
    ctx.app
        .puller
        .notifications
        .set_mail_server(&server.mail_settings("none", None))
        .await
        .unwrap();
    let (owner, account, dataset) = one(&ctx).await;
    let quiet = ctx.dataset(&owner, &account, "agents", "Quiet").await;
    ctx.app
        .datasets
        .set_notifications(
            &owner,
            &quiet,
            &NotificationSettings::new(None, Vec::new(), Vec::new(), 1).unwrap(),
        )
        .await
        .unwrap();
    for dataset in [&dataset, &quiet] {
        ctx.app
            .datasets
            .set_retry_policy(
                &owner,
                dataset,
                chatlake::datasets::policies::RetryPolicy::NEVER,
                Some(1),
            )
            .await
            .unwrap();
    }
    ctx.app.puller.wake_deadlines.notify_one();
    ctx.clock.advance(HOUR + 1);
    until("it is late", async || {
        ctx.app
            .datasets
            .for_run(&quiet)
            .await
            .unwrap()
            .policies
            .late_since
    })
    .await;
    ctx.clock.advance(BATCH_WINDOW);
    let mail = server.count(1).await.remove(0);
    assert_eq!(mail["subject"], "“Agents & groups” is late");
    assert!(
        mail["text"].as_str().unwrap().contains(
            "New data was expected by Fri 20 Nov 2026 13:00 UTC. No run has succeeded yet."
        ),
        "{mail}"
    );
    works(&ctx, &owner, &dataset).await;
    ctx.clock.advance(BATCH_WINDOW);
    assert_eq!(
        server.count(2).await[1]["subject"],
        "“Agents & groups” is up to date again"
    );

    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE accounts SET api_ends_on = '2026-12-18'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    ctx.app.puller.wake_deadlines.notify_one();
    let notified = async |words: &str| {
        until(words, async || {
            let (notified,): (Option<String>,) =
                sqlx::query_as("SELECT sunset_notified FROM accounts")
                    .fetch_one(ctx.app.db.read())
                    .await
                    .unwrap();
            notified.filter(|notified| notified == words).map(drop)
        })
        .await
    };
    notified("2026-12-18 a month").await;
    ctx.clock.advance(BATCH_WINDOW);
    let mail = server.count(3).await.remove(2);
    assert_eq!(mail["subject"], "LiveChat ends the API that “Support” uses");
    assert!(
        mail["text"]
            .as_str()
            .unwrap()
            .contains("On Fri 18 Dec 2026, in 28 days, LiveChat ends the API"),
        "{mail}"
    );
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
    // As soon as anybody knows that it failed, both are kept.
    server.kill();
    assert_eq!(failed["error"]["code"], "malformed", "{failed}");
    assert!(listener.all().is_empty());
    let due = async |server: &Server| {
        server.get(&format!("/datasets/{dataset}"), &token).await.1["retry_at"].clone()
    };

    // Killed again in the middle of a delivery: it is delivered once more, with the same id.
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
        (text(&first.0, "x-chatlake-delivery"), &first.1),
        (text(&second.0, "x-chatlake-delivery"), &second.1)
    );
    // The retry is a run of its own, and there is one of it.
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
    // And that it works again is told.
    let third = listener.count(3).await.remove(2);
    assert!(third.1.contains("\"kind\":\"recovery\""), "{}", third.1);
    server.stop().await;
}
