//! Tests credentials at the vendor: stored ones, and those of a new or changed account before they
//! are saved.

use serde::Serialize;

use super::account_row::{SELECT_ACCOUNT, StoredAccountRow};
use super::interactive::{CredentialTrial, INTERACTIVE_TIMEOUT, for_interactive_use, with_timeout};
use super::source::zone;
use super::{Accounts, ChangeAccount, NewAccount, sealed_credentials, vendor_error};
use crate::auth::Actor;
use crate::clock::Millis;
use crate::connectors::{self, PullError, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::AccountId;

/// The result of a test of the credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckResult {
    pub ok: bool,
    pub message: String,
    pub checked_at: Millis,
}

impl Accounts {
    /// Tests the stored credentials at the vendor and saves the result as the account's health.
    pub async fn check(&self, actor: &Actor, id: &AccountId) -> Result<CheckResult> {
        let account = self.get(actor, id).await?;
        if !actor.may_edit() {
            return Err(Error::forbidden(
                "You can see this account but not test it.",
            ));
        }
        let credentials_read_at = self.clock.now();
        let (result, hint) = match self.open_source(id).await {
            Ok((_, source)) => {
                source.upstream.reset_auth();
                let source = for_interactive_use(source);
                let result =
                    with_timeout(&source, INTERACTIVE_TIMEOUT, connectors::check(&source)).await;
                self.save_vendor_hints(id, &source.upstream).await?;
                (result, connectors::hint(&source))
            }
            Err(why) if why.kind() == ErrorKind::Internal || why.code() == "account_missing" => {
                return Err(why);
            }
            Err(why) => {
                return Ok(CheckResult {
                    ok: false,
                    message: why.message().to_owned(),
                    checked_at: self.clock.now(),
                });
            }
        };
        let checked_at = self.clock.now();
        let (ok, message) = match result {
            Ok(Ok(message)) => {
                self.record_health(id, Ok(&message), credentials_read_at)
                    .await?;
                (true, message)
            }
            Ok(Err(why)) => {
                self.record_health(id, Err(&why), credentials_read_at)
                    .await?;
                let hint = hint
                    .filter(|_| why == PullError::Unauthorized)
                    .map(|hint| hint.text);
                let error = vendor_error(account.connector, &why);
                let next = hint.or(error.suggested_action()).unwrap_or_default();
                (
                    false,
                    format!("{} {next}", error.message()).trim_end().to_owned(),
                )
            }
            Err(slow) => {
                let message = format!(
                    "{} {}",
                    slow.message(),
                    slow.suggested_action().unwrap_or_default()
                );
                self.write_health(id, None, &message, 0, credentials_read_at)
                    .await?;
                (false, message)
            }
        };
        Ok(CheckResult {
            ok,
            message,
            checked_at,
        })
    }

    /// Tests credentials that are not saved yet, after validating all fields. Returns the message
    /// of the test.
    pub async fn try_credentials(&self, actor: &Actor, new: &NewAccount) -> Result<String> {
        let checked = self.validate_new(actor, new)?;
        let upstream = self.upstreams.for_account(
            "",
            new.connector,
            checked.api_url.as_deref(),
            checked.requests_per_minute,
        );
        let trial = CredentialTrial {
            actor,
            connector: new.connector,
            has_custom_address: checked.api_url.is_some(),
            credentials: &new.credentials,
        };
        let upstream = upstream.map_err(|why| trial.error_for(why, None))?;
        let source = Source {
            connector: new.connector,
            fields: checked.fields,
            secrets: checked.secrets,
            zone: zone(&checked.time_zone),
            upstream,
        };
        try_source(source, &trial).await
    }

    /// Tests the credentials as they would be after this change. Returns the message of the test,
    /// or `None` if the change does not affect the credentials. A stored secret is only sent to the
    /// address it was entered for: a new address requires all secrets again.
    pub async fn try_change(
        &self,
        actor: &Actor,
        id: &AccountId,
        change: &ChangeAccount,
    ) -> Result<Option<String>> {
        self.get_to_change(actor, id).await?;
        let row: Option<StoredAccountRow> = sqlx::query_as(SELECT_ACCOUNT)
            .bind(id)
            .fetch_optional(self.db.read())
            .await?;
        let (before, sealed) = row
            .ok_or_else(|| Error::not_found("account"))?
            .into_parts()?;
        let mut after = before.clone();
        let input = self.apply_change(actor, &mut after, change)?;
        let new_fields = input
            .fields
            .iter()
            .any(|(field, value)| before.fields.get(field) != Some(value));
        if input.secrets.is_empty() && !new_fields {
            return Ok(None);
        }
        let secrets = sealed_credentials::merge(&self.vault, &before, &sealed, input.secrets)?;
        after.fields.extend(input.fields);
        let upstream = self.upstreams.for_trial(
            id.as_str(),
            after.connector,
            after.api_url.as_deref(),
            before.requests_per_minute,
        );
        let trial = CredentialTrial {
            actor,
            connector: after.connector,
            has_custom_address: after.api_url.is_some(),
            credentials: &change.credentials,
        };
        let upstream = upstream.map_err(|why| trial.error_for(why, None))?;
        let source = Source {
            connector: after.connector,
            fields: after.fields,
            secrets,
            zone: zone(&after.time_zone),
            upstream,
        };
        try_source(source, &trial).await.map(Some)
    }
}

/// Tests credentials that were just typed.
async fn try_source(source: Source, trial: &CredentialTrial<'_>) -> Result<String> {
    let source = for_interactive_use(source);
    with_timeout(&source, INTERACTIVE_TIMEOUT, connectors::check(&source))
        .await?
        .map_err(|why| trial.error_for(why, connectors::hint(&source)))
}
