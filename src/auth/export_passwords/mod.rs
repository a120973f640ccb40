//! Passwords for the LiveLeader export API at `/a/Srv`: `clx_`, 256 random bits and a checksum. The
//! text is shown once and only its hash is stored. An export password cannot be used to sign in,
//! reads only published DataSets, and expires.

use std::net::IpAddr;

use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::audit::{self, AuditActor, AuditEvent};
use super::throttle::Throttle;
use super::{
    Actor, DAY, LAST_USED_EVERY, Role, Scope, Transport, has_token_format, hash, new_token_text,
    users,
};
use crate::clock::{Clock, Millis};
use crate::db::{Db, decode_each};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{ExportPasswordId, UserId};
use crate::secret::Secret;

pub const DEFAULT_DAYS: u32 = 90;
pub const MAX_DAYS: u32 = 366;

const PREFIX: &str = "clx_";
const MAX_EMAIL_BYTES: usize = 254;

/// An export password as its owner sees it: everything except its text.
#[derive(Clone, Debug, Serialize)]
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

/// The credentials of a request.
#[derive(Clone, Copy, Debug)]
pub struct ExportLogin<'a> {
    /// `None` with a bearer token: the password alone identifies its owner.
    pub email: Option<&'a str>,
    pub password: &'a Secret,
    /// See `web::client_address`.
    pub address: IpAddr,
    pub transport: Transport,
}

/// An authenticated request, allowed to read published DataSets.
#[derive(Clone, Debug)]
pub struct AdmittedClient {
    pub actor: Actor,
    pub password: ExportPasswordId,
}

/// Throttles password guessing with the limits of the sign-in page but separate counters, so that
/// neither blocks the other. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ExportThrottle {
    throttle: Throttle,
}

impl ExportThrottle {
    pub fn new(clock: Clock) -> Self {
        Self {
            throttle: Throttle::new(clock),
        }
    }
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
    let name = new.name.trim();
    let mut wrong = Vec::new();
    if name.is_empty()
        || name.chars().count() > 100
        || !name.chars().all(crate::text::is_allowed_in_name)
    {
        wrong.push((
            "name".to_owned(),
            "Name must have 1 to 100 characters and no invisible characters.".to_owned(),
        ));
    }
    if !(1..=MAX_DAYS).contains(&new.days) {
        wrong.push((
            "days".to_owned(),
            format!("The number of days must be from 1 to {MAX_DAYS}."),
        ));
    }
    if !wrong.is_empty() {
        return Err(Error::fields(wrong));
    }
    let text = new_token_text(PREFIX);
    let now = clock.now();
    let mut tx = db.write().await?;
    let row = sqlx::query(
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
    let made = export_password(&row)?;
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
    has_token_format(PREFIX, text)
}

/// Authenticates a request. Errors: `wrong_credentials` (Unauthenticated) for a wrong email or
/// password, `too_many_attempts` (TooMany), and for an insecure transport always `plain_http`
/// (Forbidden). A valid password is never throttled because of other people's failures: it cannot
/// be guessed, and looking it up costs one hash.
pub async fn admit(
    db: &Db,
    clock: &Clock,
    export_throttle: &ExportThrottle,
    login: ExportLogin<'_>,
) -> Result<AdmittedClient> {
    let email = login.email.map(normalize_email);
    let Some(admitted) = find(db, clock, email.as_deref(), login.password).await? else {
        let account = match &email {
            Some(email) if email.len() <= MAX_EMAIL_BYTES => email.clone(),
            Some(_) => "-".to_owned(),
            None => format!("bearer {}", login.address),
        };
        let user = users::by_email(db, &account).await?;
        let event = |result| AuditEvent {
            actor: None,
            address: Some(login.address),
            action: "export.read",
            object: user.as_ref().map(|u| u.id.as_str()),
            result,
        };
        match export_throttle
            .throttle
            .admit(&account, None, login.address)
        {
            // The failed attempt stays counted.
            Ok(attempt) => drop(attempt),
            Err(slowed) => {
                export_throttle
                    .throttle
                    .attempt_log
                    .record(db, clock, event("slowed"))
                    .await?;
                return Err(slowed);
            }
        }
        export_throttle
            .throttle
            .attempt_log
            .record(db, clock, event("refused"))
            .await?;
        return Err(if login.transport == Transport::Insecure {
            plain_http_error()
        } else {
            wrong_credentials()
        });
    };
    if login.transport == Transport::Insecure {
        mark_exposed(db, clock, &admitted, login.address).await?;
        return Err(plain_http_error());
    }
    record_use(db, clock, &admitted, login.address).await?;
    Ok(admitted)
}

/// The error for plain http from another machine, for valid and invalid credentials alike.
pub fn plain_http_error() -> Error {
    Error::new(
        ErrorKind::Forbidden,
        "plain_http",
        "The request was sent over plain http, so others could read the password. Use https. \
         If you sent an export password, revoke it and create a new one.",
    )
}

fn wrong_credentials() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "wrong_credentials",
        "Wrong email or export password, or the export password is expired or revoked.",
    )
}

