//! Tests of sign-in: who gets in, what the error reveals, and what is stored.

mod throttling;

use super::*;
use crate::auth::passwords::weak_hash;
use crate::auth::test_support::{AuthFixture, PASSWORD};
use crate::auth::{Role, users};

struct SignInFixture {
    auth: AuthFixture,
    throttle: Throttle,
}

impl SignInFixture {
    async fn new() -> Self {
        let auth = AuthFixture::new().await;
        auth.person("olga", Role::Admin).await;
        let throttle = Throttle::new(auth.clock.clone());
        Self { auth, throttle }
    }

    async fn sign_in_from(
        &self,
        email: &str,
        password: &str,
        address: u32,
        device: Option<&str>,
    ) -> Result<SignedIn> {
        let password = Secret::new(password);
        let login = LoginAttempt {
            email,
            password: &password,
            address: IpAddr::V4(address.into()),
            device,
        };
        sign_in(
            &self.auth.db,
            &self.auth.clock,
            &self.auth.hasher,
            &self.throttle,
            login,
        )
        .await
    }
}

#[tokio::test]
async fn the_right_password_signs_in_and_everything_else_gets_one_answer() {
    let sign_in_fixture = SignInFixture::new().await;
    assert_eq!(
        sign_in_fixture
            .sign_in_from(" Olga@House.test ", PASSWORD, 1, None)
            .await
            .unwrap()
            .user
            .name,
        "olga"
    );
    let disabled = sign_in_fixture.auth.person("dan", Role::Editor).await;
    users::disable(
        &sign_in_fixture.auth.db,
        &sign_in_fixture.auth.clock,
        &disabled.user,
        None,
    )
    .await
    .unwrap();
    let mut answers = Vec::new();
    for (n, (email, password)) in [
        ("olga@house.test", "wrong horse battery"),
        ("nobody@house.test", PASSWORD),
        ("dan@house.test", PASSWORD),
        ("", ""),
        ("x", &"p".repeat(2_000)),
    ]
    .into_iter()
    .enumerate()
    {
        let error = sign_in_fixture
            .sign_in_from(email, password, 10 + u32::try_from(n).unwrap(), None)
            .await
            .unwrap_err();
        answers.push((error.code(), error.message().to_owned(), error.kind()));
    }
    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]),
        "{answers:?}"
    );
    let trail = audit::list(&sign_in_fixture.auth.db, None, 50)
        .await
        .unwrap();
    assert!(
        trail
            .iter()
            .any(|e| e.action == "user.sign_in" && e.result == "done" && e.address.is_some())
    );
    assert!(
        trail
            .iter()
            .any(|e| e.action == "user.sign_in" && e.result == "refused")
    );
    assert!(
        !format!("{trail:?}").contains("nobody"),
        "what strangers type is not written down"
    );
}

#[tokio::test]
async fn an_unknown_person_costs_the_time_of_a_known_one() {
    let sign_in_fixture = SignInFixture::new().await;
    let mut times = [Vec::new(), Vec::new()];
    for n in 0..15 {
        for (known, times) in times.iter_mut().enumerate() {
            let email = if known == 0 {
                "nobody@house.test"
            } else {
                "olga@house.test"
            };
            sign_in_fixture.auth.clock.advance(60_000);
            let begun = std::time::Instant::now();
            assert_eq!(
                sign_in_fixture
                    .sign_in_from(email, "wrong horse battery", 100 + n, None)
                    .await
                    .unwrap_err()
                    .code(),
                "wrong_credentials"
            );
            times.push(begun.elapsed());
        }
    }
    let median = |times: &mut Vec<std::time::Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    let (unknown, known) = (median(&mut times[0]), median(&mut times[1]));
    assert!(
        unknown / known > 0.5 && unknown / known < 2.0,
        "{unknown} and {known} seconds"
    );
}

#[tokio::test]
async fn a_hash_with_weaker_parameters_is_replaced() {
    let sign_in_fixture = SignInFixture::new().await;
    let mut tx = sign_in_fixture.auth.db.write().await.unwrap();
    sqlx::query("UPDATE users SET password_hash = $1")
        .bind(weak_hash(PASSWORD))
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    sign_in_fixture
        .sign_in_from("olga@house.test", PASSWORD, 1, None)
        .await
        .unwrap();
    let stored_hash: String = sqlx::query_scalar("SELECT password_hash FROM users")
        .fetch_one(sign_in_fixture.auth.db.read())
        .await
        .unwrap();
    assert!(
        stored_hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
        "{stored_hash}"
    );
    sign_in_fixture
        .sign_in_from("olga@house.test", PASSWORD, 1, None)
        .await
        .unwrap();
}
