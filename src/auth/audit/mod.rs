//! Who did what to what, and how it ended. Never a secret, and never text that a stranger typed: a
//! password typed into the wrong field would end here. Attempts of people who are not signed in are
//! counted before they are written, see `attempt_log.rs`.

mod attempt_log;

use std::net::IpAddr;

use serde::Serialize;
use sqlx::{FromRow, Sqlite, Transaction};

pub use attempt_log::AttemptLog;

use super::{Actor, DAY};
use crate::clock::{Clock, Millis};
use crate::db::Db;
use crate::error::Result;
use crate::ids::{AuditId, UserId};

/// An event to record.
#[derive(Clone, Copy, Debug)]
pub struct AuditEvent<'a> {
    /// `None` for people who are not signed in and for the program itself.
    pub actor: Option<&'a UserId>,
    pub address: Option<IpAddr>,
    /// Noun and verb, such as `token.create`.
    pub action: &'static str,
    /// The id of the object.
    pub object: Option<&'a str>,
    pub result: AuditResult,
}

/// How an action ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, sqlx::Type)]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
pub enum AuditResult {
    Done,
    Refused,
    /// Too many failed attempts came before it, so it was not examined.
    Slowed,
}

/// The person who acts, and their address. No address on the command line.
#[derive(Clone, Copy, Debug)]
pub struct AuditActor<'a> {
    pub actor: &'a Actor,
    pub address: Option<IpAddr>,
}

impl<'a> From<&'a Actor> for AuditActor<'a> {
    fn from(actor: &'a Actor) -> Self {
        Self {
            actor,
            address: None,
        }
    }
}

impl<'a> AuditEvent<'a> {
    /// An event with the result `done`. `by`: `None` on the command line.
    pub fn done(by: Option<AuditActor<'a>>, action: &'static str, object: &'a str) -> Self {
        let address = by.and_then(|by| by.address);
        Self {
            actor: by.map(|by| &by.actor.user),
            address,
            action,
            object: Some(object),
            result: AuditResult::Done,
        }
    }
}

/// An entry of the audit log.
#[derive(Clone, Debug, Serialize, FromRow)]
pub struct AuditEntry {
    pub id: AuditId,
    pub at: Millis,
    pub actor: Option<UserId>,
    pub address: Option<String>,
    pub action: String,
    pub object: Option<String>,
    /// The word of an `AuditResult`.
    pub result: String,
    /// The number of attempts that the entry counts; 1 for everything that a signed-in person did.
    pub attempts: i64,
}

/// The retention of audit entries.
#[derive(Clone, Copy, Debug)]
pub struct AuditRetention {
    pub days: u32,
    /// The maximum number of entries. Beyond it, the oldest entries about rejected attempts of
    /// people who are not signed in are deleted early.
    pub max_rows: u32,
}

/// The number of entries that are deleted in one transaction, so that other writers can proceed in
/// between.
const DELETE_BATCH: i64 = 500;

/// Records an event in the transaction of the change that it describes.
pub async fn record(
    tx: &mut Transaction<'_, Sqlite>,
    clock: &Clock,
    event: AuditEvent<'_>,
) -> Result<()> {
    insert(tx, clock.now(), event, 1).await
}

