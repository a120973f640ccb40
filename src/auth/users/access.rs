//! Deactivates and reactivates people, and changes their roles. One admin always remains.

use sqlx::{Sqlite, Transaction};

use super::get;
use crate::auth::audit::{self, AuditActor, AuditEvent};
use crate::auth::{Role, export_passwords, sessions, tokens};
use crate::clock::Clock;
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::UserId;

/// Deactivates a person at once: ends all sessions and permanently revokes all tokens and export
/// passwords. The last admin cannot be deactivated.
pub async fn disable(
    db: &Db,
    clock: &Clock,
    id: &UserId,
    by: Option<AuditActor<'_>>,
) -> Result<()> {
    require_admin(by)?;
    get(db, id).await?;
    let mut tx = db.write().await?;
    sqlx::query(
        "UPDATE users SET disabled_at = $2, updated_at = $2 WHERE id = $1 AND disabled_at IS NULL",
    )
    .bind(id)
    .bind(clock.now())
    .execute(&mut *tx)
    .await?;
    require_remaining_admin(&mut tx).await?;
    sessions::end_all(&mut tx, id, None).await?;
    tokens::revoke_all(&mut tx, clock, id).await?;
    export_passwords::revoke_all(&mut tx, clock, id).await?;
    sqlx::query(
        "UPDATE invites
         SET used_at = $2
         WHERE email = (SELECT email FROM users WHERE id = $1) AND used_at IS NULL",
    )
    .bind(id)
    .bind(clock.now())
    .execute(&mut *tx)
    .await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(by, "user.disable", id.as_str()),
    )
    .await?;
    Ok(tx.commit().await?)
}

/// Reactivates a person with their earlier password. Their tokens and export passwords stay
/// revoked.
pub async fn enable(db: &Db, clock: &Clock, id: &UserId, by: Option<AuditActor<'_>>) -> Result<()> {
    require_admin(by)?;
    get(db, id).await?;
    let mut tx = db.write().await?;
    sqlx::query("UPDATE users SET disabled_at = NULL, updated_at = $2 WHERE id = $1")
        .bind(id)
        .bind(clock.now())
        .execute(&mut *tx)
        .await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(by, "user.enable", id.as_str()),
    )
    .await?;
    Ok(tx.commit().await?)
}

/// Changes the role of a person, effective from their next request. Ends their sessions, so that
/// new ones have the new role.
pub async fn set_role(
    db: &Db,
    clock: &Clock,
    id: &UserId,
    role: Role,
    by: Option<AuditActor<'_>>,
) -> Result<()> {
    require_admin(by)?;
    let before = get(db, id).await?;
    if before.role == role {
        return Ok(());
    }
    let mut tx = db.write().await?;
    sqlx::query("UPDATE users SET role = $2, updated_at = $3 WHERE id = $1")
        .bind(id)
        .bind(role)
        .bind(clock.now())
        .execute(&mut *tx)
        .await?;
    require_remaining_admin(&mut tx).await?;
    sessions::end_all(&mut tx, id, None).await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(by, "user.set_role", id.as_str()),
    )
    .await?;
    Ok(tx.commit().await?)
}

/// Requires an admin. The command line (`None`) may do everything.
pub(in crate::auth) fn require_admin(by: Option<AuditActor<'_>>) -> Result<()> {
    match by {
        Some(AuditActor { actor, .. }) if !actor.is_admin() || actor.scope.is_some() => Err(
            Error::forbidden("Only an admin who is signed in can manage people."),
        ),
        _ => Ok(()),
    }
}

async fn require_remaining_admin(tx: &mut Transaction<'_, Sqlite>) -> Result<()> {
    let admins: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM users WHERE role = 'admin' AND disabled_at IS NULL",
    )
    .fetch_one(&mut **tx)
    .await?;
    if admins > 0 {
        return Ok(());
    }
    Err(Error::conflict(
        "last_admin",
        "This is the last admin. At least one admin is required.",
    )
    .action("Make another person an admin first."))
}
