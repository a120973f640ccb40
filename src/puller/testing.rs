//! Test support: a catalogue with one person and one DataSet.

use crate::db::Db;
use crate::ids::{DatasetId, UserId};

/// Creates a DataSet of chats with this update mode, without an account or a schedule, and its
/// owner. Dropping the first value deletes the directory.
pub(super) async fn one_dataset(mode: &str) -> (tempfile::TempDir, Db, UserId, DatasetId) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("chatlake.db")).await.unwrap();
    let (owner, dataset) = (UserId::new(), DatasetId::new());
    let mut tx = db.write().await.unwrap();
    sqlx::query(
        "INSERT INTO users (id, email, name, role, created_at, updated_at)
         VALUES ($1, 'o@h.test', 'O', 'admin', 0, 0)",
    )
    .bind(&owner)
    .execute(&mut *tx)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO datasets (
             id, owner_id, connector, report, name, description, menus, update_mode, time_zone,
             created_at, updated_at
         )
         VALUES ($1, $2, 'livechat', 'chat', 'N', '', '{}', $3, 'UTC', 0, 0)",
    )
    .bind(&dataset)
    .bind(&owner)
    .bind(mode)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    (dir, db, owner, dataset)
}
