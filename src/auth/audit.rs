//! Who did what to what, and how it ended. Never a secret, and never text that a stranger typed: a password typed into the wrong
//! field would end here. Attempts of people who are not signed in are counted before they are written, see `refusals.rs`.

mod refusals;

use std::net::IpAddr;

use serde::Serialize;
use sqlx::{Row, Sqlite, Transaction};

pub use refusals::Refusals;

use super::{Actor, DAY};
use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::Result;
use crate::ids::{AuditId, UserId};

/// What is to be written down.
#[derive(Clone, Copy, Debug)]
pub struct Deed<'a> {
    /// None for strangers and for the program itself.
    pub actor: Option<&'a UserId>,
    pub address: Option<IpAddr>,
    /// Noun and verb, such as `token.create`.
    pub action: &'static str,
    /// The id of what it was done to.
    pub object: Option<&'a str>,
    /// `done`, `refused`, `slowed`.
    pub result: &'static str,
}

/// A person who does something, and from where: none where no request came, as on the command line.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    pub actor: &'a Actor,
    pub address: Option<IpAddr>,
}

impl<'a> From<&'a Actor> for By<'a> {
    fn from(actor: &'a Actor) -> Self {
        Self { actor, address: None }
    }
}

impl<'a> Deed<'a> {
    /// Something that was done; `by` none: on the command line.
    pub fn done(by: Option<By<'a>>, action: &'static str, object: &'a str) -> Self {
        let address = by.and_then(|by| by.address);
        Self { actor: by.map(|by| &by.actor.user), address, action, object: Some(object), result: "done" }
    }
}

/// A line of the trail.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    pub id: AuditId,
    pub at: Millis,
    pub actor: Option<UserId>,
    pub address: Option<String>,
    pub action: String,
    pub object: Option<String>,
    pub result: String,
    /// How many attempts it stands for; 1 for everything that a person did.
    pub attempts: i64,
}

/// How long entries are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    pub days: u32,
    /// Beyond so many entries the oldest ones about refused attempts of people who are not signed in are deleted before their time.
    pub max_rows: u32,
}

/// So many entries are deleted in one transaction, so that others can write in between.
const CHUNK: i64 = 500;

/// Writes it down together with the change it tells of.
pub async fn record(tx: &mut Transaction<'_, Sqlite>, clock: &Clock, deed: Deed<'_>) -> Result<()> {
    insert(tx, clock.now(), deed, 1).await
}

