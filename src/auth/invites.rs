//! One-time links: the set-up link that creates the first admin, invitations for new people, and
//! links with which an existing person chooses a new password. Only the hash of the code is stored.

use std::net::IpAddr;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::audit::{self, AuditActor, AuditEvent};
use super::passwords::{self, Hasher};
use super::sign_in::{self, SignedIn};
use super::users::{self, User};
use super::{Role, hash, random_text};
use crate::clock::{Clock, Millis};
use crate::db::{Db, decode_each};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{InviteId, UserId};
use crate::secret::Secret;

/// How long a link is valid.
pub const VALIDITY: Millis = 7 * 24 * 60 * 60 * 1_000;

/// A link and its purpose.
#[derive(Clone, Debug)]
pub struct Invite {
    pub id: InviteId,
    /// `None` for the set-up link: the person types the email and becomes the first admin.
    pub email: Option<String>,
    pub name: Option<String>,
    pub role: Role,
    /// `None` for the set-up link.
    pub created_by: Option<UserId>,
    pub created_at: Millis,
    pub expires_at: Millis,
}

impl Invite {
    pub fn is_set_up(&self) -> bool {
        self.email.is_none()
    }
}

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

/// Creates a set-up link for the console and replaces earlier ones. `None` once there is a person.
pub async fn setup_link(db: &Db, clock: &Clock) -> Result<Option<Secret>> {
    // Checked before anything is written, because the disk may be full.
    if !is_set_up_open(db).await? {
        return Ok(None);
    }
    let mut tx = db.write().await?;
    if count_people(&mut tx).await? > 0 {
        return Ok(None);
    }
    sqlx::query("DELETE FROM invites WHERE created_by IS NULL AND email IS NULL")
        .execute(&mut *tx)
        .await?;
    let (_, code) = insert(&mut tx, clock, None, None, Role::Admin, None).await?;
    tx.commit().await?;
    Ok(Some(code))
}

/// Whether there is no person yet, so that the first admin can be created.
pub async fn is_set_up_open(db: &Db) -> Result<bool> {
    Ok(users::count(db).await? == 0)
}

/// Creates an invitation and replaces earlier ones for the same email. Its code is shown to the
/// admin once.
pub async fn create(
    db: &Db,
    clock: &Clock,
    by: AuditActor<'_>,
    email: &str,
    name: &str,
    role: Role,
) -> Result<(Invite, Secret)> {
    users::require_admin(Some(by))?;
    let (email, name) = users::identity(email, name).map_err(Error::fields)?;
    if users::by_email(db, &email).await?.is_some() {
        return Err(Error::field(
            "email",
            "A person with this email already exists.",
        ));
    }
    insert_for(db, clock, by, &email, &name, role, "user.invite").await
}

/// Creates a link with which an existing person chooses a new password.
pub async fn create_password_reset(
    db: &Db,
    clock: &Clock,
    by: AuditActor<'_>,
    user: &User,
) -> Result<(Invite, Secret)> {
    users::require_admin(Some(by))?;
    if user.disabled_at.is_some() {
        return Err(
            Error::conflict("disabled", format!("{} is deactivated.", user.name))
                .action("Reactivate this person first."),
        );
    }
    insert_for(
        db,
        clock,
        by,
        &user.email,
        &user.name,
        user.role,
        "user.readmit",
    )
    .await
}

/// Unused links, newest first, without the set-up link.
pub async fn list(db: &Db, clock: &Clock) -> Result<Vec<Invite>> {
    let rows = sqlx::query(
        "SELECT *
         FROM invites
         WHERE used_at IS NULL AND expires_at > $1 AND email IS NOT NULL
         ORDER BY created_at DESC, id DESC",
    )
    .bind(clock.now())
    .fetch_all(db.read())
    .await?;
    Ok(decode_each(&rows, invite).0)
}

/// Revokes an unused link.
pub async fn withdraw(db: &Db, clock: &Clock, by: AuditActor<'_>, id: &InviteId) -> Result<()> {
    users::require_admin(Some(by))?;
    let mut tx = db.write().await?;
    let ended = sqlx::query("UPDATE invites SET used_at = $2 WHERE id = $1 AND used_at IS NULL")
        .bind(id)
        .bind(clock.now())
        .execute(&mut *tx)
        .await?;
    if ended.rows_affected() == 0 {
        return Err(Error::not_found("link"));
    }
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(Some(by), "user.withdraw_invite", id.as_str()),
    )
    .await?;
    Ok(tx.commit().await?)
}

