//! A server that dies during a pull: readers see all old or all new rows, and the run continues.

mod killed_servers;
mod lease_fencing;
mod parked_and_stopped_runs;

use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;
use crate::support::server::{Csv, Server};

/// A DataSet with a first version, and a person who may see it.
struct CrashFixture {
    data_dir: DataDir,
    vendor: LocalSandbox,
    dataset: String,
    token: String,
    /// The number of calls of a whole pull.
    calls: u64,
}

impl CrashFixture {
    async fn new(chats: u64) -> (Self, Server) {
        let (data_dir, vendor) = (
            DataDir::new(),
            LocalSandbox::still(chats, Duration::from_millis(3)).await,
        );
        let email = data_dir.person("olga", "admin").await;
        let token = data_dir.token(&email, "manage").await;
        let account = data_dir
            .account(&email, &vendor.address, "sandbox-key")
            .await;
        let dataset = data_dir.dataset(&email, &account, "chat").await;
        let server = data_dir.serve().await;
        let mut fixture = Self {
            data_dir,
            vendor,
            dataset,
            token,
            calls: 0,
        };
        fixture.pulled(&server).await;
        fixture.calls = fixture.vendor.sandbox.calls_total();
        (fixture, server)
    }

    /// Pulls once, without faults.
    async fn pulled(&self, server: &Server) -> Csv {
        let run = server.run(&self.dataset, &self.token).await;
        assert_eq!(server.over(&run, &self.token).await["state"], "succeeded");
        server.csv(&self.dataset, &self.token).await
    }

    /// What must be true of the catalogue and the directory in every case. `over`: no run is
    /// active.
    async fn check(&self, over: bool) {
        let pool = open_reader(&self.data_dir).await;
        let whole: String = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(whole, "ok");
        assert!(
            sqlx::query("PRAGMA foreign_key_check")
                .fetch_all(&pool)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            count(
                &pool,
                "SELECT COUNT(*)
                 FROM version_segments v
                 JOIN segments s ON s.id = v.segment_id
                 WHERE s.state <> 'kept'"
            )
            .await,
            0
        );
        let unread = "SELECT COUNT(*)
             FROM versions v
             WHERE v.rows <> (
                 SELECT COALESCE(SUM(s.rows), 0)
                 FROM version_segments x
                 JOIN segments s ON s.id = x.segment_id
                 WHERE x.version_id = v.id
             )";
        assert_eq!(
            count(&pool, unread).await,
            0,
            "every version has its recorded number of rows"
        );
        assert_eq!(
            count(
                &pool,
                "SELECT COUNT(*)
                 FROM (SELECT run_id FROM versions GROUP BY run_id HAVING COUNT(*) > 1)"
            )
            .await,
            0,
            "one commit a run"
        );
        let succeeded = "SELECT COUNT(*)
             FROM runs r
             LEFT JOIN versions v ON v.id = r.version_id AND v.run_id = r.id
             WHERE r.state = 'succeeded'
                 AND r.id IN (SELECT run_id FROM versions)
                 AND v.id IS NULL";
        assert_eq!(count(&pool, succeeded).await, 0);
        if over {
            assert_eq!(
                count(
                    &pool,
                    "SELECT COUNT(*)
                     FROM segments s
                     JOIN runs r ON r.id = s.run_id
                     WHERE s.state = 'staged'"
                )
                .await,
                0,
                "nothing stays staged"
            );
            assert_eq!(
                count(
                    &pool,
                    "SELECT COUNT(*) FROM runs WHERE state IN ('queued', 'running', 'waiting')"
                )
                .await,
                0
            );
        }
        let kept: Vec<(String, i64)> =
            sqlx::query_as("SELECT id, bytes FROM segments WHERE state = 'kept'")
                .fetch_all(&pool)
                .await
                .unwrap();
        for (id, bytes) in kept {
            let about = std::fs::metadata(
                self.data_dir
                    .data()
                    .join("segments")
                    .join(format!("{id}.parquet")),
            )
            .unwrap();
            assert_eq!(i64::try_from(about.len()).unwrap(), bytes, "{id}");
        }
        pool.close().await;
    }
}

async fn open_reader(data_dir: &DataDir) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(
            SqliteConnectOptions::new()
                .filename(data_dir.catalogue())
                .read_only(true),
        )
        .await
        .unwrap()
}

async fn count(pool: &SqlitePool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}
