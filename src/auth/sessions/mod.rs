//! Browser sessions. The cookie holds 256 random bits; only their hash is stored and used to find
//! the row. A session ends 60 minutes after its last use, 12 hours after sign-in, at sign-out, or
//! when its person is deactivated or gets another password or role, whichever comes first.
//! Downloads and streams of the session end with it. All of this is decided on the server by its
//! clock, never by the cookie. This file stores the rows, `request_session.rs` has the session of a
//! request, and `session_layer.rs` reads and sets the cookie.

mod request_session;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::Serialize;
use sqlx::{FromRow, Sqlite, Transaction};

use super::audit::{self, AuditActor, AuditEvent, AuditResult};
use super::{hash, random_text};
use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::secret::Secret;
pub(super) use request_session::CookieChange;
pub use request_session::{Session, actor_of, begin, finish, handle, renew};

const IDLE_TIMEOUT: Millis = 60 * 60 * 1_000;
const ABSOLUTE_TIMEOUT: Millis = 12 * 60 * 60 * 1_000;
/// A use extends the session at most this often, so that not every page view writes a row.
const EXTEND_EVERY: Millis = 60 * 1_000;

/// The values that a session row stores besides its person.
type Data = BTreeMap<String, String>;

/// Access to the session rows. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    db: Db,
    clock: Clock,
}

/// A session as its person sees it.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct SessionInfo {
    /// The id of the session for `end`. It reveals nothing about the cookie.
    pub handle: String,
    pub created_at: Millis,
    pub expires_at: Millis,
}

/// A row of `sessions`.
#[derive(FromRow)]
struct SessionRow {
    user_id: Option<UserId>,
    /// `Data` as JSON.
    data: String,
    created_at: Millis,
    expires_at: Millis,
}

