//! Sign-in with email and password. An unknown email, a deactivated person and a wrong password
//! give the same error after hashing at the same cost, so that the response does not reveal who has
//! an account. `devices.rs` remembers browsers.

mod devices;

use std::net::IpAddr;

use super::audit::{self, AuditEvent, AuditResult};
use super::passwords::Hasher;
use super::throttle::Throttle;
use super::users::{User, UserRow};
use super::{hash, random_text};
use crate::clock::Clock;
use crate::db::Db;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;
pub(super) use devices::new_device;
pub use devices::{DEVICE_DAYS, device_cookie};
use devices::{known_device, remember};

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
    let row: Option<UserRow> = sqlx::query_as("SELECT * FROM users WHERE email = $1")
        .bind(&email)
        .fetch_optional(db.read())
        .await?;
    let stored_hash = row.as_ref().and_then(|row| row.password_hash.clone());
    let found = row.map(User::from);
    let device = known_device(db, clock, found.as_ref(), login.device).await?;
    let event = |result| AuditEvent {
        actor: None,
        address: Some(login.address),
        action: "user.sign_in",
        object: found.as_ref().map(|user| user.id.as_str()),
        result,
    };
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
                .record(db, clock, event(AuditResult::Slowed))
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
                .record(db, clock, event(AuditResult::Refused))
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
            ..event(AuditResult::Done)
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

#[cfg(test)]
mod tests;
