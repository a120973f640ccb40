//! When a session ends, and what it writes.

use axum::http::{Method, StatusCode};
use chatlake::actor::{Role, Scope};

use super::ANOTHER;
use crate::support::context::TestContext;
use crate::support::{MINUTE, PASSWORD};

#[tokio::test]
async fn a_session_ends_at_sign_out() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    let mut copy = olga.clone();
    assert!(copy.is_signed_in().await);
    let out = olga.post("/sign-out", &[]).await;
    assert_eq!(
        (out.status, out.location().as_str()),
        (StatusCode::SEE_OTHER, "/sign-in")
    );
    assert_eq!(out.headers["clear-site-data"], "\"cache\", \"storage\"");
    assert!(olga.session_cookie().is_none());
    assert!(!copy.is_signed_in().await && !olga.is_signed_in().await);
    assert_eq!(
        ctx.browser().post("/sign-out", &[]).await.location(),
        "/sign-in"
    );
}

#[tokio::test]
async fn reading_writes_nothing_and_leaves_the_cookie_alone() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    olga.post("/me/name", &[("name", "Olga Owner")]).await;
    assert_eq!(olga.get("/me").await.toast(), "Name saved.");
    let mut eye = ctx.app.db.read().acquire().await.unwrap();
    let changes = "PRAGMA data_version";
    let before: i64 = sqlx::query_scalar(changes)
        .fetch_one(&mut *eye)
        .await
        .unwrap();
    for path in [
        "/me",
        "/settings",
        "/accounts",
        "/datasets",
        "/help",
        "/nothing",
    ] {
        let page = olga.get(path).await;
        assert!(
            page.toast().is_empty() && !page.headers.contains_key("set-cookie"),
            "{path}: {:?}",
            page.headers
        );
    }
    let after: i64 = sqlx::query_scalar(changes)
        .fetch_one(&mut *eye)
        .await
        .unwrap();
    assert_eq!(after, before, "somebody wrote into the catalogue");
    olga.post("/me/name", &[("name", "Olga")]).await;
    let written: i64 = sqlx::query_scalar(changes)
        .fetch_one(&mut *eye)
        .await
        .unwrap();
    assert_ne!(written, before);
}

#[tokio::test]
async fn idle_sessions_end() {
    let ctx = TestContext::new().await;
    let (_, mut olga) = ctx.signed_in_person("olga", Role::Admin).await;
    ctx.clock.advance(59 * MINUTE);
    assert!(olga.is_signed_in().await);
    ctx.clock.advance(61 * MINUTE);
    assert!(!olga.is_signed_in().await);
}

#[tokio::test]
async fn a_new_password_needs_the_old_one_and_signs_out_other_devices() {
    let ctx = TestContext::new().await;
    let (actor, mut here) = ctx.signed_in_person("olga", Role::Admin).await;
    let mut there = ctx.signed_in(&actor).await;
    let token = ctx.token(&actor, Scope::Read).await;
    assert!(
        here.get("/me")
            .await
            .text
            .contains("signed in on 2 devices")
    );

    let refused = here
        .post(
            "/me/password",
            &[
                ("current_password", "not my password"),
                ("password", ANOTHER),
            ],
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused
            .wrong("current_password")
            .contains("not your current password"),
        "{}",
        refused.text
    );
    let slowed = here
        .post(
            "/me/password",
            &[("current_password", PASSWORD), ("password", ANOTHER)],
        )
        .await;
    assert_eq!(
        slowed.status,
        StatusCode::TOO_MANY_REQUESTS,
        "a stolen session cannot be used to continue guessing"
    );
    ctx.clock.advance(MINUTE);
    let refused = here
        .post(
            "/me/password",
            &[("current_password", PASSWORD), ("password", "olga")],
        )
        .await;
    assert!(
        refused.wrong("password").contains("at least 8"),
        "{}",
        refused.text
    );
    assert!(!refused.text.contains(PASSWORD));

    let before = here.session_cookie().unwrap().to_owned();
    let done = here
        .submit(
            "/me/password",
            &[
                ("current_password", PASSWORD),
                ("password", ANOTHER),
                ("revoke_tokens", "true"),
            ],
        )
        .await;
    assert!(done.toast().contains("Password changed"));
    assert_ne!(
        here.session_cookie().unwrap(),
        before,
        "the session has a new id"
    );
    assert!(!there.is_signed_in().await);
    let api = ctx
        .browser()
        .send(
            Method::GET,
            "/api/v1/datasets",
            None,
            &[("authorization", &format!("Bearer {token}"))],
        )
        .await;
    assert_eq!(api.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        there
            .post(
                "/sign-in",
                &[("email", &actor.email), ("password", PASSWORD)]
            )
            .await
            .status,
        StatusCode::UNAUTHORIZED
    );
    ctx.clock.advance(MINUTE);
    assert_eq!(
        there
            .post(
                "/sign-in",
                &[("email", &actor.email), ("password", ANOTHER)]
            )
            .await
            .status,
        StatusCode::SEE_OTHER
    );
    let out = here.post("/me/sign-out-everywhere", &[]).await;
    assert_eq!(out.location(), "/sign-in");
    assert!(!here.is_signed_in().await && !there.is_signed_in().await);
}

#[tokio::test]
async fn people_change_their_own_name_and_nothing_else_with_it() {
    let ctx = TestContext::new().await;
    let (_, mut carl) = ctx.signed_in_person("carl", Role::Viewer).await;
    let done = carl
        .submit(
            "/me/name",
            &[
                ("name", "Carl <b>Colleague</b>"),
                ("role", "admin"),
                ("email", "root@house.test"),
                ("id", "usr_1"),
            ],
        )
        .await;
    assert_eq!(done.toast(), "Name saved.");
    assert!(
        done.text.contains("Carl &#60;b&#62;Colleague") && !done.text.contains("<b>Colleague"),
        "names are text"
    );
    assert!(
        done.words(".facts").contains("carl@house.test viewer"),
        "{}",
        done.words(".facts")
    );
    let refused = carl.post("/me/name", &[("name", " \u{7} ")]).await;
    assert!(
        refused.status == StatusCode::UNPROCESSABLE_ENTITY && !refused.wrong("name").is_empty()
    );
}
