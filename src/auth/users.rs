//! People: create, list, rename, set role and password, deactivate. A change of role, password or
//! state also ends the sessions, tokens and links that depend on it, in the same transaction.

use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::audit::{self, AuditActor, AuditEvent};
use super::passwords::{self, Hasher};
use super::{Actor, Role, export_passwords, sessions, sign_in, tokens};
use crate::clock::{Clock, Millis};
use crate::db::{Db, decode_each};
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::secret::Secret;
use crate::text;

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

/// A person to create. Without a password they need a one-time link to sign in.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub email: String,
    pub name: String,
    pub role: Role,
    pub password: Option<Secret>,
}

/// Validates and normalizes email and name. Returns the errors by field.
pub fn identity(
    email: &str,
    name: &str,
) -> std::result::Result<(String, String), Vec<(String, String)>> {
    let email = email.trim().to_lowercase();
    let name = person_name(name);
    let mut wrong = Vec::new();
    if !is_email(&email) {
        let said = if email.is_ascii() {
            "Enter an email address, for example ada@example.com."
        } else {
            "Email must contain only the letters a to z, digits and symbols. Letters of other alphabets can look the same."
        };
        wrong.push(("email".to_owned(), said.to_owned()));
    }
    match name {
        Ok(name) if wrong.is_empty() => Ok((email, name)),
        Ok(_) => Err(wrong),
        Err(why) => {
            wrong.push(("name".to_owned(), why));
            Err(wrong)
        }
    }
}

/// Validates and normalizes the name of a person.
fn person_name(name: &str) -> std::result::Result<String, String> {
    let name = name.trim();
    let length = name.chars().count();
    if length == 0 || length > 100 {
        return Err("Name must have 1 to 100 characters.".to_owned());
    }
    if !name.chars().all(text::is_allowed_in_person_name) {
        return Err("Name must not contain control characters, invisible characters or text direction marks.".to_owned());
    }
    Ok(name.to_owned())
}

/// Whether the email address cannot be mistaken for another one: ASCII, and a host of letters,
/// digits, hyphens and dots between them.
fn is_email(email: &str) -> bool {
    let Some((local, host)) = email.rsplit_once('@') else {
        return false;
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_plain = |byte: u8| {
        byte.is_ascii_graphic()
            && !matches!(
                byte,
                b'<' | b'>' | b'"' | b',' | b';' | b'(' | b')' | b'[' | b']' | b':' | b'\\' | b'@'
            )
    };
    let dots = local.starts_with('.') || local.ends_with('.') || local.contains("..");
    email.len() <= 254
        && !local.is_empty()
        && !dots
        && local.bytes().all(is_plain)
        && host.split('.').all(is_label)
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
    let row = sqlx::query(
        "INSERT INTO users (id, email, name, role, password_hash, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $6)
         ON CONFLICT (email) DO NOTHING
         RETURNING *",
    )
    .bind(UserId::new())
    .bind(email)
    .bind(name)
    .bind(role.word())
    .bind(hash)
    .bind(clock.now())
    .fetch_optional(&mut **tx)
    .await?;
    match row {
        Some(row) => user(&row),
        None => Err(Error::field(
            "email",
            "A person with this email already exists.",
        )),
    }
}

/// All people whose row can be read, by name.
pub async fn list(db: &Db) -> Result<Vec<User>> {
    let rows = sqlx::query("SELECT * FROM users ORDER BY LOWER(name), id")
        .fetch_all(db.read())
        .await?;
    Ok(decode_each(&rows, user).0)
}

pub async fn get(db: &Db, id: &UserId) -> Result<User> {
    let row = sqlx::query("SELECT * FROM users WHERE id = $1")
        .bind(id)
        .fetch_optional(db.read())
        .await?;
    row.as_ref()
        .map(user)
        .transpose()?
        .ok_or_else(|| Error::not_found("person"))
}

pub async fn by_email(db: &Db, email: &str) -> Result<Option<User>> {
    let row = sqlx::query("SELECT * FROM users WHERE email = $1")
        .bind(email.trim().to_lowercase())
        .fetch_optional(db.read())
        .await?;
    row.as_ref().map(user).transpose()
}

/// The number of people, including deactivated ones.
pub async fn count(db: &Db) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM users")
        .fetch_one(db.read())
        .await?)
}

