//! One-time links: the set-up link that creates the first admin, invitations for new people, and
//! links with which an existing person chooses a new password. Only the hash of the code is stored.
//! `accept.rs` uses a link.

mod accept;

use sqlx::{FromRow, Sqlite, Transaction};

use super::audit::{self, AuditActor, AuditEvent};
use super::users::{self, User};
use super::{Role, hash, random_text};
use crate::clock::{Clock, Millis};
use crate::db::{Db, decode_readable};
use crate::error::{Error, Result};
use crate::ids::{InviteId, UserId};
use crate::secret::Secret;
pub use accept::{AcceptInvite, accept};

/// How long a link is valid.
pub const VALIDITY: Millis = 7 * 24 * 60 * 60 * 1_000;

/// A link and its purpose.
#[derive(Clone, Debug, FromRow)]
pub struct Invite {
    pub id: InviteId,
    /// `None` for the set-up link: the person types the email and becomes the first admin.
    pub email: Option<String>,
    pub name: Option<String>,
    pub role: Role,
    /// `None` for the set-up link.
    pub created_by: Option<UserId>,
    pub created_at: Millis,
    pub expires_at: Millis,
}

impl Invite {
    pub fn is_set_up(&self) -> bool {
        self.email.is_none()
    }
}

/// Creates a set-up link for the console and replaces earlier ones. `None` once there is a person.
pub async fn setup_link(db: &Db, clock: &Clock) -> Result<Option<Secret>> {
    // Checked before anything is written, because the disk may be full.
    if !is_set_up_open(db).await? {
        return Ok(None);
    }
    let mut tx = db.write().await?;
    if count_people(&mut tx).await? > 0 {
        return Ok(None);
    }
    sqlx::query("DELETE FROM invites WHERE created_by IS NULL AND email IS NULL")
        .execute(&mut *tx)
        .await?;
    let (_, code) = insert(&mut tx, clock, None, None, Role::Admin, None).await?;
    tx.commit().await?;
    Ok(Some(code))
}

/// Whether there is no person yet, so that the first admin can be created.
pub async fn is_set_up_open(db: &Db) -> Result<bool> {
    Ok(users::count(db).await? == 0)
}

/// Creates an invitation and replaces earlier ones for the same email. Its code is shown to the
/// admin once.
pub async fn create(
    db: &Db,
    clock: &Clock,
    by: AuditActor<'_>,
    email: &str,
    name: &str,
    role: Role,
) -> Result<(Invite, Secret)> {
    users::require_admin(Some(by))?;
    let (email, name) = users::identity(email, name).map_err(Error::fields)?;
    if users::by_email(db, &email).await?.is_some() {
        return Err(Error::field(
            "email",
            "A person with this email already exists.",
        ));
    }
    insert_for(db, clock, by, &email, &name, role, "user.invite").await
}

/// Creates a link with which an existing person chooses a new password.
pub async fn create_password_reset(
    db: &Db,
    clock: &Clock,
    by: AuditActor<'_>,
    user: &User,
) -> Result<(Invite, Secret)> {
    users::require_admin(Some(by))?;
    if user.disabled_at.is_some() {
        return Err(
            Error::conflict("disabled", format!("{} is deactivated.", user.name))
                .action("Reactivate this person first."),
        );
    }
    insert_for(
        db,
        clock,
        by,
        &user.email,
        &user.name,
        user.role,
        "user.readmit",
    )
    .await
}

/// Unused links, newest first, without the set-up link.
pub async fn list(db: &Db, clock: &Clock) -> Result<Vec<Invite>> {
    let rows = sqlx::query(
        "SELECT *
         FROM invites
         WHERE used_at IS NULL AND expires_at > $1 AND email IS NOT NULL
         ORDER BY created_at DESC, id DESC",
    )
    .bind(clock.now())
    .fetch_all(db.read())
    .await?;
    Ok(decode_readable(rows))
}

/// Revokes an unused link.
pub async fn withdraw(db: &Db, clock: &Clock, by: AuditActor<'_>, id: &InviteId) -> Result<()> {
    users::require_admin(Some(by))?;
    let mut tx = db.write().await?;
    let ended = sqlx::query("UPDATE invites SET used_at = $2 WHERE id = $1 AND used_at IS NULL")
        .bind(id)
        .bind(clock.now())
        .execute(&mut *tx)
        .await?;
    if ended.rows_affected() == 0 {
        return Err(Error::not_found("link"));
    }
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(Some(by), "user.withdraw_invite", id.as_str()),
    )
    .await?;
    Ok(tx.commit().await?)
}

/// The valid link of this code. `None` if the code never existed, was used or has expired.
pub async fn find(db: &Db, clock: &Clock, code: &str) -> Result<Option<Invite>> {
    let found: Option<Invite> = sqlx::query_as(
        "SELECT * FROM invites WHERE code_hash = $1 AND used_at IS NULL AND expires_at > $2",
    )
    .bind(hash(code))
    .bind(clock.now())
    .fetch_optional(db.read())
    .await?;
    match found {
        Some(invite) if invite.is_set_up() && !is_set_up_open(db).await? => Ok(None),
        found => Ok(found),
    }
}

async fn count_people(tx: &mut Transaction<'_, Sqlite>) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM users")
        .fetch_one(&mut **tx)
        .await?)
}

async fn insert_for(
    db: &Db,
    clock: &Clock,
    by: AuditActor<'_>,
    email: &str,
    name: &str,
    role: Role,
    action: &'static str,
) -> Result<(Invite, Secret)> {
    let mut tx = db.write().await?;
    sqlx::query("UPDATE invites SET used_at = $2 WHERE email = $1 AND used_at IS NULL")
        .bind(email)
        .bind(clock.now())
        .execute(&mut *tx)
        .await?;
    let made = insert(&mut tx, clock, Some(email), Some(name), role, Some(by)).await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(Some(by), action, made.0.id.as_str()),
    )
    .await?;
    tx.commit().await?;
    Ok(made)
}

async fn insert(
    tx: &mut Transaction<'_, Sqlite>,
    clock: &Clock,
    email: Option<&str>,
    name: Option<&str>,
    role: Role,
    by: Option<AuditActor<'_>>,
) -> Result<(Invite, Secret)> {
    let code = random_text();
    let now = clock.now();
    let invite = sqlx::query_as(
        "INSERT INTO invites (
             id, code_hash, email, name, role, created_by, created_at, expires_at
         )
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         RETURNING *",
    )
    .bind(InviteId::new())
    .bind(hash(code.reveal()))
    .bind(email)
    .bind(name)
    .bind(role)
    .bind(by.map(|by| &by.actor.user))
    .bind(now)
    .bind(now + VALIDITY)
    .fetch_one(&mut **tx)
    .await?;
    Ok((invite, code))
}

#[cfg(test)]
mod tests;
