//! The mail server does not reveal its password or the network, and recipients are limited.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chatlake::actor::Role;
use chatlake::clock::Clock;
use chatlake::datasets::policies::{NotificationKind, NotificationSettings};
use chatlake::notifications::mail;
use chatlake::secret::Secret;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::support::context::TestContext;
use crate::support::{NOON, within};

/// A mail server that answers an AUTH line with `answer`, in which `{line}` stands for that line's
/// argument.
async fn serve_lines(
    greeting: &'static str,
    answer: &'static str,
) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, received) = (
        listener.local_addr().unwrap().port(),
        Arc::new(Mutex::new(Vec::new())),
    );
    let thread_lines = received.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let thread_lines = thread_lines.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                stream
                    .write_all(format!("{greeting}\r\n").as_bytes())
                    .await
                    .ok()?;
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).await.ok()? == 0 {
                        return Some(());
                    }
                    thread_lines.lock().unwrap().push(line.trim().to_owned());
                    let said = match line.split_whitespace().next() {
                        Some("EHLO") if answer == "white" => {
                            "250-mail.test\r\n250-   \r\n250 HELP".to_owned()
                        }
                        Some("EHLO") => "250-mail.test\r\n250 AUTH PLAIN".to_owned(),
                        Some("AUTH") => answer.replace("{line}", line.trim()),
                        _ => "250 ok".to_owned(),
                    };
                    stream
                        .write_all(format!("{said}\r\n").as_bytes())
                        .await
                        .ok()?;
                }
            });
        }
    });
    (port, received)
}

