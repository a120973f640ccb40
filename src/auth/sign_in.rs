//! Sign-in with email and password. An unknown email, a deactivated person and a wrong password
//! give the same error after hashing at the same cost, so that the response does not reveal who has
//! an account.

use std::net::IpAddr;

use sqlx::{Row, Sqlite, Transaction};

use super::audit::{self, AuditEvent};
use super::passwords::Hasher;
use super::throttle::Throttle;
use super::users::{self, User};
use super::{DAY, hash, random_text};
use crate::clock::Clock;
use crate::db::Db;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::UserId;
use crate::secret::Secret;

/// The cookie of a remembered browser, which has signed in before. Long-lived, HttpOnly,
/// SameSite=Lax, Path=/.
pub fn device_cookie(https: bool) -> &'static str {
    if https {
        "__Host-chatlake_device"
    } else {
        "chatlake_device"
    }
}

/// How many days a browser is remembered after its last sign-in.
pub const DEVICE_DAYS: i64 = 180;
/// The maximum number of remembered browsers per person; the oldest ones are deleted.
const MAX_DEVICES: i64 = 20;
/// The maximum length of an email and a password, so that megabytes of input reach neither the
/// hasher nor the counters.
const MAX_PASSWORD_BYTES: usize = 1_024;
const MAX_EMAIL_BYTES: usize = 254;

/// The input of a sign-in attempt.
#[derive(Clone, Copy, Debug)]
pub struct LoginAttempt<'a> {
    pub email: &'a str,
    pub password: &'a Secret,
    /// See `web::client_address`.
    pub address: IpAddr,
    /// The value of the device cookie.
    pub device: Option<&'a str>,
}

/// A successful sign-in, by password or by link. The caller starts a session with `sessions::begin`
/// and sets the device cookie.
#[derive(Clone, Debug)]
pub struct SignedIn {
    pub user: User,
    /// The value of the device cookie: the received one or a new one.
    pub device: Secret,
}

/// Signs a person in. Errors: `wrong_credentials` (Unauthenticated), `too_many_attempts` (TooMany),
/// `busy` (Unavailable).
pub async fn sign_in(
    db: &Db,
    clock: &Clock,
    hasher: &Hasher,
    throttle: &Throttle,
    login: LoginAttempt<'_>,
) -> Result<SignedIn> {
    let email = login.email.trim().to_lowercase();
    if email.len() > MAX_EMAIL_BYTES || login.password.reveal().len() > MAX_PASSWORD_BYTES {
        return Err(wrong_credentials());
    }
    let row = sqlx::query("SELECT * FROM users WHERE email = $1")
        .bind(&email)
        .fetch_optional(db.read())
        .await?;
    let found = row.as_ref().map(users::user).transpose()?;
    let device = known_device(db, clock, found.as_ref(), login.device).await?;
    let event = |result| AuditEvent {
        actor: None,
        address: Some(login.address),
        action: "user.sign_in",
        object: found.as_ref().map(|user| user.id.as_str()),
        result,
    };
    let stored_hash: Option<String> = row
        .as_ref()
        .map(|row| row.try_get("password_hash"))
        .transpose()?
        .flatten();
    // The counter key contains the current hash, so that a new password is not throttled because of
    // guesses at the old one.
    let account = format!(
        "{email} {}",
        stored_hash.as_deref().map(hash).unwrap_or_default()
    );
    let attempt = match throttle.admit(&account, device.as_deref(), login.address) {
        Ok(attempt) => attempt,
        Err(slowed) => {
            throttle
                .attempt_log
                .record(db, clock, event("slowed"))
                .await?;
            return Err(slowed);
        }
    };
    let verified = match hasher.verify(stored_hash.as_deref(), login.password).await {
        Ok(verified) => verified,
        Err(busy) => {
            throttle.cancel(&attempt);
            return Err(busy);
        }
    };
    let user = match &found {
        Some(user) if verified.matches && user.disabled_at.is_none() => user.clone(),
        _ => {
            throttle
                .attempt_log
                .record(db, clock, event("refused"))
                .await?;
            return Err(wrong_credentials());
        }
    };
    throttle.succeeded(&attempt);
    let fresh = if verified.outdated {
        Some(hasher.hash(login.password).await?)
    } else {
        stored_hash.clone()
    };
    let mut tx = db.write().await?;
    // Replaces only the hash that was verified: the password or the person may have changed
    // meanwhile.
    let still = sqlx::query(
        "UPDATE users
         SET password_hash = $2
         WHERE id = $1 AND password_hash = $3 AND disabled_at IS NULL",
    )
    .bind(&user.id)
    .bind(fresh)
    .bind(&stored_hash)
    .execute(&mut *tx)
    .await?;
    if still.rows_affected() == 0 {
        return Err(wrong_credentials());
    }
    let value = match (device, login.device) {
        (Some(_), Some(value)) => Secret::new(value),
        _ => random_text(),
    };
    remember(&mut tx, clock, &user.id, value.reveal()).await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent {
            actor: Some(&user.id),
            ..event("done")
        },
    )
    .await?;
    tx.commit().await?;
    Ok(SignedIn {
        user,
        device: value,
    })
}

