//! API tokens: `clk_`, 32 random bytes and a checksum. The text is shown once and kept as its hash. A token is never more than its
//! owner is just now, and it makes no tokens.

use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use super::audit::{self, Deed};
use super::{Actor, DAY, NOTICE, Scope, hash, is_text, new_text, users};
use crate::clock::{Clock, Millis};
use crate::db::{Db, read_each};
use crate::error::{Error, Result};
use crate::ids::{TokenId, UserId};
use crate::secret::Secret;

pub const DEFAULT_DAYS: u32 = 90;
pub const MOST_DAYS: u32 = 365;

const PREFIX: &str = "clk_";

/// A token as its owner sees it: everything but its text.
#[derive(Clone, Debug, Serialize)]
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

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    pub name: String,
    pub scope: Scope,
    /// 1 to 365.
    pub days: u32,
}

/// Makes a token of `owner` and gives its text, for the only time. `owner` must be a person, not a token.
pub async fn create(db: &Db, clock: &Clock, owner: &Actor, new: &NewToken) -> Result<(Token, Secret)> {
    if owner.scope.is_some() {
        return Err(Error::forbidden("An API token cannot create tokens."));
    }
    let name = new.name.trim();
    let mut wrong = Vec::new();
    if name.is_empty() || name.chars().count() > 100 || !name.chars().all(crate::text::is_good_in_name) {
        wrong.push(("name".to_owned(), "Name must have 1 to 100 characters and no invisible characters.".to_owned()));
    }
    if !(1..=MOST_DAYS).contains(&new.days) {
        wrong.push(("days".to_owned(), format!("The number of days must be from 1 to {MOST_DAYS}.")));
    }
    if !wrong.is_empty() {
        return Err(Error::fields(wrong));
    }
    let text = new_text(PREFIX);
    let now = clock.now();
    let mut tx = db.write().await?;
    let row = sqlx::query("INSERT INTO tokens (id, user_id, name, scope, hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING *")
        .bind(TokenId::new())
        .bind(&owner.user)
        .bind(name)
        .bind(new.scope.word())
        .bind(hash(text.reveal()))
        .bind(now)
        .bind(now + i64::from(new.days) * DAY)
        .fetch_one(&mut *tx)
        .await?;
    let token = token(&row)?;
    let deed = Deed { actor: Some(&owner.user), address: None, action: "token.create", object: Some(token.id.as_str()), result: "done" };
    audit::record(&mut tx, clock, deed).await?;
    tx.commit().await?;
    Ok((token, text))
}

/// Whether `text` has the form of a token, by its checksum alone and without the catalogue.
pub fn well_formed(text: &str) -> bool {
    is_text(PREFIX, text)
}

/// Who brings this token; none when it is malformed, unknown, expired, revoked, or its owner disabled.
pub async fn by_text(db: &Db, clock: &Clock, text: &str) -> Result<Option<Actor>> {
    if !well_formed(text) {
        return Ok(None);
    }
    let now = clock.now();
    let row = sqlx::query("SELECT * FROM tokens WHERE hash = $1 AND revoked_at IS NULL AND expires_at > $2")
        .bind(hash(text))
        .bind(now)
        .fetch_optional(db.read())
        .await?;
    let Some(row) = row else { return Ok(None) };
    let token = token(&row)?;
    let Some(owner) = users::actor(db, &token.user_id).await? else { return Ok(None) };
    if token.last_used_at.is_none_or(|last| last + NOTICE <= now) {
        // A token is good whether or not its use can be noted: the catalogue may be locked or the disk full.
        db.aside("the last use of a token could not be saved", note_use(db.clone(), token.id.clone(), now)).await;
    }
    Ok(Some(Actor { scope: Some(token.scope), token: Some(token.id), ..owner }))
}