/// The valid link of this code. `None` if the code never existed, was used or has expired.
pub async fn find(db: &Db, clock: &Clock, code: &str) -> Result<Option<Invite>> {
    let row = sqlx::query(
        "SELECT * FROM invites WHERE code_hash = $1 AND used_at IS NULL AND expires_at > $2",
    )
    .bind(hash(code))
    .bind(clock.now())
    .fetch_optional(db.read())
    .await?;
    let Some(invite) = row.as_ref().map(invite).transpose()? else {
        return Ok(None);
    };
    if invite.is_set_up() && !is_set_up_open(db).await? {
        return Ok(None);
    }
    Ok(Some(invite))
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
        result: "done",
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

async fn count_people(tx: &mut Transaction<'_, Sqlite>) -> Result<i64> {
    Ok(sqlx::query_scalar("SELECT COUNT(*) FROM users")
        .fetch_one(&mut **tx)
        .await?)
}

async fn insert_for(
    db: &Db,
    clock: &Clock,
    by: AuditActor<'_>,
    email: &str,
    name: &str,
    role: Role,
    action: &'static str,
) -> Result<(Invite, Secret)> {
    let mut tx = db.write().await?;
    sqlx::query("UPDATE invites SET used_at = $2 WHERE email = $1 AND used_at IS NULL")
        .bind(email)
        .bind(clock.now())
        .execute(&mut *tx)
        .await?;
    let made = insert(&mut tx, clock, Some(email), Some(name), role, Some(by)).await?;
    audit::record(
        &mut tx,
        clock,
        AuditEvent::done(Some(by), action, made.0.id.as_str()),
    )
    .await?;
    tx.commit().await?;
    Ok(made)
}

async fn insert(
    tx: &mut Transaction<'_, Sqlite>,
    clock: &Clock,
    email: Option<&str>,
    name: Option<&str>,
    role: Role,
    by: Option<AuditActor<'_>>,
) -> Result<(Invite, Secret)> {
    let code = random_text();
    let now = clock.now();
    let row = sqlx::query(
        "INSERT INTO invites (
             id, code_hash, email, name, role, created_by, created_at, expires_at
         )
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         RETURNING *",
    )
    .bind(InviteId::new())
    .bind(hash(code.reveal()))
    .bind(email)
    .bind(name)
    .bind(role.word())
    .bind(by.map(|by| &by.actor.user))
    .bind(now)
    .bind(now + VALIDITY)
    .fetch_one(&mut **tx)
    .await?;
    Ok((invite(&row)?, code))
}

