//! When a failed run is retried, and the sentence about it.

use sqlx::{Sqlite, Transaction};

use super::AlertSubject;
use crate::clock::Millis;
use crate::error::Result;
use crate::ids::RunId;
use crate::puller::queue::Claimed;
use crate::puller::retry::{NEXT_RUN, may_retry};
use crate::puller::run::Failure;

const MINUTE: Millis = 60_000;
/// A retry is delayed by up to this many percent more, so that not all DataSets call a vendor that
/// recovers at once.
const MAX_JITTER_PERCENT: i64 = 20;

/// Writes the time and the number of the retry to the run's error, and returns that sentence.
pub(in crate::puller) async fn record_retry(
    tx: &mut Transaction<'static, Sqlite>,
    run: &Claimed,
    failure: &Failure,
    dataset: &AlertSubject,
    (at, number): (Millis, i64),
) -> Result<String> {
    let rest = failure
        .action
        .strip_prefix(NEXT_RUN)
        .map_or(failure.action.as_str(), str::trim_start);
    let next = format!(
        "Chatlake retries on {} (retry {number} of {}). {rest}",
        dataset.format_time(at),
        dataset.policies.retry().max_retries()
    );
    sqlx::query("UPDATE runs SET error_action = $1 WHERE id = $2")
        .bind(&next)
        .bind(&run.id)
        .execute(&mut **tx)
        .await?;
    Ok(next)
}

/// When a run that failed is retried, after `before` retries; `None` if it is not retried.
pub(in crate::puller) fn retry_at(
    now: Millis,
    run: &Claimed,
    failure: &Failure,
    dataset: &AlertSubject,
    before: i64,
) -> Option<Millis> {
    let retry = dataset.policies.retry();
    let every = retry.minutes() * MINUTE;
    (may_retry(&failure.code) && before < retry.max_retries() && dataset.account_id.is_some())
        .then(|| now + every + every * jitter_percent(&run.shared_read_id, before) / 100)
}

/// The time and the number of the next retry, if there is one.
pub(super) async fn next_retry(
    tx: &mut Transaction<'static, Sqlite>,
    now: Millis,
    run: &Claimed,
    failure: &Failure,
    dataset: &AlertSubject,
) -> Result<Option<(Millis, i64)>> {
    let before: i64 = sqlx::query_scalar("SELECT retry_number FROM runs WHERE id = $1")
        .bind(&run.id)
        .fetch_one(&mut **tx)
        .await?;
    // A paused DataSet is not retried automatically.
    let at = retry_at(now, run, failure, dataset, before).filter(|_| dataset.paused_at.is_none());
    Ok(at.map(|at| (at, before + 1)))
}

/// A number below `MAX_JITTER_PERCENT`, equal for all runs that shared a read, so that they can
/// share the next one as well.
fn jitter_percent(shared_read_id: &RunId, number: i64) -> i64 {
    // The end of an id is random.
    let sum = shared_read_id
        .as_str()
        .bytes()
        .rev()
        .take(8)
        .fold(number, |sum, byte| sum * 31 % 10_007 + i64::from(byte));
    sum % MAX_JITTER_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_spread_and_those_of_one_shared_read_are_equal() {
        let shared_read_ids: Vec<RunId> = (0..200).map(|_| RunId::new()).collect();
        let mut seen: Vec<i64> = shared_read_ids
            .iter()
            .map(|shared_read_id| jitter_percent(shared_read_id, 0))
            .collect();
        assert!(
            seen.iter()
                .all(|percent| (0..MAX_JITTER_PERCENT).contains(percent)),
            "{seen:?}"
        );
        assert_eq!(
            jitter_percent(&shared_read_ids[0], 0),
            jitter_percent(&shared_read_ids[0], 0)
        );
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 10, "{seen:?}");
    }
}