fn wrong_credentials() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "wrong_credentials",
        "Wrong email or password.",
    )
    .action("Check both, or ask an admin for a password reset link.")
}

/// The hash of the device cookie if it belongs to this person. The catalogue is also queried for
/// unknown people, so that the response takes the same time.
async fn known_device(
    db: &Db,
    clock: &Clock,
    user: Option<&User>,
    value: Option<&str>,
) -> Result<Option<String>> {
    let Some(value) = value.filter(|value| value.len() <= 64) else {
        return Ok(None);
    };
    let hash = hash(value);
    let owner: Option<UserId> =
        sqlx::query_scalar("SELECT user_id FROM devices WHERE hash = $1 AND last_used_at > $2")
            .bind(&hash)
            .bind(clock.now() - DEVICE_DAYS * DAY)
            .fetch_optional(db.read())
            .await?;
    Ok(owner
        .filter(|owner| user.is_some_and(|user| user.id == *owner))
        .map(|_| hash))
}

/// Remembers this browser and returns the value of its device cookie.
pub(super) async fn new_device(
    tx: &mut Transaction<'_, Sqlite>,
    clock: &Clock,
    user: &UserId,
) -> Result<Secret> {
    let value = random_text();
    remember(tx, clock, user, value.reveal()).await?;
    Ok(value)
}

