//! Queues the retries that are due.

use crate::clock::Millis;
use crate::db::decode_readable;
use crate::error::{ErrorKind, Result};
use crate::ids::DatasetId;
use crate::puller::run::Trigger;
use crate::puller::{Puller, queue};

/// Queues the retries that are due. When a run of the DataSet is already active, no second one is
/// queued.
pub(super) async fn enqueue_due_retries(puller: &Puller, now: Millis) -> Result<()> {
    let due: Vec<(DatasetId, i64)> = decode_readable(
        sqlx::query(
            "SELECT id, retry_number
             FROM datasets
             WHERE retry_at <= $1
             ORDER BY retry_at, id
             LIMIT 1000",
        )
        .bind(now)
        .fetch_all(puller.db.read())
        .await?,
    );
    for (id, number) in due {
        let dataset = match puller.datasets.for_run(&id).await {
            Ok(dataset) => Some(dataset).filter(|dataset| {
                dataset.account_id.is_some() && dataset.schedule_state.paused.is_none()
            }),
            Err(error) if error.is_damaged() || error.kind() == ErrorKind::NotFound => None,
            // The retry is still due at the next check.
            Err(error) => return Err(error),
        };
        let mut tx = puller.db.write().await?;
        // Not taken if the retry was cancelled or moved since it was read.
        let taken =
            sqlx::query("UPDATE datasets SET retry_at = NULL WHERE id = $1 AND retry_at <= $2")
                .bind(&id)
                .bind(now)
                .execute(&mut *tx)
                .await?
                .rows_affected();
        if let Some(dataset) = dataset.filter(|_| taken == 1) {
            let run = queue::enqueue(
                &mut tx,
                now,
                &id,
                &dataset.source_key(),
                Trigger::Retry,
                None,
            )
            .await?;
            sqlx::query(
                "UPDATE runs
                 SET retry_number = $1
                 -- Only the run that was queued now. Another run that is active has a number, or
                 -- another trigger.
                 WHERE id = $2 AND trigger = 'retry' AND retry_number = 0",
            )
            .bind(number)
            .bind(&run)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        puller.wake_dispatcher.notify_one();
    }
    Ok(())
}
