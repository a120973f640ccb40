//! Decides what a result without rows means: no data, or a fault of the vendor.

use super::rows_to_drop::{requested_windows, rows_to_drop};
use crate::connectors::report::UpdateMode;
use crate::datasets::Dataset;
use crate::datasets::options::OnEmpty;
use crate::datasets::update_mode;
use crate::datasets::versions::Version;
use crate::error::Result;
use crate::puller::Puller;
use crate::puller::queue::{self, Claimed};
use crate::puller::run::Failure;
use crate::puller::worker::save::SavingRun;

/// The code of a run that failed because it read no rows although the DataSet has rows.
const SUSPICIOUS: &str = "suspicious_empty";

/// What to do with a result without rows.
pub(super) enum EmptyResult {
    Accepted,
    KeptRows,
    Failed(Failure),
}

pub(super) async fn decide_empty_result(
    puller: &Puller,
    run: &Claimed,
    dataset: &Dataset,
    before: Option<&Version>,
    total: Option<u64>,
    saving: &SavingRun,
) -> Result<EmptyResult> {
    let (vendor, had) = (
        dataset.connector.title(),
        before.map_or(0, |version| version.rows),
    );
    // Append without new rows changes nothing.
    let accepted = if dataset.update_mode == UpdateMode::Append && had > 0 {
        EmptyResult::KeptRows
    } else {
        EmptyResult::Accepted
    };
    Ok(match dataset.setup().on_empty(dataset.options.on_empty) {
        OnEmpty::Fail => EmptyResult::Failed(Failure {
            code: "empty_answer".to_owned(),
            message: format!(
                "{vendor} returned no rows, and this DataSet is set to fail in this case."
            ),
            who: format!(
                "The owner of the DataSet must check in {vendor} whether there is really no data."
            ),
            action: format!(
                "The next run tries again.{}",
                if had > 0 {
                    " The existing rows are unchanged."
                } else {
                    ""
                }
            ),
        }),
        OnEmpty::Keep if had > 0 => EmptyResult::KeptRows,
        OnEmpty::Check if would_drop_rows(puller, run, dataset, before, saving).await? => {
            // A total was compared with the records of each window. Without a total, an empty
            // result is accepted the second time. A snapshot, such as the visitors on the site now,
            // may be empty at any time.
            let is_certain = total.is_some()
                || dataset.report.is_snapshot()
                || queue::last_run_failed_with(&puller.db, run, SUSPICIOUS).await?;
            if is_certain {
                return Ok(accepted);
            }
            EmptyResult::Failed(Failure {
                code: SUSPICIOUS.to_owned(),
                message: format!(
                    "{vendor} returned no rows and gives no count to compare. \
                     The DataSet has {had} rows."
                ),
                who: format!(
                    "The owner of the DataSet must check in {vendor} whether there is really no data."
                ),
                action: format!(
                    "The existing {had} rows are unchanged. \
                     If the next run also returns no rows, Chatlake accepts that."
                ),
            })
        }
        OnEmpty::Usual | OnEmpty::Keep | OnEmpty::Check | OnEmpty::Empty => accepted,
    })
}

/// Whether a result without rows would remove existing rows. Append and Merge keep all rows;
/// Partition keeps the days that were not requested.
async fn would_drop_rows(
    puller: &Puller,
    run: &Claimed,
    dataset: &Dataset,
    before: Option<&Version>,
    saving: &SavingRun,
) -> Result<bool> {
    let Some(version) = before.filter(|version| version.rows > 0) else {
        return Ok(false);
    };
    match dataset.update_mode {
        UpdateMode::Append | UpdateMode::Merge => Ok(false),
        UpdateMode::Replace => Ok(true),
        UpdateMode::Partition => {
            let requested = requested_windows(puller, run).await?;
            let drops =
                rows_to_drop(puller, run, dataset, &requested, &[], &version.columns).await?;
            Ok(update_mode::count_lost_rows(&saving.segments, &version.segments, drops).await? > 0)
        }
    }
}
