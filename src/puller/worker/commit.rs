//! Decides the result of a run that has read everything: a new version, a pending one, none, or a
//! failure. All safeguards of the existing rows are here.

use super::finish::lease_lost_end;
use super::save::SavingRun;
use crate::connectors::report::UpdateMode;
use crate::connectors::{self, Window};
use crate::datasets::Dataset;
use crate::datasets::columns::{self, ColumnInfo};
use crate::datasets::options::{OnEmpty, SchemaRule};
use crate::datasets::provenance::{Provenance, PulledColumns};
use crate::datasets::schema_change;
use crate::datasets::segments::{SegmentWriter, Segments, WrittenSegment, digest};
use crate::datasets::update_mode::{
    self, BATCH_ID, BATCH_LAST_RUN, BuiltSegments, DayRanges, Drops,
};
use crate::datasets::versions::{Commit, Version};
use crate::db::failpoints::{kill_point, panic_point};
use crate::error::{Error, Result};
use crate::puller::queue::{self, Claimed, CommitStats, RunEnd, UnchangedRun};
use crate::puller::run::Failure;
use crate::puller::{Puller, ledger, retry, schedules};

/// The code of a run that failed because it read no rows although the DataSet has rows.
const SUSPICIOUS: &str = "suspicious_empty";

/// The result of a run that read everything.
pub(super) enum CommitResult {
    /// The new version is the current one.
    Current,
    /// The run has no rows, or the same rows as the current version, which stays.
    KeptRows,
    /// The new version waits for approval.
    PendingApproval(Failure),
    /// There is no new version.
    NotCommitted(RunEnd),
}

