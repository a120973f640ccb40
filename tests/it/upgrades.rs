//! Upgrades of the catalogue: the copy that is written before migrations run, and what the
//! migrations leave as it was.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chatlake::db::Db;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Row, TypeInfo, ValueRef};

/// A catalogue of the version before migration 0022 with rows in every table.
const FIXTURE: &str = include_str!("../fixtures/catalogue_0021.sql");
const COPY: &str = "chatlake.db.before-0022";
/// Tables that got another name.
const RENAMED_TABLES: [(&str, &str); 1] = [("notices", "notifications")];

async fn open(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(false);
    SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(options)
        .await
        .unwrap()
}

/// The fixture as a file in a directory of its own.
async fn previous_version(dir: &Path) -> PathBuf {
    let path = dir.join("chatlake.db");
    let pool = open(&path).await;
    sqlx::raw_sql(FIXTURE).execute(&pool).await.unwrap();
    pool.close().await;
    path
}

fn value(row: &SqliteRow, at: usize) -> String {
    let raw = row.try_get_raw(at).unwrap();
    match raw.type_info().name() {
        _ if raw.is_null() => "NULL".to_owned(),
        "INTEGER" => row.get::<i64, _>(at).to_string(),
        "REAL" => row.get::<f64, _>(at).to_string(),
        "BLOB" => format!("{:?}", row.get::<Vec<u8>, _>(at)),
        _ => row.get::<String, _>(at),
    }
}

/// The rows of each table, each as its values in the order of its columns.
async fn rows(path: &Path) -> BTreeMap<String, Vec<Vec<String>>> {
    let pool = open(path).await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let mut all = BTreeMap::new();
    for table in tables {
        let found = sqlx::query(AssertSqlSafe(format!(
            "SELECT * FROM {table} ORDER BY rowid"
        )))
        .fetch_all(&pool)
        .await
        .unwrap();
        let values = found
            .iter()
            .map(|row| (0..row.columns().len()).map(|at| value(row, at)).collect())
            .collect();
        all.insert(table, values);
    }
    pool.close().await;
    all
}

#[tokio::test]
async fn an_upgrade_keeps_every_value_and_a_copy_of_the_previous_catalogue() {
    let dir = tempfile::tempdir().unwrap();
    let path = previous_version(dir.path()).await;
    let before = rows(&path).await;
    assert!(
        before.len() > 20 && before.values().all(|rows| !rows.is_empty()),
        "the fixture has rows in every table"
    );
    std::fs::write(
        dir.path().join("chatlake.db.before-0021"),
        "the copy of an earlier upgrade",
    )
    .unwrap();

    Db::open(&path).await.unwrap().close().await;

    let copy = dir.path().join(COPY);
    assert_eq!(
        rows(&copy).await,
        before,
        "the copy is the previous catalogue"
    );
    assert_eq!(
        std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(
        !dir.path().join("chatlake.db.before-0021").exists(),
        "the copy of the earlier upgrade is deleted"
    );
    let after = rows(&path).await;
    for (table, rows) in before
        .iter()
        .filter(|(table, _)| *table != "_sqlx_migrations")
    {
        let now = RENAMED_TABLES
            .iter()
            .find(|(old, _)| old == table)
            .map_or(table.as_str(), |(_, new)| *new);
        assert_eq!(&after[now], rows, "{table}");
    }

    // A second start has nothing to do and leaves the copy as it is.
    let written = std::fs::metadata(&copy).unwrap().modified().unwrap();
    Db::open(&path).await.unwrap().close().await;
    assert_eq!(
        std::fs::metadata(&copy).unwrap().modified().unwrap(),
        written
    );
    assert_eq!(
        std::fs::read_dir(dir.path())
            .unwrap()
            .filter(|entry| entry
                .as_ref()
                .unwrap()
                .file_name()
                .to_string_lossy()
                .contains("before"))
            .count(),
        1
    );
}

#[tokio::test]
async fn a_new_catalogue_is_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    Db::open(&dir.path().join("chatlake.db"))
        .await
        .unwrap()
        .close()
        .await;
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["chatlake.db"]);
}

#[tokio::test]
async fn an_upgrade_that_cannot_write_its_copy_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = previous_version(dir.path()).await;
    let before = rows(&path).await;
    // A directory in the place of the copy fails for every user, unlike permissions.
    std::fs::create_dir(dir.path().join(COPY)).unwrap();
    Db::open(&path).await.unwrap_err();
    assert_eq!(rows(&path).await, before);

    std::fs::remove_dir(dir.path().join(COPY)).unwrap();
    Db::open(&path).await.unwrap().close().await;
    assert!(dir.path().join(COPY).is_file());
    let partial = std::fs::read_dir(dir.path()).unwrap().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .ends_with(".partial")
    });
    assert_eq!(partial.count(), 0);
}
