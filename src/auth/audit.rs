//! Who did what to what, and how it ended. Never a secret, and never text that a stranger typed: a password typed into the wrong
//! field would end here.

use std::net::IpAddr;

use serde::Serialize;
use sqlx::{Row, Sqlite, Transaction};

use super::Actor;
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
}

/// Writes it down together with the change it tells of.
pub async fn record(tx: &mut Transaction<'_, Sqlite>, clock: &Clock, deed: Deed<'_>) -> Result<()> {
    sqlx::query("INSERT INTO audit (id, at, actor, address, action, object, result) VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(AuditId::new())
        .bind(clock.now())
        .bind(deed.actor)
        .bind(deed.address.map(|address| address.to_string()))
        .bind(deed.action)
        .bind(deed.object)
        .bind(deed.result)
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

/// The newest `most` entries, newest first; with `before`, those older than that entry.
pub async fn list(db: &Db, before: Option<&AuditId>, most: u32) -> Result<Vec<Entry>> {
    let rows = sqlx::query("SELECT id, at, actor, address, action, object, result FROM audit WHERE $1 IS NULL OR id < $1 ORDER BY id DESC LIMIT $2")
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
}