/// Closes the files and commits. `total`: the vendor's number of records, if it gives one.
pub(super) async fn commit(
    puller: &Puller,
    run: &Claimed,
    dataset: &Dataset,
    writer: SegmentWriter,
    rows: u64,
    total: Option<u64>,
    saving: &SavingRun,
) -> Result<CommitResult> {
    panic_point("save");
    let versions = &puller.datasets.versions;
    // Pinned until the commit, which fails if another version is current by then.
    let before = versions
        .current(&run.dataset_id)
        .await?
        .map(|version| versions.pin(&version));
    let had = before.as_ref().map_or(0, |version| version.rows);
    if let Some(failure) = too_many_rejected(puller, run, dataset, had > 0).await? {
        return Ok(CommitResult::NotCommitted(RunEnd::Failed(failure)));
    }
    if rows == 0 {
        let empty_result = match saving
            .unless_stopped(decide_empty_result(
                puller,
                run,
                dataset,
                before.as_deref(),
                total,
                saving,
            ))
            .await
        {
            Ok(decided) => decided?,
            Err(why) => return Ok(CommitResult::NotCommitted(why.end(had > 0))),
        };
        match empty_result {
            EmptyResult::Accepted => {}
            EmptyResult::KeptRows => {
                writer.abandon();
                // With Append, the existing version is complete for the requested days. Otherwise
                // the rows stay only as a precaution.
                let base = before
                    .as_ref()
                    .filter(|_| dataset.update_mode == UpdateMode::Append)
                    .map(|version| &version.id);
                return Ok(
                    match queue::keep_existing_rows(&puller.db, &puller.clock, run, had, base)
                        .await?
                    {
                        Ok(()) => CommitResult::KeptRows,
                        Err(lease_state) => CommitResult::NotCommitted(lease_lost_end(lease_state)),
                    },
                );
            }
            EmptyResult::Failed(failure) => {
                return Ok(CommitResult::NotCommitted(RunEnd::Failed(failure)));
            }
        }
    }
    let written = match saving.unless_stopped(writer.finish()).await {
        Ok(written) => written?,
        Err(why) => return Ok(CommitResult::NotCommitted(why.end(had > 0))),
    };
    kill_point("commit.files_whole");
    let pulled = columns::union(written.iter().map(|segment| segment.columns.as_slice()));
    let previous_provenance = dataset
        .current
        .as_ref()
        .filter(|current| before.as_ref().is_some_and(|v| v.id == current.version))
        .and_then(|c| c.provenance.as_ref());
    let same_report = dataset.is_same_report(previous_provenance);
    let filled = match saving
        .unless_stopped(
            saving
                .segments
                .filled_cells(written.iter().map(WrittenSegment::meta).collect()),
        )
        .await
    {
        Ok(filled) => filled?,
        Err(why) => return Ok(CommitResult::NotCommitted(why.end(had > 0))),
    };
    let pulled_columns = PulledColumns {
        columns: &pulled,
        filled: &filled,
        rows,
    };

    let change = match (&before, rows) {
        // A run of a few days may lack columns of other days, so only new columns count.
        (Some(version), 1..) if dataset.update_mode != UpdateMode::Replace => {
            schema_change::additions(&version.columns, &pulled, &dataset.options)
        }
        // Without known columns there is nothing to compare.
        (Some(_), 1..)
            if previous_provenance.is_some_and(|provenance| provenance.columns.is_empty()) =>
        {
            None
        }
        (Some(version), 1..) => {
            let rare = previous_provenance
                .map_or_else(Vec::new, |provenance| provenance.rare(&pulled_columns));
            let known =
                previous_provenance.map_or(&version.columns, |provenance| &provenance.columns);
            schema_change::between(
                known,
                &columns::union([pulled.as_slice(), rare.as_slice()]),
                &dataset.options,
            )
        }
        _ => None,
    };
    let change_text = change
        .as_ref()
        .map(serde_json::to_string)
        .transpose()
        .map_err(Error::internal)?;
    // With another report, other columns are expected.
    if let (Some(change), Some(text), true) = (&change, &change_text, same_report)
        && change.verdict == SchemaRule::Stop
    {
        queue::note_schema(&puller.db, run, text).await?;
        return Ok(CommitResult::NotCommitted(RunEnd::Failed(Failure {
            code: "schema_changed".to_owned(),
            message: format!("The columns changed, and this DataSet is set to stop when columns change. {}", change.in_words()),
            who: "The owner of the DataSet must check whether connected tools work with the new columns.".to_owned(),
            action: "To accept the columns, choose Accept or Accept and warn under Settings, then press Run now. The existing rows are unchanged.".to_owned(),
        })));
    }

    let requested = requested_windows(puller, run).await?;
    let provenance = provenance(
        run,
        dataset,
        previous_provenance,
        &requested,
        &pulled_columns,
    );
    let written_totals: (u64, u64) = (
        written.iter().map(|w| w.rows).sum(),
        written.iter().map(|w| w.bytes).sum(),
    );
    let base = before
        .as_ref()
        .filter(|_| dataset.update_mode != UpdateMode::Replace && same_report);
    let declared = columns::columns_of(dataset.report);
    let comparable = same_report
        && before
            .as_deref()
            .is_some_and(|version| same_columns(version, base.is_some(), &declared, &pulled));
    let built = match base {
        Some(version) => {
            let drops =
                rows_to_drop(puller, run, dataset, &requested, &pulled, &version.columns).await?;
            let building = update_mode::build_with(
                &saving.segments,
                (&run.dataset_id, &run.id),
                dataset.update_mode,
                &version.segments,
                written,
                drops,
                comparable,
            );
            match saving.unless_stopped(building).await {
                Ok(built) => built?,
                Err(why) => return Ok(CommitResult::NotCommitted(why.end(had > 0))),
            }
        }
        None => BuiltSegments {
            order: written.iter().map(WrittenSegment::meta).collect(),
            written,
            dropped: had,
            unchanged: false,
        },
    };
    let left = built.order.iter().map(|segment| segment.rows).sum();
    let pending = before
        .as_ref()
        .filter(|_| rows > 0 && same_report)
        .and_then(|_| row_drop_failure(dataset, previous_provenance, had, left));
    if let Some(version) = before
        .as_deref()
        .filter(|_| pending.is_none() && comparable)
    {
        let unchanged = match saving
            .unless_stopped(is_unchanged(
                &saving.segments,
                version,
                &built,
                base.is_some(),
            ))
            .await
        {
            Ok(unchanged) => unchanged,
            Err(why) => return Ok(CommitResult::NotCommitted(why.end(had > 0))),
        };
        if unchanged {
            saving.begin_commit();
            let unchanged = UnchangedRun {
                version,
                provenance: &provenance,
                written: written_totals.0,
                schema_change: change_text,
            };
            return Ok(
                match queue::record_unchanged(&puller.db, &puller.clock, run, &unchanged).await? {
                    Ok(()) => CommitResult::KeptRows,
                    Err(lease_state) => CommitResult::NotCommitted(lease_lost_end(lease_state)),
                },
            );
        }
    }
    let commit = Commit {
        order: base.map(|_| built.order.as_slice()),
        base: base.map(|version| &version.id),
        provenance: Some(&provenance),
        pending_approval: pending.is_some(),
        ..Commit::new(&run.dataset_id, &run.id, &declared, &built.written)
    };
    let dropped = if base.is_some() { built.dropped } else { 0 };
    let stats = CommitStats {
        written: Some(written_totals),
        rows_before: before.as_ref().map(|version| version.rows),
        rows_dropped: dropped,
        schema_change: change_text,
        pending_approval: pending.as_ref(),
    };
    saving.begin_commit();
    Ok(
        match queue::commit_with(&puller.db, &puller.clock, versions, run, &commit, &stats).await? {
            Ok(_) => pending.map_or(CommitResult::Current, CommitResult::PendingApproval),
            Err(lease_state) => CommitResult::NotCommitted(lease_lost_end(lease_state)),
        },
    )
}

