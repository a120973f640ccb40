//! Passwords for LiveLeader's export API, as it is served here: `clx_`, 256 random bits and a checksum. The text is shown once and kept
//! as its hash. It is never the password for signing in, reads what an admin has published and nothing else, and ends by itself.

use std::net::IpAddr;

use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::audit::{self, By, Deed};
use super::throttle::Throttle;
use super::{Actor, DAY, NOTICE, Role, Scope, Way, hash, is_text, new_text, users};
use crate::clock::{Clock, Millis};
use crate::db::{Db, read_each};
use crate::error::{Error, Kind, Result};
use crate::ids::{ExportPasswordId, UserId};
use crate::secret::Secret;

pub const DEFAULT_DAYS: u32 = 90;
pub const MOST_DAYS: u32 = 366;

const PREFIX: &str = "clx_";
const LONGEST_EMAIL: usize = 254;

/// An export password as its owner sees it: everything but its text.
#[derive(Clone, Debug, Serialize)]
pub struct ExportPassword {
    pub id: ExportPasswordId,
    pub user_id: UserId,
    pub name: String,
    pub created_at: Millis,
    pub expires_at: Millis,
    pub revoked_at: Option<Millis>,
    pub last_used_at: Option<Millis>,
    /// When it first came over plain http from another machine: somebody may know it, so it should be replaced.
    pub exposed_at: Option<Millis>,
}

/// One to be made.
#[derive(Clone, Debug)]
pub struct NewExportPassword {
    /// What it is for.
    pub name: String,
    /// 1 to 366.
    pub days: u32,
}

/// What a request brought.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// None with a bearer: the password alone tells whose it is.
    pub email: Option<&'a str>,
    pub password: &'a Secret,
    /// See `web::client_address`.
    pub address: IpAddr,
    pub way: Way,
}

/// Somebody is in, to read what is published.
#[derive(Clone, Debug)]
pub struct Admitted {
    pub actor: Actor,
    pub password: ExportPasswordId,
}

/// Slows down guessing, with the numbers of the sign-in page and a budget of its own, so that neither keeps anybody out of the other.
/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gate {
    throttle: Throttle,
}

impl Gate {
    pub fn new(clock: Clock) -> Self {
        Self { throttle: Throttle::new(clock) }
    }
}

/// Makes one of this person's and gives its text, for the only time. `by` must be a person, not a program.
pub async fn create(db: &Db, clock: &Clock, by: By<'_>, new: &NewExportPassword) -> Result<(ExportPassword, Secret)> {
    if by.actor.scope.is_some() {
        return Err(Error::forbidden("An API token cannot create export passwords."));
    }
    let name = new.name.trim();
    let mut wrong = Vec::new();
    if name.is_empty() || name.chars().count() > 100 || !name.chars().all(crate::text::is_good_in_name) {
        wrong.push(("name".to_owned(), "Name must have 1 to 100 characters and no invisible characters.".to_owned()));
    }
    if !(1..=MOST_DAYS).contains(&new.days) {
        wrong.push(("days".to_owned(), format!("The number of days must be from 1 to {MOST_DAYS}.")));
    }
    if !wrong.is_empty() {
        return Err(Error::fields(wrong));
    }
    let text = new_text(PREFIX);
    let now = clock.now();
    let mut tx = db.write().await?;
    let row = sqlx::query("INSERT INTO export_passwords (id, user_id, name, hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6) RETURNING *")
        .bind(ExportPasswordId::new())
        .bind(&by.actor.user)
        .bind(name)
        .bind(hash(text.reveal()))
        .bind(now)
        .bind(now + i64::from(new.days) * DAY)
        .fetch_one(&mut *tx)
        .await?;
    let made = export_password(&row)?;
    audit::record(&mut tx, clock, Deed::done(Some(by), "export_password.create", made.id.as_str())).await?;
    tx.commit().await?;
    Ok((made, text))
}

/// Whether `text` has the form of one, without a look at the catalogue.
pub fn well_formed(text: &str) -> bool {
    is_text(PREFIX, text)
}

/// Lets somebody in, or not. Errors: `wrong_credentials` (Unauthenticated) whatever of the two is wrong, `too_many_attempts` (TooMany),
/// and over an open way `plain_http` (Forbidden) however good they are. A good password is never kept out by the bad ones of others:
/// it is beyond guessing, and looking it up costs one hash.
pub async fn admit(db: &Db, clock: &Clock, gate: &Gate, given: Given<'_>) -> Result<Admitted> {
    let email = given.email.map(tidy);
    let Some(admitted) = find(db, clock, email.as_deref(), given.password).await? else {
        let account = match &email {
            Some(email) if email.len() <= LONGEST_EMAIL => email.clone(),
            Some(_) => "-".to_owned(),
            None => format!("bearer {}", given.address),
        };
        let user = users::by_email(db, &account).await?;
        let deed = |result| Deed { actor: None, address: Some(given.address), action: "export.read", object: user.as_ref().map(|u| u.id.as_str()), result };
        match gate.throttle.admit(&account, None, given.address) {
            // Charged, and not given back.
            Ok(attempt) => drop(attempt),
            Err(slowed) => {
                gate.throttle.refusals.note(db, clock, deed("slowed")).await?;
                return Err(slowed);
            }
        }
        gate.throttle.refusals.note(db, clock, deed("refused")).await?;
        return Err(if given.way == Way::Open { open() } else { wrong() });
    };
    if given.way == Way::Open {
        expose(db, clock, &admitted, given.address).await?;
        return Err(open());
    }
    note_use(db, clock, &admitted, given.address).await?;
    Ok(admitted)
}