async fn insert(tx: &mut Transaction<'_, Sqlite>, at: Millis, deed: Deed<'_>, attempts: i64) -> Result<()> {
    sqlx::query("INSERT INTO audit (id, at, actor, address, action, object, result, attempts) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
        .bind(AuditId::new())
        .bind(at)
        .bind(deed.actor)
        .bind(deed.address.map(|address| address.to_string()))
        .bind(deed.action)
        .bind(deed.object)
        .bind(deed.result)
        .bind(attempts)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Writes down what changed nothing else, such as a refusal.
pub async fn note(db: &Db, clock: &Clock, deed: Deed<'_>) -> Result<()> {
    let mut tx = db.write().await?;
    record(&mut tx, clock, deed).await?;
    Ok(tx.commit().await?)
}

/// Deletes entries that are older than the retention period; then, while there are too many, the oldest ones about refused attempts of
/// people who are not signed in. What people who are signed in did, and what was done on the command line, stays for the whole period.
/// Answers how many were deleted.
pub async fn sweep(db: &Db, clock: &Clock, keep: Retention) -> Result<u64> {
    let before = clock.certain() - i64::from(keep.days) * DAY;
    let mut deleted = 0;
    loop {
        let mut tx = db.write().await?;
        let gone = sqlx::query("DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT $2)")
            .bind(before)
            .bind(CHUNK)
            .execute(&mut *tx)
            .await?
            .rows_affected();
        tx.commit().await?;
        deleted += gone;
        if gone == 0 {
            break;
        }
    }
    let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM audit").fetch_one(db.read()).await?;
    let mut over = rows - i64::from(keep.max_rows);
    while over > 0 {
        let mut tx = db.write().await?;
        let gone = sqlx::query(
            "DELETE FROM audit WHERE id IN
                (SELECT id FROM audit WHERE actor IS NULL AND result <> 'done' ORDER BY at LIMIT $1)",
        )
        .bind(over.min(CHUNK))
        .execute(&mut *tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        deleted += gone;
        if gone == 0 {
            break;
        }
        over -= i64::try_from(gone).unwrap_or(i64::MAX);
    }
    Ok(deleted)
}

/// The newest `most` entries, newest first; with `before`, those older than that entry.
pub async fn list(db: &Db, before: Option<&AuditId>, most: u32) -> Result<Vec<Entry>> {
    let rows = sqlx::query(
        "SELECT id, at, actor, address, action, object, result, attempts FROM audit
         WHERE $1 IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
    )
    .bind(before)
    .bind(i64::from(most))
    .fetch_all(db.read())
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Entry {
                id: row.try_get("id")?,
                at: row.try_get("at")?,
                actor: row.try_get("actor")?,
                address: row.try_get("address")?,
                action: row.try_get("action")?,
                object: row.try_get("object")?,
                result: row.try_get("result")?,
                attempts: row.try_get("attempts")?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::test_house::House;

    #[tokio::test]
    async fn the_trail_is_read_newest_first_in_pages() {
        let house = House::new().await;
        for action in ["one", "two", "three"] {
            note(&house.db, &house.clock, Deed { actor: None, address: None, action, object: None, result: "done" }).await.unwrap();
        }
        let page = list(&house.db, None, 2).await.unwrap();
        assert_eq!(page.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(), ["three", "two"]);
        let rest = list(&house.db, Some(&page[1].id), 2).await.unwrap();
        assert_eq!(rest.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(), ["one"]);
    }

    #[tokio::test]
    async fn a_flood_of_strangers_is_deleted_first_and_deeds_of_people_stay_for_the_whole_period() {
        let house = House::new().await;
        let person = UserId::new();
        let stranger = Deed { actor: None, address: Some([10, 0, 0, 1].into()), action: "user.sign_in", object: None, result: "slowed" };
        let deeds = [
            Deed { actor: Some(&person), action: "dataset.pause", result: "done", ..stranger },
            Deed { actor: Some(&person), action: "user.change_password", result: "refused", ..stranger },
            // On the command line.
            Deed { address: None, action: "user.create", result: "done", ..stranger },
        ];
        for deed in deeds {
            note(&house.db, &house.clock, deed).await.unwrap();
        }
        let mut tx = house.db.write().await.unwrap();
        for n in 0..1_700 {
            insert(&mut tx, house.clock.now() + n, Deed { object: Some(if n < 1_000 { "old" } else { "new" }), ..stranger }, 1).await.unwrap();
        }
        tx.commit().await.unwrap();
        let keep = Retention { days: 365, max_rows: 300 };
        assert_eq!(sweep(&house.db, &house.clock, keep).await.unwrap(), 1_403);
        let left = list(&house.db, None, 10_000).await.unwrap();
        assert_eq!((left.len(), left.iter().filter(|entry| entry.object.as_deref() == Some("new")).count()), (300, 297));
        assert_eq!(sweep(&house.db, &house.clock, Retention { max_rows: 0, ..keep }).await.unwrap(), 297);
        let mut left: Vec<_> = list(&house.db, None, 10_000).await.unwrap().into_iter().map(|entry| entry.action).collect();
        left.sort();
        assert_eq!(left, ["dataset.pause", "user.change_password", "user.create"]);
        house.clock.advance(365 * DAY);
        assert_eq!(sweep(&house.db, &house.clock, keep).await.unwrap(), 0, "it is a year to the moment");
        // A clock that is set forward makes nothing old.
        house.clock.set_by(365 * DAY);
        assert_eq!(sweep(&house.db, &house.clock, keep).await.unwrap(), 0);
        house.clock.advance(1);
        assert_eq!(sweep(&house.db, &house.clock, keep).await.unwrap(), 3);
    }
}
