//! Notifications by email, through a mail server on this machine.

use std::time::Duration;

use chatlake::clock::Clock;
use chatlake::config::Config;
use chatlake::notifications::outbox::{BATCH_WINDOW, MAX_PER_HOUR};

use super::failed_run;
use super::good_run;
use super::owner_with_dataset;
use crate::support::HOUR;
use crate::support::context::TestContext;
use crate::support::data_dir::DataDir;
use crate::support::mail::MailServer;
use crate::support::tls_vendor::certificate;

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_gets_email_about_a_failure_and_the_recovery() {
    let (ctx, server) = (
        TestContext::stopped_with_workers().await,
        MailServer::new(&["--login", "ann:kanarie-4711"]).await,
    );
    let (owner, _, dataset) = owner_with_dataset(&ctx).await;
    failed_run(&ctx, &owner, &dataset).await;
    good_run(&ctx, &owner, &dataset).await;
    ctx.clock.advance(BATCH_WINDOW);
    ctx.app
        .puller
        .notifications
        .set_mail_server(&server.mail_settings("none", Some(("ann", "kanarie-4711"))))
        .await
        .unwrap();
    failed_run(&ctx, &owner, &dataset).await;
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
    // A second failure in a row is not notified.
    failed_run(&ctx, &owner, &dataset).await;
    ctx.clock.advance(BATCH_WINDOW);
    good_run(&ctx, &owner, &dataset).await;
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
    // Further successes are not notified, and neither are events before there was a mail server.
    good_run(&ctx, &owner, &dataset).await;
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
            // The address of a server without a name is not a host name.
            None => {
                sent.unwrap_err();
                assert_eq!(server.all().len(), before);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_failure_of_fifty_datasets_is_one_email_and_emails_per_hour_are_limited() {
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
    let (owner, account, dataset) = owner_with_dataset(&ctx).await;
    let mut all = vec![dataset.clone()];
    for number in 1..50 {
        all.push(
            ctx.dataset(&owner, &account, "agents", &format!("D{number}"))
                .await,
        );
    }
    for dataset in &all {
        failed_run(&ctx, &owner, dataset).await;
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
    // The failure recurs: the sixth email within the hour is the last, and later events share one
    // email.
    for round in 1..8 {
        good_run(&ctx, &owner, &dataset).await;
        failed_run(&ctx, &owner, &dataset).await;
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
async fn email_is_unencrypted_only_if_configured_and_a_password_is_sent_only_to_its_server() {
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
    // An empty password keeps the stored one. Another server or port needs it again.
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
    // A row that was changed outside the program does not cause an unencrypted password either.
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
async fn email_uses_tls_with_a_server_whose_certificate_is_valid() {
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