/// The actor of this person. `None` if the person is unknown or deactivated.
pub async fn actor(db: &Db, id: &UserId) -> Result<Option<Actor>> {
    let row = sqlx::query("SELECT * FROM users WHERE id = $1 AND disabled_at IS NULL")
        .bind(id)
        .fetch_optional(db.read())
        .await?;
    Ok(row.as_ref().map(user).transpose()?.map(|user| user.actor()))
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

/// Sets the password of a person from the command line. Ends all their sessions and deletes their
/// remembered browsers.
pub async fn set_password(
    db: &Db,
    clock: &Clock,
    hasher: &Hasher,
    id: &UserId,
    password: &Secret,
) -> Result<()> {
    let user = get(db, id).await?;
    passwords::check(password, &user.email, &user.name)
        .map_err(|why| Error::field("password", why))?;
    let hash = hasher.hash(password).await?;
    let mut tx = db.write().await?;
    replace_password(&mut tx, clock, id, &hash, None).await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(None, "user.set_password", id.as_str()),
    )
    .await?;
    Ok(tx.commit().await?)
}

/// Changes the password of a person who proves the current one. Ends all their sessions but
/// `keep_session` (see `sessions::handle`), and revokes their tokens and export passwords if
/// requested. All remembered browsers but this one are deleted; returns the new value of its device
/// cookie. The fields of errors are `current_password` and `password`.
pub async fn change_password(
    db: &Db,
    clock: &Clock,
    hasher: &Hasher,
    by: AuditActor<'_>,
    change: &ChangePassword<'_>,
) -> Result<Secret> {
    let actor = by.actor;
    if actor.scope.is_some() {
        return Err(Error::forbidden("An API token cannot change a password."));
    }
    let stored_hash: Option<String> =
        sqlx::query_scalar("SELECT password_hash FROM users WHERE id = $1")
            .bind(&actor.user)
            .fetch_one(db.read())
            .await?;
    if !hasher
        .verify(stored_hash.as_deref(), change.current)
        .await?
        .matches
    {
        let event = AuditEvent {
            result: "refused",
            ..AuditEvent::done(Some(by), "user.change_password", actor.user.as_str())
        };
        audit::record_alone(db, clock, event).await?;
        return Err(Error::field(
            "current_password",
            "This is not your current password.",
        ));
    }
    passwords::check(change.new, &actor.email, &actor.name)
        .map_err(|why| Error::field("password", why))?;
    let hash = hasher.hash(change.new).await?;
    let mut tx = db.write().await?;
    replace_password(&mut tx, clock, &actor.user, &hash, change.keep_session).await?;
    if change.revoke_tokens {
        tokens::revoke_all(&mut tx, clock, &actor.user).await?;
        export_passwords::revoke_all(&mut tx, clock, &actor.user).await?;
    }
    let device = sign_in::new_device(&mut tx, clock, &actor.user).await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(Some(by), "user.change_password", actor.user.as_str()),
    )
    .await?;
    tx.commit().await?;
    Ok(device)
}

/// The input of `change_password`.
#[derive(Clone, Copy, Debug)]
pub struct ChangePassword<'a> {
    pub current: &'a Secret,
    pub new: &'a Secret,
    /// The handle of the session that makes the change; it is the only one that stays active.
    pub keep_session: Option<&'a str>,
    pub revoke_tokens: bool,
}

pub(super) async fn replace_password(
    tx: &mut Transaction<'_, Sqlite>,
    clock: &Clock,
    id: &UserId,
    hash: &str,
    keep_session: Option<&str>,
) -> Result<()> {
    sqlx::query("UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1")
        .bind(id)
        .bind(hash)
        .bind(clock.now())
        .execute(&mut **tx)
        .await?;
    sessions::end_all(tx, id, keep_session).await?;
    sqlx::query("DELETE FROM devices WHERE user_id = $1")
        .bind(id)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Deactivates a person at once: ends all sessions and permanently revokes all tokens and export
/// passwords. The last admin cannot be deactivated.
pub async fn disable(
    db: &Db,
    clock: &Clock,
    id: &UserId,
    by: Option<AuditActor<'_>>,
) -> Result<()> {
    require_admin(by)?;
    get(db, id).await?;
    let mut tx = db.write().await?;
    sqlx::query(
        "UPDATE users SET disabled_at = $2, updated_at = $2 WHERE id = $1 AND disabled_at IS NULL",
    )
    .bind(id)
    .bind(clock.now())
    .execute(&mut *tx)
    .await?;
    require_remaining_admin(&mut tx).await?;
    sessions::end_all(&mut tx, id, None).await?;
    tokens::revoke_all(&mut tx, clock, id).await?;
    export_passwords::revoke_all(&mut tx, clock, id).await?;
    sqlx::query(
        "UPDATE invites
         SET used_at = $2
         WHERE email = (SELECT email FROM users WHERE id = $1) AND used_at IS NULL",
    )
    .bind(id)
    .bind(clock.now())
    .execute(&mut *tx)
    .await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(by, "user.disable", id.as_str()),
    )
    .await?;
    Ok(tx.commit().await?)
}

