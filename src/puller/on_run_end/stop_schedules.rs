//! Stops schedules whose account cannot be used any more, and notifies.

use sqlx::{Sqlite, Transaction};

use super::AlertSubject;
use super::alert_subject::select_alert_subject;
use crate::clock::Millis;
use crate::connectors::upstream::MAX_AUTH_FAILURES;
use crate::datasets::policies::{NotificationKind, StopReason};
use crate::db::decode_readable;
use crate::error::Result;
use crate::ids::AccountId;

/// Stops the schedules of all DataSets of an account after the vendor rejected its credentials too
/// many times in a row. Returns whether it did.
pub(super) async fn stop_rejected_credentials(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    account: Option<&AccountId>,
) -> Result<bool> {
    let Some(account) = account else {
        return Ok(false);
    };
    let refusals: Option<i64> =
        sqlx::query_scalar("SELECT auth_failures FROM accounts WHERE id = $1")
            .bind(account)
            .fetch_optional(&mut **tx)
            .await?;
    if refusals.is_none_or(|refusals| refusals < i64::from(MAX_AUTH_FAILURES)) {
        return Ok(false);
    }
    let all = sqlx::query(select_alert_subject!(
        "WHERE d.account_id = $1 AND d.schedule IS NOT NULL AND d.next_run_at IS NOT NULL
         ORDER BY LOWER(d.name), d.id"
    ))
    .bind(account)
    .fetch_all(&mut **tx)
    .await?;
    let all: Vec<AlertSubject> = decode_readable(all);
    for dataset in all {
        stop_schedule(tx, now, &dataset, StopReason::Credentials).await?;
        let name = dataset.account_name.as_deref().unwrap_or_default();
        let words = [
            format!(
                "{} rejected the credentials of “{name}” {MAX_AUTH_FAILURES} times in a row. \
                 Chatlake stopped using them.",
                dataset.vendor()
            ),
            format!(
                "The owner of the account “{name}” must enter new credentials under Accounts, \
                 or press Test there once they work."
            ),
            "The schedule is stopped. It resumes automatically once the account works. \
             The existing rows are unchanged."
                .to_owned(),
        ];
        dataset
            .notify(
                tx,
                now,
                NotificationKind::Stopped,
                "credentials_stopped",
                words,
            )
            .await?;
    }
    Ok(true)
}

/// Stops the schedules and the running runs of DataSets whose account is no longer shared with
/// their owner. Returns whether a schedule was stopped.
pub(in crate::puller) async fn stop_unshared_schedules(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
) -> Result<bool> {
    sqlx::query(
        "UPDATE runs
         SET cancel_requested = 1
         WHERE state = 'running'
             AND cancel_requested = 0
             AND dataset_id IN (
                 SELECT d.id
                 FROM datasets d
                 JOIN accounts a ON a.id = d.account_id
                 JOIN users o ON o.id = d.owner_id
                 -- An admin may use every account, and an owner their own.
                 WHERE a.shared = 0 AND a.owner_id <> d.owner_id AND o.role <> 'admin'
             )",
    )
    .execute(&mut **tx)
    .await?;
    let all = sqlx::query(select_alert_subject!(
        "WHERE d.schedule IS NOT NULL
             -- Not stopped or paused already.
             AND d.next_run_at IS NOT NULL
             AND a.shared = 0
             AND a.owner_id <> d.owner_id
             AND o.role <> 'admin'
         ORDER BY LOWER(d.name), d.id"
    ))
    .fetch_all(&mut **tx)
    .await?;
    let all: Vec<AlertSubject> = decode_readable(all);
    for dataset in &all {
        stop_schedule(tx, now, dataset, StopReason::Unshared).await?;
        let name = dataset.account_name.as_deref().unwrap_or_default();
        let words = [
            format!(
                "The account “{name}” is no longer shared with the owner of the DataSet. \
                 Chatlake does not pull data with it."
            ),
            format!(
                "The owner of the account “{name}” can share it again under Accounts. \
                 The owner of the DataSet can choose another account under Settings."
            ),
            "The schedule is stopped. It resumes automatically once the account is shared again. \
             The existing rows are unchanged."
                .to_owned(),
        ];
        dataset
            .notify(
                tx,
                now,
                NotificationKind::Stopped,
                "account_not_shared",
                words,
            )
            .await?;
    }
    Ok(!all.is_empty())
}

/// Stops one schedule, and cancels its retry.
pub(super) async fn stop_schedule(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    dataset: &AlertSubject,
    why: StopReason,
) -> Result<()> {
    sqlx::query(
        "UPDATE datasets
         SET
             next_run_at = NULL, retry_at = NULL, stopped_at = $1, stop_reason = $2,
             notified_stop = $3
         WHERE id = $4",
    )
    .bind(now)
    .bind(why.word())
    .bind(i64::from(
        dataset.notifies_on(NotificationKind::Stopped) || dataset.notified_stop == 1,
    ))
    .bind(&dataset.id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
