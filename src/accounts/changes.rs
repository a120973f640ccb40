//! Creates, changes and deletes accounts.

use sqlx::{Sqlite, Transaction};

use super::account_row::{SELECT_ACCOUNT, StoredAccountRow};
use super::{Account, Accounts, ChangeAccount, NewAccount, datasets_of, sealed_credentials};
use crate::auth::Actor;
use crate::auth::audit::{self, AuditEvent, AuditResult};
use crate::error::{Error, Result};
use crate::ids::AccountId;

const NOT_CHECKED: &str = "Not checked yet.";

impl Accounts {
    /// Encrypts the credentials and saves the account. Sends no request to the vendor: see
    /// `try_credentials` and `check`.
    pub async fn create(&self, actor: &Actor, new: &NewAccount) -> Result<Account> {
        let checked = self.validate_new(actor, new)?;
        let id = AccountId::new();
        let sealed = sealed_credentials::seal(
            &self.vault,
            &id,
            new.connector,
            checked.api_url.as_deref(),
            &checked.secrets,
        )?;
        let now = self.clock.now();
        let mut tx = self.db.write().await?;
        sqlx::query(
            "INSERT INTO accounts (
                 id, owner_id, connector, name, fields, sealed, sealed_at, api_url,
                 requests_per_minute, time_zone, shared, health, health_message, created_at,
                 updated_at
             )
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, 'unknown', $11, $7, $7)",
        )
        .bind(&id)
        .bind(&actor.user)
        .bind(new.connector.id())
        .bind(&checked.name)
        .bind(serde_json::to_string(&checked.fields).map_err(Error::internal)?)
        .bind(sealed)
        .bind(now)
        .bind(&checked.api_url)
        .bind(i64::from(checked.requests_per_minute))
        .bind(&checked.time_zone)
        .bind(NOT_CHECKED)
        .execute(&mut *tx)
        .await?;
        let created = self.record(&mut tx, actor, "account.create", &id).await?;
        tx.commit().await?;
        created.ok_or_else(|| Error::not_found("account"))
    }

    /// Changes an account of the actor, or any account for an admin. A new API URL requires an
    /// admin and all secrets again: a stored secret is never sent to a host it was not entered for.
    pub async fn update(
        &self,
        actor: &Actor,
        id: &AccountId,
        change: &ChangeAccount,
    ) -> Result<Account> {
        self.get_to_change(actor, id).await?;
        let mut tx = self.db.write().await?;
        let row: Option<StoredAccountRow> = sqlx::query_as(SELECT_ACCOUNT)
            .bind(id)
            .fetch_optional(&mut *tx)
            .await?;
        let (mut account, sealed) = row
            .ok_or_else(|| Error::not_found("account"))?
            .into_parts()?;
        let before = account.api_url.clone();
        let input = self.apply_change(actor, &mut account, change)?;
        let moved = account.api_url != before;
        let new_fields = input
            .fields
            .iter()
            .any(|(field, value)| account.fields.get(field) != Some(value));
        account.fields.extend(input.fields);
        let now = self.clock.now();
        let new_secrets = !input.secrets.is_empty();
        if new_secrets {
            let secrets = sealed_credentials::merge(&self.vault, &account, &sealed, input.secrets)?;
            let sealed = sealed_credentials::seal(
                &self.vault,
                id,
                account.connector,
                account.api_url.as_deref(),
                &secrets,
            )?;
            sqlx::query("UPDATE accounts SET sealed = $2, sealed_at = $3 WHERE id = $1")
                .bind(id)
                .bind(sealed)
                .bind(now)
                .execute(&mut *tx)
                .await?;
        }
        if new_secrets || new_fields {
            sqlx::query(
                "UPDATE accounts
                 SET health = 'unknown', health_message = $2, checked_at = NULL, auth_failures = 0
                 WHERE id = $1",
            )
            .bind(id)
            .bind(NOT_CHECKED)
            .execute(&mut *tx)
            .await?;
        }
        if moved {
            // Hints of one host do not apply to another.
            sqlx::query(
                "UPDATE accounts
                 SET
                     paused_until = NULL, region = NULL, api_ends_on = NULL,
                     recent_requests = NULL
                 WHERE id = $1",
            )
            .bind(id)
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query(
            "UPDATE accounts
             SET
                 name = $2, fields = $3, api_url = $4, requests_per_minute = $5, time_zone = $6,
                 shared = $7, updated_at = $8
             WHERE id = $1",
        )
        .bind(id)
        .bind(&account.name)
        .bind(serde_json::to_string(&account.fields).map_err(Error::internal)?)
        .bind(&account.api_url)
        .bind(i64::from(account.requests_per_minute))
        .bind(&account.time_zone)
        .bind(i64::from(change.shared.unwrap_or(account.shared)))
        .bind(now)
        .execute(&mut *tx)
        .await?;
        let changed = self.record(&mut tx, actor, "account.update", id).await?;
        tx.commit().await?;
        self.clear_menu_cache(id);
        if moved {
            self.upstreams.forget(id.as_str());
        } else if new_secrets || new_fields {
            self.upstreams.credentials_changed(id.as_str());
        }
        changed.ok_or_else(|| Error::not_found("account"))
    }

    /// Deletes an account with its credentials. Returns the names of the DataSets that stop
    /// updating; their rows stay.
    pub async fn delete(&self, actor: &Actor, id: &AccountId) -> Result<Vec<String>> {
        self.get_to_change(actor, id).await?;
        let mut tx = self.db.write().await?;
        let stopped = datasets_of(&mut tx, actor, id).await?;
        // DataSets with a next run remember the account's name, so that the puller's next check can
        // notify people.
        sqlx::query(
            "UPDATE datasets
             SET
                 deleted_account_name = CASE
                     WHEN next_run_at IS NULL THEN NULL
                     ELSE (SELECT a.name FROM accounts a WHERE a.id = $1)
                 END,
                 account_id = NULL, next_run_at = NULL, retry_at = NULL, updated_at = $2
             WHERE account_id = $1",
        )
        .bind(id)
        .bind(self.clock.now())
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM accounts WHERE id = $1")
            .bind(id)
            .execute(&mut *tx)
            .await?;
        self.record(&mut tx, actor, "account.delete", id).await?;
        tx.commit().await?;
        self.clear_menu_cache(id);
        self.upstreams.forget(id.as_str());
        Ok(stopped.into_iter().map(|(_, name)| name).collect())
    }

    /// Records a change in the audit log, and returns the account after it.
    async fn record(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        actor: &Actor,
        action: &'static str,
        id: &AccountId,
    ) -> Result<Option<Account>> {
        let event = AuditEvent {
            actor: Some(&actor.user),
            address: None,
            action,
            object: Some(id.as_str()),
            result: AuditResult::Done,
        };
        audit::record(tx, &self.clock, event).await?;
        let row: Option<StoredAccountRow> = sqlx::query_as(SELECT_ACCOUNT)
            .bind(id)
            .fetch_optional(&mut **tx)
            .await?;
        row.map(Account::try_from).transpose()
    }
}