/// Whether the new version would have the columns of the current one. `pulled`: the columns of the
/// run's rows. `merged`: the new version also keeps rows of the current one.
fn same_columns(
    version: &Version,
    merged: bool,
    declared: &[ColumnInfo],
    pulled: &[ColumnInfo],
) -> bool {
    let all = if merged {
        columns::union([version.columns.as_slice(), pulled])
    } else {
        pulled.to_vec()
    };
    columns::next_version(declared, &all, &version.columns) == version.columns
}

/// Whether the new version, which has the same columns, has the same rows as the current one. A
/// damaged current version is always replaced.
async fn is_unchanged(
    segments: &Segments,
    version: &Version,
    built: &BuiltSegments,
    merged: bool,
) -> bool {
    if merged {
        return built.unchanged;
    }
    let new = digest::sum(built.order.iter().map(|segment| segment.digest));
    let same = new
        .zip(version.digest())
        .is_some_and(|(new, old)| (new.rows, new.ordered) == (old.rows, old.ordered));
    same && segments.check(&version.segments).await.is_ok()
}

/// Returns the failure if too many records of all windows of the run were rejected.
async fn too_many_rejected(
    puller: &Puller,
    run: &Claimed,
    dataset: &Dataset,
    had_rows: bool,
) -> Result<Option<Failure>> {
    let ledger = ledger::of_run(&puller.db, &run.id).await?;
    // A duplicate is not counted as another record.
    let of = ledger
        .iter()
        .map(|line| line.counts.read.saturating_sub(line.counts.duplicates))
        .sum();
    let rejected = ledger.iter().map(|line| line.counts.rejected).sum();
    Ok(connectors::too_many_rejected(rejected, of)
        .then(|| retry::unexpected_records(rejected, of, dataset.connector.title(), had_rows)))
}

/// What to do with a result without rows.
enum EmptyResult {
    Accepted,
    KeptRows,
    Failed(Failure),
}

