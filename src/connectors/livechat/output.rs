//! The output of a pull: passes records to one row builder per report and sends the batches of each
//! window to the puller.

use arrow::array::RecordBatch;
use tokio::sync::mpsc;

use super::client::LiveChatClient;
use super::paging::Sink;
use super::record_key::RecordKey;
use super::rows::JsonRows;
use crate::clock::Millis;
use crate::connectors::pull_error::ResponseLocation;
use crate::connectors::report::Report;
use crate::connectors::table::concat_batches;
use crate::connectors::upstream::CallStats;
use crate::connectors::{Completeness, PullError, PullEvent, WindowCounts, too_many_rejected};

const UNWRITABLE: &str = "the rows could not be built";

/// The output of a pull: one row builder per report, filled from the same records.
pub(super) struct RecordOutput<'a> {
    client: &'a LiveChatClient,
    out: &'a mpsc::Sender<PullEvent>,
    path: &'static str,
    rows: Vec<JsonRows>,
    /// Shared by all reports, because they have the same records.
    key: RecordKey,
    window: Option<usize>,
    /// Records of this window so far.
    read: u64,
    /// How many of them were rejected.
    rejected: u64,
    /// The costs of the pull at the end of the previous window.
    call_stats: CallStats,
    /// The misfits of the pull at the start of this window.
    misfits: u64,
    /// Nothing is sent; the rows are for a sample.
    pub sample_only: bool,
}

