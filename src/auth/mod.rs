//! Authentication of people and programs. Start at `sign_in/` for a person, at `tokens.rs` for a
//! program, and at `export_passwords/` for a program that was written for LiveLeader. All produce
//! an `Actor`, which is read from the catalogue for every request, so that a deactivation or a role
//! change takes effect at once.

pub mod audit;
pub mod export_passwords;
pub mod invites;
pub mod passwords;
mod program_secrets;
pub mod session_layer;
pub mod sessions;
pub mod sign_in;
pub mod throttle;
pub mod tokens;
pub mod users;

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt;
use sha2::{Digest, Sha256};

pub use crate::actor::{Actor, Role, Scope};
use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::Result;
use crate::secret::Secret;

const DAY: Millis = 24 * 60 * 60 * 1_000;
/// The interval at which downloads and streams in progress check that they are still allowed.
pub const CHECK_EVERY: Duration = Duration::from_secs(10);

/// How the request was transported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Over https, or from this machine.
    Secure,
    /// Over plain http from another machine: readable in transit.
    Insecure,
}

/// Whether the actor is still authorized. Downloads and streams that run for minutes call this
/// periodically. The person must be active with at least the earlier role, the session must not
/// have ended, and the token must be neither expired nor revoked.
pub async fn is_still_authorized(db: &Db, clock: &Clock, actor: &Actor) -> bool {
    if let Some(handle) = &actor.session
        && !matches!(
            sessions::is_alive(db, clock, &actor.user, handle).await,
            Ok(true)
        )
    {
        return false;
    }
    let now = match &actor.token {
        None => users::actor(db, &actor.user).await,
        Some(token) => tokens::actor(db, clock, token).await,
    };
    matches!(now, Ok(Some(now)) if now.role >= actor.role)
}

/// Returns once the actor is no longer authorized. The delay is at most `CHECK_EVERY`.
pub async fn until_revoked(db: &Db, clock: &Clock, actor: &Actor) {
    loop {
        clock.wait(CHECK_EVERY).await;
        if !is_still_authorized(db, clock, actor).await {
            return;
        }
    }
}

/// Deletes ended sessions, used or expired links, and remembered browsers that were not used for a
/// long time. Called periodically.
pub async fn sweep(db: &Db, clock: &Clock) -> Result<()> {
    let now = clock.now();
    let mut tx = db.write().await?;
    sqlx::query("DELETE FROM sessions WHERE expires_at <= $1")
        .bind(now)
        .execute(&mut *tx)
        .await?;
    sqlx::query("DELETE FROM invites WHERE expires_at <= $1")
        .bind(now)
        .execute(&mut *tx)
        .await?;
    sqlx::query("DELETE FROM devices WHERE last_used_at <= $1")
        .bind(now - sign_in::DEVICE_DAYS * DAY)
        .execute(&mut *tx)
        .await?;
    Ok(tx.commit().await?)
}

/// The stored form of a random text: SHA-256 in hex. Sufficient for 128 or more random bits;
/// passwords use `passwords`.
fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// 256 random bits as 43 characters of base64url.
fn random_text() -> Secret {
    let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
    rand::rng().fill(&mut bytes[..]);
    Secret::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

#[cfg(test)]
pub(crate) mod test_support {
    //! Test fixture: a catalogue with an owner, a colleague and a stranger, and a stopped clock.

    use super::*;

    pub struct AuthFixture {
        pub dir: tempfile::TempDir,
        pub db: Db,
        pub clock: Clock,
        pub hasher: passwords::Hasher,
    }

    pub const NOON: i64 = 1_795_262_400_000;
    pub const PASSWORD: &str = "correct horse battery";

    impl AuthFixture {
        pub async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let db = Db::open(&dir.path().join("chatlake.db")).await.unwrap();
            Self {
                dir,
                db,
                clock: Clock::stopped_at(NOON),
                hasher: passwords::Hasher::new(2),
            }
        }

        pub async fn person(&self, name: &str, role: Role) -> Actor {
            let new = users::NewUser {
                email: format!("{name}@house.test"),
                name: name.to_owned(),
                role,
                password: Some(Secret::new(PASSWORD)),
            };
            users::create(&self.db, &self.clock, &self.hasher, &new, None)
                .await
                .unwrap()
                .actor()
        }
    }
}
