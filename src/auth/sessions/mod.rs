//! Browser sessions. The cookie holds 256 random bits; only their hash is stored and used to find
//! the row. A session ends 60 minutes after its last use, 12 hours after sign-in, at sign-out, or
//! when its person is deactivated or gets another password or role, whichever comes first.
//! Downloads and streams of the session end with it. All of this is decided on the server by its
//! clock, never by the cookie. `session_layer.rs` reads and sets the cookie.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};
use tokio::sync::{Mutex, MutexGuard};

use super::audit::{self, AuditActor, AuditEvent};
use super::users::{self, User};
use super::{Actor, hash, random_text};
use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::secret::Secret;

const IDLE_TIMEOUT: Millis = 60 * 60 * 1_000;
const ABSOLUTE_TIMEOUT: Millis = 12 * 60 * 60 * 1_000;
/// A use extends the session at most this often, so that not every page view writes a row.
const EXTEND_EVERY: Millis = 60 * 1_000;
/// The length of a cookie value. Other values were not created by this server.
const VALUE_LENGTH: usize = 43;

/// The values that a session row stores besides its person.
type Data = BTreeMap<String, String>;

/// Access to the session rows. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    db: Db,
    clock: Clock,
}

/// A session as its person sees it.
#[derive(Clone, Debug, Serialize)]
pub struct SessionInfo {
    /// The id of the session for `end`. It reveals nothing about the cookie.
    pub handle: String,
    pub created_at: Millis,
    pub expires_at: Millis,
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
        let rows = sqlx::query(
            "SELECT id_hash, created_at, expires_at
             FROM sessions
             WHERE user_id = $1 AND expires_at > $2
             ORDER BY created_at DESC",
        )
        .bind(user)
        .bind(self.clock.now())
        .fetch_all(self.db.read())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(SessionInfo {
                    handle: row.try_get("id_hash")?,
                    created_at: row.try_get("created_at")?,
                    expires_at: row.try_get("expires_at")?,
                })
            })
            .collect()
    }

    /// When each person was last active, to the minute, from their sessions and remembered
    /// browsers.
    pub async fn last_seen(&self) -> Result<HashMap<UserId, Millis>> {
        let rows: Vec<(UserId, Millis)> = sqlx::query_as(
            "SELECT user_id, MAX(at)
             FROM (
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
                result: "done",
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
        let data: String = row.try_get("data")?;
        Ok(Some((
            row.try_get("user_id")?,
            serde_json::from_str(&data).map_err(Error::internal)?,
        )))
    }
}

/// Reads the row of an active session and extends its expiry. `None` if the session has ended.
async fn touch(db: &Db, clock: &Clock, hash: &str) -> Result<Option<SqliteRow>> {
    let now = clock.now();
    let row = sqlx::query(
        "SELECT user_id, data, created_at, expires_at
         FROM sessions
         WHERE id_hash = $1 AND expires_at > $2",
    )
    .bind(hash)
    .bind(now)
    .fetch_optional(db.read())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let (created_at, expires_at): (Millis, Millis) =
        (row.try_get("created_at")?, row.try_get("expires_at")?);
    let ends = (now + IDLE_TIMEOUT).min(created_at + ABSOLUTE_TIMEOUT);
    if ends >= expires_at + EXTEND_EVERY {
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
    let owner: Option<UserId> = row.map(|row| row.try_get("user_id")).transpose()?.flatten();
    Ok(owner.as_ref() == Some(user))
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions(...)")
    }
}

fn text(data: &Data) -> Result<String> {
    serde_json::to_string(data).map_err(Error::internal)
}

/// The session of a request. Its row is read on first access and written once, when the response is
/// ready. Clones share one session. A session without a row has no person, and its values last only
/// for the request.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    sessions: Sessions,
    state: Mutex<SessionState>,
}

#[derive(Default)]
struct SessionState {
    /// Whether the browser sent a cookie, valid or not.
    had_cookie: bool,
    /// The cookie value, until it is known that no row belongs to it.
    value: Option<Secret>,
    /// Whether the row was read; the next fields are its content.
    loaded: bool,
    user: Option<UserId>,
    data: Data,
    changed: bool,
    cookie_change: Option<CookieChange>,
}

/// The change of the cookie that is sent to the browser.
#[derive(Clone)]
pub(super) enum CookieChange {
    Set(Secret),
    Remove,
}

