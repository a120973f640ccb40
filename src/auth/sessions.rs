//! Sessions of browsers. The cookie holds 256 random bits; the row is found by their hash, and that alone is stored. A session ends 60
//! minutes after its last use, 12 hours after sign-in, at sign-out, when its person is disabled or gets another password or role,
//! whichever is first. Its downloads and streams end with it. All of it is decided here and by our clock, never by the cookie. How the cookie comes and goes is in
//! `session_layer.rs`.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};
use tokio::sync::{Mutex, MutexGuard};

use super::audit::{self, By, Deed};
use super::users::{self, User};
use super::{Actor, hash, random_text};
use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::secret::Secret;

const IDLE: Millis = 60 * 60 * 1_000;
const ABSOLUTE: Millis = 12 * 60 * 60 * 1_000;
/// A use moves the end at most this often, so that reading pages is not writing rows.
const SLIDE: Millis = 60 * 1_000;
/// So long is a cookie's value; another one was not made here.
const VALUE_LENGTH: usize = 43;

/// What a row holds besides its person.
type Data = BTreeMap<String, String>;

/// The rows. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    db: Db,
    clock: Clock,
}

/// A session as its person sees it.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Names it to `end`; tells nothing about the cookie.
    pub handle: String,
    pub created_at: Millis,
    pub expires_at: Millis,
}