async fn note_use(db: Db, token: TokenId, now: Millis) -> Result<()> {
    let mut tx = db.write().await?;
    sqlx::query("UPDATE tokens SET last_used_at = $2 WHERE id = $1").bind(token).bind(now).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

/// Who is behind a token that was good a while ago; none when it is no longer.
pub async fn actor(db: &Db, clock: &Clock, id: &TokenId) -> Result<Option<Actor>> {
    let row = sqlx::query("SELECT * FROM tokens WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2")
        .bind(id)
        .bind(clock.now())
        .fetch_optional(db.read())
        .await?;
    let Some(token) = row.as_ref().map(token).transpose()? else { return Ok(None) };
    let owner = users::actor(db, &token.user_id).await?;
    Ok(owner.map(|owner| Actor { scope: Some(token.scope), token: Some(token.id), ..owner }))
}

/// The tokens of a person, or of everybody, newest first; revoked and expired ones too.
pub async fn list(db: &Db, of: Option<&UserId>) -> Result<Vec<Token>> {
    let rows = sqlx::query("SELECT * FROM tokens WHERE $1 IS NULL OR user_id = $1 ORDER BY created_at DESC, id DESC").bind(of).fetch_all(db.read()).await?;
    Ok(read_each(&rows, token).0)
}

/// Ends a token at once. `by`: its owner or an admin; none on the command line.
pub async fn revoke(db: &Db, clock: &Clock, id: &TokenId, by: Option<&Actor>) -> Result<()> {
    let owner: Option<UserId> = sqlx::query_scalar("SELECT user_id FROM tokens WHERE id = $1").bind(id).fetch_optional(db.read()).await?;
    let allowed = |owner: &UserId| by.is_none_or(|actor| actor.scope.is_none() && (actor.is_admin() || actor.user == *owner));
    if !owner.as_ref().is_some_and(allowed) {
        return Err(Error::not_found("token"));
    }
    let mut tx = db.write().await?;
    sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL").bind(id).bind(clock.now()).execute(&mut *tx).await?;
    let by = by.map(|actor| &actor.user);
    audit::record(&mut tx, clock, Deed { actor: by, address: None, action: "token.revoke", object: Some(id.as_str()), result: "done" }).await?;
    Ok(tx.commit().await?)
}

pub(super) async fn revoke_all(tx: &mut Transaction<'_, Sqlite>, clock: &Clock, user: &UserId) -> Result<()> {
    sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL").bind(user).bind(clock.now()).execute(&mut **tx).await?;
    Ok(())
}

fn token(row: &SqliteRow) -> Result<Token> {
    let scope: String = row.try_get("scope")?;
    Ok(Token {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        name: row.try_get("name")?,
        scope: Scope::parse(&scope).ok_or_else(|| Error::damaged("a scope that this program does not know"))?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        revoked_at: row.try_get("revoked_at")?,
        last_used_at: row.try_get("last_used_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Role;
    use crate::auth::test_house::House;
    use crate::error::Kind;

    fn new(scope: Scope, days: u32) -> NewToken {
        NewToken { name: "report script".to_owned(), scope, days }
    }

    async fn works(house: &House, text: &Secret) -> bool {
        by_text(&house.db, &house.clock, text.reveal()).await.unwrap().is_some()
    }

    #[tokio::test]
    async fn a_token_is_shown_once_and_kept_as_its_hash() {
        let house = House::new().await;
        let owner = house.person("olga", Role::Editor).await;
        let (token, text) = create(&house.db, &house.clock, &owner, &new(Scope::Run, DEFAULT_DAYS)).await.unwrap();
        assert!(text.reveal().starts_with("clk_") && text.reveal().len() == 53);
        let actor = by_text(&house.db, &house.clock, text.reveal()).await.unwrap().unwrap();
        assert_eq!((actor.user.clone(), actor.scope, actor.token.clone()), (owner.user, Some(Scope::Run), Some(token.id)));
        let stored: String = sqlx::query_scalar("SELECT hash FROM tokens").fetch_one(house.db.read()).await.unwrap();
        assert!(stored != text.reveal() && stored.len() == 64);
        let refused = create(&house.db, &house.clock, &actor, &new(Scope::Read, 1)).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Forbidden);
    }

    #[tokio::test]
    async fn malformed_tokens_fail_before_the_catalogue_is_asked() {
        let house = House::new().await;
        let owner = house.person("olga", Role::Editor).await;
        let (_, text) = create(&house.db, &house.clock, &owner, &new(Scope::Read, 1)).await.unwrap();
        house.db.close().await;
        let mut wrong = text.reveal().to_owned();
        wrong.replace_range(10..11, if &wrong[10..11] == "x" { "y" } else { "x" });
        for text in ["", "clk_", &wrong, &text.reveal()[..52], &format!("{}x", text.reveal()), &format!("clk_{}", "ж".repeat(24)), &"x".repeat(10_240)] {
            assert!(by_text(&house.db, &house.clock, text).await.unwrap().is_none(), "{text}");
        }
        assert!(by_text(&house.db, &house.clock, text.reveal()).await.is_err(), "a well-formed one does ask");
    }

    #[tokio::test]
    async fn it_ends_by_time_by_revocation_and_with_its_owner() {
        let house = House::new().await;
        let owner = house.person("olga", Role::Editor).await;
        let stranger = house.person("stan", Role::Editor).await;
        house.person("ada", Role::Admin).await;
        let (brief, short) = create(&house.db, &house.clock, &owner, &new(Scope::Read, 1)).await.unwrap();
        let (long, text) = create(&house.db, &house.clock, &owner, &new(Scope::Read, 365)).await.unwrap();
        house.clock.advance(DAY - 1);
        assert!(works(&house, &short).await);
        house.clock.advance(1);
        assert!(!works(&house, &short).await && works(&house, &text).await);
        // So does what was begun with it.
        let begun = async |id: &TokenId| actor(&house.db, &house.clock, id).await.unwrap().is_some();
        assert!(!begun(&brief.id).await && begun(&long.id).await);
        assert_eq!(revoke(&house.db, &house.clock, &long.id, Some(&stranger)).await.unwrap_err().kind(), Kind::NotFound);
        users::disable(&house.db, &house.clock, &owner.user, None).await.unwrap();
        assert!(!works(&house, &text).await);
        assert!(!begun(&long.id).await);
        // Let in again, the person needs new ones.
        users::enable(&house.db, &house.clock, &owner.user, None).await.unwrap();
        assert!(!works(&house, &text).await && !begun(&long.id).await);
        let (other, text) = create(&house.db, &house.clock, &owner, &new(Scope::Read, 365)).await.unwrap();
        assert!(works(&house, &text).await);
        revoke(&house.db, &house.clock, &other.id, Some(&owner)).await.unwrap();
        assert!(!works(&house, &text).await && !begun(&other.id).await);
        for days in [0, 366] {
            assert_eq!(create(&house.db, &house.clock, &owner, &new(Scope::Read, days)).await.unwrap_err().field_errors()[0].0, "days");
        }
    }

    #[tokio::test]
    async fn the_last_use_is_written_at_most_once_a_minute() {
        let house = House::new().await;
        let owner = house.person("olga", Role::Editor).await;
        let (_, text) = create(&house.db, &house.clock, &owner, &new(Scope::Read, 1)).await.unwrap();
        let mut seen = Vec::new();
        for step in [0, 30_000, 31_000] {
            house.clock.advance(step);
            assert!(works(&house, &text).await);
            seen.push(list(&house.db, Some(&owner.user)).await.unwrap()[0].last_used_at.unwrap());
        }
        assert_eq!((seen[1] - seen[0], seen[2] - seen[0]), (0, 61_000));
    }
}
