//! A person signs in with email and password. Unknown, disabled and mistaken people get one answer, after one hashing of the same
//! cost; what they are told does not tell who is here.

use std::net::IpAddr;

use sqlx::{Row, Sqlite, Transaction};

use super::audit::{self, Deed};
use super::passwords::Hasher;
use super::throttle::Throttle;
use super::users::{self, User};
use super::{DAY, hash, random_text};
use crate::clock::Clock;
use crate::db::Db;
use crate::error::{Error, Kind, Result};
use crate::ids::UserId;
use crate::secret::Secret;

/// The cookie that tells a browser that signed in before. Long-lived, HttpOnly, SameSite=Lax, Path=/.
pub fn device_cookie(https: bool) -> &'static str {
    if https { "__Host-chatlake_device" } else { "chatlake_device" }
}

/// A browser is remembered for this long after its last sign-in.
pub const DEVICE_DAYS: i64 = 180;
/// The oldest beyond this many are forgotten.
const MOST_DEVICES: i64 = 20;
/// Longer ones nobody has: megabytes of typed text stay out of the hasher and the counters.
const LONGEST: usize = 1_024;
const LONGEST_EMAIL: usize = 254;

/// What came with the form.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    pub email: &'a str,
    pub password: &'a Secret,
    /// See `web::client_address`.
    pub address: IpAddr,
    /// The value of the device cookie.
    pub device: Option<&'a str>,
}

/// Somebody is in, by password or by link: begin a session with `sessions::begin` and set the device cookie.
#[derive(Clone, Debug)]
pub struct SignedIn {
    pub user: User,
    /// The value of the device cookie, the one that came or a new one.
    pub device: Secret,
}

/// Signs a person in. Errors: `wrong_credentials` (Unauthenticated), `too_many_attempts` (TooMany), `busy` (Unavailable).
pub async fn sign_in(db: &Db, clock: &Clock, hasher: &Hasher, throttle: &Throttle, given: Given<'_>) -> Result<SignedIn> {
    let email = given.email.trim().to_lowercase();
    if email.len() > LONGEST_EMAIL || given.password.reveal().len() > LONGEST {
        return Err(wrong());
    }
    let row = sqlx::query("SELECT * FROM users WHERE email = $1").bind(&email).fetch_optional(db.read()).await?;
    let found = row.as_ref().map(users::user).transpose()?;
    let device = known_device(db, clock, found.as_ref(), given.device).await?;
    let deed = |result| Deed { actor: None, address: Some(given.address), action: "user.sign_in", object: found.as_ref().map(|user| user.id.as_str()), result };
    let kept: Option<String> = row.as_ref().map(|row| row.try_get("password_hash")).transpose()?.flatten();
    // Counted for the password as it is: whoever is given a new one is not slowed by guesses at the old one.
    let account = format!("{email} {}", kept.as_deref().map(hash).unwrap_or_default());
    let attempt = match throttle.admit(&account, device.as_deref(), given.address) {
        Ok(attempt) => attempt,
        Err(slowed) => {
            throttle.refusals.note(db, clock, deed("slowed")).await?;
            return Err(slowed);
        }
    };
    let verified = match hasher.verify(kept.as_deref(), given.password).await {
        Ok(verified) => verified,
        Err(busy) => {
            throttle.not_looked_at(&attempt);
            return Err(busy);
        }
    };
    let user = match &found {
        Some(user) if verified.fits && user.disabled_at.is_none() => user.clone(),
        _ => {
            throttle.refusals.note(db, clock, deed("refused")).await?;
            return Err(wrong());
        }
    };
    throttle.succeeded(&attempt);
    let fresh = if verified.outdated { Some(hasher.hash(given.password).await?) } else { kept.clone() };
    let mut tx = db.write().await?;
    // Only in place of the hash that was verified: password or person may have been changed while it was.
    let still = sqlx::query("UPDATE users SET password_hash = $2 WHERE id = $1 AND password_hash = $3 AND disabled_at IS NULL")
        .bind(&user.id)
        .bind(fresh)
        .bind(&kept)
        .execute(&mut *tx)
        .await?;
    if still.rows_affected() == 0 {
        return Err(wrong());
    }
    let value = match (device, given.device) {
        (Some(_), Some(value)) => Secret::new(value),
        _ => random_text(),
    };
    remember(&mut tx, clock, &user.id, value.reveal()).await?;
    audit::record(&mut tx, clock, Deed { actor: Some(&user.id), ..deed("done") }).await?;
    tx.commit().await?;
    Ok(SignedIn { user, device: value })
}

fn wrong() -> Error {
    Error::new(Kind::Unauthenticated, "wrong_credentials", "Wrong email or password.").action("Check both, or ask an admin for a password reset link.")
}

/// The hash of the device cookie when it belongs to this person. Asks the catalogue for unknown people too: they take the same time.
async fn known_device(db: &Db, clock: &Clock, user: Option<&User>, value: Option<&str>) -> Result<Option<String>> {
    let Some(value) = value.filter(|value| value.len() <= 64) else { return Ok(None) };
    let hash = hash(value);
    let owner: Option<UserId> = sqlx::query_scalar("SELECT user_id FROM devices WHERE hash = $1 AND last_used_at > $2")
        .bind(&hash)
        .bind(clock.now() - DEVICE_DAYS * DAY)
        .fetch_optional(db.read())
        .await?;
    Ok(owner.filter(|owner| user.is_some_and(|user| user.id == *owner)).map(|_| hash))
}

