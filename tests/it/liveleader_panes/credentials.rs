//! The pane of the credentials of LiveLeader.

use axum::http::StatusCode;
use chatlake::actor::Role;
use chatlake::connectors::Connector;
use chatlake::sandbox::faults::{Fault, FaultKind};

use super::CREDENTIALS;
use crate::support::panes::{PaneSession, before_spring};

#[tokio::test]
async fn the_panes_say_what_the_vendor_does_with_a_password_and_take_a_typed_login() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.get("/connect/liveleader").await;
    let words = page.words("[data-pane=credentials]");
    assert!(
        words.contains("requires the password in the URL of each request")
            && words.contains("by requesting the chats of the last minute."),
        "{words}"
    );
    assert!(
        words.contains("Account time zone") && !words.contains("sent without encryption"),
        "{words}"
    );
    // The messages distinguish wrong credentials, a missing permission and a missing plan.
    let vendor = ("api_url", ctx.vendor.as_str());
    let wrong = |email, password| {
        let mut typed: Vec<(&str, &str)> = CREDENTIALS.to_vec();
        typed[2].1 = email;
        typed[3].1 = password;
        typed.push(vendor);
        typed
    };
    let refused = maren
        .press(
            &page,
            "connect",
            &wrong("operator@sandbox.test", "canary-4711"),
        )
        .await;
    assert!(
        refused
            .wrong("password")
            .contains("rejected these credentials")
            && !refused.text.contains("canary-4711"),
        "{}",
        refused.text
    );
    // The entered address is without https, and the pane warns about it.
    assert!(
        refused
            .words("[data-pane=credentials] .band.is-bad")
            .contains("sent without encryption")
    );
    for (email, message) in [
        ("guest@sandbox.test", "does not have the account permission"),
        ("starter@sandbox.test", "does not include data export"),
    ] {
        let refused = maren
            .press(&page, "connect", &wrong(email, "sandbox-password"))
            .await;
        assert!(refused.text.contains(message), "{}", refused.text);
    }
    ctx.sandbox.faults().set(vec![Fault::new(FaultKind::Html)]);
    let refused = maren
        .press(
            &page,
            "connect",
            &wrong("operator@sandbox.test", "sandbox-password"),
        )
        .await;
    assert!(
        refused
            .text
            .contains("Possible causes: wrong email or password"),
        "{}",
        refused.text
    );
    ctx.sandbox.faults().clear();

    let page = maren
        .press(
            &page,
            "connect",
            &wrong("operator@sandbox.test", "sandbox-password"),
        )
        .await;
    assert_eq!(page.open_pane(), ["details"]);
    let words = page.words("[data-pane=credentials]");
    assert!(
        words.contains("Night desk, connected, the data export works, without encryption (http)"),
        "{words}"
    );
    let (reports, login) = (
        page.all("#report option"),
        page.each("#login", |e| e.value().name().to_owned()),
    );
    assert_eq!(
        (reports, login),
        (
            ["Chats", "Chat Messages", "Chat Operators"]
                .map(str::to_owned)
                .to_vec(),
            vec!["input".to_owned()]
        )
    );

    let preview = maren
        .press(
            &page,
            "preview",
            &[
                ("report", "chats"),
                ("start_days", "3"),
                ("end_days", "0"),
                ("login", "zofia@sandbox.test"),
            ],
        )
        .await;
    let head = preview.words("#preview");
    assert!(
        head.contains("transcript") && head.contains(" call"),
        "{head}"
    );
    assert!(
        preview
            .all("#preview tbody tr")
            .iter()
            .all(|row| row.contains("zofia@sandbox.test"))
    );
    assert!(!preview.all("#preview tbody tr").is_empty());

    let typed = [
        ("report", "chat_messages"),
        ("start_days", "7"),
        ("end_days", "1"),
        ("login", " zofia@sandbox.test "),
    ];
    let page = maren.press(&page, "details", &typed).await;
    assert_eq!(page.open_pane(), ["scheduling"], "{}", page.text);
    assert!(
        page.words("[data-pane=details]")
            .contains("login zofia@sandbox.test")
    );
    let page = maren.press(&page, "schedule", &[]).await;
    let page = maren
        .press(&page, "save", &[("name", "Zofia at night")])
        .await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let made = ctx.app.datasets.list(&maren.actor).await.unwrap().remove(0);
    assert_eq!(
        (made.connector, made.report.id, made.menus.login.as_deref()),
        (
            Connector::LiveLeader,
            "chat_messages",
            Some("zofia@sandbox.test")
        )
    );

    // The page of the account shows the same.
    let account = ctx.app.accounts.list(&maren.actor).await.unwrap().remove(0);
    let page = maren.get(&format!("/accounts/{}/edit", account.id)).await;
    assert!(
        page.text.contains("sent without encryption")
            && page.text.contains("requires the password in the URL")
    );
    assert!(!page.text.contains("sandbox-password"));
    let page = maren.get("/accounts/new?connector=liveleader").await;
    assert!(
        page.text.contains("Add a LiveLeader account")
            && !page.text.contains("sent without encryption")
    );
}