/// Reactivates a person with their earlier password. Their tokens and export passwords stay
/// revoked.
pub async fn enable(db: &Db, clock: &Clock, id: &UserId, by: Option<AuditActor<'_>>) -> Result<()> {
    require_admin(by)?;
    get(db, id).await?;
    let mut tx = db.write().await?;
    sqlx::query("UPDATE users SET disabled_at = NULL, updated_at = $2 WHERE id = $1")
        .bind(id)
        .bind(clock.now())
        .execute(&mut *tx)
        .await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(by, "user.enable", id.as_str()),
    )
    .await?;
    Ok(tx.commit().await?)
}

/// Changes the role of a person, effective from their next request. Ends their sessions, so that
/// new ones have the new role.
pub async fn set_role(
    db: &Db,
    clock: &Clock,
    id: &UserId,
    role: Role,
    by: Option<AuditActor<'_>>,
) -> Result<()> {
    require_admin(by)?;
    let before = get(db, id).await?;
    if before.role == role {
        return Ok(());
    }
    let mut tx = db.write().await?;
    sqlx::query("UPDATE users SET role = $2, updated_at = $3 WHERE id = $1")
        .bind(id)
        .bind(role.word())
        .bind(clock.now())
        .execute(&mut *tx)
        .await?;
    require_remaining_admin(&mut tx).await?;
    sessions::end_all(&mut tx, id, None).await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(by, "user.set_role", id.as_str()),
    )
    .await?;
    Ok(tx.commit().await?)
}

/// Requires an admin. The command line (`None`) may do everything.
pub(super) fn require_admin(by: Option<AuditActor<'_>>) -> Result<()> {
    match by {
        Some(AuditActor { actor, .. }) if !actor.is_admin() || actor.scope.is_some() => Err(
            Error::forbidden("Only an admin who is signed in can manage people."),
        ),
        _ => Ok(()),
    }
}

async fn require_remaining_admin(tx: &mut Transaction<'_, Sqlite>) -> Result<()> {
    let admins: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM users WHERE role = 'admin' AND disabled_at IS NULL",
    )
    .fetch_one(&mut **tx)
    .await?;
    if admins > 0 {
        return Ok(());
    }
    Err(Error::conflict(
        "last_admin",
        "This is the last admin. At least one admin is required.",
    )
    .action("Make another person an admin first."))
}