impl<'a> RecordOutput<'a> {
    pub fn new(
        client: &'a LiveChatClient,
        first: &'static Report,
        reports: &[&'static Report],
        out: &'a mpsc::Sender<PullEvent>,
    ) -> Self {
        let rows = reports.iter().map(|report| JsonRows::new(report)).collect();
        let key = RecordKey::of(first);
        Self {
            client,
            out,
            path: first.request.path,
            rows,
            key,
            window: None,
            read: 0,
            rejected: 0,
            call_stats: client.call_stats(),
            misfits: 0,
            sample_only: false,
        }
    }

    /// Adds columns for these undeclared fields, report by report.
    pub fn add_extra_columns(&mut self, extras: &[Vec<String>]) {
        for (rows, names) in self.rows.iter_mut().zip(extras) {
            rows.add_extra_columns(names);
        }
    }

    pub fn begin_window(&mut self, window: Option<usize>) {
        self.window = window;
        (self.read, self.rejected) = (0, 0);
        self.misfits = self.all_misfits();
    }

    fn all_misfits(&self) -> u64 {
        self.rows.iter().map(|rows| rows.misfits()).sum()
    }

    pub fn unwritable(&self) -> PullError {
        PullError::Malformed {
            at: ResponseLocation {
                path: self.path.to_owned(),
                page: 0,
            },
            why: UNWRITABLE.to_owned(),
        }
    }

    async fn send(&self, event: PullEvent) -> Result<(), PullError> {
        if self.sample_only {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.client.cancel().cancelled() => Err(PullError::Cancelled),
            sent = self.out.send(event) => sent.map_err(|_| PullError::Cancelled),
        }
    }

    async fn send_ready(&mut self) -> Result<(), PullError> {
        if self.sample_only {
            return Ok(());
        }
        for report in 0..self.rows.len() {
            for batch in self.rows[report].take_batches() {
                self.send(PullEvent::Rows { report, batch }).await?;
            }
        }
        Ok(())
    }

    /// The next records are from a call for `choice` that was answered at `at`.
    pub fn begin_call(&mut self, choice: Option<&str>, at: Millis) {
        for rows in &mut self.rows {
            rows.begin_call(choice, at);
        }
    }

    /// Records of this window that were rejected so far.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Fails if too many of the records so far were rejected. If the data is incomplete (a sample),
    /// fails only if all were rejected.
    pub fn check_rejected(&self, is_complete: bool) -> Result<(), PullError> {
        let fails = if is_complete {
            too_many_rejected(self.rejected, self.read)
        } else {
            self.rejected > 0 && self.rejected == self.read
        };
        if fails {
            Err(PullError::UnexpectedRecords {
                rejected: self.rejected,
                of: self.read,
            })
        } else {
            Ok(())
        }
    }

    /// Writes periods: name, start, value. A period without a name, or with a value of another
    /// shape, is rejected.
    pub async fn periods(
        &mut self,
        periods: &[(std::borrow::Cow<'_, str>, &str)],
        start: impl Fn(&str) -> Option<Millis>,
    ) -> Result<(), PullError> {
        let count = periods.len() as u64;
        self.read += count;
        let mut broken = false;
        let accepted = |period: &str, value: &str| {
            !period.trim().is_empty() && self.rows.iter().all(|rows| rows.accepts_period(value))
        };
        let periods: Vec<_> = periods
            .iter()
            .filter(|(period, value)| accepted(period, value))
            .collect();
        self.rejected += count - periods.len() as u64;
        for rows in &mut self.rows {
            let mut row = rows.scratch();
            for (period, value) in periods.iter().copied() {
                broken |= rows.period(period, start(period), value, &mut row).is_err();
            }
        }
        if broken {
            return Err(self.unwritable());
        }
        self.send_ready().await
    }

    /// The rows of the first report so far, for a sample.
    pub fn batch(&mut self) -> Result<RecordBatch, PullError> {
        let unwritable = self.unwritable();
        let rows = self.rows.first_mut().and_then(|rows| {
            let mut all = rows.take_batches();
            all.push(rows.batch().ok()?);
            concat_batches(&all)
        });
        rows.ok_or(unwritable)
    }

    /// Sends all remaining rows of the window and then `WindowDone`.
    pub async fn finish_window(&mut self, mut counts: WindowCounts) -> Result<(), PullError> {
        for at in 0..self.rows.len() {
            if self.rows[at].flush().is_err() {
                return Err(self.unwritable());
            }
        }
        self.send_ready().await?;
        for report in 0..self.rows.len() {
            let parents = std::mem::take(&mut self.rows[report].empty_parents);
            if !parents.is_empty() {
                self.send(PullEvent::EmptyParents { report, parents })
                    .await?;
            }
        }
        counts.rejected = self.rejected;
        counts.kept = counts.kept.saturating_sub(self.rejected);
        counts.duplicates = counts.read - counts.kept - counts.rejected;
        // Only archives have a total and set their completeness themselves.
        counts.completeness.get_or_insert(Completeness::Complete);
        // Costs since the end of the previous window, because pages of this window may have been
        // read early.
        let call_stats = self.client.call_stats();
        let before = std::mem::replace(&mut self.call_stats, call_stats);
        (counts.calls, counts.waited_ms) = (
            call_stats.calls - before.calls,
            call_stats.waited_ms - before.waited_ms,
        );
        counts.misfits = self.all_misfits() - self.misfits;
        self.send(PullEvent::WindowDone {
            window: self.window,
            counts,
            is_boundary: true,
        })
        .await
    }
}

impl Sink for RecordOutput<'_> {
    async fn records(&mut self, mut records: Vec<&str>) -> Result<(), PullError> {
        let count = records.len() as u64;
        self.read += count;
        records.retain(|record| self.key.accepts(record));
        self.rejected += count - records.len() as u64;
        let mut broken = false;
        for rows in &mut self.rows {
            let mut row = rows.scratch();
            for record in &records {
                broken |= rows.record(record, &mut row).is_err();
            }
        }
        if broken {
            return Err(self.unwritable());
        }
        self.send_ready().await
    }

    async fn page(&mut self, page: u64, pages: u64) -> Result<(), PullError> {
        self.send(PullEvent::Progress {
            window: self.window,
            page,
            pages,
            read: self.read,
            calls: self.client.call_stats().calls,
        })
        .await
    }
}
