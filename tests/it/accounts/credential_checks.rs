//! Credentials are checked with the vendor, and the result is shown.

use axum::http::StatusCode;
use chatlake::actor::Role;
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::secret::Secret;
use serde_json::json;

use super::CANARY;
use super::NEW;
use super::filled;
use super::row;
use crate::support::api_server::{ApiServer, OWNER};
use crate::support::context::TestContext;

#[tokio::test]
async fn an_account_is_checked_before_it_is_stored_and_shows_the_result() {
    let ctx = TestContext::new().await;
    let (actor, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    let empty = olga.get("/accounts").await;
    assert!(empty.text.contains("No accounts yet") && empty.has(&format!("a[href='{NEW}']")));
    let form = olga.get(NEW).await;
    assert_eq!(form.title(), "Add a LiveChat account");
    assert!(form.text.contains("A personal access token") && form.has("#api_url"));
    assert_eq!(
        form.attribute("[name='credentials.api_key']", "type")
            .as_deref(),
        Some("password")
    );
    assert_eq!(
        form.attribute("[name='credentials.api_key']", "autocomplete")
            .as_deref(),
        Some("new-password")
    );
    assert_eq!(
        form.attribute("#requests_per_minute", "value").as_deref(),
        Some("180")
    );

    let refused = olga
        .post(
            NEW,
            &[
                ("name", ""),
                ("credentials.username", "agent@sandbox.test"),
                ("credentials.api_key", CANARY),
                ("requests_per_minute", "many"),
                ("account_zone", "Mars"),
            ],
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    for field in ["name", "requests_per_minute", "account_zone"] {
        assert!(
            !refused.wrong(field).is_empty(),
            "{field}: {}",
            refused.text
        );
    }
    assert_eq!(
        refused
            .attribute("[name='credentials.username']", "value")
            .as_deref(),
        Some("agent@sandbox.test")
    );
    assert_eq!(
        refused
            .attribute("#requests_per_minute", "value")
            .as_deref(),
        Some("many")
    );
    assert!(!refused.text.contains(CANARY));
    assert_eq!(
        ctx.sandbox.calls_total(),
        0,
        "nothing is sent before all is right"
    );

    let refused = olga.post(NEW, &filled(&ctx, "Support Oslo", CANARY)).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused.wrong("api_key").contains("LiveChat rejected"),
        "{}",
        refused.text
    );
    assert!(
        !refused.text.contains(CANARY) && ctx.app.accounts.list(&actor).await.unwrap().is_empty()
    );

    let done = olga
        .submit(NEW, &filled(&ctx, "Support Oslo", "sandbox-key"))
        .await;
    assert!(
        done.toast().contains("Support Oslo is connected:")
            && done.toast().contains("agents visible"),
        "{}",
        done.toast()
    );
    let shown = row(&done, "Support Oslo");
    assert!(
        shown.contains("agent@sandbox.test")
            && shown.contains("olga")
            && shown.contains("Valid")
            && shown.contains("checked just now"),
        "{shown}"
    );
    assert!(!done.text.contains("sandbox-key"));
}

#[tokio::test]
async fn an_unreachable_vendor_is_reported_and_nothing_is_stored() {
    let ctx = TestContext::new().await;
    let (actor, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 404 })]);
    let refused = olga
        .post(NEW, &filled(&ctx, "Support Oslo", "sandbox-key"))
        .await;
    assert!(refused.status.is_server_error() || refused.status.is_client_error());
    assert!(
        refused.words("[role=alert]").contains("Nothing was saved"),
        "{}",
        refused.text
    );
    assert!(
        !refused.text.contains("sandbox-key")
            && !refused.words("[role=alert]").contains("127.0.0.1"),
        "neither secret nor address is shown"
    );
    assert!(ctx.app.accounts.list(&actor).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_key_shows_as_failing_with_the_button_that_fixes_it() {
    let ctx = TestContext::new().await;
    let (actor, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    let good = ctx.account(&actor, "A good one").await;
    let bad = ctx.account(&actor, "Z bad one").await;
    let change = chatlake::accounts::ChangeAccount {
        credentials: [("api_key".to_owned(), Secret::new(CANARY))].into(),
        ..Default::default()
    };
    ctx.app
        .accounts
        .update(&actor, &bad.id, &change)
        .await
        .unwrap();
    assert!(row(&olga.get("/accounts").await, "A good one").contains("not checked yet"));
    let checked = olga
        .submit(&format!("/accounts/{}/check", bad.id), &[])
        .await;
    assert!(
        checked.toast().contains("rejected the credentials"),
        "{}",
        checked.toast()
    );
    olga.submit(&format!("/accounts/{}/check", good.id), &[])
        .await;
    let page = olga.get("/accounts").await;
    let rows = page.all("table.accounts tbody tr");
    assert!(
        rows[0].contains("Z bad one")
            && rows[0].contains("Rejected")
            && rows[0].contains("Update API Key"),
        "{rows:?}"
    );
    assert!(
        rows[1].contains("Valid") && page.words(".facts").contains("1 rejected"),
        "{rows:?}"
    );
    assert!(!page.text.contains(CANARY));
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_another_kind_are_recognised_when_livechat_rejects_them() {
    let fixture = ApiServer::new(10).await;
    let account_id = "5a9b0c1d-2e3f-4a5b-8c6d-7e8f90a1b2c3";
    // `5a9b0c1d-2e3f-4a5b-8c6d-7e8f90a1b2c3:dal:canary-4711`
    let pasted = "NWE5YjBjMWQtMmUzZi00YTViLThjNmQtN2U4ZjkwYTFiMmMzOmRhbDpjYW5hcnktNDcxMQ==";
    for (username, secret, said) in [
        (account_id, "dal:canary-4711", "This is an account ID"),
        ("agent@sandbox.test", pasted, "Enter only the token"),
        ("agent", "canary-4711", "Username must be the email address"),
        ("agent@sandbox.test", "canary-4711", "agents--all:ro"),
    ] {
        let field = format!("username={username}");
        let add = [
            "account",
            "add",
            "--user",
            OWNER,
            "--connector",
            "livechat",
            "--name",
            "x",
            "--field",
            &field,
            "--api-url",
            &fixture.vendor.address,
        ];
        let account = fixture.data_dir.run_with(&add, secret).await.good();
        let (status, checked) = fixture
            .send("POST", &format!("/accounts/{account}/check"), json!({}))
            .await;
        let message = checked["message"].as_str().unwrap();
        assert!(
            status == 200
                && checked["ok"] == false
                && message.contains(said)
                && !message.contains("canary"),
            "{username}: {checked}"
        );
    }
}
