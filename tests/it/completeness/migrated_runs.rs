//! The completeness of runs in catalogues of older versions.

use crate::support::NOON;

/// A stored run: id, `verified`, `corrected`, last day and state of each window, and its
/// completeness after the migration.
type Stored = (
    &'static str,
    Option<i64>,
    i64,
    &'static [(&'static str, &'static str)],
    Option<&'static str>,
);

#[tokio::test]
async fn migrated_runs_are_verified_only_if_their_days_were_settled_everywhere() {
    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
    use sqlx::{AssertSqlSafe, Connection};

    let dir = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(dir.path().join("chatlake.db"))
        .create_if_missing(true)
        .foreign_keys(false);
    let mut catalogue = SqliteConnection::connect_with(&options).await.unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut all: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    all.sort();
    let (before, rest) = all.split_at(
        all.iter()
            .position(|path| path.ends_with("0016_completeness.sql"))
            .unwrap(),
    );
    for path in before {
        sqlx::raw_sql(AssertSqlSafe(std::fs::read_to_string(path).unwrap()))
            .execute(&mut catalogue)
            .await
            .unwrap();
    }
    // Read at noon of the 20th (UTC): the 17th had ended 48 hours before in every zone, the 18th
    // had not.
    let runs: [Stored; 8] = [
        (
            "settled",
            Some(1),
            0,
            &[("2026-11-16", "done"), ("2026-11-17", "done")],
            Some("verified"),
        ),
        (
            "young",
            Some(1),
            0,
            &[("2026-11-17", "done"), ("2026-11-18", "done")],
            Some("counted"),
        ),
        (
            "leap day",
            Some(1),
            0,
            &[("2024-02-29", "done")],
            Some("verified"),
        ),
        (
            "corrected",
            Some(1),
            1,
            &[("2026-11-17", "done")],
            Some("corrected"),
        ),
        (
            "other count",
            Some(0),
            0,
            &[("2026-11-17", "done")],
            Some("corrected"),
        ),
        ("no total", None, 0, &[("", "done")], Some("complete")),
        (
            "short",
            Some(1),
            0,
            &[("2026-11-17", "done"), ("2026-11-18", "short")],
            Some("short"),
        ),
        ("nothing yet", None, 0, &[("2026-11-17", "planned")], None),
    ];
    for (id, verified, corrected, windows, _) in runs {
        sqlx::query(
            "INSERT INTO runs (
                 id, dataset_id, cause, state, source_key, queued_at, due_at, finished_at,
                 verified, corrected
             )
             VALUES ($1, 'ds', 'manual', 'succeeded', '', 0, 0, 0, $2, $3)",
        )
        .bind(id)
        .bind(verified)
        .bind(corrected)
        .execute(&mut catalogue)
        .await
        .unwrap();
        for (position, (day, state)) in windows.iter().enumerate() {
            sqlx::query(
                "INSERT INTO windows (
                     run_id, dataset_id, position, from_day, to_day, state, finished_at
                 )
                 VALUES ($1, 'ds', $2, $3, $3, $4, $5)",
            )
            .bind(id)
            .bind(position as i64)
            .bind((!day.is_empty()).then_some(*day))
            .bind(*state)
            .bind(NOON)
            .execute(&mut catalogue)
            .await
            .unwrap();
        }
    }
    sqlx::raw_sql(AssertSqlSafe(std::fs::read_to_string(&rest[0]).unwrap()))
        .execute(&mut catalogue)
        .await
        .unwrap();
    for (id, _, _, _, wanted) in runs {
        let found: Option<String> =
            sqlx::query_scalar("SELECT completeness FROM runs WHERE id = $1")
                .bind(id)
                .fetch_one(&mut catalogue)
                .await
                .unwrap();
        assert_eq!(found.as_deref(), wanted, "{id}");
    }
}
