//! Stored secrets are never shown, and change only after a check.

use axum::http::StatusCode;
use chatlake::actor::Role;

use super::CANARY;
use super::NEW;
use super::filled;
use super::only;
use crate::support::context::TestContext;

#[tokio::test]
async fn secrets_are_written_and_never_read() {
    let ctx = TestContext::new().await;
    let (actor, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    olga.submit(NEW, &filled(&ctx, "Support Oslo", "sandbox-key"))
        .await;
    let account = only(&ctx, &actor).await;
    let edit = format!("/accounts/{}/edit", account.id);
    for path in [
        "/accounts",
        &edit,
        &format!("/accounts/{}/delete", account.id),
        NEW,
    ] {
        let page = olga.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(!page.text.contains("sandbox-key"), "{path}");
        assert_eq!(page.headers["cache-control"], "no-store");
    }
    let form = olga.get(&edit).await;
    assert!(
        form.text.contains("Set on 20 November 2026"),
        "{}",
        form.text
    );
    assert_eq!(
        form.attribute("[name='credentials.api_key']", "value"),
        None
    );
    assert!(
        !ctx.on_disk()
            .windows(11)
            .any(|bytes| bytes == b"sandbox-key")
    );
}

#[tokio::test]
async fn an_empty_secret_leaves_the_stored_one() {
    let ctx = TestContext::new().await;
    let (actor, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    olga.submit(NEW, &filled(&ctx, "Support Oslo", "sandbox-key"))
        .await;
    let before = only(&ctx, &actor).await;
    ctx.clock.advance(60_000);
    ctx.sandbox.forget_calls();
    let edit = format!("/accounts/{}/edit", before.id);
    let mut fields = filled(&ctx, "Support Bergen", "");
    fields.extend([
        ("requests_per_minute", "600"),
        ("account_zone", "Europe/Oslo"),
        ("shared", "true"),
        ("owner_id", "usr_1"),
        ("id", "acc_1"),
        ("sealed_at", "1"),
    ]);
    let done = olga.submit(&edit, &fields).await;
    assert_eq!(done.toast(), "Support Bergen is saved.");
    assert_eq!(
        ctx.sandbox.calls_total(),
        0,
        "the vendor is not asked when the credentials stay"
    );
    let after = only(&ctx, &actor).await;
    assert_eq!(
        (
            after.name.as_str(),
            after.requests_per_minute,
            after.time_zone.as_str(),
            after.shared
        ),
        ("Support Bergen", 600, "Europe/Oslo", true)
    );
    assert_eq!(
        (after.sealed_at, &after.owner_id, &after.id),
        (before.sealed_at, &actor.user, &before.id)
    );
    let checked = olga
        .submit(&format!("/accounts/{}/check", before.id), &[])
        .await;
    assert!(
        checked.toast().contains("Support Bergen is valid:"),
        "{}",
        checked.toast()
    );
}

#[tokio::test]
async fn a_new_secret_is_tried_before_it_replaces_the_old_one() {
    let ctx = TestContext::new().await;
    let (actor, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    olga.submit(NEW, &filled(&ctx, "Support Oslo", "sandbox-key"))
        .await;
    let before = only(&ctx, &actor).await;
    ctx.clock.advance(60_000);
    let edit = format!("/accounts/{}/edit", before.id);
    let refused = olga.post(&edit, &filled(&ctx, "Renamed", CANARY)).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused
            .wrong("api_key")
            .contains("rejected these credentials")
            && !refused.text.contains(CANARY)
    );
    assert_eq!(
        refused.attribute("#name", "value").as_deref(),
        Some("Renamed")
    );
    assert_eq!(only(&ctx, &actor).await.sealed_at, before.sealed_at);
    let done = olga
        .submit(&edit, &filled(&ctx, "Renamed", "dal:sandbox-token"))
        .await;
    assert!(
        done.toast().contains("Renamed is saved and connected:"),
        "{}",
        done.toast()
    );
    assert!(only(&ctx, &actor).await.sealed_at > before.sealed_at);
}

#[tokio::test]
async fn another_address_demands_the_secret_again_and_an_admin() {
    let ctx = TestContext::new().await;
    let other = TestContext::new().await;
    let (actor, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    olga.submit(NEW, &filled(&ctx, "Support Oslo", "sandbox-key"))
        .await;
    let account = only(&ctx, &actor).await;
    let edit = format!("/accounts/{}/edit", account.id);
    let mut fields = filled(&ctx, "Support Oslo", "");
    fields.retain(|(name, _)| *name != "api_url");
    fields.push(("api_url", &other.vendor));
    let refused = olga.post(&edit, &fields).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused.wrong("api_key").contains("Enter the API Key again"),
        "{}",
        refused.text
    );
    assert_eq!(
        other.sandbox.calls_total(),
        0,
        "the stored secret went nowhere"
    );
    for private in [
        "http://10.0.0.1",
        "https://169.254.169.254",
        "file:///etc/passwd",
        "http://example.com",
    ] {
        let refused = olga
            .post(
                NEW,
                &[
                    ("name", "x"),
                    ("credentials.username", "a@b.test"),
                    ("credentials.api_key", CANARY),
                    ("api_url", private),
                ],
            )
            .await;
        assert_eq!(
            refused.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{private}"
        );
        assert!(
            !refused.wrong("api_url").is_empty(),
            "{private}: {}",
            refused.text
        );
    }

    let (_, mut carl) = ctx.signed_in_person("carl", Role::Editor).await;
    assert!(
        !carl.get(NEW).await.has("#api_url"),
        "the address is for admins"
    );
    assert_eq!(
        carl.post(NEW, &filled(&ctx, "Mine", "sandbox-key"))
            .await
            .status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(other.sandbox.calls_total(), 0);
}