async fn insert(
    tx: &mut Transaction<'_, Sqlite>,
    at: Millis,
    event: AuditEvent<'_>,
    attempts: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO audit (id, at, actor, address, action, object, result, attempts)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(AuditId::new())
    .bind(at)
    .bind(event.actor)
    .bind(event.address.map(|address| address.to_string()))
    .bind(event.action)
    .bind(event.object)
    .bind(event.result)
    .bind(attempts)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Records an event that comes with no other change, such as a rejection.
pub async fn record_alone(db: &Db, clock: &Clock, event: AuditEvent<'_>) -> Result<()> {
    let mut tx = db.write().await?;
    record(&mut tx, clock, event).await?;
    Ok(tx.commit().await?)
}

/// Deletes entries older than the retention period. If there are still too many, deletes the oldest
/// ones about rejected attempts of people who are not signed in; entries of signed-in people and of
/// the command line stay for the whole period. Returns the number of deleted entries.
pub async fn sweep(db: &Db, clock: &Clock, keep: AuditRetention) -> Result<u64> {
    let before = clock.conservative_now() - i64::from(keep.days) * DAY;
    let mut deleted = 0;
    loop {
        let mut tx = db.write().await?;
        let rows_deleted = sqlx::query(
            "DELETE FROM audit
             WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT $2)",
        )
        .bind(before)
        .bind(DELETE_BATCH)
        .execute(&mut *tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        deleted += rows_deleted;
        if rows_deleted == 0 {
            break;
        }
    }
    let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM audit")
        .fetch_one(db.read())
        .await?;
    let mut over = rows - i64::from(keep.max_rows);
    while over > 0 {
        let mut tx = db.write().await?;
        let rows_deleted = sqlx::query(
            "DELETE FROM audit
             WHERE id IN (
                 SELECT id
                 FROM audit
                 WHERE actor IS NULL AND result <> 'done'
                 ORDER BY at
                 LIMIT $1
             )",
        )
        .bind(over.min(DELETE_BATCH))
        .execute(&mut *tx)
        .await?
        .rows_affected();
        tx.commit().await?;
        deleted += rows_deleted;
        if rows_deleted == 0 {
            break;
        }
        over -= i64::try_from(rows_deleted).unwrap_or(i64::MAX);
    }
    Ok(deleted)
}

/// The newest `limit` entries, newest first; with `before`, those older than that entry.
pub async fn list(db: &Db, before: Option<&AuditId>, limit: u32) -> Result<Vec<AuditEntry>> {
    // Ids sort by the time of their creation.
    Ok(sqlx::query_as(
        "SELECT id, at, actor, address, action, object, result, attempts
         FROM audit
         WHERE $1 IS NULL OR id < $1
         ORDER BY id DESC
         LIMIT $2",
    )
    .bind(before)
    .bind(i64::from(limit))
    .fetch_all(db.read())
    .await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::test_support::AuthFixture;

    #[tokio::test]
    async fn the_trail_is_read_newest_first_in_pages() {
        let fixture = AuthFixture::new().await;
        for action in ["one", "two", "three"] {
            record_alone(
                &fixture.db,
                &fixture.clock,
                AuditEvent {
                    actor: None,
                    address: None,
                    action,
                    object: None,
                    result: AuditResult::Done,
                },
            )
            .await
            .unwrap();
        }
        let page = list(&fixture.db, None, 2).await.unwrap();
        assert_eq!(
            page.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(),
            ["three", "two"]
        );
        let rest = list(&fixture.db, Some(&page[1].id), 2).await.unwrap();
        assert_eq!(
            rest.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(),
            ["one"]
        );
    }

    #[tokio::test]
    async fn a_flood_of_strangers_is_deleted_first_and_deeds_of_people_stay_for_the_whole_period() {
        let fixture = AuthFixture::new().await;
        let person = UserId::new();
        let stranger = AuditEvent {
            actor: None,
            address: Some([10, 0, 0, 1].into()),
            action: "user.sign_in",
            object: None,
            result: AuditResult::Slowed,
        };
        let events = [
            AuditEvent {
                actor: Some(&person),
                action: "dataset.pause",
                result: AuditResult::Done,
                ..stranger
            },
            AuditEvent {
                actor: Some(&person),
                action: "user.change_password",
                result: AuditResult::Refused,
                ..stranger
            },
            // On the command line.
            AuditEvent {
                address: None,
                action: "user.create",
                result: AuditResult::Done,
                ..stranger
            },
        ];
        for event in events {
            record_alone(&fixture.db, &fixture.clock, event)
                .await
                .unwrap();
        }
        let mut tx = fixture.db.write().await.unwrap();
        for n in 0..1_700 {
            insert(
                &mut tx,
                fixture.clock.now() + n,
                AuditEvent {
                    object: Some(if n < 1_000 { "old" } else { "new" }),
                    ..stranger
                },
                1,
            )
            .await
            .unwrap();
        }
        tx.commit().await.unwrap();
        let keep = AuditRetention {
            days: 365,
            max_rows: 300,
        };
        assert_eq!(
            sweep(&fixture.db, &fixture.clock, keep).await.unwrap(),
            1_403
        );
        let left = list(&fixture.db, None, 10_000).await.unwrap();
        assert_eq!(
            (
                left.len(),
                left.iter()
                    .filter(|entry| entry.object.as_deref() == Some("new"))
                    .count()
            ),
            (300, 297)
        );
        assert_eq!(
            sweep(
                &fixture.db,
                &fixture.clock,
                AuditRetention {
                    max_rows: 0,
                    ..keep
                }
            )
            .await
            .unwrap(),
            297
        );
        let mut left: Vec<_> = list(&fixture.db, None, 10_000)
            .await
            .unwrap()
            .into_iter()
            .map(|entry| entry.action)
            .collect();
        left.sort();
        assert_eq!(
            left,
            ["dataset.pause", "user.change_password", "user.create"]
        );
        fixture.clock.advance(365 * DAY);
        assert_eq!(
            sweep(&fixture.db, &fixture.clock, keep).await.unwrap(),
            0,
            "it is a year to the moment"
        );
        // Setting the clock forward ages no entry.
        fixture.clock.jump(365 * DAY);
        assert_eq!(sweep(&fixture.db, &fixture.clock, keep).await.unwrap(), 0);
        fixture.clock.advance(1);
        assert_eq!(sweep(&fixture.db, &fixture.clock, keep).await.unwrap(), 3);
    }
}