pub(super) fn user(row: &SqliteRow) -> Result<User> {
    let role: String = row.try_get("role")?;
    Ok(User {
        id: row.try_get("id")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        role: Role::parse(&role)
            .ok_or_else(|| Error::damaged("a role that this program does not know"))?,
        disabled_at: row.try_get("disabled_at")?,
        has_password: row.try_get::<Option<String>, _>("password_hash")?.is_some(),
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::test_support::{AuthFixture, PASSWORD};
    use crate::error::ErrorKind;

    fn change<'a>(current: &'a Secret, new: &'a Secret) -> ChangePassword<'a> {
        ChangePassword {
            current,
            new,
            keep_session: None,
            revoke_tokens: false,
        }
    }

    #[tokio::test]
    async fn a_person_is_made_once_and_every_field_is_checked() {
        let fixture = AuthFixture::new().await;
        let owner = fixture.person("olga", Role::Admin).await;
        let new = |email: &str, name: &str, password: &str| NewUser {
            email: email.to_owned(),
            name: name.to_owned(),
            role: Role::Viewer,
            password: Some(Secret::new(password)),
        };
        let odd = create(
            &fixture.db,
            &fixture.clock,
            &fixture.hasher,
            &new("no-at", "\n", "password1"),
            Some((&owner).into()),
        )
        .await
        .unwrap_err();
        assert_eq!(
            odd.field_errors()
                .iter()
                .map(|(field, _)| field.as_str())
                .collect::<Vec<_>>(),
            ["email", "name", "password"]
        );
        let twice = create(
            &fixture.db,
            &fixture.clock,
            &fixture.hasher,
            &new(" OLGA@House.Test ", "Other", PASSWORD),
            Some((&owner).into()),
        )
        .await
        .unwrap_err();
        assert_eq!(twice.field_errors()[0].0, "email");
        let stored: String = sqlx::query_scalar("SELECT password_hash FROM users")
            .fetch_one(fixture.db.read())
            .await
            .unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(count(&fixture.db).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn only_signed_in_admins_manage_people() {
        let fixture = AuthFixture::new().await;
        let owner = fixture.person("olga", Role::Admin).await;
        let colleague = fixture.person("carl", Role::Editor).await;
        let script = Actor {
            scope: Some(crate::auth::Scope::Manage),
            ..owner.clone()
        };
        for by in [AuditActor::from(&colleague), AuditActor::from(&script)] {
            assert_eq!(
                disable(&fixture.db, &fixture.clock, &owner.user, Some(by))
                    .await
                    .unwrap_err()
                    .kind(),
                ErrorKind::Forbidden
            );
            assert_eq!(
                set_role(
                    &fixture.db,
                    &fixture.clock,
                    &colleague.user,
                    Role::Admin,
                    Some(by)
                )
                .await
                .unwrap_err()
                .kind(),
                ErrorKind::Forbidden
            );
        }
        set_role(
            &fixture.db,
            &fixture.clock,
            &colleague.user,
            Role::Viewer,
            Some((&owner).into()),
        )
        .await
        .unwrap();
        assert_eq!(
            actor(&fixture.db, &colleague.user)
                .await
                .unwrap()
                .unwrap()
                .role,
            Role::Viewer
        );
    }

    #[tokio::test]
    async fn a_disabled_person_is_nobody_until_enabled_and_the_last_admin_stays() {
        let fixture = AuthFixture::new().await;
        let owner = fixture.person("olga", Role::Admin).await;
        let colleague = fixture.person("carl", Role::Editor).await;
        disable(
            &fixture.db,
            &fixture.clock,
            &colleague.user,
            Some((&owner).into()),
        )
        .await
        .unwrap();
        assert!(actor(&fixture.db, &colleague.user).await.unwrap().is_none());
        enable(
            &fixture.db,
            &fixture.clock,
            &colleague.user,
            Some((&owner).into()),
        )
        .await
        .unwrap();
        assert!(actor(&fixture.db, &colleague.user).await.unwrap().is_some());
        assert_eq!(
            disable(
                &fixture.db,
                &fixture.clock,
                &owner.user,
                Some((&owner).into())
            )
            .await
            .unwrap_err()
            .code(),
            "last_admin"
        );
        assert_eq!(
            set_role(
                &fixture.db,
                &fixture.clock,
                &owner.user,
                Role::Viewer,
                Some((&owner).into())
            )
            .await
            .unwrap_err()
            .code(),
            "last_admin"
        );
        assert!(actor(&fixture.db, &owner.user).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn the_own_password_is_changed_with_the_current_one_only() {
        let fixture = AuthFixture::new().await;
        let owner = fixture.person("olga", Role::Admin).await;
        let (good, wrong, common) = (
            Secret::new(PASSWORD),
            Secret::new("not my password"),
            Secret::new("password1"),
        );
        let next = Secret::new("staple battery horse");
        let refused = change_password(
            &fixture.db,
            &fixture.clock,
            &fixture.hasher,
            (&owner).into(),
            &change(&wrong, &next),
        )
        .await
        .unwrap_err();
        assert_eq!(refused.field_errors()[0].0, "current_password");
        let refused = change_password(
            &fixture.db,
            &fixture.clock,
            &fixture.hasher,
            (&owner).into(),
            &change(&good, &common),
        )
        .await
        .unwrap_err();
        assert_eq!(refused.field_errors()[0].0, "password");
        change_password(
            &fixture.db,
            &fixture.clock,
            &fixture.hasher,
            (&owner).into(),
            &change(&good, &next),
        )
        .await
        .unwrap();
        change_password(
            &fixture.db,
            &fixture.clock,
            &fixture.hasher,
            (&owner).into(),
            &change(&next, &good),
        )
        .await
        .unwrap();
        set_password(
            &fixture.db,
            &fixture.clock,
            &fixture.hasher,
            &owner.user,
            &next,
        )
        .await
        .unwrap();
        let trail = audit::list(&fixture.db, None, 10).await.unwrap();
        let trail: Vec<_> = trail
            .iter()
            .rev()
            .map(|entry| (entry.action.as_str(), entry.result.as_str()))
            .collect();
        let change = "user.change_password";
        assert_eq!(
            trail,
            [
                ("user.create", "done"),
                (change, "refused"),
                (change, "done"),
                (change, "done"),
                ("user.set_password", "done")
            ]
        );
    }
}
