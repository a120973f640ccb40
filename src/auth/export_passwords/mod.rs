//! Passwords for the LiveLeader export API at `/a/Srv`: `clx_`, 256 random bits and a checksum. The
//! text is shown once and only its hash is stored. An export password cannot be used to sign in,
//! reads only published DataSets, and expires. `login.rs` authenticates a request.

mod login;

use serde::Serialize;
use sqlx::{FromRow, Sqlite, Transaction};

use super::audit::{self, AuditActor, AuditEvent};
use super::{DAY, Role, hash, program_secrets, users};
use crate::clock::{Clock, Millis};
use crate::db::{Db, decode_readable};
use crate::error::{Error, Result};
use crate::ids::{ExportPasswordId, UserId};
use crate::secret::Secret;
pub use login::{AdmittedClient, ExportLogin, ExportThrottle, admit, plain_http_error};

pub const DEFAULT_DAYS: u32 = 90;
pub const MAX_DAYS: u32 = 366;

const PREFIX: &str = "clx_";

/// An export password as its owner sees it: everything except its text.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct ExportPassword {
    pub id: ExportPasswordId,
    pub user_id: UserId,
    pub name: String,
    pub created_at: Millis,
    pub expires_at: Millis,
    pub revoked_at: Option<Millis>,
    pub last_used_at: Option<Millis>,
    /// When the password was first received over plain http from another machine. It may have been
    /// read in transit and should be replaced.
    pub exposed_at: Option<Millis>,
}

/// An export password to create.
#[derive(Clone, Debug)]
pub struct NewExportPassword {
    /// The purpose of the password.
    pub name: String,
    /// 1 to 366.
    pub days: u32,
}

/// Creates an export password and returns its text, which is not available later. `by` must be a
/// person, not a program.
pub async fn create(
    db: &Db,
    clock: &Clock,
    by: AuditActor<'_>,
    new: &NewExportPassword,
) -> Result<(ExportPassword, Secret)> {
    if by.actor.scope.is_some() {
        return Err(Error::forbidden(
            "An API token cannot create export passwords.",
        ));
    }
    let name = program_secrets::validate(&new.name, new.days, MAX_DAYS)?;
    let text = program_secrets::new_text(PREFIX);
    let now = clock.now();
    let mut tx = db.write().await?;
    let made: ExportPassword = sqlx::query_as(
        "INSERT INTO export_passwords (id, user_id, name, hash, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         RETURNING *",
    )
    .bind(ExportPasswordId::new())
    .bind(&by.actor.user)
    .bind(name)
    .bind(hash(text.reveal()))
    .bind(now)
    .bind(now + i64::from(new.days) * DAY)
    .fetch_one(&mut *tx)
    .await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(Some(by), "export_password.create", made.id.as_str()),
    )
    .await?;
    tx.commit().await?;
    Ok((made, text))
}

/// Whether `text` has the format of an export password. Needs no database access.
pub fn well_formed(text: &str) -> bool {
    program_secrets::has_format(PREFIX, text)
}

/// Whether the password is still valid. Exports in progress call this periodically.
pub async fn is_still_valid(db: &Db, clock: &Clock, id: &ExportPasswordId, role: Role) -> bool {
    let owner = sqlx::query_scalar(
        "SELECT user_id
         FROM export_passwords
         WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2",
    )
    .bind(id)
    .bind(clock.now())
    .fetch_optional(db.read())
    .await;
    let Ok(Some(owner)) = owner else { return false };
    matches!(users::actor(db, &owner).await, Ok(Some(now)) if now.role >= role)
}

/// The export passwords of one person, or of everyone with `None`, newest first, including revoked
/// and expired ones.
pub async fn list(db: &Db, of: Option<&UserId>) -> Result<Vec<ExportPassword>> {
    let rows = sqlx::query(
        "SELECT *
         FROM export_passwords
         WHERE $1 IS NULL OR user_id = $1
         ORDER BY created_at DESC, id DESC",
    )
    .bind(of)
    .fetch_all(db.read())
    .await?;
    Ok(decode_readable(rows))
}

/// Revokes a password at once. `by`: its owner or an admin; `None` on the command line.
pub async fn revoke(
    db: &Db,
    clock: &Clock,
    id: &ExportPasswordId,
    by: Option<AuditActor<'_>>,
) -> Result<()> {
    let owner: Option<UserId> =
        sqlx::query_scalar("SELECT user_id FROM export_passwords WHERE id = $1")
            .bind(id)
            .fetch_optional(db.read())
            .await?;
    let actor = by.map(|by| by.actor);
    if !owner.is_some_and(|owner| program_secrets::may_revoke(actor, &owner)) {
        return Err(Error::not_found("export password"));
    }
    let mut tx = db.write().await?;
    sqlx::query("UPDATE export_passwords SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
        .bind(id)
        .bind(clock.now())
        .execute(&mut *tx)
        .await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(by, "export_password.revoke", id.as_str()),
    )
    .await?;
    Ok(tx.commit().await?)
}

pub(super) async fn revoke_all(
    tx: &mut Transaction<'_, Sqlite>,
    clock: &Clock,
    user: &UserId,
) -> Result<()> {
    sqlx::query(
        "UPDATE export_passwords SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL",
    )
    .bind(user)
    .bind(clock.now())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
