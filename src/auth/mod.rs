//! People and programs that sign in, and what they may do. Start at `sign_in.rs` for a person, at `tokens.rs` for a program, and at
//! `export_passwords.rs` for one that was written for LiveLeader. All end in an `Actor`, looked up anew for every request, so that a
//! disabled person or a changed role counts at once.

pub mod audit;
pub mod export_passwords;
pub mod invites;
pub mod passwords;
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
use subtle::ConstantTimeEq;

pub use crate::actor::{Actor, Role, Scope};
use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::Result;
use crate::secret::Secret;

const DAY: Millis = 24 * 60 * 60 * 1_000;
/// The time of the last use of a token or export password is written at most this often.
const NOTICE: Millis = 60 * 1_000;
/// How often the right to a download or stream in progress is checked.
pub const CHECK_EVERY: Duration = Duration::from_secs(10);
/// Characters of 256 random bits, and of the checksum behind them.
const RANDOM: usize = 43;
const CHECKSUM: usize = 6;

/// How a request came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Over https, or from this very machine.
    Closed,
    /// Over plain http from elsewhere: whoever is on the way can read it.
    Open,
}

/// Whether somebody who was let in still is: a download or stream that goes on for minutes asks now and then. A person must be enabled and
/// have at least the role from then, their session must not have ended, and a token must be unexpired and unrevoked.
pub async fn still_good(db: &Db, clock: &Clock, actor: &Actor) -> bool {
    if let Some(handle) = &actor.session
        && !matches!(sessions::is_alive(db, clock, &actor.user, handle).await, Ok(true))
    {
        return false;
    }
    let now = match &actor.token {
        None => users::actor(db, &actor.user).await,
        Some(token) => tokens::actor(db, clock, token).await,
    };
    matches!(now, Ok(Some(now)) if now.role >= actor.role)
}

/// Returns once somebody who was let in is so no more; the end is noticed within `CHECK_EVERY`.
pub async fn until_ended(db: &Db, clock: &Clock, actor: &Actor) {
    loop {
        clock.wait(CHECK_EVERY).await;
        if !still_good(db, clock, actor).await {
            return;
        }
    }
}

/// Deletes what has ended and nobody reads any more: sessions, links and browsers that stayed away. Now and then is enough.
pub async fn sweep(db: &Db, clock: &Clock) -> Result<()> {
    let now = clock.now();
    let mut tx = db.write().await?;
    sqlx::query("DELETE FROM sessions WHERE expires_at <= $1").bind(now).execute(&mut *tx).await?;
    sqlx::query("DELETE FROM invites WHERE expires_at <= $1").bind(now).execute(&mut *tx).await?;
    sqlx::query("DELETE FROM devices WHERE last_used_at <= $1").bind(now - sign_in::DEVICE_DAYS * DAY).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

/// What something random is stored as: SHA-256 in hex. Enough for 128 bits or more of randomness; passwords go to `passwords`.
fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 256 random bits as 43 characters of base64url.
fn random_text() -> Secret {
    let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
    rand::rng().fill(&mut bytes[..]);
    Secret::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

/// What a program shows: `prefix`, 256 random bits and a checksum.
fn new_text(prefix: &str) -> Secret {
    let random = random_text();
    Secret::new(format!("{prefix}{}{}", random.reveal(), checksum(random.reveal())))
}

/// Whether `text` has the form that `new_text` gives it: known without the catalogue.
fn is_text(prefix: &str, text: &str) -> bool {
    let Some(rest) = text.strip_prefix(prefix) else { return false };
    if rest.len() != RANDOM + CHECKSUM || !rest.is_ascii() {
        return false;
    }
    let (random, check) = rest.split_at(RANDOM);
    checksum(random).as_bytes().ct_eq(check.as_bytes()).into()
}

/// Catches a mistyped or cut text; it is no secret and proves nothing.
fn checksum(random: &str) -> String {
    let digest = Sha256::digest(random.as_bytes());
    URL_SAFE_NO_PAD.encode(digest.get(..4).unwrap_or_default())
}

#[cfg(test)]
pub(crate) mod test_house {
    //! A catalogue with an owner, a colleague and a stranger, and a clock that stands still.

    use super::*;

    pub struct House {
        pub dir: tempfile::TempDir,
        pub db: Db,
        pub clock: Clock,
        pub hasher: passwords::Hasher,
    }

    pub const NOON: i64 = 1_795_262_400_000;
    pub const PASSWORD: &str = "correct horse battery";

    impl House {
        pub async fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let db = Db::open(&dir.path().join("chatlake.db")).await.unwrap();
            Self { dir, db, clock: Clock::stopped_at(NOON), hasher: passwords::Hasher::new(2) }
        }

        pub async fn person(&self, name: &str, role: Role) -> Actor {
            let new = users::NewUser { email: format!("{name}@house.test"), name: name.to_owned(), role, password: Some(Secret::new(PASSWORD)) };
            users::create(&self.db, &self.clock, &self.hasher, &new, None).await.unwrap().actor()
        }
    }
}
