//! People and programs that sign in, and what they may do. Start at `sign_in.rs` for a person and at `tokens.rs` for a program; both
//! end in an `Actor`, looked up anew for every request, so that a disabled person or a changed role counts at once.

pub mod audit;
pub mod invites;
pub mod passwords;
pub mod session_layer;
pub mod sessions;
pub mod sign_in;
pub mod throttle;
pub mod tokens;
pub mod users;

use std::net::IpAddr;

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

/// Whether somebody who was let in still is: a download that runs for minutes asks now and then. A person must be enabled and as
/// strong as then, a token unexpired and unrevoked.
pub async fn still_good(db: &Db, clock: &Clock, actor: &Actor) -> bool {
    let now = match &actor.token {
        None => users::actor(db, &actor.user).await,
        Some(token) => tokens::actor(db, clock, token).await,
    };
    matches!(now, Ok(Some(now)) if now.role >= actor.role)
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

/// The address as limits count it: an IPv6 client has a /64 to choose from, so that counts as one.
fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
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
