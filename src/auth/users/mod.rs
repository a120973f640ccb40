//! People: create, list and rename. `access.rs` changes roles and deactivates people,
//! `password_change.rs` sets and changes passwords. A change of role, password or state also ends
//! the sessions, tokens and links that depend on it, in the same transaction.

mod access;
mod identity;
mod password_change;

use serde::Serialize;
use sqlx::{FromRow, Sqlite, Transaction};

use super::audit::{self, AuditActor, AuditEvent};
use super::passwords::{self, Hasher};
use super::{Actor, Role};
use crate::clock::{Clock, Millis};
use crate::db::{Db, decode_readable};
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::secret::Secret;
pub(super) use access::require_admin;
pub use access::{disable, enable, set_role};
pub use identity::identity;
use identity::person_name;
pub(super) use password_change::replace_password;
pub use password_change::{ChangePassword, change_password, set_password};

/// A person as stored, without the password hash.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    pub id: UserId,
    /// Lower case.
    pub email: String,
    pub name: String,
    pub role: Role,
    pub disabled_at: Option<Millis>,
    pub has_password: bool,
    pub created_at: Millis,
    pub updated_at: Millis,
}

impl User {
    /// The actor of this person in a browser or on the command line.
    pub fn actor(&self) -> Actor {
        Actor {
            user: self.id.clone(),
            name: self.name.clone(),
            email: self.email.clone(),
            role: self.role,
            scope: None,
            token: None,
            session: None,
        }
    }
}

/// A row of `users`.
#[derive(FromRow)]
pub(super) struct UserRow {
    id: UserId,
    email: String,
    name: String,
    role: Role,
    pub password_hash: Option<String>,
    disabled_at: Option<Millis>,
    created_at: Millis,
    updated_at: Millis,
}

impl From<UserRow> for User {
    fn from(row: UserRow) -> Self {
        Self {
            id: row.id,
            email: row.email,
            name: row.name,
            role: row.role,
            disabled_at: row.disabled_at,
            has_password: row.password_hash.is_some(),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// A person to create. Without a password they need a one-time link to sign in.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub email: String,
    pub name: String,
    pub role: Role,
    pub password: Option<Secret>,
}

/// Creates a person. `by`: the admin who does it; `None` on the command line.
pub async fn create(
    db: &Db,
    clock: &Clock,
    hasher: &Hasher,
    new: &NewUser,
    by: Option<AuditActor<'_>>,
) -> Result<User> {
    require_admin(by)?;
    let (email, name) = validate(new)?;
    let hash = match &new.password {
        Some(password) => Some(hasher.hash(password).await?),
        None => None,
    };
    let mut tx = db.write().await?;
    let user = insert(&mut tx, clock, &email, &name, new.role, hash.as_deref()).await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(by, "user.create", user.id.as_str()),
    )
    .await?;
    tx.commit().await?;
    Ok(user)
}

/// Validates a new person and returns the normalized email and name. Errors: one for each invalid
/// field.
pub fn validate(new: &NewUser) -> Result<(String, String)> {
    let identity = identity(&new.email, &new.name);
    let mut wrong = identity.as_ref().err().cloned().unwrap_or_default();
    if let Some(password) = &new.password
        && let Err(why) = passwords::check(password, &new.email, &new.name)
    {
        wrong.push(("password".to_owned(), why));
    }
    identity
        .ok()
        .filter(|_| wrong.is_empty())
        .ok_or_else(|| Error::fields(wrong))
}

/// Inserts a validated person.
pub(super) async fn insert(
    tx: &mut Transaction<'_, Sqlite>,
    clock: &Clock,
    email: &str,
    name: &str,
    role: Role,
    hash: Option<&str>,
) -> Result<User> {
    let row: Option<UserRow> = sqlx::query_as(
        "INSERT INTO users (id, email, name, role, password_hash, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6)
         ON CONFLICT (email) DO NOTHING
         RETURNING *",
    )
    .bind(UserId::new())
    .bind(email)
    .bind(name)
    .bind(role)
    .bind(hash)
    .bind(clock.now())
    .fetch_optional(&mut **tx)
    .await?;
    row.map(User::from)
        .ok_or_else(|| Error::field("email", "A person with this email already exists."))
}

/// All people whose row can be read, by name.
pub async fn list(db: &Db) -> Result<Vec<User>> {
    let rows = sqlx::query("SELECT * FROM users ORDER BY LOWER(name), id")
        .fetch_all(db.read())
        .await?;
    Ok(decode_readable(rows)
        .into_iter()
        .map(UserRow::into)
        .collect())
}

pub async fn get(db: &Db, id: &UserId) -> Result<User> {
    let row: Option<UserRow> = sqlx::query_as("SELECT * FROM users WHERE id = $1")
        .bind(id)
        .fetch_optional(db.read())
        .await?;
    row.map(User::from)
        .ok_or_else(|| Error::not_found("person"))
}

pub async fn by_email(db: &Db, email: &str) -> Result<Option<User>> {
    let row: Option<UserRow> = sqlx::query_as("SELECT * FROM users WHERE email = $1")
        .bind(email.trim().to_lowercase())
        .fetch_optional(db.read())
        .await?;
    Ok(row.map(User::from))
}

/// The number of people, including deactivated ones.
pub async fn count(db: &Db) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM users")
        .fetch_one(db.read())
        .await?)
}

/// The actor of this person. `None` if the person is unknown or deactivated.
pub async fn actor(db: &Db, id: &UserId) -> Result<Option<Actor>> {
    let row: Option<UserRow> =
        sqlx::query_as("SELECT * FROM users WHERE id = $1 AND disabled_at IS NULL")
            .bind(id)
            .fetch_optional(db.read())
            .await?;
    Ok(row.map(|row| User::from(row).actor()))
}

/// Changes the name of the person who asks for it.
pub async fn rename(db: &Db, clock: &Clock, by: AuditActor<'_>, name: &str) -> Result<()> {
    let actor = by.actor;
    if actor.scope.is_some() {
        return Err(Error::forbidden("An API token cannot change a name."));
    }
    let name = person_name(name).map_err(|why| Error::field("name", why))?;
    let mut tx = db.write().await?;
    sqlx::query("UPDATE users SET name = $2, updated_at = $3 WHERE id = $1")
        .bind(&actor.user)
        .bind(name)
        .bind(clock.now())
        .execute(&mut *tx)
        .await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(Some(by), "user.rename", actor.user.as_str()),
    )
    .await?;
    Ok(tx.commit().await?)
}

#[cfg(test)]
mod tests;
