//! Checks that `vault.key` is the key that encrypted the stored data. Runs at every start, before
//! anything is decrypted.

use std::collections::BTreeSet;

use crate::clock::Clock;
use crate::db::Db;
use crate::error::{Error, Result};
use crate::vault::Vault;

/// Whether the database has encrypted data. Then the vault must not create a new key.
pub async fn has_sealed_data(db: &Db) -> Result<bool> {
    let sealed: i64 = sqlx::query_scalar(
        "SELECT (SELECT COUNT(*) FROM accounts) + (SELECT COUNT(*) FROM webhooks) + (
             SELECT COUNT(*)
             FROM mail_server
             WHERE sealed IS NOT NULL
         )",
    )
    .fetch_one(db.read())
    .await?;
    Ok(sealed > 0)
}

/// Fails with `vault_key` if the database has data that no key of this vault decrypts; the
/// catalogue stays unchanged. Otherwise stores the fingerprints of the keys.
pub async fn verify_vault_keys(db: &Db, clock: &Clock, vault: &Vault) -> Result<()> {
    let ring = vault.fingerprints();
    let known: Vec<(String, String)> =
        sqlx::query_as("SELECT id, fingerprint FROM vault_keys ORDER BY id")
            .fetch_all(db.read())
            .await?;
    let sealed: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT sealed
         FROM accounts
         UNION ALL
         SELECT sealed
         FROM webhooks
         UNION ALL
         SELECT sealed
         FROM mail_server
         WHERE sealed IS NOT NULL",
    )
    .fetch_all(db.read())
    .await?;
    let mut used = BTreeSet::new();
    for bytes in &sealed {
        // Bytes that are not encrypted data are an error of that account, but no reason to refuse
        // the start.
        used.extend(Vault::key_id_of(bytes));
    }
    let fingerprint_of = |id: &str| {
        ring.iter()
            .find(|(ring_id, _)| ring_id == id)
            .map(|(_, fingerprint)| fingerprint)
    };
    for (id, fingerprint) in known.iter().filter(|(id, _)| used.contains(id)) {
        if fingerprint_of(id) != Some(fingerprint) {
            return Err(wrong_key_error(id));
        }
    }
    // A key id that the catalogue does not know means a damaged row, unless it knows no keys at
    // all.
    if known.is_empty()
        && let Some(id) = used.iter().find(|id| fingerprint_of(id).is_none())
    {
        return Err(wrong_key_error(id));
    }
    if known.len() == ring.len() && ring.iter().all(|key| known.contains(key)) {
        return Ok(());
    }
    let mut tx = db.write().await?;
    sqlx::query("DELETE FROM vault_keys")
        .execute(&mut *tx)
        .await?;
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

fn wrong_key_error(id: &str) -> Error {
    Error::conflict(
        "vault_key",
        format!(
            "vault.key does not contain the key {id}, which encrypted the stored credentials. \
             Restore the vault.key of this data directory."
        ),
    )
}