fn mail_settings(host: &str, port: u16, login: Option<(&str, &str)>) -> mail::MailServerInput {
    let (username, password) = login.unwrap_or_default();
    mail::MailServerInput {
        host: host.to_owned(),
        port: port.to_string(),
        encryption: "none".to_owned(),
        username: username.to_owned(),
        password: Secret::new(password),
        sender: "chatlake@house.test".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_that_repeats_the_password_in_any_spelling_does_not_get_it_shown() {
    let password = "kanarie-4711-vogel";
    let hex: &'static str = password
        .bytes()
        .map(|byte| format!("{byte:02X}"))
        .collect::<String>()
        .leak();
    let shifted: &'static str = STANDARD.encode(format!("xy{password}")).leak();
    for answer in [
        "535 wrong: {line}",
        "535 5.7.8 kanarie-4711-vogel",
        "454 KANARIE-4711-VOGEL is unknown",
        "535 kanarie%2D4711%2dvogel",
    ]
    .into_iter()
    .chain([
        format!("535 {hex} no").leak() as &'static str,
        format!("535 got {shifted}").leak(),
    ]) {
        let ctx = TestContext::new().await;
        let (ada, mut browser) = ctx.signed_in_person("ada", Role::Admin).await;
        let (port, received) = serve_lines("220 mail.test", answer).await;
        let notifications = &ctx.app.puller.notifications;
        notifications
            .set_mail_server(&mail_settings("127.0.0.1", port, Some(("ann", password))))
            .await
            .unwrap();
        let refused = within(answer, notifications.test_mail(&ada.email))
            .await
            .unwrap_err();
        let line = received
            .lock()
            .unwrap()
            .iter()
            .find_map(|line| line.strip_prefix("AUTH PLAIN ").map(str::to_owned))
            .expect("it signed in");
        let page = browser.get("/settings/notifications").await;
        let stored: String = sqlx::query_scalar("SELECT error FROM messages")
            .fetch_one(ctx.app.db.read())
            .await
            .unwrap();
        for shown in [refused.message(), &page.text, &stored] {
            let lower = shown.to_lowercase();
            for secret in ["kanarie", "4711", "vogel", &hex.to_lowercase()] {
                assert!(!lower.contains(secret), "{answer}: {shown}");
            }
            // No part of the line, which is Base64, from which the password could be read.
            for part in [&line[..], shifted] {
                for at in 0..part.len() - 8 {
                    assert!(!shown.contains(&part[at..at + 8]), "{answer}: {shown}");
                }
            }
        }
        assert!(
            refused
                .message()
                .starts_with("The mail server refused the email: ")
                && refused.message().contains("***"),
            "{refused}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_server_is_a_public_host_or_one_that_the_setting_names() {
    let closed = TestContext::with(Clock::stopped_at(NOON), |config| {
        config.allow_mail_server = Vec::new()
    })
    .await;
    let (ada, mut browser) = closed.signed_in_person("ada", Role::Admin).await;
    for host in [
        "127.0.0.1",
        "169.254.169.254",
        "10.0.0.1",
        "::1",
        "2130706433",
        "localhost",
        "mail",
        "mail.internal",
    ] {
        let fields = [
            ("host", host),
            ("port", "25"),
            ("encryption", "none"),
            ("sender", "chatlake@house.test"),
        ];
        let page = browser.post("/settings/notifications/mail", &fields).await;
        assert!(
            page.status == StatusCode::UNPROCESSABLE_ENTITY
                && page.wrong("host").contains("--allow-mail-server"),
            "{host}: {}",
            page.wrong("host")
        );
    }
    closed
        .app
        .puller
        .notifications
        .set_mail_server(&mail_settings("smtp.example.com", 25, None))
        .await
        .unwrap();
    // A server that was stored while it was allowed is no longer contacted.
    let (port, received) = serve_lines("220 mail.test", "235 ok").await;
    let mut tx = closed.app.db.write().await.unwrap();
    sqlx::query("UPDATE mail_server SET host = 'localhost', port = $1")
        .bind(i64::from(port))
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let refused = closed
        .app
        .puller
        .notifications
        .test_mail(&ada.email)
        .await
        .unwrap_err();
    assert!(
        refused.message().contains("does not have a public address")
            && received.lock().unwrap().is_empty(),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_does_not_reveal_open_ports() {
    let ctx = TestContext::new().await;
    let notifications = &ctx.app.puller.notifications;
    let shut = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut said = Vec::new();
    for (what, port) in [
        ("nothing", shut),
        (
            "another protocol",
            serve_lines("HTTP/1.1 400 kanarie", "").await.0,
        ),
        ("a database", serve_lines("-ERR kanarie", "").await.0),
        (
            "a mail server that is not for us",
            serve_lines("554 kanarie is no mail server", "").await.0,
        ),
        ("ssh", serve_lines("SSH-2.0-kanarie", "").await.0),
        // A line of white space, at which the library for mail panics.
        (
            "a mail server that makes us panic",
            serve_lines("220 mail.test", "white").await.0,
        ),
    ] {
        for encryption in ["none", "tls"] {
            notifications
                .set_mail_server(&mail::MailServerInput {
                    encryption: encryption.to_owned(),
                    ..mail_settings("127.0.0.1", port, None)
                })
                .await
                .unwrap();
            let refused = within(what, notifications.test_mail("olga@house.test"))
                .await
                .unwrap_err();
            said.push(refused.message().to_owned());
        }
    }
    assert!(
        said.iter()
            .all(|words| *words == said[0] && !words.contains("kanarie")),
        "{said:?}"
    );
}

#[tokio::test]
async fn the_outside_recipients_of_one_person_are_limited() {
    let ctx = TestContext::new().await;
    let olga = ctx.person("olga", Role::Editor).await;
    let ada = ctx.person("ada", Role::Admin).await;
    let account = ctx.account(&olga, "Support").await.id;
    let mut datasets = Vec::new();
    for number in 0..3 {
        datasets.push(
            ctx.dataset(&olga, &account, "agents", &format!("D{number}"))
                .await,
        );
    }
    let notify = |from: usize, to: usize| {
        let outside = (from..to).map(|number| format!("a{number}@elsewhere.test"));
        NotificationSettings::new(
            Some(outside.chain(["ADA@house.test".to_owned()]).collect()),
            Vec::new(),
            vec![NotificationKind::Failure],
            1,
        )
        .unwrap()
    };
    let set = async |by, dataset: usize, notify: NotificationSettings| {
        ctx.app
            .datasets
            .set_notifications(by, &datasets[dataset], &notify)
            .await
    };
    set(&olga, 0, notify(0, 15)).await.unwrap();
    set(&olga, 1, notify(5, 20)).await.unwrap();
    set(&olga, 2, notify(20, 30)).await.unwrap();
    let refused = set(&olga, 2, notify(20, 31)).await.unwrap_err();
    assert!(
        refused.field_errors()[0].0 == "emails" && refused.message().contains("at most 30"),
        "{refused}"
    );
    // Existing recipients can be chosen again, and an admin may add more.
    set(&olga, 2, notify(0, 19)).await.unwrap();
    set(&ada, 2, notify(30, 49)).await.unwrap();
    set(&olga, 2, notify(30, 49)).await.unwrap();
    set(&olga, 2, notify(30, 48)).await.unwrap();
    assert!(set(&olga, 0, notify(50, 51)).await.is_err());
}
