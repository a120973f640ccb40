//! The pending version of a DataSet: a person publishes it, or a newer version supersedes it.

use sqlx::{Sqlite, Transaction};

use crate::clock::Clock;
use crate::db::Db;
use crate::db::failpoints::kill_point;
use crate::error::{Error, Result};
use crate::ids::{DatasetId, RunId, UserId};
use crate::puller::run::Trigger;
use crate::puller::{backfills, on_run_end};

/// Marks a pending version of a DataSet as superseded, inside the caller's transaction.
pub async fn supersede_pending(
    tx: &mut Transaction<'static, Sqlite>,
    dataset: &DatasetId,
) -> Result<()> {
    sqlx::query("UPDATE datasets SET pending_version = NULL WHERE id = $1")
        .bind(dataset)
        .execute(&mut **tx)
        .await?;
    mark_superseded(tx, dataset, None).await
}

/// Marks all runs of a DataSet whose version is pending as superseded, except the run `by`.
pub(super) async fn mark_superseded(
    tx: &mut Transaction<'static, Sqlite>,
    dataset: &DatasetId,
    by: Option<&RunId>,
) -> Result<()> {
    sqlx::query(
        "UPDATE runs
         SET outcome = 'superseded', error_who = 'No action needed.', error_action = $1
         -- Without `by`, no run is excluded.
         WHERE dataset_id = $2 AND outcome = 'held' AND id <> COALESCE($3, '')",
    )
    .bind("A newer version replaced these rows. They can no longer be published.")
    .bind(dataset)
    .bind(by)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Returns an error while a run of the DataSet is running, inside the caller's transaction.
pub async fn require_not_running(
    tx: &mut Transaction<'static, Sqlite>,
    dataset: &DatasetId,
) -> Result<()> {
    let busy = sqlx::query("SELECT 1 FROM runs WHERE dataset_id = $1 AND state = 'running'")
        .bind(dataset)
        .fetch_optional(&mut **tx)
        .await?;
    match busy {
        None => Ok(()),
        Some(_) => Err(Error::conflict(
            "run_under_way",
            "A run of this DataSet is running. It will save its own rows when it ends.",
        )
        .action("Stop the run or wait until it ends, then try again.")),
    }
}

/// Makes the pending version of a run the current one. Fails if it is no longer pending, and while
/// another run is running.
pub async fn accept(
    db: &Db,
    clock: &Clock,
    run: &RunId,
    dataset: &DatasetId,
    by: &UserId,
) -> Result<()> {
    let mut tx = db.write().await?;
    require_not_running(&mut tx, dataset).await?;
    let accepted = sqlx::query(
        "UPDATE datasets
         SET current_version = pending_version, pending_version = NULL
         WHERE id = $1
             -- The version of this run is still the pending one. A run with another outcome was
             -- accepted, discarded or superseded meanwhile.
             AND pending_version = (
                 SELECT r.version_id
                 FROM runs r
                 JOIN versions v ON v.id = r.version_id
                 WHERE r.id = $2 AND r.dataset_id = $1 AND r.outcome = 'held'
             )",
    )
    .bind(dataset)
    .bind(run)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    if accepted != 1 {
        return Err(Error::conflict(
            "not_held",
            "No version of this run is waiting for approval.",
        )
        .action("See the newest runs under History."));
    }
    sqlx::query(
        "UPDATE runs
         SET
             state = 'succeeded', outcome = 'accepted', decided_by = $1, decided_at = $2,
             error_code = NULL, error_message = NULL, error_who = NULL, error_action = NULL
         WHERE id = $3",
    )
    .bind(by)
    .bind(clock.now())
    .bind(run)
    .execute(&mut *tx)
    .await?;
    let (rows, trigger): (i64, Trigger) =
        sqlx::query_as("SELECT rows_after, trigger FROM runs WHERE id = $1")
            .bind(run)
            .fetch_one(&mut *tx)
            .await?;
    if trigger == Trigger::Backfill {
        backfills::chunk_committed(&mut tx, run, clock.now()).await?;
    } else {
        on_run_end::on_new_rows(&mut tx, clock.now(), dataset, rows).await?;
    }
    kill_point("accept.written");
    tx.commit().await?;
    kill_point("accept.done");
    Ok(())
}
