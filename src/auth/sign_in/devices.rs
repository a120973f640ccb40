//! Remembered browsers, also called devices: each has a cookie, of which only the hash is stored.

use sqlx::{Sqlite, Transaction};

use crate::auth::users::User;
use crate::auth::{DAY, hash, random_text};
use crate::clock::Clock;
use crate::db::Db;
use crate::error::Result;
use crate::ids::UserId;
use crate::secret::Secret;

/// How many days a browser is remembered after its last sign-in.
pub const DEVICE_DAYS: i64 = 180;
/// The maximum number of remembered browsers per person; the oldest ones are deleted.
const MAX_DEVICES: i64 = 20;

/// The cookie of a remembered browser, which has signed in before. Long-lived, HttpOnly,
/// SameSite=Lax, Path=/.
pub fn device_cookie(https: bool) -> &'static str {
    if https {
        "__Host-chatlake_device"
    } else {
        "chatlake_device"
    }
}

/// The hash of the device cookie if it belongs to this person. The catalogue is also queried for
/// unknown people, so that the response takes the same time.
pub(super) async fn known_device(
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
pub(in crate::auth) async fn new_device(
    tx: &mut Transaction<'_, Sqlite>,
    clock: &Clock,
    user: &UserId,
) -> Result<Secret> {
    let value = random_text();
    remember(tx, clock, user, value.reveal()).await?;
    Ok(value)
}

pub(super) async fn remember(
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
    // Deletes all but the devices that were used last.
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
