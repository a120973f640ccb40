//! Guessed passwords are throttled without locking out their owner.

use axum::http::StatusCode;
use chatlake::actor::Role;

use super::ANOTHER;
use super::accept;
use super::link_path;
use crate::support::context::TestContext;
use crate::support::http::Browser;
use crate::support::{MINUTE, PASSWORD};

impl TestContext {
    /// Signs in after the throttling has ended.
    async fn signed_in_later(&self, name: &str) -> Browser {
        self.clock.advance(15 * MINUTE);
        let mut browser = self.browser();
        let email = format!("{name}@house.test");
        assert_eq!(
            browser
                .post("/sign-in", &[("email", &email), ("password", PASSWORD)])
                .await
                .status,
            StatusCode::SEE_OTHER
        );
        browser
    }
}

#[tokio::test]
async fn wrong_and_unknown_logins_look_alike_and_guessing_is_throttled() {
    let ctx = TestContext::new().await;
    ctx.person("olga", Role::Admin).await;
    let dan = ctx.person("dan", Role::Viewer).await;
    chatlake::auth::users::disable(&ctx.app.db, &ctx.clock, &dan.user, None)
        .await
        .unwrap();
    let mut answers = Vec::new();
    for (email, password) in [
        ("olga@house.test", "wrong horse battery"),
        ("nobody@house.test", PASSWORD),
        ("dan@house.test", PASSWORD),
    ] {
        let answer = ctx
            .browser()
            .post("/sign-in", &[("email", email), ("password", password)])
            .await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert!(!answer.text.contains(password) && !answer.headers.contains_key("set-cookie"));
        answers.push(answer.text.replace(email, "EMAIL"));
    }
    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]),
        "{answers:?}"
    );

    let mut known = ctx.signed_in_later("olga").await;
    let again = ctx
        .browser()
        .post(
            "/sign-in",
            &[
                ("email", "olga@house.test"),
                ("password", "guess guess guess"),
            ],
        )
        .await;
    assert_eq!(again.status, StatusCode::UNAUTHORIZED);
    let slowed = ctx
        .browser()
        .post(
            "/sign-in",
            &[("email", "olga@house.test"), ("password", PASSWORD)],
        )
        .await;
    assert_eq!(
        (slowed.status, slowed.headers["retry-after"].as_bytes()),
        (StatusCode::TOO_MANY_REQUESTS, b"1".as_slice())
    );
    assert!(slowed.text.contains("Try again in 1 second"));
    let own = known
        .post(
            "/sign-in",
            &[("email", "olga@house.test"), ("password", PASSWORD)],
        )
        .await;
    assert_eq!(
        own.status,
        StatusCode::SEE_OTHER,
        "the browser that signed in before is not throttled"
    );
    ctx.clock.advance(1_100);
    assert_eq!(
        ctx.browser()
            .post(
                "/sign-in",
                &[("email", "olga@house.test"), ("password", PASSWORD)]
            )
            .await
            .status,
        StatusCode::SEE_OTHER
    );
}

impl TestContext {
    /// Guesses the password of a person until guesses are throttled.
    async fn guessed_at(&self, email: &str) {
        let guess = [("email", email), ("password", "guess guess guess")];
        self.browser().post("/sign-in", &guess).await;
        assert_eq!(
            self.browser().post("/sign-in", &guess).await.status,
            StatusCode::TOO_MANY_REQUESTS
        );
    }
}

#[tokio::test]
async fn guessing_does_not_lock_out_an_invited_person_or_a_changed_password() {
    let ctx = TestContext::new().await;
    let code = ctx.set_up_code().await;
    let (mut olga, mut carl) = (ctx.browser(), ctx.browser());
    olga.post(
        "/set-up",
        &[
            ("code", &code),
            ("name", "Olga"),
            ("email", "olga@house.test"),
            ("password", PASSWORD),
        ],
    )
    .await;
    ctx.guessed_at("olga@house.test").await;
    assert_eq!(
        olga.post(
            "/sign-in",
            &[("email", "olga@house.test"), ("password", PASSWORD)]
        )
        .await
        .status,
        StatusCode::SEE_OTHER
    );

    let made = olga
        .post(
            "/settings/people/new",
            &[
                ("name", "Carl"),
                ("email", "carl@house.test"),
                ("role", "editor"),
            ],
        )
        .await;
    accept(&mut carl, &link_path(&made), PASSWORD).await;
    ctx.guessed_at("carl@house.test").await;
    let mut copy = carl.clone();
    assert_eq!(
        carl.post(
            "/sign-in",
            &[("email", "carl@house.test"), ("password", PASSWORD)]
        )
        .await
        .status,
        StatusCode::SEE_OTHER
    );

    let known = carl.cookies["chatlake_device"].clone();
    carl.submit(
        "/me/password",
        &[("current_password", PASSWORD), ("password", ANOTHER)],
    )
    .await;
    assert_ne!(carl.cookies["chatlake_device"], known);
    ctx.guessed_at("carl@house.test").await;
    let fields = [("email", "carl@house.test"), ("password", ANOTHER)];
    assert_eq!(
        copy.post("/sign-in", &fields).await.status,
        StatusCode::TOO_MANY_REQUESTS,
        "other browsers are forgotten"
    );
    assert_eq!(
        carl.post("/sign-in", &fields).await.status,
        StatusCode::SEE_OTHER
    );
}
