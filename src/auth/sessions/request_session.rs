//! The session of a request: reads its row on first access, collects changes, and signs the browser
//! in and out.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use super::{Data, Sessions};
use crate::auth::users::{self, User};
use crate::auth::{Actor, hash};
use crate::db::Db;
use crate::error::Result;
use crate::ids::UserId;
use crate::secret::Secret;

/// The length of a cookie value. Other values were not created by this server.
const VALUE_LENGTH: usize = 43;

/// The session of a request. Its row is read on first access and written once, when the response is
/// ready. Clones share one session. A session without a row has no person, and its values last only
/// for the request.
#[derive(Clone)]
pub struct Session(Arc<SessionInner>);

struct SessionInner {
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
pub(in crate::auth) enum CookieChange {
    Set(Secret),
    Remove,
}

impl Session {
    /// `cookie` is the value that the browser sent.
    pub fn new(sessions: Sessions, cookie: Option<&str>) -> Self {
        let value = cookie
            .filter(|value| value.len() == VALUE_LENGTH)
            .map(Secret::new);
        Self(Arc::new(SessionInner {
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
    pub(in crate::auth) async fn save(&self) -> Result<()> {
        let mut state = self.0.state.lock().await;
        let changed = std::mem::take(&mut state.changed);
        match &state.value {
            Some(value) if changed => self.0.sessions.write(value, &state.data).await,
            _ => Ok(()),
        }
    }

    pub(in crate::auth) async fn cookie_change(&self) -> Option<CookieChange> {
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