fn invite(row: &SqliteRow) -> Result<Invite> {
    let role: String = row.try_get("role")?;
    Ok(Invite {
        id: row.try_get("id")?,
        email: row.try_get("email")?,
        name: row.try_get("name")?,
        role: Role::parse(&role)
            .ok_or_else(|| Error::internal("a role that this program does not know"))?,
        created_by: row.try_get("created_by")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::test_support::{AuthFixture, PASSWORD};

    fn accept_as(email: &str) -> AcceptInvite {
        AcceptInvite {
            email: email.to_owned(),
            name: "Olga Owner".to_owned(),
            password: Secret::new(PASSWORD),
            address: None,
        }
    }

    #[tokio::test]
    async fn fifty_race_for_the_set_up_link_and_one_becomes_the_admin() {
        let fixture = AuthFixture::new().await;
        let stale = setup_link(&fixture.db, &fixture.clock)
            .await
            .unwrap()
            .unwrap();
        let code = setup_link(&fixture.db, &fixture.clock)
            .await
            .unwrap()
            .unwrap();
        assert!(
            find(&fixture.db, &fixture.clock, stale.reveal())
                .await
                .unwrap()
                .is_none(),
            "the link of an earlier start is dead"
        );
        assert!(
            find(&fixture.db, &fixture.clock, code.reveal())
                .await
                .unwrap()
                .unwrap()
                .is_set_up()
        );
        let mut race = tokio::task::JoinSet::new();
        for n in 0..50 {
            let (db, clock, hasher, code) = (
                fixture.db.clone(),
                fixture.clock.clone(),
                fixture.hasher.clone(),
                code.clone(),
            );
            race.spawn(async move {
                accept(
                    &db,
                    &clock,
                    &hasher,
                    code.reveal(),
                    &accept_as(&format!("person{n}@house.test")),
                )
                .await
            });
        }
        let mut made = 0;
        while let Some(done) = race.join_next().await {
            match done.unwrap() {
                Ok(done) => made += usize::from(done.user.role == Role::Admin),
                Err(why) => assert_eq!(why.kind(), ErrorKind::NotFound, "{why}"),
            }
        }
        assert_eq!((made, users::count(&fixture.db).await.unwrap()), (1, 1));
        assert!(
            find(&fixture.db, &fixture.clock, code.reveal())
                .await
                .unwrap()
                .is_none()
        );
        assert!(
            setup_link(&fixture.db, &fixture.clock)
                .await
                .unwrap()
                .is_none()
        );
    }

    #[tokio::test]
    async fn the_set_up_link_is_dead_once_the_command_line_made_somebody() {
        let fixture = AuthFixture::new().await;
        let code = setup_link(&fixture.db, &fixture.clock)
            .await
            .unwrap()
            .unwrap();
        fixture.person("olga", Role::Admin).await;
        assert!(
            find(&fixture.db, &fixture.clock, code.reveal())
                .await
                .unwrap()
                .is_none()
        );
        assert_eq!(
            accept(
                &fixture.db,
                &fixture.clock,
                &fixture.hasher,
                code.reveal(),
                &accept_as("x@house.test")
            )
            .await
            .unwrap_err()
            .kind(),
            ErrorKind::NotFound
        );
    }

    #[tokio::test]
    async fn an_admin_adds_a_person_whose_link_works_once_and_for_a_week() {
        let fixture = AuthFixture::new().await;
        let owner = fixture.person("olga", Role::Admin).await;
        let (_, first) = create(
            &fixture.db,
            &fixture.clock,
            (&owner).into(),
            "Carl@House.test",
            "Carl",
            Role::Editor,
        )
        .await
        .unwrap();
        let (_, code) = create(
            &fixture.db,
            &fixture.clock,
            (&owner).into(),
            "carl@house.test",
            "Carl",
            Role::Editor,
        )
        .await
        .unwrap();
        assert!(
            find(&fixture.db, &fixture.clock, first.reveal())
                .await
                .unwrap()
                .is_none(),
            "a new link replaces the old one"
        );
        assert_eq!(list(&fixture.db, &fixture.clock).await.unwrap().len(), 1);
        let weak = AcceptInvite {
            password: Secret::new("password1"),
            ..accept_as("ignored@house.test")
        };
        assert_eq!(
            accept(
                &fixture.db,
                &fixture.clock,
                &fixture.hasher,
                code.reveal(),
                &weak
            )
            .await
            .unwrap_err()
            .field_errors()[0]
                .0,
            "password"
        );
        let carl = accept(
            &fixture.db,
            &fixture.clock,
            &fixture.hasher,
            code.reveal(),
            &accept_as("ignored@house.test"),
        )
        .await
        .unwrap()
        .user;
        assert_eq!(
            (carl.email.as_str(), carl.role),
            ("carl@house.test", Role::Editor)
        );
        assert!(
            accept(
                &fixture.db,
                &fixture.clock,
                &fixture.hasher,
                code.reveal(),
                &accept_as("")
            )
            .await
            .is_err()
        );
        assert_eq!(
            create(
                &fixture.db,
                &fixture.clock,
                (&carl.actor()).into(),
                "s@house.test",
                "S",
                Role::Admin
            )
            .await
            .unwrap_err()
            .kind(),
            ErrorKind::Forbidden
        );
        let (_, late) = create(
            &fixture.db,
            &fixture.clock,
            (&owner).into(),
            "late@house.test",
            "Late",
            Role::Viewer,
        )
        .await
        .unwrap();
        fixture.clock.advance(VALIDITY);
        assert!(
            find(&fixture.db, &fixture.clock, late.reveal())
                .await
                .unwrap()
                .is_none()
        );
    }

    #[tokio::test]
    async fn a_person_who_forgot_the_password_is_readmitted_by_link() {
        let fixture = AuthFixture::new().await;
        let owner = fixture.person("olga", Role::Admin).await;
        let carl = users::get(
            &fixture.db,
            &fixture.person("carl", Role::Editor).await.user,
        )
        .await
        .unwrap();
        let (_, code) = create_password_reset(&fixture.db, &fixture.clock, (&owner).into(), &carl)
            .await
            .unwrap();
        let input = AcceptInvite {
            email: "other@house.test".to_owned(),
            name: "Other".to_owned(),
            password: Secret::new("staple battery horse"),
            address: None,
        };
        let back = accept(
            &fixture.db,
            &fixture.clock,
            &fixture.hasher,
            code.reveal(),
            &input,
        )
        .await
        .unwrap()
        .user;
        assert_eq!(
            (back.id.clone(), back.name.as_str(), back.role),
            (carl.id.clone(), "carl", Role::Editor)
        );
        let (_, code) = create_password_reset(&fixture.db, &fixture.clock, (&owner).into(), &back)
            .await
            .unwrap();
        users::disable(&fixture.db, &fixture.clock, &carl.id, Some((&owner).into()))
            .await
            .unwrap();
        assert!(
            accept(
                &fixture.db,
                &fixture.clock,
                &fixture.hasher,
                code.reveal(),
                &input
            )
            .await
            .is_err(),
            "disabling ends the link"
        );
        let carl = users::get(&fixture.db, &carl.id).await.unwrap();
        assert_eq!(
            create_password_reset(&fixture.db, &fixture.clock, (&owner).into(), &carl)
                .await
                .unwrap_err()
                .code(),
            "disabled"
        );
    }
}
