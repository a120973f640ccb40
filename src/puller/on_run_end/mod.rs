//! Acts on the end of a run, in the same transaction: schedules the retry, stops the schedule, and
//! writes notifications. `puller/deadlines/` acts on the passing of time.

mod alert_subject;
mod retry_time;
mod stop_schedules;

use sqlx::{Sqlite, Transaction};

use super::backfills;
use super::queue::Claimed;
use super::run::{Failure, Trigger};
use crate::clock::Millis;
use crate::datasets::policies::{NotificationKind, StopReason};
use crate::error::Result;
use crate::ids::{DatasetId, RunId};
pub(super) use alert_subject::{
    AlertSubject, load_readable_subject, load_subject, select_alert_subject,
};
use retry_time::next_retry;
pub(super) use retry_time::{record_retry, retry_at};
pub(super) use stop_schedules::stop_unshared_schedules;
use stop_schedules::{stop_rejected_credentials, stop_schedule};

/// Whether the run is a backfill chunk. Such a run changes nothing of the schedule's state; its
/// backfill reports a failure.
fn is_backfill(run: &Claimed) -> bool {
    run.trigger == Trigger::Backfill
}

/// A run has failed: schedules the retry, stops schedules if the account cannot be used any more,
/// and notifies.
pub(super) async fn on_failed(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    run: &Claimed,
    failure: &Failure,
) -> Result<()> {
    let Some(dataset) = load_subject(tx, &run.dataset_id).await? else {
        return Ok(());
    };
    if is_backfill(run) {
        return backfills::chunk_failed(tx, now, run, failure, &dataset).await;
    }
    let in_a_row = dataset.failed_in_a_row + 1;
    let retry = next_retry(tx, now, run, failure, &dataset).await?;
    let mut next = failure.action.clone();
    if let Some((at, number)) = retry {
        next = record_retry(tx, run, failure, &dataset, (at, number)).await?;
    }
    let notifies =
        dataset.notified_failure == 0 && in_a_row >= dataset.policies.notification_settings().after;
    sqlx::query(
        "UPDATE datasets
         SET
             failed_in_a_row = $1,
             notified_failure = CASE WHEN $2 = 1 THEN 1 ELSE notified_failure END, retry_at = $3,
             retry_number = $4
         WHERE id = $5",
    )
    .bind(in_a_row)
    .bind(i64::from(notifies))
    .bind(retry.map(|(at, _)| at))
    .bind(retry.map_or(0, |(_, number)| number))
    .bind(&dataset.id)
    .execute(&mut **tx)
    .await?;
    let stopped = match failure.code.as_str() {
        "unauthorized" | "credentials_stopped" => {
            stop_rejected_credentials(tx, now, dataset.account_id.as_ref()).await?
        }
        "account_not_shared" => stop_unshared_schedules(tx, now).await?,
        _ => false,
    };
    // A notification that the schedule stopped replaces the one about the failure.
    if notifies
        && !(stopped && dataset.is_scheduled() && dataset.notifies_on(NotificationKind::Stopped))
    {
        let mut happened = failure.message.clone();
        if in_a_row > 1 {
            happened.push_str(&format!(" {in_a_row} runs in a row have failed."));
        }
        dataset
            .notify(
                tx,
                now,
                NotificationKind::Failure,
                &failure.code,
                [happened, failure.who.clone(), next],
            )
            .await?;
    }
    Ok(())
}

/// A run was parked because the server stopped three times during it: stops the schedule and
/// notifies.
pub(super) async fn on_parked(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    dataset: &DatasetId,
) -> Result<()> {
    let Some(dataset) = load_subject(tx, dataset).await? else {
        return Ok(());
    };
    sqlx::query(
        "UPDATE datasets
         SET failed_in_a_row = failed_in_a_row + 1, notified_failure = 1, retry_at = NULL
         WHERE id = $1",
    )
    .bind(&dataset.id)
    .execute(&mut **tx)
    .await?;
    let scheduled = dataset.is_scheduled();
    if scheduled {
        stop_schedule(tx, now, &dataset, StopReason::Parked).await?;
    }
    let next = if scheduled {
        "The schedule is stopped. It resumes when a person presses Resume on the DataSet's page, \
         or when a run started with Run now succeeds. The existing rows are unchanged."
    } else {
        "Chatlake does not retry it. The existing rows are unchanged."
    };
    let words = [
        "The server stopped three times during a run of this DataSet.".to_owned(),
        "A server administrator must check memory, disk and log before the next run.".to_owned(),
        next.to_owned(),
    ];
    dataset
        .notify(
            tx,
            now,
            if scheduled && dataset.notifies_on(NotificationKind::Stopped) {
                NotificationKind::Stopped
            } else {
                NotificationKind::Failure
            },
            "parked",
            words,
        )
        .await
}

/// A run has succeeded with `rows` rows. A backfill chunk changes no failure state.
pub(super) async fn on_run_succeeded(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    run: &Claimed,
    rows: i64,
) -> Result<()> {
    if is_backfill(run) {
        Ok(())
    } else {
        on_new_rows(tx, now, &run.dataset_id, rows).await
    }
}

/// The DataSet has new rows: clears all failure states and notifies a recovery.
pub(super) async fn on_new_rows(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    dataset: &DatasetId,
    rows: i64,
) -> Result<()> {
    let Some(dataset) = load_subject(tx, dataset).await? else {
        return Ok(());
    };
    sqlx::query(
        "UPDATE datasets
         SET
             failed_in_a_row = 0, notified_failure = 0, notified_late = 0, notified_stop = 0,
             retry_at = NULL, reminded_at = NULL, late_since = NULL, lateness_key = NULL,
             last_success_at = $1
         WHERE id = $2",
    )
    .bind(now)
    .bind(&dataset.id)
    .execute(&mut **tx)
    .await?;
    if dataset.notified_failure + dataset.notified_late + dataset.notified_stop == 0 {
        return Ok(());
    }
    let happened = match dataset.failed_in_a_row {
        0 => format!("A run succeeded: {rows} rows."),
        1 => format!("A run succeeded after 1 failed run: {rows} rows."),
        many => format!("A run succeeded after {many} failed runs: {rows} rows."),
    };
    let next = dataset.next_run_at.map_or_else(String::new, |at| {
        format!("The next run is on {}.", dataset.format_time(at))
    });
    dataset
        .notify(
            tx,
            now,
            NotificationKind::Recovery,
            "",
            [happened, "No action needed.".to_owned(), next],
        )
        .await
}

/// A person cancelled a run: it is not retried.
pub(super) async fn on_cancelled(tx: &mut Transaction<'static, Sqlite>, run: &RunId) -> Result<()> {
    sqlx::query(
        "UPDATE datasets
         SET retry_at = NULL
         WHERE id = (SELECT dataset_id FROM runs WHERE id = $1 AND trigger <> 'backfill')",
    )
    .bind(run)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
