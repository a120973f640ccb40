//! API tokens: `clk_`, 32 random bytes and a checksum. The text is shown once and only its hash is
//! stored. A token never allows more than the current role of its owner, and it cannot create
//! tokens.

use axum::http::HeaderValue;
use serde::Serialize;
use sqlx::{FromRow, Sqlite, Transaction};

use super::audit::{self, AuditEvent, AuditResult};
use super::program_secrets::{self, LAST_USED_EVERY};
use super::{Actor, DAY, Scope, hash, users};
use crate::clock::{Clock, Millis};
use crate::db::{Db, decode_readable};
use crate::error::{Error, Result};
use crate::ids::{TokenId, UserId};
use crate::secret::Secret;

pub const DEFAULT_DAYS: u32 = 90;
pub const MAX_DAYS: u32 = 365;

const PREFIX: &str = "clk_";

/// A token as its owner sees it: everything except its text.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct Token {
    pub id: TokenId,
    pub user_id: UserId,
    pub name: String,
    pub scope: Scope,
    pub created_at: Millis,
    pub expires_at: Millis,
    pub revoked_at: Option<Millis>,
    pub last_used_at: Option<Millis>,
}

/// A token to create.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub name: String,
    pub scope: Scope,
    /// 1 to 365.
    pub days: u32,
}

/// Creates a token of `owner` and returns its text, which is not available later. `owner` must be a
/// person, not a token.
pub async fn create(
    db: &Db,
    clock: &Clock,
    owner: &Actor,
    new: &NewToken,
) -> Result<(Token, Secret)> {
    if owner.scope.is_some() {
        return Err(Error::forbidden("An API token cannot create tokens."));
    }
    let name = program_secrets::validate(&new.name, new.days, MAX_DAYS)?;
    let text = program_secrets::new_text(PREFIX);
    let now = clock.now();
    let mut tx = db.write().await?;
    let token: Token = sqlx::query_as(
        "INSERT INTO tokens (id, user_id, name, scope, hash, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         RETURNING *",
    )
    .bind(TokenId::new())
    .bind(&owner.user)
    .bind(name)
    .bind(new.scope)
    .bind(hash(text.reveal()))
    .bind(now)
    .bind(now + i64::from(new.days) * DAY)
    .fetch_one(&mut *tx)
    .await?;
    let event = AuditEvent {
        actor: Some(&owner.user),
        address: None,
        action: "token.create",
        object: Some(token.id.as_str()),
        result: AuditResult::Done,
    };
    audit::record(&mut tx, clock, event).await?;
    tx.commit().await?;
    Ok((token, text))
}

/// Whether `text` has the format of a token, by its checksum. Needs no database access.
pub fn well_formed(text: &str) -> bool {
    program_secrets::has_format(PREFIX, text)
}

/// The token of an Authorization header of the form `Bearer TOKEN`.
pub fn from_authorization(header: &HeaderValue) -> Option<&str> {
    let (scheme, text) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
}

/// The actor of this token. `None` if it is malformed, unknown, expired or revoked, or its owner is
/// deactivated.
pub async fn authenticate(db: &Db, clock: &Clock, text: &str) -> Result<Option<Actor>> {
    if !well_formed(text) {
        return Ok(None);
    }
    let now = clock.now();
    let found: Option<Token> = sqlx::query_as(
        "SELECT * FROM tokens WHERE hash = $1 AND revoked_at IS NULL AND expires_at > $2",
    )
    .bind(hash(text))
    .bind(now)
    .fetch_optional(db.read())
    .await?;
    let Some(token) = found else { return Ok(None) };
    let Some(owner) = users::actor(db, &token.user_id).await? else {
        return Ok(None);
    };
    if token
        .last_used_at
        .is_none_or(|last| last + LAST_USED_EVERY <= now)
    {
        // The token is valid even if its use cannot be recorded: the catalogue may be locked or the
        // disk full.
        db.write_in_background(
            "the last use of a token could not be saved",
            record_use(db.clone(), token.id.clone(), now),
        )
        .await;
    }
    Ok(Some(Actor {
        scope: Some(token.scope),
        token: Some(token.id),
        ..owner
    }))
}

