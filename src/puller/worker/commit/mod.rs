//! Decides the result of a run that has read everything: a new version, a pending one, none, or a
//! failure. All safeguards of the existing rows are in this folder.

mod empty_result;
mod rows_to_drop;
mod run_provenance;
mod safeguards;
mod unchanged;

use super::finish::lease_lost_end;
use super::save::SavingRun;
use crate::connectors::Window;
use crate::connectors::report::UpdateMode;
use crate::datasets::Dataset;
use crate::datasets::columns::{self, ColumnInfo};
use crate::datasets::provenance::{Provenance, PulledColumns};
use crate::datasets::segments::{SegmentWriter, WrittenSegment};
use crate::datasets::update_mode::{self, BuiltSegments};
use crate::datasets::versions::{Commit, Version};
use crate::db::failpoints::{kill_point, panic_point};
use crate::error::{Error, Result};
use crate::puller::Puller;
use crate::puller::queue::{self, Claimed, CommitStats, LeaseState, RunEnd, UnchangedRun};
use crate::puller::run::Failure;
use empty_result::{EmptyResult, decide_empty_result};
pub(super) use rows_to_drop::tracks_empty_parents;
use rows_to_drop::{requested_windows, rows_to_drop};
use run_provenance::provenance;
use safeguards::{find_schema_change, row_drop_failure, schema_change_failure, too_many_rejected};
use unchanged::{is_unchanged, same_columns};

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

/// Why a step before the commit is the last one. `?` creates it.
enum CommitStop {
    RunEnd(RunEnd),
    Error(Error),
}

impl From<Error> for CommitStop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Failure> for CommitStop {
    fn from(failure: Failure) -> Self {
        Self::RunEnd(RunEnd::Failed(failure))
    }
}

impl From<LeaseState> for CommitStop {
    fn from(lease_state: LeaseState) -> Self {
        Self::RunEnd(lease_lost_end(lease_state))
    }
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
    let read_run = ReadRun::new(puller, run, dataset, saving, before.as_deref());
    match read_run.commit(writer, rows, total).await {
        Ok(result) => Ok(result),
        Err(CommitStop::RunEnd(end)) => Ok(CommitResult::NotCommitted(end)),
        Err(CommitStop::Error(error)) => Err(error),
    }
}

/// A run that has read everything, and what its rows are compared with.
struct ReadRun<'a> {
    puller: &'a Puller,
    run: &'a Claimed,
    dataset: &'a Dataset,
    saving: &'a SavingRun,
    /// The current version.
    before: Option<&'a Version>,
    /// The provenance of `before`, if it is known.
    previous_provenance: Option<&'a Provenance>,
    /// `before` has rows of the report of this run, or its report is not known.
    same_report: bool,
    /// `before`, if the new version also contains its rows.
    base: Option<&'a Version>,
    /// The number of rows of `before`.
    had: u64,
}

/// What a run commits.
struct NewVersion {
    /// The columns that the report declares.
    declared: Vec<ColumnInfo>,
    built: BuiltSegments,
    provenance: Provenance,
    /// Rows and bytes that the run wrote.
    written: (u64, u64),
    /// JSON of a `SchemaChange`.
    schema_change: Option<String>,
    /// Why the version waits for approval.
    pending: Option<Failure>,
    /// The version has the columns of the current one, so that their rows can be compared.
    comparable: bool,
}

impl<'a> ReadRun<'a> {
    fn new(
        puller: &'a Puller,
        run: &'a Claimed,
        dataset: &'a Dataset,
        saving: &'a SavingRun,
        before: Option<&'a Version>,
    ) -> Self {
        let previous_provenance = dataset
            .current
            .as_ref()
            .filter(|current| before.is_some_and(|version| version.id == current.version))
            .and_then(|current| current.provenance.as_ref());
        let same_report = dataset.is_same_report(previous_provenance);
        Self {
            puller,
            run,
            dataset,
            saving,
            before,
            previous_provenance,
            same_report,
            base: before.filter(|_| dataset.update_mode != UpdateMode::Replace && same_report),
            had: before.map_or(0, |version| version.rows),
        }
    }

    /// All steps from the last row to the commit.
    async fn commit(
        &self,
        writer: SegmentWriter,
        rows: u64,
        total: Option<u64>,
    ) -> Result<CommitResult, CommitStop> {
        if let Some(failure) =
            too_many_rejected(self.puller, self.run, self.dataset, self.had > 0).await?
        {
            return Err(failure.into());
        }
        if rows == 0 {
            match self.empty_result(total).await? {
                EmptyResult::Accepted => {}
                EmptyResult::KeptRows => {
                    writer.abandon();
                    return self.keep_existing_rows().await;
                }
                EmptyResult::Failed(failure) => return Err(failure.into()),
            }
        }
        let written = self.unless_stopped(writer.finish()).await??;
        kill_point("commit.files_whole");
        let new = self.build(written, rows).await?;
        if let Some(version) = self
            .before
            .filter(|_| new.pending.is_none() && new.comparable)
        {
            let segments = &self.saving.segments;
            let comparing = is_unchanged(segments, version, &new.built, self.base.is_some());
            if self.unless_stopped(comparing).await? {
                return self.record_unchanged(version, new).await;
            }
        }
        self.commit_version(new).await
    }

    /// Runs `future` unless the run is stopped.
    async fn unless_stopped<T>(&self, future: impl Future<Output = T>) -> Result<T, CommitStop> {
        let result = self.saving.unless_stopped(future).await;
        result.map_err(|why| CommitStop::RunEnd(why.end(self.had > 0)))
    }

