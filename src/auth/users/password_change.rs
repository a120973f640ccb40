//! Passwords of people: set on the command line, or changed by a person who proves the current one.

use sqlx::{Sqlite, Transaction};

use super::get;
use crate::auth::audit::{self, AuditActor, AuditEvent, AuditResult};
use crate::auth::passwords::{self, Hasher};
use crate::auth::{export_passwords, sessions, sign_in, tokens};
use crate::clock::Clock;
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::secret::Secret;

/// Sets the password of a person from the command line. Ends all their sessions and deletes their
/// remembered browsers.
pub async fn set_password(
    db: &Db,
    clock: &Clock,
    hasher: &Hasher,
    id: &UserId,
    password: &Secret,
) -> Result<()> {
    let user = get(db, id).await?;
    passwords::check(password, &user.email, &user.name)
        .map_err(|why| Error::field("password", why))?;
    let hash = hasher.hash(password).await?;
    let mut tx = db.write().await?;
    replace_password(&mut tx, clock, id, &hash, None).await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(None, "user.set_password", id.as_str()),
    )
    .await?;
    Ok(tx.commit().await?)
}

/// The input of `change_password`.
#[derive(Clone, Copy, Debug)]
pub struct ChangePassword<'a> {
    pub current: &'a Secret,
    pub new: &'a Secret,
    /// The handle of the session that makes the change; it is the only one that stays active.
    pub keep_session: Option<&'a str>,
    pub revoke_tokens: bool,
}

/// Changes the password of a person who proves the current one. Ends all their sessions but
/// `keep_session` (see `sessions::handle`), and revokes their tokens and export passwords if
/// requested. All remembered browsers but this one are deleted; returns the new value of its device
/// cookie. The fields of errors are `current_password` and `password`.
pub async fn change_password(
    db: &Db,
    clock: &Clock,
    hasher: &Hasher,
    by: AuditActor<'_>,
    change: &ChangePassword<'_>,
) -> Result<Secret> {
    let actor = by.actor;
    if actor.scope.is_some() {
        return Err(Error::forbidden("An API token cannot change a password."));
    }
    let stored_hash: Option<String> =
        sqlx::query_scalar("SELECT password_hash FROM users WHERE id = $1")
            .bind(&actor.user)
            .fetch_one(db.read())
            .await?;
    if !hasher
        .verify(stored_hash.as_deref(), change.current)
        .await?
        .matches
    {
        let event = AuditEvent {
            result: AuditResult::Refused,
            ..AuditEvent::done(Some(by), "user.change_password", actor.user.as_str())
        };
        audit::record_alone(db, clock, event).await?;
        return Err(Error::field(
            "current_password",
            "This is not your current password.",
        ));
    }
    passwords::check(change.new, &actor.email, &actor.name)
        .map_err(|why| Error::field("password", why))?;
    let hash = hasher.hash(change.new).await?;
    let mut tx = db.write().await?;
    replace_password(&mut tx, clock, &actor.user, &hash, change.keep_session).await?;
    if change.revoke_tokens {
        tokens::revoke_all(&mut tx, clock, &actor.user).await?;
        export_passwords::revoke_all(&mut tx, clock, &actor.user).await?;
    }
    let device = sign_in::new_device(&mut tx, clock, &actor.user).await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(Some(by), "user.change_password", actor.user.as_str()),
    )
    .await?;
    tx.commit().await?;
    Ok(device)
}

pub(in crate::auth) async fn replace_password(
    tx: &mut Transaction<'_, Sqlite>,
    clock: &Clock,
    id: &UserId,
    hash: &str,
    keep_session: Option<&str>,
) -> Result<()> {
    sqlx::query("UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1")
        .bind(id)
        .bind(hash)
        .bind(clock.now())
        .execute(&mut **tx)
        .await?;
    sessions::end_all(tx, id, keep_session).await?;
    sqlx::query("DELETE FROM devices WHERE user_id = $1")
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