async fn record_use(db: Db, token: TokenId, now: Millis) -> Result<()> {
    let mut tx = db.write().await?;
    sqlx::query("UPDATE tokens SET last_used_at = $2 WHERE id = $1")
        .bind(token)
        .bind(now)
        .execute(&mut *tx)
        .await?;
    Ok(tx.commit().await?)
}

/// The actor of a token that was valid before. `None` if it no longer is.
pub async fn actor(db: &Db, clock: &Clock, id: &TokenId) -> Result<Option<Actor>> {
    let found: Option<Token> = sqlx::query_as(
        "SELECT * FROM tokens WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2",
    )
    .bind(id)
    .bind(clock.now())
    .fetch_optional(db.read())
    .await?;
    let Some(token) = found else { return Ok(None) };
    let owner = users::actor(db, &token.user_id).await?;
    Ok(owner.map(|owner| Actor {
        scope: Some(token.scope),
        token: Some(token.id),
        ..owner
    }))
}

/// The tokens of one person, or of everyone with `None`, newest first, including revoked and
/// expired ones.
pub async fn list(db: &Db, of: Option<&UserId>) -> Result<Vec<Token>> {
    let rows = sqlx::query(
        "SELECT * FROM tokens WHERE $1 IS NULL OR user_id = $1 ORDER BY created_at DESC, id DESC",
    )
    .bind(of)
    .fetch_all(db.read())
    .await?;
    Ok(decode_readable(rows))
}

/// Revokes a token at once. `by`: its owner or an admin; `None` on the command line.
pub async fn revoke(db: &Db, clock: &Clock, id: &TokenId, by: Option<&Actor>) -> Result<()> {
    let owner: Option<UserId> = sqlx::query_scalar("SELECT user_id FROM tokens WHERE id = $1")
        .bind(id)
        .fetch_optional(db.read())
        .await?;
    if !owner.is_some_and(|owner| program_secrets::may_revoke(by, &owner)) {
        return Err(Error::not_found("token"));
    }
    let mut tx = db.write().await?;
    sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
        .bind(id)
        .bind(clock.now())
        .execute(&mut *tx)
        .await?;
    let by = by.map(|actor| &actor.user);
    audit::record(
        &mut tx,
        clock,
        AuditEvent {
            actor: by,
            address: None,
            action: "token.revoke",
            object: Some(id.as_str()),
            result: AuditResult::Done,
        },
    )
    .await?;
    Ok(tx.commit().await?)
}