/// Remembers this browser under a new value, which is the device cookie's.
pub(super) async fn new_device(tx: &mut Transaction<'_, Sqlite>, clock: &Clock, user: &UserId) -> Result<Secret> {
    let value = random_text();
    remember(tx, clock, user, value.reveal()).await?;
    Ok(value)
}

async fn remember(tx: &mut Transaction<'_, Sqlite>, clock: &Clock, user: &UserId, value: &str) -> Result<()> {
    sqlx::query("INSERT INTO devices (hash, user_id, created_at, last_used_at) VALUES ($1, $2, $3, $3) ON CONFLICT (hash) DO UPDATE SET last_used_at = $3")
        .bind(hash(value))
        .bind(user)
        .bind(clock.now())
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        "DELETE FROM devices WHERE user_id = $1 AND hash NOT IN (SELECT hash FROM devices WHERE user_id = $1 ORDER BY last_used_at DESC, created_at DESC LIMIT $2)",
    )
    .bind(user)
    .bind(MOST_DEVICES)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Role;
    use crate::auth::passwords::weak_hash;
    use crate::auth::test_house::{House, PASSWORD};

    struct Door {
        house: House,
        throttle: Throttle,
    }

    impl Door {
        async fn new() -> Self {
            let house = House::new().await;
            house.person("olga", Role::Admin).await;
            let throttle = Throttle::new(house.clock.clone());
            Self { house, throttle }
        }

        async fn knock(&self, email: &str, password: &str, address: u32, device: Option<&str>) -> Result<SignedIn> {
            let password = Secret::new(password);
            let given = Given { email, password: &password, address: IpAddr::V4(address.into()), device };
            sign_in(&self.house.db, &self.house.clock, &self.house.hasher, &self.throttle, given).await
        }
    }

    #[tokio::test]
    async fn the_right_password_signs_in_and_everything_else_gets_one_answer() {
        let door = Door::new().await;
        assert_eq!(door.knock(" Olga@House.test ", PASSWORD, 1, None).await.unwrap().user.name, "olga");
        let disabled = door.house.person("dan", Role::Editor).await;
        users::disable(&door.house.db, &door.house.clock, &disabled.user, None).await.unwrap();
        let mut answers = Vec::new();
        for (n, (email, password)) in
            [("olga@house.test", "wrong horse battery"), ("nobody@house.test", PASSWORD), ("dan@house.test", PASSWORD), ("", ""), ("x", &"p".repeat(2_000))]
                .into_iter()
                .enumerate()
        {
            let error = door.knock(email, password, 10 + u32::try_from(n).unwrap(), None).await.unwrap_err();
            answers.push((error.code(), error.message().to_owned(), error.kind()));
        }
        assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
        let trail = audit::list(&door.house.db, None, 50).await.unwrap();
        assert!(trail.iter().any(|e| e.action == "user.sign_in" && e.result == "done" && e.address.is_some()));
        assert!(trail.iter().any(|e| e.action == "user.sign_in" && e.result == "refused"));
        assert!(!format!("{trail:?}").contains("nobody"), "what strangers type is not written down");
    }

    #[tokio::test]
    async fn an_unknown_person_costs_the_time_of_a_known_one() {
        let door = Door::new().await;
        let mut times = [Vec::new(), Vec::new()];
        for n in 0..15 {
            for (known, times) in times.iter_mut().enumerate() {
                let email = if known == 0 { "nobody@house.test" } else { "olga@house.test" };
                door.house.clock.advance(60_000);
                let begun = std::time::Instant::now();
                assert_eq!(door.knock(email, "wrong horse battery", 100 + n, None).await.unwrap_err().code(), "wrong_credentials");
                times.push(begun.elapsed());
            }
        }
        let median = |times: &mut Vec<std::time::Duration>| {
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64()
        };
        let (unknown, known) = (median(&mut times[0]), median(&mut times[1]));
        assert!(unknown / known > 0.5 && unknown / known < 2.0, "{unknown} and {known} seconds");
    }

    #[tokio::test]
    async fn whoever_is_given_a_new_password_is_not_slowed_by_guesses_at_the_old_one() {
        let door = Door::new().await;
        for address in 100..104 {
            let _ = door.knock("olga@house.test", "wrong horse battery", address, None).await;
        }
        assert_eq!(door.knock("olga@house.test", PASSWORD, 1, None).await.unwrap_err().code(), "too_many_attempts");
        let user = users::by_email(&door.house.db, "olga@house.test").await.unwrap().unwrap();
        users::set_password(&door.house.db, &door.house.clock, &door.house.hasher, &user.id, &Secret::new("staple battery horse")).await.unwrap();
        assert!(door.knock("olga@house.test", "staple battery horse", 1, None).await.is_ok());
    }

    #[tokio::test]
    async fn a_flood_from_one_address_leaves_an_entry_a_second() {
        let door = Door::new().await;
        for _ in 0..500 {
            let _ = door.knock("olga@house.test", "wrong horse battery", 1, None).await;
        }
        let trail = audit::list(&door.house.db, None, 1_000).await.unwrap();
        let of = |result| trail.iter().filter(|entry| entry.action == "user.sign_in" && entry.result == result).count();
        assert_eq!((of("refused"), of("slowed")), (1, 1), "{trail:?}");
    }

    #[tokio::test]
    async fn a_stranger_who_guesses_does_not_keep_the_owners_browser_out() {
        let door = Door::new().await;
        let device = door.knock("olga@house.test", PASSWORD, 1, None).await.unwrap().device;
        for address in 100..120 {
            let _ = door.knock("olga@house.test", "wrong horse battery", address, None).await;
        }
        assert_eq!(door.knock("olga@house.test", PASSWORD, 1, None).await.unwrap_err().code(), "too_many_attempts");
        assert_eq!(door.knock("olga@house.test", PASSWORD, 1, Some("stolen")).await.unwrap_err().code(), "too_many_attempts");
        let again = door.knock("olga@house.test", PASSWORD, 1, Some(device.reveal())).await.unwrap();
        assert_eq!(again.device, device);
        assert_eq!(door.knock("nobody@house.test", PASSWORD, 7, Some(device.reveal())).await.unwrap_err().code(), "wrong_credentials");
        let stored: String = sqlx::query_scalar("SELECT hash FROM devices").fetch_one(door.house.db.read()).await.unwrap();
        assert_ne!(stored, device.reveal());
    }

    #[tokio::test]
    async fn the_browser_of_one_person_has_no_budget_for_the_account_of_another() {
        let door = Door::new().await;
        door.house.person("ann", Role::Viewer).await;
        let of_ann = door.knock("ann@house.test", PASSWORD, 1, None).await.unwrap().device;
        let of_olga = door.knock("olga@house.test", PASSWORD, 2, None).await.unwrap().device;
        // Ann guesses Olga's password in her own browser: Olga's account and Ann's address pay for it.
        assert_eq!(door.knock("olga@house.test", "wrong horse battery", 1, Some(of_ann.reveal())).await.unwrap_err().code(), "wrong_credentials");
        for address in [1, 3] {
            let device = (address == 1).then_some(of_ann.reveal());
            assert_eq!(door.knock("olga@house.test", PASSWORD, address, device).await.unwrap_err().code(), "too_many_attempts", "{address}");
        }
        // Neither Olga's own browser nor Ann's account is slowed.
        assert!(door.knock("olga@house.test", PASSWORD, 2, Some(of_olga.reveal())).await.is_ok());
        assert!(door.knock("ann@house.test", PASSWORD, 1, Some(of_ann.reveal())).await.is_ok());
    }

    #[tokio::test]
    async fn a_browser_that_stayed_away_for_half_a_year_is_known_no_more() {
        for (days, is_known) in [(DEVICE_DAYS - 1, true), (DEVICE_DAYS, false)] {
            let door = Door::new().await;
            let device = door.knock("olga@house.test", PASSWORD, 1, None).await.unwrap().device;
            door.house.clock.advance(days * DAY);
            let _ = door.knock("olga@house.test", "wrong horse battery", 50, None).await;
            let again = door.knock("olga@house.test", PASSWORD, 1, Some(device.reveal())).await;
            assert_eq!(again.is_ok(), is_known, "after {days} days");
        }
    }

    #[tokio::test]
    async fn whoever_is_turned_away_because_the_server_is_busy_is_charged_nothing() {
        let door = Door::new().await;
        let device = door.knock("olga@house.test", PASSWORD, 1, None).await.unwrap().device;
        let busy = door.house.hasher.occupy().await;
        for _ in 0..20 {
            for device in [None, Some(device.reveal())] {
                assert_eq!(door.knock("olga@house.test", "wrong horse battery", 1, device).await.unwrap_err().code(), "busy");
            }
        }
        for waits in busy {
            waits.abort();
            drop(waits.await);
        }
        // As after no failure at all: each budget has one try before the first wait.
        for device in [None, Some(device.reveal())] {
            assert_eq!(door.knock("olga@house.test", "wrong horse battery", 1, device).await.unwrap_err().code(), "wrong_credentials");
            assert_eq!(door.knock("olga@house.test", "wrong horse battery", 1, device).await.unwrap_err().code(), "too_many_attempts");
        }
    }

    #[tokio::test]
    async fn a_password_kept_with_weaker_parameters_is_hashed_again() {
        let door = Door::new().await;
        let mut tx = door.house.db.write().await.unwrap();
        sqlx::query("UPDATE users SET password_hash = $1").bind(weak_hash(PASSWORD)).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        door.knock("olga@house.test", PASSWORD, 1, None).await.unwrap();
        let kept: String = sqlx::query_scalar("SELECT password_hash FROM users").fetch_one(door.house.db.read()).await.unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        door.knock("olga@house.test", PASSWORD, 1, None).await.unwrap();
    }
}
