//! Who may see and change an account.

use axum::http::StatusCode;
use chatlake::actor::Role;

use super::NEW;
use super::filled;
use super::row;
use crate::support::context::TestContext;
use crate::support::http::Browser;

#[tokio::test]
async fn other_editors_and_viewers_have_no_access_to_an_account() {
    let ctx = TestContext::new().await;
    let (carl, mut his) = ctx.signed_in_person("carl", Role::Editor).await;
    let account = ctx.account(&carl, "Support Oslo").await;
    let (_, mut stan) = ctx.signed_in_person("stan", Role::Editor).await;
    let (_, mut vera) = ctx.signed_in_person("vera", Role::Viewer).await;
    let missing = "acc_00000000000000000000000000000000";
    assert!(!stan.get("/accounts").await.text.contains("Support Oslo"));
    for (verb, is_get) in [
        ("edit", true),
        ("edit", false),
        ("delete", true),
        ("delete", false),
        ("check", false),
    ] {
        let foreign = request_account(&mut stan, account.id.as_str(), verb, is_get).await;
        let nothing = request_account(&mut stan, missing, verb, is_get).await;
        assert_eq!(
            (foreign.0, nothing.0),
            (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND),
            "{verb}"
        );
        assert_eq!(foreign.1, nothing.1, "{verb}");
        assert_eq!(
            request_account(&mut vera, account.id.as_str(), verb, is_get)
                .await
                .0,
            StatusCode::FORBIDDEN,
            "{verb}"
        );
        assert_eq!(
            request_account(&mut vera, missing, verb, is_get).await.0,
            StatusCode::FORBIDDEN,
            "{verb}"
        );
    }
    for path in ["/accounts", NEW] {
        assert_eq!(vera.get(path).await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(
        vera.post(NEW, &filled(&ctx, "Mine", "sandbox-key"))
            .await
            .status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        ctx.sandbox.calls_total(),
        0,
        "no refused request reached the vendor"
    );

    let mut fields = filled(&ctx, "Support Oslo", "");
    fields.retain(|(name, _)| *name != "api_url");
    fields.push(("shared", "true"));
    his.submit(&format!("/accounts/{}/edit", account.id), &fields)
        .await;
    let listed = stan.get("/accounts").await;
    assert!(
        row(&listed, "Support Oslo").contains("Test") && !listed.has("a[href$='/edit']"),
        "a shared account is used, not changed"
    );
    for (verb, is_get) in [
        ("edit", true),
        ("edit", false),
        ("delete", true),
        ("delete", false),
    ] {
        assert_eq!(
            request_account(&mut stan, account.id.as_str(), verb, is_get)
                .await
                .0,
            StatusCode::FORBIDDEN,
            "{verb}"
        );
    }
    assert_eq!(
        request_account(&mut stan, account.id.as_str(), "check", false)
            .await
            .0,
        StatusCode::SEE_OTHER
    );
}

/// Status and title of the answer.
async fn request_account(
    browser: &mut Browser,
    id: &str,
    verb: &str,
    is_get: bool,
) -> (StatusCode, String) {
    let path = format!("/accounts/{id}/{verb}");
    let page = if is_get {
        browser.get(&path).await
    } else {
        browser
            .post(&path, &[("name", "Taken over"), ("shared", "true")])
            .await
    };
    (
        page.status,
        page.words("main")
            .split(" Request ")
            .next()
            .unwrap_or_default()
            .to_owned(),
    )
}
