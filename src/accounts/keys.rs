//! Whether `vault.key` is the one that sealed what is stored here. Asked at every start, before anything is opened.

use std::collections::BTreeSet;

use sqlx::Row;

use crate::clock::Clock;
use crate::db::Db;
use crate::error::{Error, Result};
use crate::vault::Vault;

/// Whether there is anything that only the present key opens. The vault makes no new key then.
pub async fn anything_sealed(db: &Db) -> Result<bool> {
    let sealed: i64 = sqlx::query_scalar(
        "SELECT (SELECT COUNT(*) FROM accounts) + (SELECT COUNT(*) FROM webhooks) + (SELECT COUNT(*) FROM mail_server WHERE sealed IS NOT NULL)",
    )
    .fetch_one(db.read())
    .await?;
    Ok(sealed > 0)
}

/// Fails with `vault_key` when something is sealed that this vault's keys do not open; the catalogue is then left as it is.
/// Otherwise remembers the keys by fingerprint.
pub async fn hold_to(db: &Db, clock: &Clock, vault: &Vault) -> Result<()> {
    let ring = vault.fingerprints();
    let known: Vec<(String, String)> = sqlx::query_as("SELECT id, fingerprint FROM vault_keys ORDER BY id").fetch_all(db.read()).await?;
    let rows =
        sqlx::query("SELECT sealed FROM accounts UNION ALL SELECT sealed FROM webhooks UNION ALL SELECT sealed FROM mail_server WHERE sealed IS NOT NULL")
            .fetch_all(db.read())
            .await?;
    let mut used = BTreeSet::new();
    for row in &rows {
        // Bytes that are no sealed bytes are that account's trouble, not a reason not to start.
        used.extend(Vault::key_of(row.try_get::<&[u8], _>("sealed")?));
    }
    let held = |id: &str| ring.iter().find(|(held, _)| held == id).map(|(_, fingerprint)| fingerprint);
    for (id, fingerprint) in known.iter().filter(|(id, _)| used.contains(id)) {
        if held(id) != Some(fingerprint) {
            return Err(other_key(id));
        }
    }
    // A key id that the catalogue never heard of is a damaged row, unless nothing is known at all.
    if known.is_empty()
        && let Some(id) = used.iter().find(|id| held(id).is_none())
    {
        return Err(other_key(id));
    }
    if known.len() == ring.len() && ring.iter().all(|key| known.contains(key)) {
        return Ok(());
    }
    let mut tx = db.write().await?;
    sqlx::query("DELETE FROM vault_keys").execute(&mut *tx).await?;
    for (id, fingerprint) in &ring {
        sqlx::query("INSERT INTO vault_keys (id, fingerprint, created_at) VALUES ($1, $2, $3)")
            .bind(id)
            .bind(fingerprint)
            .bind(clock.now())
            .execute(&mut *tx)
            .await?;
    }
    Ok(tx.commit().await?)
}

fn other_key(id: &str) -> Error {
    Error::conflict(
        "vault_key",
        format!("vault.key does not contain the key {id}, which encrypted the stored credentials. Restore the vault.key of this data directory."),
    )
}
