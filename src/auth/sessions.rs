//! Sessions of browsers: tower-sessions keeps the cookie, this keeps the rows. Only the hash of the cookie's value is stored. A
//! session ends 60 minutes after its last use, 12 hours after sign-in, at sign-out, when its person is disabled or gets another
//! password or role, whichever is first; all of it is decided here and by our clock, never by the cookie.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::Serialize;
use sqlx::{Row, Sqlite, Transaction};
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{self, SessionStore};
use tower_sessions::{Expiry, Session, SessionManagerLayer, cookie::SameSite};

use super::users::{self, User};
use super::{Actor, hash};
use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::{Error, Result};
use crate::ids::UserId;

const IDLE: Millis = 60 * 60 * 1_000;
const ABSOLUTE: Millis = 12 * 60 * 60 * 1_000;
/// A use moves the end at most this often, so that reading pages is not writing rows.
const SLIDE: Millis = 60 * 1_000;
/// Which person a session belongs to.
const USER: &str = "user";

/// The store behind the cookie. Cheap to clone.
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

/// The name of the session cookie.
pub fn cookie_name(https: bool) -> &'static str {
    if https { "__Host-chatlake_session" } else { "chatlake_session" }
}

impl Sessions {
    pub fn new(db: Db, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// The layer that gives handlers their `Session`. The cookie lives as long as the browser; the row decides.
    pub fn layer(&self, https: bool) -> SessionManagerLayer<Sessions> {
        SessionManagerLayer::new(self.clone())
            .with_name(cookie_name(https))
            .with_secure(https)
            .with_http_only(true)
            .with_same_site(SameSite::Lax)
            .with_path("/")
            .with_expiry(Expiry::OnSessionEnd)
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

    /// Ends all sessions of a person, but the one named `keep`.
    pub async fn ends_for_user(&self, user: &UserId, keep: Option<&str>) -> Result<()> {
        let mut tx = self.db.write().await?;
        end_all(&mut tx, user, keep).await?;
        Ok(tx.commit().await?)
    }

    async fn insert(&self, record: &mut Record) -> Result<()> {
        let (user, data) = parts(record)?;
        let now = self.clock.now();
        let mut tx = self.db.write().await?;
        loop {
            let made = sqlx::query(
                "INSERT INTO sessions (id_hash, user_id, data, created_at, expires_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id_hash) DO NOTHING",
            )
            .bind(hash(&record.id.to_string()))
            .bind(&user)
            .bind(&data)
            .bind(now)
            .bind(now + IDLE)
            .execute(&mut *tx)
            .await?;
            if made.rows_affected() == 1 {
                return Ok(tx.commit().await?);
            }
            record.id = Id::default();
        }
    }

    /// Never makes a row: a request that was under way when its session was ended must not bring it back.
    async fn update(&self, record: &Record) -> Result<()> {
        let (user, data) = parts(record)?;
        let mut tx = self.db.write().await?;
        sqlx::query("UPDATE sessions SET user_id = $2, data = $3 WHERE id_hash = $1")
            .bind(hash(&record.id.to_string()))
            .bind(user)
            .bind(data)
            .execute(&mut *tx)
            .await?;
        Ok(tx.commit().await?)
    }

    async fn find(&self, id: &Id) -> Result<Option<Record>> {
        let now = self.clock.now();
        let hash = hash(&id.to_string());
        let row = sqlx::query("SELECT data, created_at, expires_at FROM sessions WHERE id_hash = $1 AND expires_at > $2")
            .bind(&hash)
            .bind(now)
            .fetch_optional(self.db.read())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (data, created_at, expires_at): (String, Millis, Millis) = (row.try_get("data")?, row.try_get("created_at")?, row.try_get("expires_at")?);
        let ends = (now + IDLE).min(created_at + ABSOLUTE);
        if ends >= expires_at + SLIDE {
            let mut tx = self.db.write().await?;
            sqlx::query("UPDATE sessions SET expires_at = $2 WHERE id_hash = $1 AND expires_at < $2").bind(&hash).bind(ends).execute(&mut *tx).await?;
            tx.commit().await?;
        }
        let data = serde_json::from_str(&data).map_err(Error::internal)?;
        // What the record says of its end is not read by anybody: this table decides.
        Ok(Some(Record { id: *id, data, expiry_date: time::OffsetDateTime::UNIX_EPOCH }))
    }

    async fn remove(&self, id: &Id) -> Result<()> {
        let mut tx = self.db.write().await?;
        sqlx::query("DELETE FROM sessions WHERE id_hash = $1").bind(hash(&id.to_string())).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sessions(...)")
    }
}

fn parts(record: &Record) -> Result<(Option<String>, String)> {
    let user = record.data.get(USER).and_then(|user| user.as_str()).map(str::to_owned);
    Ok((user, serde_json::to_string(&record.data).map_err(Error::internal)?))
}

fn backend(why: Error) -> session_store::Error {
    // The cause stays out: tower-sessions logs what it is given, and this one may hold SQL.
    session_store::Error::Backend(why.message().to_owned())
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        self.insert(record).await.map_err(backend)
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        self.update(record).await.map_err(backend)
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        self.find(id).await.map_err(backend)
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        self.remove(id).await.map_err(backend)
    }
}

/// Signs the browser in: what it had before is dropped, and its id is new.
pub async fn begin(session: &Session, user: &User) -> Result<()> {
    session.clear().await;
    session.cycle_id().await.map_err(Error::internal)?;
    session.insert(USER, user.id.as_str()).await.map_err(Error::internal)
}

/// Gives the session another id, for when what it may do has changed: whoever holds the old one is nobody.
pub async fn renew(session: &Session) -> Result<()> {
    session.cycle_id().await.map_err(Error::internal)
}

/// Signs the browser out: the row is gone and the cookie with it.
pub async fn finish(session: &Session) -> Result<()> {
    session.flush().await.map_err(Error::internal)
}

/// Whose session this is just now; none when nobody is signed in or the person was disabled.
pub async fn actor_of(db: &Db, session: &Session) -> Result<Option<Actor>> {
    if session.id().is_none() {
        return Ok(None);
    }
    let user: Option<String> = session.get(USER).await.map_err(Error::internal)?;
    match user.as_deref().and_then(UserId::parse) {
        Some(id) => users::actor(db, &id).await,
        None => Ok(None),
    }
}

/// The name of this session in `Entry::handle`; none before it is stored.
pub fn handle(session: &Session) -> Option<String> {
    session.id().map(|id| hash(&id.to_string()))
}

pub(super) async fn end_all(tx: &mut Transaction<'_, Sqlite>, user: &UserId, keep: Option<&str>) -> Result<()> {
    sqlx::query("DELETE FROM sessions WHERE user_id = $1 AND ($2 IS NULL OR id_hash <> $2)").bind(user).bind(keep).execute(&mut **tx).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::auth::Role;
    use crate::auth::test_house::{House, PASSWORD};
    use crate::secret::Secret;

    const MINUTE: Millis = 60_000;

    impl House {
        fn session(&self, id: Option<Id>) -> Session {
            Session::new(id, Arc::new(Sessions::new(self.db.clone(), self.clock.clone())), Some(Expiry::OnSessionEnd))
        }

        async fn signed_in(&self, actor: &Actor, planted: Option<Id>) -> Id {
            let session = self.session(planted);
            begin(&session, &users::get(&self.db, &actor.user).await.unwrap()).await.unwrap();
            session.save().await.unwrap();
            session.id().unwrap()
        }

        async fn who(&self, id: Id) -> Option<String> {
            actor_of(&self.db, &self.session(Some(id))).await.unwrap().map(|actor| actor.name)
        }
    }

    #[tokio::test]
    async fn a_session_gets_a_new_id_at_sign_in_and_the_planted_one_stays_nobodys() {
        let house = House::new().await;
        let owner = house.person("olga", Role::Admin).await;
        let before = house.session(None);
        before.insert("flash", "hello").await.unwrap();
        before.save().await.unwrap();
        for planted in [before.id().unwrap(), Id::default()] {
            let id = house.signed_in(&owner, Some(planted)).await;
            assert_ne!(id, planted);
            assert_eq!(house.who(id).await.as_deref(), Some("olga"));
            assert_eq!(house.who(planted).await, None);
        }
    }

    #[tokio::test]
    async fn only_the_hash_of_the_cookie_is_stored() {
        let house = House::new().await;
        let owner = house.person("olga", Role::Admin).await;
        let id = house.signed_in(&owner, None).await;
        let rows: Vec<(String, String)> = sqlx::query_as("SELECT id_hash, data FROM sessions").fetch_all(house.db.read()).await.unwrap();
        assert!(rows.iter().all(|(hash, data)| !hash.contains(&id.to_string()) && !data.contains(&id.to_string())));
    }

    #[tokio::test]
    async fn it_ends_after_an_idle_hour_and_after_twelve_hours_in_any_case() {
        let house = House::new().await;
        let owner = house.person("olga", Role::Admin).await;
        let idle = house.signed_in(&owner, None).await;
        house.clock.advance(59 * MINUTE);
        assert!(house.who(idle).await.is_some());
        house.clock.advance(61 * MINUTE);
        assert!(house.who(idle).await.is_none());
        let busy = house.signed_in(&owner, None).await;
        for _ in 0..24 {
            house.clock.advance(30 * MINUTE - 1);
            assert!(house.who(busy).await.is_some());
        }
        house.clock.advance(MINUTE);
        assert!(house.who(busy).await.is_none());
        crate::auth::sweep(&house.db, &house.clock).await.unwrap();
        let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM sessions").fetch_one(house.db.read()).await.unwrap();
        assert_eq!(left, 0);
    }

    #[tokio::test]
    async fn sign_out_is_final_even_for_a_request_that_was_under_way() {
        let house = House::new().await;
        let owner = house.person("olga", Role::Admin).await;
        let id = house.signed_in(&owner, None).await;
        let under_way = house.session(Some(id));
        under_way.insert("flash", "late").await.unwrap();
        let out = house.session(Some(id));
        finish(&out).await.unwrap();
        under_way.save().await.unwrap();
        assert!(house.who(id).await.is_none());
    }

    #[tokio::test]
    async fn a_password_change_ends_the_others_and_disabling_ends_all() {
        let house = House::new().await;
        let owner = house.person("olga", Role::Admin).await;
        house.person("carl", Role::Admin).await;
        let (here, there) = (house.signed_in(&owner, None).await, house.signed_in(&owner, None).await);
        let sessions = Sessions::new(house.db.clone(), house.clock.clone());
        assert_eq!(sessions.list_for(&owner.user).await.unwrap().len(), 2);
        let keep = handle(&house.session(Some(here)));
        let (old, new) = (Secret::new(PASSWORD), Secret::new("staple battery horse"));
        let change = users::ChangePassword { current: &old, new: &new, keep: keep.as_deref(), revoke_tokens: false };
        users::change_password(&house.db, &house.clock, &house.hasher, &owner, &change).await.unwrap();
        assert!(house.who(here).await.is_some() && house.who(there).await.is_none());
        users::disable(&house.db, &house.clock, &owner.user, None).await.unwrap();
        assert!(house.who(here).await.is_none());
    }

    #[tokio::test]
    async fn people_end_their_own_sessions_and_no_others() {
        let house = House::new().await;
        let owner = house.person("olga", Role::Admin).await;
        let stranger = house.person("stan", Role::Editor).await;
        let id = house.signed_in(&owner, None).await;
        let sessions = Sessions::new(house.db.clone(), house.clock.clone());
        let entry = sessions.list_for(&owner.user).await.unwrap().remove(0);
        assert!(sessions.end(&stranger.user, &entry.handle).await.is_err());
        assert!(house.who(id).await.is_some());
        sessions.end(&owner.user, &entry.handle).await.unwrap();
        assert!(house.who(id).await.is_none());
    }
}