/// Normalizes an email. An unencoded `+` in a query string arrives as a space, and no email address
/// contains one.
fn normalize_email(email: &str) -> String {
    email.trim().to_lowercase().replace(' ', "+")
}

async fn find(
    db: &Db,
    clock: &Clock,
    email: Option<&str>,
    password: &Secret,
) -> Result<Option<AdmittedClient>> {
    if !well_formed(password.reveal()) {
        return Ok(None);
    }
    let row = sqlx::query(
        "SELECT * FROM export_passwords WHERE hash = $1 AND revoked_at IS NULL AND expires_at > $2",
    )
    .bind(hash(password.reveal()))
    .bind(clock.now())
    .fetch_optional(db.read())
    .await?;
    let Some(found) = row.as_ref().map(export_password).transpose()? else {
        return Ok(None);
    };
    let owner = users::actor(db, &found.user_id)
        .await?
        .filter(|owner| email.is_none_or(|email| email == owner.email));
    // The scope is read, whatever the role of the owner.
    Ok(owner.map(|owner| AdmittedClient {
        actor: Actor {
            scope: Some(Scope::Read),
            ..owner
        },
        password: found.id,
    }))
}

/// Records the use, at most once a minute. Errors are ignored, so that the request is served even
/// if the catalogue is locked.
async fn record_use(
    db: &Db,
    clock: &Clock,
    admitted: &AdmittedClient,
    address: IpAddr,
) -> Result<()> {
    let now = clock.now();
    let is_due: Option<i64> = sqlx::query_scalar(
        "SELECT 1
         FROM export_passwords
         WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $2)",
    )
    .bind(&admitted.password)
    .bind(now - LAST_USED_EVERY)
    .fetch_optional(db.read())
    .await?;
    if is_due.is_none() {
        return Ok(());
    }
    let (db_clone, clock, user, password) = (
        db.clone(),
        clock.clone(),
        admitted.actor.user.clone(),
        admitted.password.clone(),
    );
    let record = async move {
        let mut tx = db_clone.write().await?;
        sqlx::query("UPDATE export_passwords SET last_used_at = $2 WHERE id = $1")
            .bind(&password)
            .bind(now)
            .execute(&mut *tx)
            .await?;
        let event = AuditEvent {
            actor: Some(&user),
            address: Some(address),
            action: "export.read",
            object: Some(password.as_str()),
            result: "done",
        };
        audit::record(&mut tx, &clock, event).await?;
        Ok(tx.commit().await?)
    };
    db.write_in_background(
        "the last use of an export password could not be saved",
        record,
    )
    .await;
    Ok(())
}

/// Marks a valid password as exposed when it is first received over an insecure transport.
async fn mark_exposed(
    db: &Db,
    clock: &Clock,
    admitted: &AdmittedClient,
    address: IpAddr,
) -> Result<()> {
    let mut tx = db.write().await?;
    let marked = sqlx::query(
        "UPDATE export_passwords SET exposed_at = $2 WHERE id = $1 AND exposed_at IS NULL",
    )
    .bind(&admitted.password)
    .bind(clock.now())
    .execute(&mut *tx)
    .await?;
    if marked.rows_affected() > 0 {
        let (actor, object) = (Some(&admitted.actor.user), Some(admitted.password.as_str()));
        audit::record(
            &mut tx,
            clock,
            AuditEvent {
                actor,
                address: Some(address),
                action: "export_password.expose",
                object,
                result: "refused",
            },
        )
        .await?;
    }
    Ok(tx.commit().await?)
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
    Ok(decode_each(&rows, export_password).0)
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
    let allowed = |owner: &UserId| {
        by.is_none_or(|by| {
            by.actor.scope.is_none() && (by.actor.is_admin() || by.actor.user == *owner)
        })
    };
    if !owner.as_ref().is_some_and(allowed) {
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

fn export_password(row: &SqliteRow) -> Result<ExportPassword> {
    Ok(ExportPassword {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        name: row.try_get("name")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
        last_used_at: row.try_get("last_used_at")?,
        exposed_at: row.try_get("exposed_at")?,
    })
}

#[cfg(test)]
mod tests;