async fn decide_empty_result(
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
                    "{vendor} returned no rows and gives no count to compare. The DataSet has {had} rows."
                ),
                who: format!(
                    "The owner of the DataSet must check in {vendor} whether there is really no data."
                ),
                action: format!(
                    "The existing {had} rows are unchanged. If the next run also returns no rows, Chatlake accepts that."
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

/// The requested windows of the run.
async fn requested_windows(puller: &Puller, run: &Claimed) -> Result<Vec<Window>> {
    Ok(ledger::of_run(&puller.db, &run.id)
        .await?
        .into_iter()
        .filter_map(|line| line.window)
        .collect())
}

/// Returns why a version of `rows` must wait for approval: it has many fewer rows than the one
/// before, for the same request.
fn row_drop_failure(
    dataset: &Dataset,
    previous_provenance: Option<&Provenance>,
    had: u64,
    rows: u64,
) -> Option<Failure> {
    let most = u64::from(dataset.options.hold_drop);
    let is_same_request = previous_provenance
        .is_none_or(|provenance| provenance.request_key == dataset.request_key());
    let applies = most > 0 && is_same_request && !dataset.report.is_snapshot();
    let lost = had.saturating_sub(rows);
    if !applies || u128::from(lost) * 100 <= u128::from(had) * u128::from(most) {
        return None;
    }
    Some(Failure {
        code: "held".to_owned(),
        message: format!(
            "The new version has {rows} rows instead of {had} ({} % fewer). Above {most} %, Chatlake waits for approval.",
            lost * 100 / had.max(1)
        ),
        who: "The owner of the DataSet must check the rows of this run, then publish or discard them.".to_owned(),
        action: format!("The existing {had} rows stay available until the new version is published, or a later run returns enough rows."),
    })
}

fn provenance(
    run: &Claimed,
    dataset: &Dataset,
    previous_provenance: Option<&Provenance>,
    requested: &[Window],
    pulled: &PulledColumns<'_>,
) -> Provenance {
    let (report, key) = (dataset.report.id.to_owned(), dataset.request_key());
    let (from, to) = (
        requested.iter().map(|window| window.from).min(),
        requested.iter().map(|window| window.to).max(),
    );
    // A run of older days keeps the last day that the DataSet has.
    let before = previous_provenance.filter(|before| {
        before.report == report
            && before.request_key == key
            && dataset.update_mode != UpdateMode::Replace
    });
    let last_day = before.and_then(|before| before.to);
    // Backfilled days after a gap do not count: a scheduled run must still fill the gap.
    let joins = run.range.is_none()
        || last_day
            .zip(from)
            .is_some_and(|(last_day, from)| last_day.tomorrow().is_ok_and(|next| from <= next));
    let (columns, filled) = Provenance::for_next_run(
        previous_provenance.filter(|before| before.report == report),
        pulled,
    );
    Provenance {
        to: if joins { to.max(last_day) } else { last_day },
        report,
        request_key: key,
        columns,
        filled,
    }
}

/// Which rows of the previous version the new version does not keep.
async fn rows_to_drop(
    puller: &Puller,
    run: &Claimed,
    dataset: &Dataset,
    requested: &[Window],
    pulled: &[ColumnInfo],
    before: &[ColumnInfo],
) -> Result<Drops> {
    let all = columns::union([
        columns::columns_of(dataset.report).as_slice(),
        pulled,
        before,
    ]);
    let column = |name: &str| all.iter().find(|column| column.name == name).cloned();
    let days = || -> Result<Option<DayRanges>> {
        let Some(column) = dataset.report.day.and_then(column) else {
            return Ok(None);
        };
        Ok(Some(DayRanges::of(
            column,
            requested,
            &schedules::zone(&dataset.time_zone)?,
        )?))
    };
    Ok(match dataset.update_mode {
        UpdateMode::Replace | UpdateMode::Append => Drops::Nothing,
        UpdateMode::Partition => match days()? {
            // The result may contain chats that began on other days, which the DataSet already has.
            // The key finds them.
            Some(days) => Drops::Days {
                days,
                key: report_key(dataset).filter_map(column).collect(),
            },
            None => Drops::Nothing,
        },
        UpdateMode::Merge if !dataset.options.key.is_empty() => {
            // A row without a value in a custom key is identified by the report's key, or by all
            // its columns if the report has none.
            let fallback = match dataset.report.key {
                [] => all
                    .iter()
                    .filter(|column| ![BATCH_ID, BATCH_LAST_RUN].contains(&column.name.as_str()))
                    .cloned()
                    .collect(),
                own => own.iter().copied().filter_map(column).collect(),
            };
            // An earlier row with the same custom key may be of any day.
            let columns = dataset
                .options
                .key
                .iter()
                .filter_map(|name| column(name))
                .collect();
            Drops::Keys {
                columns,
                fallback,
                empty_parents: Vec::new(),
                within: None,
            }
        }
        UpdateMode::Merge => match dataset.report.parent() {
            Some(parent) => {
                let empty_parents = queue::empty_parents(&puller.db, &run.id).await?;
                Drops::Keys {
                    columns: column(parent).into_iter().collect(),
                    fallback: Vec::new(),
                    empty_parents,
                    within: days()?,
                }
            }
            None => {
                let columns = report_key(dataset).filter_map(column).collect();
                Drops::Keys {
                    columns,
                    fallback: Vec::new(),
                    empty_parents: Vec::new(),
                    within: days()?,
                }
            }
        },
    })
}

/// The columns that identify rows that are replaced together: the key of the parent record, or the
/// key of the row.
fn report_key(dataset: &Dataset) -> impl Iterator<Item = &'static str> + use<> {
    let (parent, key) = (dataset.report.parent(), dataset.report.key);
    parent
        .into_iter()
        .chain(key.iter().copied().filter(move |_| parent.is_none()))
}

/// Whether the run records parents that produced no row, because their earlier rows must be
/// dropped.
pub(super) fn tracks_empty_parents(dataset: &Dataset) -> bool {
    dataset.update_mode == UpdateMode::Merge
        && dataset.options.key.is_empty()
        && dataset.report.parent().is_some()
}
