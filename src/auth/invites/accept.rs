//! Uses a one-time link: creates its person, or sets the new password of an existing one.

use std::net::IpAddr;

use super::{count_people, find};
use crate::auth::audit::{self, AuditEvent, AuditResult};
use crate::auth::passwords::{self, Hasher};
use crate::auth::sign_in::{self, SignedIn};
use crate::auth::users;
use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// The input of the person who uses a link.
#[derive(Clone, Debug)]
pub struct AcceptInvite {
    /// Only used with the set-up link.
    pub email: String,
    /// Not used if the person already exists.
    pub name: String,
    pub password: Secret,
    /// The address of the person, for the audit log.
    pub address: Option<IpAddr>,
}

/// Uses a link: creates the person, or sets the new password of an existing one and ends their
/// sessions. If several requests use the same link at once, only one succeeds. The browser becomes
/// a remembered browser.
pub async fn accept(
    db: &Db,
    clock: &Clock,
    hasher: &Hasher,
    code: &str,
    input: &AcceptInvite,
) -> Result<SignedIn> {
    let Some(invite) = find(db, clock, code).await? else {
        return Err(expired_link());
    };
    let existing = match &invite.email {
        Some(email) => users::by_email(db, email).await?,
        None => None,
    };
    let typed_name = existing
        .as_ref()
        .map_or(input.name.as_str(), |user| user.name.as_str());
    let identity = users::identity(invite.email.as_deref().unwrap_or(&input.email), typed_name);
    let mut wrong = identity.as_ref().err().cloned().unwrap_or_default();
    let (email, name) = identity.unwrap_or_default();
    if let Err(why) = passwords::check(&input.password, &email, &name) {
        wrong.push(("password".to_owned(), why));
    }
    if !wrong.is_empty() {
        return Err(Error::fields(wrong));
    }
    let password = hasher.hash(&input.password).await?;
    let mut tx = db.write().await?;
    // Of several requests that use the link at once, only the first one finds it unused.
    let used = sqlx::query(
        "UPDATE invites SET used_at = $2 WHERE id = $1 AND used_at IS NULL AND expires_at > $2",
    )
    .bind(&invite.id)
    .bind(clock.now())
    .execute(&mut *tx)
    .await?;
    if used.rows_affected() == 0 || (invite.is_set_up() && count_people(&mut tx).await? > 0) {
        return Err(expired_link());
    }
    let user = match existing {
        Some(user) => {
            let disabled: Option<Millis> =
                sqlx::query_scalar("SELECT disabled_at FROM users WHERE id = $1")
                    .bind(&user.id)
                    .fetch_one(&mut *tx)
                    .await?;
            if disabled.is_some() {
                return Err(expired_link());
            }
            users::replace_password(&mut tx, clock, &user.id, &password, None).await?;
            user
        }
        None => users::insert(&mut tx, clock, &email, &name, invite.role, Some(&password)).await?,
    };
    let action = if invite.is_set_up() {
        "user.set_up"
    } else {
        "user.accept_invite"
    };
    let device = sign_in::new_device(&mut tx, clock, &user.id).await?;
    let event = AuditEvent {
        actor: Some(&user.id),
        address: input.address,
        action,
        object: Some(user.id.as_str()),
        result: AuditResult::Done,
    };
    audit::record(&mut tx, clock, event).await?;
    tx.commit().await?;
    Ok(SignedIn { user, device })
}

fn expired_link() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "not_found",
        "This link was already used or has expired.",
    )
    .action("Ask an admin for a new link.")
}
