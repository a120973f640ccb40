//! The pane of the credentials, and errors of the vendor next to their fields.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use chatlake::accounts::ChangeAccount;
use chatlake::actor::Role;
use chatlake::sandbox::faults::{Fault, FaultKind, RetryAfter};
use chatlake::secret::Secret;

use crate::support::panes::{Form, KEY, PaneSession, before_spring};

#[tokio::test]
async fn wrong_credentials_are_reported_next_to_their_field_without_the_secret() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.get("/connect/livechat").await;
    assert_eq!(page.open_pane(), ["credentials"]);
    let typed = [
        ("account_name", "Returns desk"),
        ("credentials.username", "agent@sandbox.test"),
        ("credentials.api_key", "canary-4711"),
        ("api_url", ctx.vendor.as_str()),
    ];
    let page = maren.press(&page, "connect", &typed).await;
    assert_eq!(
        (page.status, page.open_pane()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["credentials".to_owned()]
        )
    );
    assert!(
        page.wrong("api_key")
            .contains("LiveChat rejected these credentials"),
        "{}",
        page.wrong("api_key")
    );
    assert!(!page.text.contains("canary-4711"));
    let form = page.form().0;
    assert_eq!(
        (
            form["account_name"].as_str(),
            form["credentials.username"].as_str()
        ),
        ("Returns desk", "agent@sandbox.test")
    );
    assert_eq!(form["credentials.api_key"], "");

    let page = maren
        .press(
            &page,
            "connect",
            &[
                ("account_name", " "),
                ("requests_per_minute", "many"),
                ("account_zone", "Mars"),
            ],
        )
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        [
            "account_name",
            "api_key",
            "requests_per_minute",
            "account_zone"
        ]
        .iter()
        .all(|field| !page.wrong(field).is_empty()),
        "{}",
        page.text
    );
    assert_eq!(page.form().0["requests_per_minute"], "many");
    assert!(
        ctx.app
            .accounts
            .list(&maren.actor)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_account_id_as_email_address_is_reported_next_to_the_username() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.get("/connect/livechat").await;
    let typed = [
        ("account_name", "Returns desk"),
        (
            "credentials.username",
            "5a9b0c1d-2e3f-4a5b-8c6d-7e8f90a1b2c3",
        ),
        ("credentials.api_key", "dal:canary-4711"),
        ("api_url", ctx.vendor.as_str()),
    ];
    let page = maren.press(&page, "connect", &typed).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        page.wrong("username").contains("This is an account ID"),
        "{}",
        page.text
    );
    assert!(page.wrong("api_key").is_empty() && !page.text.contains("canary-4711"));
}

#[tokio::test]
async fn an_editor_may_not_send_a_secret_to_an_address_of_their_own() {
    let ctx = before_spring().await;
    let elif = PaneSession::new(&ctx, "elif", Role::Editor).await;
    let page = elif.get("/connect/livechat").await;
    let typed = [
        ("credentials.username", "agent@sandbox.test"),
        ("credentials.api_key", KEY),
        ("api_url", ctx.vendor.as_str()),
    ];
    let page = elif.press(&page, "connect", &typed).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        page.words(".band.is-bad").contains("Only an admin"),
        "{}",
        page.text
    );
    assert_eq!(ctx.sandbox.calls_total(), 0);
}

#[tokio::test]
async fn a_saved_account_is_checked_again_only_if_it_is_not_known_to_work() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let good = page.form().0["account_id"].clone();
    let untried = ctx.account(&maren.actor, "Webshop").await.id.to_string();
    let wrong = ChangeAccount {
        credentials: BTreeMap::from([("api_key".to_owned(), Secret::new("a wrong key"))]),
        ..ChangeAccount::default()
    };
    let broken = ctx.account(&maren.actor, "Returns").await.id;
    ctx.app
        .accounts
        .update(&maren.actor, &broken, &wrong)
        .await
        .unwrap();
    let save = async |account: &str| {
        ctx.sandbox.forget_calls();
        let page = maren
            .press(
                &page,
                "save",
                &[
                    ("account_id", account),
                    ("name", "Agents"),
                    ("report", "agents"),
                ],
            )
            .await;
        (
            page,
            ctx.sandbox.calls_total(),
            ctx.app.datasets.list(&maren.actor).await.unwrap().len(),
        )
    };
    let (_, calls, made) = save(&good).await;
    assert_eq!((calls, made), (0, 1), "it was good a moment ago");
    let (_, calls, made) = save(&untried).await;
    assert_eq!((calls, made), (1, 2), "it is asked about first");
    let (page, _, made) = save(broken.as_str()).await;
    assert_eq!(
        (page.status, page.open_pane(), made),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["credentials".to_owned()],
            2
        )
    );
    assert!(
        page.wrong("account_id")
            .contains("rejected the credentials"),
        "{}",
        page.text
    );
    assert_eq!(page.form().0["name"], "Agents");
}

