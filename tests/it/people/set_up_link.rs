//! The set-up link creates the first admin, once.

use axum::http::StatusCode;

use crate::support::PASSWORD;
use crate::support::context::TestContext;

#[tokio::test]
async fn the_set_up_link_creates_the_first_admin_and_expires() {
    let ctx = TestContext::new().await;
    let code = ctx.set_up_code().await;
    let mut olga = ctx.browser();
    assert!(
        olga.get("/sign-in")
            .await
            .text
            .contains("There are no people yet")
    );
    assert_eq!(
        olga.get("/set-up/guess").await.status,
        StatusCode::NOT_FOUND
    );
    let form = olga.get(&format!("/set-up/{code}")).await;
    assert_eq!(form.title(), "Set up Chatlake");
    assert!(form.text.contains("At least 8 characters"));

    let refused = olga
        .post(
            "/set-up",
            &[
                ("code", &code),
                ("name", "Olga"),
                ("email", "olga"),
                ("password", "password1"),
            ],
        )
        .await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        refused.wrong("email").contains("email address")
            && refused.wrong("password").contains("too common"),
        "{}",
        refused.text
    );
    assert_eq!(refused.attribute("#name", "value").as_deref(), Some("Olga"));
    assert!(!refused.text.contains("password1"));

    let done = olga
        .post(
            "/set-up",
            &[
                ("code", &code),
                ("name", "Olga"),
                ("email", "olga@house.test"),
                ("password", PASSWORD),
            ],
        )
        .await;
    assert_eq!(
        (done.status, done.location().as_str()),
        (StatusCode::SEE_OTHER, "/datasets")
    );
    let settings = olga.get("/settings").await;
    assert!(
        settings.has("a[href='/settings/people/new']")
            && settings.toast().contains("Welcome, Olga")
    );

    let mut stan = ctx.browser();
    assert_eq!(
        stan.get(&format!("/set-up/{code}")).await.status,
        StatusCode::NOT_FOUND
    );
    let late = stan
        .post(
            "/set-up",
            &[
                ("code", &code),
                ("name", "Stan"),
                ("email", "stan@house.test"),
                ("password", PASSWORD),
            ],
        )
        .await;
    assert_eq!(late.status, StatusCode::NOT_FOUND);
    assert!(!late.text.contains(&code) && stan.session_cookie().is_none());
    assert!(ctx.app.set_up_link().await.unwrap().is_none());
}

#[tokio::test]
async fn of_fifty_concurrent_uses_of_the_set_up_link_one_succeeds() {
    let ctx = TestContext::new().await;
    let code = ctx.set_up_code().await;
    let mut race = tokio::task::JoinSet::new();
    for n in 0..50 {
        let (mut browser, code) = (ctx.browser(), code.clone());
        race.spawn(async move {
            let email = format!("person{n}@house.test");
            browser
                .post(
                    "/set-up",
                    &[
                        ("code", &code),
                        ("name", "Racer"),
                        ("email", &email),
                        ("password", PASSWORD),
                    ],
                )
                .await
                .status
        });
    }
    let answers = race.join_all().await;
    assert_eq!(
        answers
            .iter()
            .filter(|status| **status == StatusCode::SEE_OTHER)
            .count(),
        1,
        "{answers:?}"
    );
    assert!(
        answers
            .iter()
            .all(|status| [StatusCode::SEE_OTHER, StatusCode::NOT_FOUND].contains(status)),
        "{answers:?}"
    );
}
