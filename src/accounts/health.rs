//! What is known about the credentials of an account from their use: the health and the vendor
//! hints.

use serde::Serialize;

use super::{Accounts, vendor_error};
use crate::clock::Millis;
use crate::connectors::PullError;
use crate::connectors::upstream::{Upstream, VendorHints};
use crate::error::{Error, Result};
use crate::ids::AccountId;

/// Whether an account's credentials are known to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(rename_all = "snake_case", type_name = "TEXT")]
pub enum Health {
    /// Not used yet.
    Unknown,
    /// The vendor accepted them when they were last used.
    Valid,
    /// The vendor rejected them; they must be entered again.
    Failing,
}

impl Health {
    pub fn word(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Valid => "valid",
            Health::Failing => "failing",
        }
    }
}

impl Accounts {
    /// Saves the result of using the credentials. An error on the vendor's side does not change
    /// whether they count as valid; only its message is saved. `credentials_read_at`: when the
    /// credentials were read; they may have changed since.
    pub async fn record_health(
        &self,
        id: &AccountId,
        seen: std::result::Result<&str, &PullError>,
        credentials_read_at: Millis,
    ) -> Result<()> {
        match seen {
            Ok(message) => {
                self.write_health(id, Some(Health::Valid), message, 0, credentials_read_at)
                    .await
            }
            Err(PullError::Cancelled) => Ok(()),
            Err(why) => {
                let Some(account) = self.find(id).await? else {
                    return Ok(());
                };
                let message = vendor_error(account.connector, why);
                let health = matches!(
                    why,
                    PullError::Unauthorized
                        | PullError::NotAllowed(_)
                        | PullError::AddressRefused { .. }
                )
                .then_some(Health::Failing);
                self.write_health(
                    id,
                    health,
                    message.message(),
                    i64::from(*why == PullError::Unauthorized),
                    credentials_read_at,
                )
                .await
            }
        }
    }

    /// `health` `None` leaves it unchanged. `auth_failures` is added to the number of rejections in
    /// a row, which a success resets.
    pub(super) async fn write_health(
        &self,
        id: &AccountId,
        health: Option<Health>,
        message: &str,
        auth_failures: i64,
        credentials_read_at: Millis,
    ) -> Result<()> {
        let mut tx = self.db.write().await?;
        // Changes nothing if the account was changed after its credentials were read: the result
        // may be about other credentials.
        sqlx::query(
            "UPDATE accounts
             SET
                 health = COALESCE($2, health), health_message = $3, checked_at = $4,
                 auth_failures = CASE WHEN $2 = 'valid' THEN 0 ELSE auth_failures + $5 END
             WHERE id = $1 AND updated_at <= $6",
        )
        .bind(id)
        .bind(health)
        .bind(message)
        .bind(self.clock.now())
        .bind(auth_failures)
        .bind(credentials_read_at)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }

    /// Saves the vendor hints of a request, so that they survive a restart.
    pub async fn save_vendor_hints(&self, id: &AccountId, upstream: &Upstream) -> Result<()> {
        let Some(account) = self.find(id).await? else {
            return Ok(());
        };
        if !self.upstreams.is_current(id.as_str(), upstream) {
            return Ok(());
        }
        let mut hints = upstream.vendor_hints();
        hints.api_ends_on = hints.api_ends_on.or(account.vendor_hints.api_ends_on);
        // A pause is computed from the current time in milliseconds, so it is compared in seconds.
        let seconds = |hints: &VendorHints| hints.paused_until.map(|until| until / 1_000);
        if account.vendor_hints.region == hints.region
            && account.vendor_hints.api_ends_on == hints.api_ends_on
            && seconds(&account.vendor_hints) == seconds(&hints)
            && account.vendor_hints.recent_requests == hints.recent_requests
        {
            return Ok(());
        }
        if let Some(day) = hints
            .api_ends_on
            .filter(|_| account.vendor_hints.api_ends_on != hints.api_ends_on)
        {
            tracing::warn!(account = %id, %day, "the API of this account ends on this day");
        }
        let mut tx = self.db.write().await?;
        sqlx::query(
            "UPDATE accounts
             SET paused_until = $2, region = $3, api_ends_on = $4, recent_requests = $5
             WHERE id = $1",
        )
        .bind(id)
        .bind(hints.paused_until)
        .bind(&hints.region)
        .bind(hints.api_ends_on.map(|day| day.to_string()))
        .bind(serde_json::to_string(&hints.recent_requests).map_err(Error::internal)?)
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }
}