impl Sessions {
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// Creates a session of this person and returns the cookie value. `replaces`: the cookie value
    /// of an earlier session, which ends.
    pub async fn create(&self, user: &UserId, replaces: Option<&Secret>) -> Result<Secret> {
        let (value, now) = (random_text(), self.clock.now());
        let mut tx = self.db.write().await?;
        if let Some(old) = replaces {
            sqlx::query("DELETE FROM sessions WHERE id_hash = $1")
                .bind(hash(old.reveal()))
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query(
            "INSERT INTO sessions (id_hash, user_id, data, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(hash(value.reveal()))
        .bind(user)
        .bind(text(&Data::default())?)
        .bind(now)
        .bind(now + IDLE_TIMEOUT)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(value)
    }

    /// The active sessions of a person, newest first.
    pub async fn list_for(&self, user: &UserId) -> Result<Vec<SessionInfo>> {
        Ok(sqlx::query_as(
            "SELECT id_hash AS handle, created_at, expires_at
             FROM sessions
             WHERE user_id = $1 AND expires_at > $2
             ORDER BY created_at DESC",
        )
        .bind(user)
        .bind(self.clock.now())
        .fetch_all(self.db.read())
        .await?)
    }

    /// When each person was last active, to the minute, from their sessions and remembered
    /// browsers.
    pub async fn last_seen(&self) -> Result<HashMap<UserId, Millis>> {
        let rows: Vec<(UserId, Millis)> = sqlx::query_as(
            "SELECT user_id, MAX(at)
             FROM (
                 -- each use of a session sets its expiry to an idle timeout later
                 SELECT user_id, expires_at - $1 AS at
                 FROM sessions
                 WHERE user_id IS NOT NULL
                 UNION ALL
                 SELECT user_id, last_used_at AS at
                 FROM devices
             ) AS seen
             GROUP BY user_id",
        )
        .bind(IDLE_TIMEOUT)
        .fetch_all(self.db.read())
        .await?;
        Ok(rows.into_iter().collect())
    }

    /// Ends one session of this person.
    pub async fn end(&self, user: &UserId, handle: &str) -> Result<()> {
        let mut tx = self.db.write().await?;
        let ended = sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND id_hash = $2")
            .bind(user)
            .bind(handle)
            .execute(&mut *tx)
            .await?;
        if ended.rows_affected() == 0 {
            return Err(Error::not_found("session"));
        }
        Ok(tx.commit().await?)
    }

    /// Ends all sessions of the person who asks for it.
    pub async fn sign_out_everywhere(&self, by: AuditActor<'_>) -> Result<()> {
        let user = &by.actor.user;
        let mut tx = self.db.write().await?;
        end_all(&mut tx, user, None).await?;
        audit::record(
            &mut tx,
            &self.clock,
            AuditEvent::done(Some(by), "user.sign_out_everywhere", user.as_str()),
        )
        .await?;
        Ok(tx.commit().await?)
    }

    async fn sign_out(&self, value: &Secret, address: Option<IpAddr>) -> Result<()> {
        let mut tx = self.db.write().await?;
        let ended: Option<Option<UserId>> = sqlx::query_scalar(
            "DELETE FROM sessions WHERE id_hash = $1 AND expires_at > $2 RETURNING user_id",
        )
        .bind(hash(value.reveal()))
        .bind(self.clock.now())
        .fetch_optional(&mut *tx)
        .await?;
        if let Some(user) = ended.flatten() {
            let event = AuditEvent {
                actor: Some(&user),
                address,
                action: "user.sign_out",
                object: Some(user.as_str()),
                result: AuditResult::Done,
            };
            audit::record(&mut tx, &self.clock, event).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Updates a row, but never inserts one: a request in progress must not restore a session that
    /// was ended meanwhile.
    async fn write(&self, value: &Secret, data: &Data) -> Result<()> {
        let mut tx = self.db.write().await?;
        sqlx::query("UPDATE sessions SET data = $2 WHERE id_hash = $1")
            .bind(hash(value.reveal()))
            .bind(text(data)?)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    /// Gives a row a new cookie value and returns it. `None` if the session has ended meanwhile.
    /// The expiry is unchanged.
    async fn rename(&self, old: &Secret, data: &Data) -> Result<Option<Secret>> {
        let value = random_text();
        let mut tx = self.db.write().await?;
        let renamed = sqlx::query(
            "UPDATE sessions SET id_hash = $2, data = $3 WHERE id_hash = $1 AND expires_at > $4",
        )
        .bind(hash(old.reveal()))
        .bind(hash(value.reveal()))
        .bind(text(data)?)
        .bind(self.clock.now())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok((renamed.rows_affected() > 0).then_some(value))
    }

    async fn find(&self, value: &Secret) -> Result<Option<(Option<UserId>, Data)>> {
        let Some(row) = touch(&self.db, &self.clock, &hash(value.reveal())).await? else {
            return Ok(None);
        };
        let data = serde_json::from_str(&row.data).map_err(Error::internal)?;
        Ok(Some((row.user_id, data)))
    }
}

/// Reads the row of an active session and extends its expiry. `None` if the session has ended.
async fn touch(db: &Db, clock: &Clock, hash: &str) -> Result<Option<SessionRow>> {
    let now = clock.now();
    let row: Option<SessionRow> = sqlx::query_as(
        "SELECT user_id, data, created_at, expires_at
         FROM sessions
         WHERE id_hash = $1 AND expires_at > $2",
    )
    .bind(hash)
    .bind(now)
    .fetch_optional(db.read())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let ends = (now + IDLE_TIMEOUT).min(row.created_at + ABSOLUTE_TIMEOUT);
    if ends >= row.expires_at + EXTEND_EVERY {
        // Runs in the background, because the catalogue may be locked or the disk full.
        db.write_in_background(
            "a session could not be extended",
            extend(db.clone(), hash.to_owned(), ends),
        )
        .await;
    }
    Ok(Some(row))
}

async fn extend(db: Db, hash: String, ends: Millis) -> Result<()> {
    let mut tx = db.write().await?;
    // Several requests may extend the session at once: the expiry never moves back.
    sqlx::query("UPDATE sessions SET expires_at = $2 WHERE id_hash = $1 AND expires_at < $2")
        .bind(hash)
        .bind(ends)
        .execute(&mut *tx)
        .await?;
    Ok(tx.commit().await?)
}

/// Whether this session of this person, named by `SessionInfo::handle`, is active. Calls by
/// downloads and streams count as use and extend the session.
pub(super) async fn is_alive(db: &Db, clock: &Clock, user: &UserId, handle: &str) -> Result<bool> {
    let row = touch(db, clock, handle).await?;
    Ok(row.and_then(|row| row.user_id).as_ref() == Some(user))
}

/// Ends the sessions of a person; `keep`: the handle of one that stays.
pub(super) async fn end_all(
    tx: &mut Transaction<'_, Sqlite>,
    user: &UserId,
    keep: Option<&str>,
) -> Result<()> {
    sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND ($2 IS NULL OR id_hash <> $2)")
        .bind(user)
        .bind(keep)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions(...)")
    }
}

fn text(data: &Data) -> Result<String> {
    serde_json::to_string(data).map_err(Error::internal)
}

#[cfg(test)]
mod tests;