impl Session {
    /// `cookie` is the value that the browser sent.
    pub fn new(sessions: Sessions, cookie: Option<&str>) -> Self {
        let value = cookie
            .filter(|value| value.len() == VALUE_LENGTH)
            .map(Secret::new);
        Self(Arc::new(Inner {
            sessions,
            state: Mutex::new(SessionState {
                had_cookie: cookie.is_some(),
                value,
                ..SessionState::default()
            }),
        }))
    }

    async fn load(&self) -> Result<MutexGuard<'_, SessionState>> {
        let mut state = self.0.state.lock().await;
        if !state.loaded {
            let found = match &state.value {
                Some(value) => self.0.sessions.find(value).await?,
                None => None,
            };
            match found {
                Some((user, data)) => (state.user, state.data) = (user, data),
                None => state.value = None,
            }
            state.loaded = true;
        }
        Ok(state)
    }

    /// The person of the session. `None` if it has ended or never existed.
    pub async fn user(&self) -> Result<Option<UserId>> {
        Ok(self.load().await?.user.clone())
    }

    pub async fn insert(&self, key: &str, text: impl Into<String>) -> Result<()> {
        let mut state = self.load().await?;
        state.data.insert(key.to_owned(), text.into());
        state.changed = true;
        Ok(())
    }

    /// Removes a value and returns it. The session is only written if there was one.
    pub async fn remove(&self, key: &str) -> Result<Option<String>> {
        let mut state = self.load().await?;
        let taken = state.data.remove(key);
        state.changed |= taken.is_some();
        Ok(taken)
    }

    /// Writes the session if it was changed.
    pub(super) async fn save(&self) -> Result<()> {
        let mut state = self.0.state.lock().await;
        let changed = std::mem::take(&mut state.changed);
        match &state.value {
            Some(value) if changed => self.0.sessions.write(value, &state.data).await,
            _ => Ok(()),
        }
    }

    pub(super) async fn cookie_change(&self) -> Option<CookieChange> {
        self.0.state.lock().await.cookie_change.clone()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session(...)")
    }
}

/// Signs the browser in: ends the earlier session and sends a new cookie.
pub async fn begin(session: &Session, user: &User) -> Result<()> {
    let mut state = session.0.state.lock().await;
    let value = session
        .0
        .sessions
        .create(&user.id, state.value.as_ref())
        .await?;
    let cookie_change = Some(CookieChange::Set(value.clone()));
    *state = SessionState {
        had_cookie: state.had_cookie,
        value: Some(value),
        loaded: true,
        user: Some(user.id.clone()),
        cookie_change,
        ..SessionState::default()
    };
    Ok(())
}

/// Replaces the cookie value after a change of permissions, so that a copy of the old cookie is no
/// longer valid.
pub async fn renew(session: &Session) -> Result<()> {
    let mut state = session.load().await?;
    let Some(old) = &state.value else {
        return Ok(());
    };
    let renamed = session.0.sessions.rename(old, &state.data).await?;
    match renamed {
        Some(value) => {
            state.cookie_change = Some(CookieChange::Set(value.clone()));
            state.value = Some(value);
            state.changed = false;
        }
        None => {
            *state = SessionState {
                had_cookie: state.had_cookie,
                loaded: true,
                cookie_change: Some(CookieChange::Remove),
                ..SessionState::default()
            }
        }
    }
    Ok(())
}

/// Signs the browser out: deletes the row and the cookie. `address` is for the audit log.
pub async fn finish(session: &Session, address: Option<IpAddr>) -> Result<()> {
    let mut state = session.0.state.lock().await;
    if let Some(value) = &state.value {
        session.0.sessions.sign_out(value, address).await?;
    }
    let cookie_change = (state.had_cookie || state.value.is_some()).then_some(CookieChange::Remove);
    *state = SessionState {
        had_cookie: state.had_cookie,
        loaded: true,
        cookie_change,
        ..SessionState::default()
    };
    Ok(())
}

/// The actor of the session. `None` if nobody is signed in or the person was deactivated.
pub async fn actor_of(db: &Db, session: &Session) -> Result<Option<Actor>> {
    let Some(id) = session.user().await? else {
        return Ok(None);
    };
    let actor = users::actor(db, &id).await?;
    let handle = handle(session).await;
    Ok(actor.map(|actor| Actor {
        session: handle,
        ..actor
    }))
}

/// The name of this session in `SessionInfo::handle`; `None` if it has no row.
pub async fn handle(session: &Session) -> Option<String> {
    session
        .0
        .state
        .lock()
        .await
        .value
        .as_ref()
        .map(|value| hash(value.reveal()))
}

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

#[cfg(test)]
mod tests;