impl Sessions {
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// Begins a session of this person in place of an earlier one, and gives the cookie's value.
    pub async fn make(&self, user: &UserId, instead: Option<&Secret>) -> Result<Secret> {
        let (value, now) = (random_text(), self.clock.now());
        let mut tx = self.db.write().await?;
        if let Some(old) = instead {
            sqlx::query("DELETE FROM sessions WHERE id_hash = $1").bind(hash(old.reveal())).execute(&mut *tx).await?;
        }
        sqlx::query("INSERT INTO sessions (id_hash, user_id, data, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(hash(value.reveal()))
            .bind(user)
            .bind(text(&Data::default())?)
            .bind(now)
            .bind(now + IDLE)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(value)
    }

    /// The living sessions of a person, newest first.
    pub async fn list_for(&self, user: &UserId) -> Result<Vec<Entry>> {
        let rows = sqlx::query("SELECT id_hash, created_at, expires_at FROM sessions WHERE user_id = $1 AND expires_at > $2 ORDER BY created_at DESC")
            .bind(user)
            .bind(self.clock.now())
            .fetch_all(self.db.read())
            .await?;
        rows.iter()
            .map(|row| Ok(Entry { handle: row.try_get("id_hash")?, created_at: row.try_get("created_at")?, expires_at: row.try_get("expires_at")? }))
            .collect()
    }

    /// When each person was here last, to the minute: by what is left of their sessions and of the browsers they signed in with.
    pub async fn last_seen(&self) -> Result<HashMap<UserId, Millis>> {
        let rows: Vec<(UserId, Millis)> = sqlx::query_as(
            "SELECT user_id, MAX(at) FROM (SELECT user_id, expires_at - $1 AS at FROM sessions WHERE user_id IS NOT NULL \
             UNION ALL SELECT user_id, last_used_at AS at FROM devices) AS seen GROUP BY user_id",
        )
        .bind(IDLE)
        .fetch_all(self.db.read())
        .await?;
        Ok(rows.into_iter().collect())
    }

    /// Ends one session of this person.
    pub async fn end(&self, user: &UserId, handle: &str) -> Result<()> {
        let mut tx = self.db.write().await?;
        let ended = sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND id_hash = $2").bind(user).bind(handle).execute(&mut *tx).await?;
        if ended.rows_affected() == 0 {
            return Err(Error::not_found("session"));
        }
        Ok(tx.commit().await?)
    }

    /// A person ends all their sessions.
    pub async fn sign_out_everywhere(&self, by: By<'_>) -> Result<()> {
        let user = &by.actor.user;
        let mut tx = self.db.write().await?;
        end_all(&mut tx, user, None).await?;
        audit::record(&mut tx, &self.clock, Deed::done(Some(by), "user.sign_out_everywhere", user.as_str())).await?;
        Ok(tx.commit().await?)
    }

    async fn sign_out(&self, value: &Secret, address: Option<IpAddr>) -> Result<()> {
        let mut tx = self.db.write().await?;
        let ended: Option<Option<UserId>> = sqlx::query_scalar("DELETE FROM sessions WHERE id_hash = $1 AND expires_at > $2 RETURNING user_id")
            .bind(hash(value.reveal()))
            .bind(self.clock.now())
            .fetch_optional(&mut *tx)
            .await?;
        if let Some(user) = ended.flatten() {
            let deed = Deed { actor: Some(&user), address, action: "user.sign_out", object: Some(user.as_str()), result: "done" };
            audit::record(&mut tx, &self.clock, deed).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Never makes a row: a request that was under way when its session was ended must not bring it back.
    async fn write(&self, value: &Secret, data: &Data) -> Result<()> {
        let mut tx = self.db.write().await?;
        sqlx::query("UPDATE sessions SET data = $2 WHERE id_hash = $1").bind(hash(value.reveal())).bind(text(data)?).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }

    /// Gives a row another value, which is answered; none when it has ended meanwhile. When it ends stays as it was.
    async fn rename(&self, old: &Secret, data: &Data) -> Result<Option<Secret>> {
        let value = random_text();
        let mut tx = self.db.write().await?;
        let renamed = sqlx::query("UPDATE sessions SET id_hash = $2, data = $3 WHERE id_hash = $1 AND expires_at > $4")
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
        let Some(row) = used(&self.db, &self.clock, &hash(value.reveal())).await? else { return Ok(None) };
        let data: String = row.try_get("data")?;
        Ok(Some((row.try_get("user_id")?, serde_json::from_str(&data).map_err(Error::internal)?)))
    }
}

/// The row of a session that is in use just now, whose end moves with it; none when it has ended.
async fn used(db: &Db, clock: &Clock, hash: &str) -> Result<Option<SqliteRow>> {
    let now = clock.now();
    let row = sqlx::query("SELECT user_id, data, created_at, expires_at FROM sessions WHERE id_hash = $1 AND expires_at > $2")
        .bind(hash)
        .bind(now)
        .fetch_optional(db.read())
        .await?;
    let Some(row) = row else { return Ok(None) };
    let (created_at, expires_at): (Millis, Millis) = (row.try_get("created_at")?, row.try_get("expires_at")?);
    let ends = (now + IDLE).min(created_at + ABSOLUTE);
    if ends >= expires_at + SLIDE {
        // Nobody waits for it: the catalogue may be locked or the disk full.
        db.aside("a session could not be extended", slide(db.clone(), hash.to_owned(), ends)).await;
    }
    Ok(Some(row))
}

async fn slide(db: Db, hash: String, ends: Millis) -> Result<()> {
    let mut tx = db.write().await?;
    sqlx::query("UPDATE sessions SET expires_at = $2 WHERE id_hash = $1 AND expires_at < $2").bind(hash).bind(ends).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

/// Whether this session of this person, named by `Entry::handle`, has not ended. A download or stream that asks is a use of it, which moves
/// its end.
pub(super) async fn is_alive(db: &Db, clock: &Clock, user: &UserId, handle: &str) -> Result<bool> {
    let row = used(db, clock, handle).await?;
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

/// The session of a request. Its row is looked for when somebody asks, and written once, when the answer is ready. Clones are one
/// session. Without a row it is nobody's, and what is put into it lasts as long as the request.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    sessions: Sessions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The browser sent a cookie, good or not.
    came: bool,
    /// The cookie's value, until it is known to name no row.
    value: Option<Secret>,
    /// The row was looked for; what follows is what it holds.
    looked: bool,
    user: Option<UserId>,
    data: Data,
    changed: bool,
    news: Option<News>,
}

/// What the browser is to be told about its cookie.
#[derive(Clone)]
pub(super) enum News {
    Keep(Secret),
    Forget,
}

impl Session {
    /// `cookie` is the value that the browser sent.
    pub fn new(sessions: Sessions, cookie: Option<&str>) -> Self {
        let value = cookie.filter(|value| value.len() == VALUE_LENGTH).map(Secret::new);
        Self(Arc::new(Inner { sessions, state: Mutex::new(State { came: cookie.is_some(), value, ..State::default() }) }))
    }

    async fn looked_up(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.0.state.lock().await;
        if !state.looked {
            let found = match &state.value {
                Some(value) => self.0.sessions.find(value).await?,
                None => None,
            };
            match found {
                Some((user, data)) => (state.user, state.data) = (user, data),
                None => state.value = None,
            }
            state.looked = true;
        }
        Ok(state)
    }

    /// Whose it is; none when it has ended or never was.
    pub async fn user(&self) -> Result<Option<UserId>> {
        Ok(self.looked_up().await?.user.clone())
    }

    pub async fn insert(&self, key: &str, text: impl Into<String>) -> Result<()> {
        let mut state = self.looked_up().await?;
        state.data.insert(key.to_owned(), text.into());
        state.changed = true;
        Ok(())
    }

    /// Takes a text out, if it is there; only then is there something to write.
    pub async fn remove(&self, key: &str) -> Result<Option<String>> {
        let mut state = self.looked_up().await?;
        let taken = state.data.remove(key);
        state.changed |= taken.is_some();
        Ok(taken)
    }

    /// Writes what was changed, if anything was.
    pub(super) async fn save(&self) -> Result<()> {
        let mut state = self.0.state.lock().await;
        let changed = std::mem::take(&mut state.changed);
        match &state.value {
            Some(value) if changed => self.0.sessions.write(value, &state.data).await,
            _ => Ok(()),
        }
    }

    pub(super) async fn news(&self) -> Option<News> {
        self.0.state.lock().await.news.clone()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session(...)")
    }
}

/// Signs the browser in: what it had before is dropped, and its cookie is new.
pub async fn begin(session: &Session, user: &User) -> Result<()> {
    let mut state = session.0.state.lock().await;
    let value = session.0.sessions.make(&user.id, state.value.as_ref()).await?;
    let news = Some(News::Keep(value.clone()));
    *state = State { came: state.came, value: Some(value), looked: true, user: Some(user.id.clone()), news, ..State::default() };
    Ok(())
}

/// Gives the session another cookie, for when what it may do has changed: whoever holds the old one is nobody.
pub async fn renew(session: &Session) -> Result<()> {
    let mut state = session.looked_up().await?;
    let Some(old) = &state.value else { return Ok(()) };
    let renamed = session.0.sessions.rename(old, &state.data).await?;
    match renamed {
        Some(value) => {
            state.news = Some(News::Keep(value.clone()));
            state.value = Some(value);
            state.changed = false;
        }
        None => *state = State { came: state.came, looked: true, news: Some(News::Forget), ..State::default() },
    }
    Ok(())
}

/// Signs the browser out: the row is gone and the cookie with it. `address` is for the trail.
pub async fn finish(session: &Session, address: Option<IpAddr>) -> Result<()> {
    let mut state = session.0.state.lock().await;
    if let Some(value) = &state.value {
        session.0.sessions.sign_out(value, address).await?;
    }
    let news = (state.came || state.value.is_some()).then_some(News::Forget);
    *state = State { came: state.came, looked: true, news, ..State::default() };
    Ok(())
}

/// Whose session this is just now; none when nobody is signed in or the person was disabled.
pub async fn actor_of(db: &Db, session: &Session) -> Result<Option<Actor>> {
    let Some(id) = session.user().await? else { return Ok(None) };
    let actor = users::actor(db, &id).await?;
    let handle = handle(session).await;
    Ok(actor.map(|actor| Actor { session: handle, ..actor }))
}

/// The name of this session in `Entry::handle`; none when it has no row.
pub async fn handle(session: &Session) -> Option<String> {
    session.0.state.lock().await.value.as_ref().map(|value| hash(value.reveal()))
}

pub(super) async fn end_all(tx: &mut Transaction<'_, Sqlite>, user: &UserId, keep: Option<&str>) -> Result<()> {
    sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND ($2 IS NULL OR id_hash <> $2)").bind(user).bind(keep).execute(&mut **tx).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