/// What is said over an open way, whether or not anything fits.
pub fn open() -> Error {
    Error::new(
        Kind::Forbidden,
        "plain_http",
        "The request was sent over plain http, so others could read the password. Use https. \
         If you sent an export password, revoke it and create a new one.",
    )
}

fn wrong() -> Error {
    Error::new(Kind::Unauthenticated, "wrong_credentials", "Wrong email or export password, or the export password is expired or revoked.")
}

/// As it is kept. In an address a `+` that was not encoded arrives as a space, and no e-mail address holds one.
fn tidy(email: &str) -> String {
    email.trim().to_lowercase().replace(' ', "+")
}

async fn find(db: &Db, clock: &Clock, email: Option<&str>, password: &Secret) -> Result<Option<Admitted>> {
    if !well_formed(password.reveal()) {
        return Ok(None);
    }
    let row = sqlx::query("SELECT * FROM export_passwords WHERE hash = $1 AND revoked_at IS NULL AND expires_at > $2")
        .bind(hash(password.reveal()))
        .bind(clock.now())
        .fetch_optional(db.read())
        .await?;
    let Some(found) = row.as_ref().map(export_password).transpose()? else { return Ok(None) };
    let owner = users::actor(db, &found.user_id).await?.filter(|owner| email.is_none_or(|email| email == owner.email));
    // No more than reading, whatever its owner is.
    Ok(owner.map(|owner| Admitted { actor: Actor { scope: Some(Scope::Read), ..owner }, password: found.id }))
}

/// Writes down the use, at most once a minute. The reader is served whether or not it can be written: the catalogue may be locked.
async fn note_use(db: &Db, clock: &Clock, admitted: &Admitted, address: IpAddr) -> Result<()> {
    let now = clock.now();
    let is_due: Option<i64> = sqlx::query_scalar("SELECT 1 FROM export_passwords WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $2)")
        .bind(&admitted.password)
        .bind(now - NOTICE)
        .fetch_optional(db.read())
        .await?;
    if is_due.is_none() {
        return Ok(());
    }
    let (noted, clock, user, password) = (db.clone(), clock.clone(), admitted.actor.user.clone(), admitted.password.clone());
    let note = async move {
        let mut tx = noted.write().await?;
        sqlx::query("UPDATE export_passwords SET last_used_at = $2 WHERE id = $1").bind(&password).bind(now).execute(&mut *tx).await?;
        let deed = Deed { actor: Some(&user), address: Some(address), action: "export.read", object: Some(password.as_str()), result: "done" };
        audit::record(&mut tx, &clock, deed).await?;
        Ok(tx.commit().await?)
    };
    db.aside("the last use of an export password could not be saved", note).await;
    Ok(())
}

/// Marks a good one that came over an open way, the first time.
async fn expose(db: &Db, clock: &Clock, admitted: &Admitted, address: IpAddr) -> Result<()> {
    let mut tx = db.write().await?;
    let marked = sqlx::query("UPDATE export_passwords SET exposed_at = $2 WHERE id = $1 AND exposed_at IS NULL")
        .bind(&admitted.password)
        .bind(clock.now())
        .execute(&mut *tx)
        .await?;
    if marked.rows_affected() > 0 {
        let (actor, object) = (Some(&admitted.actor.user), Some(admitted.password.as_str()));
        audit::record(&mut tx, clock, Deed { actor, address: Some(address), action: "export_password.expose", object, result: "refused" }).await?;
    }
    Ok(tx.commit().await?)
}

/// Whether somebody who was let in still is: an export that runs for minutes asks now and then.
pub async fn still_good(db: &Db, clock: &Clock, id: &ExportPasswordId, role: Role) -> bool {
    let owner = sqlx::query_scalar("SELECT user_id FROM export_passwords WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2")
        .bind(id)
        .bind(clock.now())
        .fetch_optional(db.read())
        .await;
    let Ok(Some(owner)) = owner else { return false };
    matches!(users::actor(db, &owner).await, Ok(Some(now)) if now.role >= role)
}

/// Those of a person, or of everybody, newest first; revoked and expired ones too.
pub async fn list(db: &Db, of: Option<&UserId>) -> Result<Vec<ExportPassword>> {
    let rows =
        sqlx::query("SELECT * FROM export_passwords WHERE $1 IS NULL OR user_id = $1 ORDER BY created_at DESC, id DESC").bind(of).fetch_all(db.read()).await?;
    Ok(read_each(&rows, export_password).0)
}

/// Ends one at once. `by`: its owner or an admin; none on the command line.
pub async fn revoke(db: &Db, clock: &Clock, id: &ExportPasswordId, by: Option<By<'_>>) -> Result<()> {
    let owner: Option<UserId> = sqlx::query_scalar("SELECT user_id FROM export_passwords WHERE id = $1").bind(id).fetch_optional(db.read()).await?;
    let allowed = |owner: &UserId| by.is_none_or(|by| by.actor.scope.is_none() && (by.actor.is_admin() || by.actor.user == *owner));
    if !owner.as_ref().is_some_and(allowed) {
        return Err(Error::not_found("export password"));
    }
    let mut tx = db.write().await?;
    sqlx::query("UPDATE export_passwords SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL").bind(id).bind(clock.now()).execute(&mut *tx).await?;
    audit::record(&mut tx, clock, Deed::done(by, "export_password.revoke", id.as_str())).await?;
    Ok(tx.commit().await?)
}

pub(super) async fn revoke_all(tx: &mut Transaction<'_, Sqlite>, clock: &Clock, user: &UserId) -> Result<()> {
    sqlx::query("UPDATE export_passwords SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL")
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