pub(super) async fn revoke_all(
    tx: &mut Transaction<'_, Sqlite>,
    clock: &Clock,
    user: &UserId,
) -> Result<()> {
    sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL")
        .bind(user)
        .bind(clock.now())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Role;
    use crate::auth::test_support::AuthFixture;
    use crate::error::ErrorKind;

    fn new(scope: Scope, days: u32) -> NewToken {
        NewToken {
            name: "report script".to_owned(),
            scope,
            days,
        }
    }

    async fn works(fixture: &AuthFixture, text: &Secret) -> bool {
        authenticate(&fixture.db, &fixture.clock, text.reveal())
            .await
            .unwrap()
            .is_some()
    }

    #[tokio::test]
    async fn a_token_is_shown_once_and_stored_as_a_hash() {
        let fixture = AuthFixture::new().await;
        let owner = fixture.person("olga", Role::Editor).await;
        let (token, text) = create(
            &fixture.db,
            &fixture.clock,
            &owner,
            &new(Scope::Run, DEFAULT_DAYS),
        )
        .await
        .unwrap();
        assert!(text.reveal().starts_with("clk_") && text.reveal().len() == 53);
        let actor = authenticate(&fixture.db, &fixture.clock, text.reveal())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (actor.user.clone(), actor.scope, actor.token.clone()),
            (owner.user, Some(Scope::Run), Some(token.id))
        );
        let stored: String = sqlx::query_scalar("SELECT hash FROM tokens")
            .fetch_one(fixture.db.read())
            .await
            .unwrap();
        assert!(stored != text.reveal() && stored.len() == 64);
        let refused = create(&fixture.db, &fixture.clock, &actor, &new(Scope::Read, 1))
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Forbidden);
    }

    #[tokio::test]
    async fn malformed_tokens_fail_before_the_catalogue_is_asked() {
        let fixture = AuthFixture::new().await;
        let owner = fixture.person("olga", Role::Editor).await;
        let (_, text) = create(&fixture.db, &fixture.clock, &owner, &new(Scope::Read, 1))
            .await
            .unwrap();
        fixture.db.close().await;
        let mut wrong = text.reveal().to_owned();
        wrong.replace_range(10..11, if &wrong[10..11] == "x" { "y" } else { "x" });
        for text in [
            "",
            "clk_",
            &wrong,
            &text.reveal()[..52],
            &format!("{}x", text.reveal()),
            &format!("clk_{}", "ж".repeat(24)),
            &"x".repeat(10_240),
        ] {
            assert!(
                authenticate(&fixture.db, &fixture.clock, text)
                    .await
                    .unwrap()
                    .is_none(),
                "{text}"
            );
        }
        assert!(
            authenticate(&fixture.db, &fixture.clock, text.reveal())
                .await
                .is_err(),
            "a well-formed one does ask"
        );
    }

    #[tokio::test]
    async fn it_ends_by_time_by_revocation_and_with_its_owner() {
        let fixture = AuthFixture::new().await;
        let owner = fixture.person("olga", Role::Editor).await;
        let stranger = fixture.person("stan", Role::Editor).await;
        fixture.person("ada", Role::Admin).await;
        let (brief, short) = create(&fixture.db, &fixture.clock, &owner, &new(Scope::Read, 1))
            .await
            .unwrap();
        let (long, text) = create(&fixture.db, &fixture.clock, &owner, &new(Scope::Read, 365))
            .await
            .unwrap();
        fixture.clock.advance(DAY - 1);
        assert!(works(&fixture, &short).await);
        fixture.clock.advance(1);
        assert!(!works(&fixture, &short).await && works(&fixture, &text).await);
        // Streams that were started with it end, too.
        let begun = async |id: &TokenId| {
            actor(&fixture.db, &fixture.clock, id)
                .await
                .unwrap()
                .is_some()
        };
        assert!(!begun(&brief.id).await && begun(&long.id).await);
        assert_eq!(
            revoke(&fixture.db, &fixture.clock, &long.id, Some(&stranger))
                .await
                .unwrap_err()
                .kind(),
            ErrorKind::NotFound
        );
        users::disable(&fixture.db, &fixture.clock, &owner.user, None)
            .await
            .unwrap();
        assert!(!works(&fixture, &text).await);
        assert!(!begun(&long.id).await);
        // A reactivated person needs new tokens.
        users::enable(&fixture.db, &fixture.clock, &owner.user, None)
            .await
            .unwrap();
        assert!(!works(&fixture, &text).await && !begun(&long.id).await);
        let (other, text) = create(&fixture.db, &fixture.clock, &owner, &new(Scope::Read, 365))
            .await
            .unwrap();
        assert!(works(&fixture, &text).await);
        revoke(&fixture.db, &fixture.clock, &other.id, Some(&owner))
            .await
            .unwrap();
        assert!(!works(&fixture, &text).await && !begun(&other.id).await);
        for days in [0, 366] {
            assert_eq!(
                create(&fixture.db, &fixture.clock, &owner, &new(Scope::Read, days))
                    .await
                    .unwrap_err()
                    .field_errors()[0]
                    .0,
                "days"
            );
        }
    }

    #[tokio::test]
    async fn the_last_use_is_written_at_most_once_a_minute() {
        let fixture = AuthFixture::new().await;
        let owner = fixture.person("olga", Role::Editor).await;
        let (_, text) = create(&fixture.db, &fixture.clock, &owner, &new(Scope::Read, 1))
            .await
            .unwrap();
        let mut seen = Vec::new();
        for step in [0, 30_000, 31_000] {
            fixture.clock.advance(step);
            assert!(works(&fixture, &text).await);
            seen.push(
                list(&fixture.db, Some(&owner.user)).await.unwrap()[0]
                    .last_used_at
                    .unwrap(),
            );
        }
        assert_eq!((seen[1] - seen[0], seen[2] - seen[0]), (0, 61_000));
    }
}