    async fn empty_result(&self, total: Option<u64>) -> Result<EmptyResult, CommitStop> {
        let deciding = decide_empty_result(
            self.puller,
            self.run,
            self.dataset,
            self.before,
            total,
            self.saving,
        );
        Ok(self.unless_stopped(deciding).await??)
    }

    async fn keep_existing_rows(&self) -> Result<CommitResult, CommitStop> {
        // With Append, the existing version is complete for the requested days. Otherwise the rows
        // stay only as a precaution.
        let base = self
            .before
            .filter(|_| self.dataset.update_mode == UpdateMode::Append)
            .map(|version| &version.id);
        let (db, clock) = (&self.puller.db, &self.puller.clock);
        queue::keep_existing_rows(db, clock, self.run, self.had, base).await??;
        Ok(CommitResult::KeptRows)
    }

    /// Checks the columns, and combines the rows of the run with the existing ones.
    async fn build(
        &self,
        written: Vec<WrittenSegment>,
        rows: u64,
    ) -> Result<NewVersion, CommitStop> {
        let pulled = columns::union(written.iter().map(|segment| segment.columns.as_slice()));
        let metas = written.iter().map(WrittenSegment::meta).collect();
        let filled = self
            .unless_stopped(self.saving.segments.filled_cells(metas))
            .await??;
        let pulled_columns = PulledColumns {
            columns: &pulled,
            filled: &filled,
            rows,
        };
        let schema_change = self.check_columns(&pulled_columns).await?;
        let requested = requested_windows(self.puller, self.run).await?;
        let provenance = provenance(
            self.run,
            self.dataset,
            self.previous_provenance,
            &requested,
            &pulled_columns,
        );
        let totals = (
            written.iter().map(|segment| segment.rows).sum(),
            written.iter().map(|segment| segment.bytes).sum(),
        );
        let declared = columns::columns_of(self.dataset.report);
        let is_merged = self.base.is_some();
        let comparable = self.same_report
            && self
                .before
                .is_some_and(|version| same_columns(version, is_merged, &declared, &pulled));
        let built = self
            .build_segments(written, &requested, &pulled, comparable)
            .await?;
        let left = built.order.iter().map(|segment| segment.rows).sum();
        let pending = self
            .before
            .filter(|_| rows > 0 && self.same_report)
            .and_then(|_| row_drop_failure(self.dataset, self.previous_provenance, self.had, left));
        Ok(NewVersion {
            declared,
            built,
            provenance,
            written: totals,
            schema_change,
            pending,
            comparable,
        })
    }

    /// Returns how the columns changed, as JSON. Ends the run if its DataSet does not accept that.
    async fn check_columns(
        &self,
        pulled: &PulledColumns<'_>,
    ) -> Result<Option<String>, CommitStop> {
        let Some(change) =
            find_schema_change(self.dataset, self.before, self.previous_provenance, pulled)
        else {
            return Ok(None);
        };
        let text = serde_json::to_string(&change).map_err(Error::internal)?;
        // With another report, other columns are expected.
        if let Some(failure) = schema_change_failure(&change).filter(|_| self.same_report) {
            queue::note_schema(&self.puller.db, self.run, &text).await?;
            return Err(failure.into());
        }
        Ok(Some(text))
    }

    /// The segments of the new version: those of the run, and with a base also its segments without
    /// the rows that the run replaces.
    async fn build_segments(
        &self,
        written: Vec<WrittenSegment>,
        requested: &[Window],
        pulled: &[ColumnInfo],
        comparable: bool,
    ) -> Result<BuiltSegments, CommitStop> {
        let Some(version) = self.base else {
            return Ok(BuiltSegments {
                order: written.iter().map(WrittenSegment::meta).collect(),
                written,
                dropped: self.had,
                unchanged: false,
            });
        };
        let (run, dataset) = (self.run, self.dataset);
        let columns = &version.columns;
        let drops = rows_to_drop(self.puller, run, dataset, requested, pulled, columns).await?;
        let building = update_mode::build_with(
            &self.saving.segments,
            (&run.dataset_id, &run.id),
            dataset.update_mode,
            &version.segments,
            written,
            drops,
            comparable,
        );
        Ok(self.unless_stopped(building).await??)
    }

    async fn record_unchanged(
        &self,
        version: &Version,
        new: NewVersion,
    ) -> Result<CommitResult, CommitStop> {
        self.saving.begin_commit();
        let unchanged = UnchangedRun {
            version,
            provenance: &new.provenance,
            written: new.written.0,
            schema_change: new.schema_change,
        };
        let (db, clock) = (&self.puller.db, &self.puller.clock);
        queue::record_unchanged(db, clock, self.run, &unchanged).await??;
        Ok(CommitResult::KeptRows)
    }

    async fn commit_version(&self, new: NewVersion) -> Result<CommitResult, CommitStop> {
        let (run, built) = (self.run, &new.built);
        let commit = Commit {
            order: self.base.map(|_| built.order.as_slice()),
            base: self.base.map(|version| &version.id),
            provenance: Some(&new.provenance),
            pending_approval: new.pending.is_some(),
            ..Commit::new(&run.dataset_id, &run.id, &new.declared, &built.written)
        };
        let stats = CommitStats {
            written: Some(new.written),
            rows_before: self.before.map(|version| version.rows),
            rows_dropped: self.base.map_or(0, |_| built.dropped),
            schema_change: new.schema_change,
            pending_approval: new.pending.as_ref(),
        };
        self.saving.begin_commit();
        let (db, clock) = (&self.puller.db, &self.puller.clock);
        let versions = &self.puller.datasets.versions;
        queue::commit_with(db, clock, versions, run, &commit, &stats).await??;
        Ok(new
            .pending
            .map_or(CommitResult::Current, CommitResult::PendingApproval))
    }
}
