//! A DataSet that is changed between the read and the write of a check is not overwritten.

use super::*;
use crate::db::Db;
use crate::puller::testing::one_dataset;

const NOW: Millis = 1_795_176_000_000;
const HOUR: Millis = 3_600_000;

struct Bench {
    _dir: tempfile::TempDir,
    db: Db,
    id: DatasetId,
}

impl Bench {
    /// A DataSet with an hourly schedule that is due now.
    async fn new() -> Self {
        let (dir, db, owner, id) = one_dataset("replace").await;
        let account = crate::ids::AccountId::new();
        let mut tx = db.write().await.unwrap();
        sqlx::query(
            "INSERT INTO accounts (
                 id, owner_id, connector, name, fields, sealed, sealed_at, requests_per_minute,
                 time_zone, health, health_message, created_at, updated_at
             )
             VALUES ($1, $2, 'livechat', 'A', '{}', x'00', 0, 60, 'UTC', 'unknown', '', 0, 0)",
        )
        .bind(&account)
        .bind(&owner)
        .execute(&mut *tx)
        .await
        .unwrap();
        sqlx::query(
            "UPDATE datasets
             SET account_id = $1, schedule = '0 * * * *', next_run_at = $2, last_due_at = $2
             WHERE id = $3",
        )
        .bind(&account)
        .bind(NOW)
        .bind(&id)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        Self { _dir: dir, db, id }
    }

    async fn change(&self, sql: &'static str) {
        let mut tx = self.db.write().await.unwrap();
        sqlx::query(sql)
            .bind(&self.id)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// All writes of a check, based on an earlier read.
    async fn write(&self, seen_next_run_at: Option<Millis>) {
        let mut tx = self.db.write().await.unwrap();
        if let Some(seen_next_run_at) = seen_next_run_at {
            let due = DueRun {
                source_key: "key",
                missed: 0,
                due_at: seen_next_run_at,
                next: Some(NOW + HOUR),
                now: NOW,
                at: NOW,
            };
            enqueue_due_run(&mut tx, &self.id, seen_next_run_at, due)
                .await
                .unwrap();
        }
        repair::recompute_next_run(&mut tx, &self.id, seen_next_run_at, NOW + HOUR, NOW)
            .await
            .unwrap();
        mark_broken(&mut tx, &self.id, seen_next_run_at, "Odd.", NOW)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    async fn next(&self) -> Option<(Option<Millis>, Option<String>)> {
        sqlx::query_as("SELECT next_run_at, schedule_error FROM datasets WHERE id = $1")
            .bind(&self.id)
            .fetch_optional(self.db.read())
            .await
            .unwrap()
    }

    async fn runs(&self) -> i64 {
        sqlx::query_scalar("SELECT COUNT(*) FROM runs")
            .fetch_one(self.db.read())
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_dataset_that_is_saved_paused_or_deleted_meanwhile_is_not_changed_and_does_not_run() {
    for (meanwhile, left) in [
        (
            "UPDATE datasets SET schedule = '30 9 * * *', next_run_at = 1795200000000 WHERE id = $1",
            Some((Some(1_795_200_000_000), None)),
        ),
        (
            "UPDATE datasets SET paused_at = 1, next_run_at = NULL WHERE id = $1",
            Some((None, None)),
        ),
        (
            "UPDATE datasets SET account_id = NULL, next_run_at = NULL WHERE id = $1",
            Some((None, None)),
        ),
        ("DELETE FROM datasets WHERE id = $1", None),
    ] {
        let bench = Bench::new().await;
        bench.change(meanwhile).await;
        bench.write(Some(NOW)).await;
        assert_eq!(
            (bench.next().await, bench.runs().await),
            (left, 0),
            "{meanwhile}"
        );
    }
    // A DataSet without a next run when it was read.
    for meanwhile in [
        "UPDATE datasets SET paused_at = 1, next_run_at = NULL WHERE id = $1",
        "UPDATE datasets
         SET stopped_at = 1, stop_reason = 'parked', next_run_at = NULL
         WHERE id = $1",
        "UPDATE datasets SET account_id = NULL, next_run_at = NULL WHERE id = $1",
        "UPDATE datasets SET schedule = NULL, next_run_at = NULL WHERE id = $1",
    ] {
        let bench = Bench::new().await;
        bench.change(meanwhile).await;
        bench.write(None).await;
        assert_eq!(bench.next().await, Some((None, None)), "{meanwhile}");
    }
}