async fn remember(
    tx: &mut Transaction<'_, Sqlite>,
    clock: &Clock,
    user: &UserId,
    value: &str,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO devices (hash, user_id, created_at, last_used_at)
         VALUES ($1, $2, $3, $3)
         ON CONFLICT (hash)
         DO UPDATE SET last_used_at = $3",
    )
    .bind(hash(value))
    .bind(user)
    .bind(clock.now())
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "DELETE FROM devices
         WHERE user_id = $1
             AND hash NOT IN (
                 SELECT hash
                 FROM devices
                 WHERE user_id = $1
                 ORDER BY last_used_at DESC, created_at DESC
                 LIMIT $2
             )",
    )
    .bind(user)
    .bind(MAX_DEVICES)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Role;
    use crate::auth::passwords::weak_hash;
    use crate::auth::test_support::{AuthFixture, PASSWORD};

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
    async fn whoever_is_given_a_new_password_is_not_slowed_by_guesses_at_the_old_one() {
        let sign_in_fixture = SignInFixture::new().await;
        for address in 100..104 {
            let _ = sign_in_fixture
                .sign_in_from("olga@house.test", "wrong horse battery", address, None)
                .await;
        }
        assert_eq!(
            sign_in_fixture
                .sign_in_from("olga@house.test", PASSWORD, 1, None)
                .await
                .unwrap_err()
                .code(),
            "too_many_attempts"
        );
        let user = users::by_email(&sign_in_fixture.auth.db, "olga@house.test")
            .await
            .unwrap()
            .unwrap();
        users::set_password(
            &sign_in_fixture.auth.db,
            &sign_in_fixture.auth.clock,
            &sign_in_fixture.auth.hasher,
            &user.id,
            &Secret::new("staple battery horse"),
        )
        .await
        .unwrap();
        assert!(
            sign_in_fixture
                .sign_in_from("olga@house.test", "staple battery horse", 1, None)
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn a_flood_from_one_address_leaves_an_entry_a_second() {
        let sign_in_fixture = SignInFixture::new().await;
        for _ in 0..500 {
            let _ = sign_in_fixture
                .sign_in_from("olga@house.test", "wrong horse battery", 1, None)
                .await;
        }
        let trail = audit::list(&sign_in_fixture.auth.db, None, 1_000)
            .await
            .unwrap();
        let of = |result| {
            trail
                .iter()
                .filter(|entry| entry.action == "user.sign_in" && entry.result == result)
                .count()
        };
        assert_eq!((of("refused"), of("slowed")), (1, 1), "{trail:?}");
    }

    #[tokio::test]
    async fn a_stranger_who_guesses_does_not_keep_the_owners_browser_out() {
        let sign_in_fixture = SignInFixture::new().await;
        let device = sign_in_fixture
            .sign_in_from("olga@house.test", PASSWORD, 1, None)
            .await
            .unwrap()
            .device;
        for address in 100..120 {
            let _ = sign_in_fixture
                .sign_in_from("olga@house.test", "wrong horse battery", address, None)
                .await;
        }
        assert_eq!(
            sign_in_fixture
                .sign_in_from("olga@house.test", PASSWORD, 1, None)
                .await
                .unwrap_err()
                .code(),
            "too_many_attempts"
        );
        assert_eq!(
            sign_in_fixture
                .sign_in_from("olga@house.test", PASSWORD, 1, Some("stolen"))
                .await
                .unwrap_err()
                .code(),
            "too_many_attempts"
        );
        let again = sign_in_fixture
            .sign_in_from("olga@house.test", PASSWORD, 1, Some(device.reveal()))
            .await
            .unwrap();
        assert_eq!(again.device, device);
        assert_eq!(
            sign_in_fixture
                .sign_in_from("nobody@house.test", PASSWORD, 7, Some(device.reveal()))
                .await
                .unwrap_err()
                .code(),
            "wrong_credentials"
        );
        let stored: String = sqlx::query_scalar("SELECT hash FROM devices")
            .fetch_one(sign_in_fixture.auth.db.read())
            .await
            .unwrap();
        assert_ne!(stored, device.reveal());
    }

    #[tokio::test]
    async fn the_browser_of_one_person_has_no_budget_for_the_account_of_another() {
        let sign_in_fixture = SignInFixture::new().await;
        sign_in_fixture.auth.person("ann", Role::Viewer).await;
        let of_ann = sign_in_fixture
            .sign_in_from("ann@house.test", PASSWORD, 1, None)
            .await
            .unwrap()
            .device;
        let of_olga = sign_in_fixture
            .sign_in_from("olga@house.test", PASSWORD, 2, None)
            .await
            .unwrap()
            .device;
        // Ann guesses Olga's password in her own browser: this throttles Olga's account and Ann's
        // address.
        assert_eq!(
            sign_in_fixture
                .sign_in_from(
                    "olga@house.test",
                    "wrong horse battery",
                    1,
                    Some(of_ann.reveal())
                )
                .await
                .unwrap_err()
                .code(),
            "wrong_credentials"
        );
        for address in [1, 3] {
            let device = (address == 1).then_some(of_ann.reveal());
            assert_eq!(
                sign_in_fixture
                    .sign_in_from("olga@house.test", PASSWORD, address, device)
                    .await
                    .unwrap_err()
                    .code(),
                "too_many_attempts",
                "{address}"
            );
        }
        // Neither Olga's own browser nor Ann's account is throttled.
        assert!(
            sign_in_fixture
                .sign_in_from("olga@house.test", PASSWORD, 2, Some(of_olga.reveal()))
                .await
                .is_ok()
        );
        assert!(
            sign_in_fixture
                .sign_in_from("ann@house.test", PASSWORD, 1, Some(of_ann.reveal()))
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn a_browser_that_stayed_away_for_half_a_year_is_known_no_more() {
        for (days, is_known) in [(DEVICE_DAYS - 1, true), (DEVICE_DAYS, false)] {
            let sign_in_fixture = SignInFixture::new().await;
            let device = sign_in_fixture
                .sign_in_from("olga@house.test", PASSWORD, 1, None)
                .await
                .unwrap()
                .device;
            sign_in_fixture.auth.clock.advance(days * DAY);
            let _ = sign_in_fixture
                .sign_in_from("olga@house.test", "wrong horse battery", 50, None)
                .await;
            let again = sign_in_fixture
                .sign_in_from("olga@house.test", PASSWORD, 1, Some(device.reveal()))
                .await;
            assert_eq!(again.is_ok(), is_known, "after {days} days");
        }
    }

    #[tokio::test]
    async fn whoever_is_turned_away_because_the_server_is_busy_is_charged_nothing() {
        let sign_in_fixture = SignInFixture::new().await;
        let device = sign_in_fixture
            .sign_in_from("olga@house.test", PASSWORD, 1, None)
            .await
            .unwrap()
            .device;
        let busy = sign_in_fixture.auth.hasher.occupy().await;
        for _ in 0..20 {
            for device in [None, Some(device.reveal())] {
                assert_eq!(
                    sign_in_fixture
                        .sign_in_from("olga@house.test", "wrong horse battery", 1, device)
                        .await
                        .unwrap_err()
                        .code(),
                    "busy"
                );
            }
        }
        for waits in busy {
            waits.abort();
            drop(waits.await);
        }
        // The counters are as without a failure: one attempt is free before the first wait.
        for device in [None, Some(device.reveal())] {
            assert_eq!(
                sign_in_fixture
                    .sign_in_from("olga@house.test", "wrong horse battery", 1, device)
                    .await
                    .unwrap_err()
                    .code(),
                "wrong_credentials"
            );
            assert_eq!(
                sign_in_fixture
                    .sign_in_from("olga@house.test", "wrong horse battery", 1, device)
                    .await
                    .unwrap_err()
                    .code(),
                "too_many_attempts"
            );
        }
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
}
