//! Who may use the panes, and with which accounts.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use chatlake::actor::Role;

use crate::support::panes::{Form, PaneSession, before_spring};

#[tokio::test]
async fn viewers_may_not_connect_anything() {
    let ctx = before_spring().await;
    let vera = PaneSession::new(&ctx, "vera", Role::Viewer).await;
    for path in [
        "/connect",
        "/connect/livechat",
        "/connect/livechat?report=chat",
    ] {
        assert_eq!(vera.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    for step in ["connect", "preview", "save", "choices"] {
        let form = Form(BTreeMap::from([
            ("step".to_owned(), step.to_owned()),
            ("account_id".to_owned(), "new".to_owned()),
        ]));
        assert_eq!(
            vera.post("/connect/livechat", &form, None).await.status,
            StatusCode::FORBIDDEN,
            "{step}"
        );
    }
    assert_eq!(ctx.sandbox.calls_total(), 0);
}

#[tokio::test]
async fn an_account_that_is_not_shared_looks_missing_and_the_vendor_is_not_called() {
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let form = maren.connect().await.form();
    let other_editor = PaneSession::new(&ctx, "sten", Role::Editor).await;
    ctx.sandbox.forget_calls();
    for account in [form.0["account_id"].as_str(), "acc_0", "../x", "0"] {
        for step in [
            "connect",
            "preview",
            "details",
            "choices",
            "schedule",
            "save",
            "save_new",
            "edit_details",
        ] {
            let mut form = form.clone();
            form.0.extend([
                ("step".to_owned(), step.to_owned()),
                ("account_id".to_owned(), account.to_owned()),
                ("name".to_owned(), "Mine".to_owned()),
            ]);
            let page = other_editor.post("/connect/livechat", &form, None).await;
            assert_eq!(
                (page.status, page.open_pane()),
                (StatusCode::NOT_FOUND, vec!["credentials".to_owned()]),
                "{step}"
            );
            assert!(
                page.wrong("account_id")
                    .contains("This account does not exist"),
                "{}",
                page.text
            );
            assert_eq!(page.form().0["name"], "Mine");
            assert!(
                !page.text.contains("Support Oslo") && !page.text.contains("agent@sandbox.test")
            );
        }
        let address = format!(
            "/connect/livechat?{}",
            url::form_urlencoded::Serializer::new(String::new())
                .append_pair("account", account)
                .finish()
        );
        assert_eq!(
            other_editor.get(&address).await.status,
            StatusCode::NOT_FOUND
        );
    }
    assert_eq!(ctx.sandbox.calls_total(), 0);
    assert!(
        ctx.app
            .datasets
            .list(&maren.actor)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        other_editor.get("/connect/nothing").await.status,
        StatusCode::NOT_FOUND
    );
}