#[tokio::test]
async fn a_vendor_rate_limit_is_shown_at_once_with_the_wait() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.connect().await;
    let account = page.form().0["account_id"].clone();
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::TooManyRequests {
            retry_after: RetryAfter::Seconds(45),
        })]);
    let page = maren.press(&page, "choices", &[]).await;
    assert_eq!(
        (page.status, page.open_pane()),
        (StatusCode::OK, vec!["details".to_owned()])
    );
    for menu in ["group", "login"] {
        let said = page.wrong(menu);
        assert!(
            said.starts_with(
                "The list could not be loaded. LiveChat limits calls and asked Chatlake to wait 4"
            ),
            "{said}"
        );
        assert!(said.contains(". Try again in 4"), "{said}");
    }
    let preview = maren
        .press(&page, "preview", &[("start_days", "2"), ("end_days", "1")])
        .await;
    let said = preview.words("#preview .band");
    assert!(
        said.starts_with("LiveChat limits calls and asked Chatlake to wait 4")
            && said.contains("Try again in 4"),
        "{said}"
    );
    let list = maren.get("/accounts").await;
    assert!(
        list.words("table.accounts").contains("Waiting until")
            && list.words("table.accounts").contains("Valid"),
        "{}",
        list.words("table.accounts")
    );
    maren
        .post(
            &format!("/accounts/{account}/check"),
            &Form::default(),
            None,
        )
        .await;
    let tested = maren.get("/accounts").await;
    assert!(
        tested
            .toast()
            .starts_with("Support Oslo: LiveChat limits calls and asked Chatlake to wait 4"),
        "{}",
        tested.toast()
    );
    // The form of a new account shows the same message.
    let new = maren.get("/connect/livechat").await;
    let typed = [
        ("account_id", "new"),
        ("account_name", "Returns"),
        ("credentials.username", "agent@sandbox.test"),
        ("credentials.api_key", KEY),
        ("api_url", ctx.vendor.as_str()),
    ];
    let refused = maren.press(&new, "connect", &typed).await;
    assert!(
        refused
            .words(".band.is-bad")
            .starts_with("LiveChat limits calls and asked Chatlake to wait 45 seconds."),
        "{}",
        refused.words(".band")
    );
    assert!(
        refused
            .words(".band.is-bad")
            .contains("Try again in 45 seconds.")
    );
}

#[tokio::test]
async fn an_unreachable_address_is_reported_next_to_the_address() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = format!("http://{free}");
    let typed = |url| {
        [
            ("account_id", "new"),
            ("account_name", "Support Oslo"),
            ("credentials.username", "agent@sandbox.test"),
            ("credentials.api_key", KEY),
            ("api_url", url),
        ]
    };
    let page = maren
        .press(
            &maren.get("/connect/livechat").await,
            "connect",
            &typed(&nobody),
        )
        .await;
    assert_eq!(
        page.wrong("api_url"),
        "Could not reach LiveChat: the connection was refused. Check the API URL."
    );
    assert!(
        !page.text.contains(KEY) && page.has("details.more[open] #api_url"),
        "the field is open to be seen"
    );
    ctx.sandbox.faults().set(vec![Fault::new(FaultKind::Shape {
        body: "[1, 2]".to_owned(),
    })]);
    let page = maren.press(&page, "connect", &typed(&ctx.vendor)).await;
    let said = page.wrong("api_url");
    assert!(
        said.starts_with("LiveChat returned unreadable data (/agents): ")
            && said.ends_with(" Check the API URL."),
        "{said}"
    );
    assert!(
        ctx.app
            .accounts
            .list(&maren.actor)
            .await
            .unwrap()
            .is_empty()
    );
}
