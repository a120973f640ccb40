//! Where records go: to one row builder a report, and from there, window by window, to whoever pulls.

use arrow::array::RecordBatch;
use tokio::sync::mpsc;

use super::client::Client;
use super::paging::Sink;
use super::record_key::RecordKey;
use super::rows::Rows;
use crate::clock::Millis;
use crate::connectors::pull_error::Place;
use crate::connectors::report::Report;
use crate::connectors::table::joined;
use crate::connectors::upstream::Spent;
use crate::connectors::{Completeness, PullError, Pulled, Tally, too_many_rejected};

const UNWRITABLE: &str = "the rows could not be built";

/// What comes out of a pull: one row builder per report, over one reading.
pub(super) struct Output<'a> {
    client: &'a Client,
    out: &'a mpsc::Sender<Pulled>,
    path: &'static str,
    rows: Vec<Rows>,
    /// Of all reports alike: they share the records.
    key: RecordKey,
    window: Option<usize>,
    /// Records of this window so far, and the counts of the pull when the one before was done.
    read: u64,
    /// Of them, those that were rejected.
    rejected: u64,
    spent: Spent,
    misfits: u64,
    /// Nothing is sent; the rows are for a sample.
    pub hold: bool,
}

impl<'a> Output<'a> {
    pub fn new(client: &'a Client, first: &'static Report, reports: &[&'static Report], out: &'a mpsc::Sender<Pulled>) -> Self {
        let rows = reports.iter().map(|report| Rows::new(report)).collect();
        let key = RecordKey::of(first);
        Self { client, out, path: first.request.path, rows, key, window: None, read: 0, rejected: 0, spent: client.spent(), misfits: 0, hold: false }
    }

    /// These fields have columns already, report by report.
    pub fn expect(&mut self, extras: &[Vec<String>]) {
        for (rows, names) in self.rows.iter_mut().zip(extras) {
            rows.expect(names);
        }
    }

    pub fn begin(&mut self, window: Option<usize>) {
        self.window = window;
        (self.read, self.rejected) = (0, 0);
        self.misfits = self.all_misfits();
    }

    fn all_misfits(&self) -> u64 {
        self.rows.iter().map(|rows| rows.misfits()).sum()
    }

    pub fn unwritable(&self) -> PullError {
        PullError::Malformed { at: Place { path: self.path.to_owned(), page: 0 }, why: UNWRITABLE.to_owned() }
    }

    async fn send(&self, pulled: Pulled) -> Result<(), PullError> {
        if self.hold {
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.client.cancel().cancelled() => Err(PullError::Cancelled),
            sent = self.out.send(pulled) => sent.map_err(|_| PullError::Cancelled),
        }
    }

    async fn send_ready(&mut self) -> Result<(), PullError> {
        if self.hold {
            return Ok(());
        }
        for report in 0..self.rows.len() {
            for batch in self.rows[report].take() {
                self.send(Pulled::Rows { report, batch }).await?;
            }
        }
        Ok(())
    }

    /// What follows comes from a call that was made for `choice` and answered at `at`.
    pub fn call(&mut self, choice: Option<&str>, at: Millis) {
        for rows in &mut self.rows {
            rows.call(choice, at);
        }
    }

    /// Records of this window that were rejected so far.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Fails if too many of the records so far were rejected; of a part of what there is, if all were.
    pub fn check_rejected(&self, whole: bool) -> Result<(), PullError> {
        let fails = if whole { too_many_rejected(self.rejected, self.read) } else { self.rejected > 0 && self.rejected == self.read };
        if fails { Err(PullError::UnexpectedRecords { rejected: self.rejected, of: self.read }) } else { Ok(()) }
    }

    /// Periods as they came: name, start, value. One without a name, or whose value is of another shape, is rejected.
    pub async fn periods(&mut self, periods: &[(std::borrow::Cow<'_, str>, &str)], start: impl Fn(&str) -> Option<Millis>) -> Result<(), PullError> {
        let count = periods.len() as u64;
        self.read += count;
        let mut broken = false;
        let accepted = |period: &str, value: &str| !period.trim().is_empty() && self.rows.iter().all(|rows| rows.takes_period(value));
        let periods: Vec<_> = periods.iter().filter(|(period, value)| accepted(period, value)).collect();
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

    /// The rows of the first report so far, of a pull that holds them; those before are forgotten.
    pub fn batch(&mut self) -> Result<RecordBatch, PullError> {
        let unwritable = self.unwritable();
        let rows = self.rows.first_mut().and_then(|rows| {
            let mut all = rows.take();
            all.push(rows.batch().ok()?);
            joined(&all)
        });
        rows.ok_or(unwritable)
    }

    /// Everything of the window goes out, and then that it is complete.
    pub async fn done(&mut self, mut tally: Tally) -> Result<(), PullError> {
        for at in 0..self.rows.len() {
            if self.rows[at].flush().is_err() {
                return Err(self.unwritable());
            }
        }
        self.send_ready().await?;
        for report in 0..self.rows.len() {
            let parents = std::mem::take(&mut self.rows[report].childless);
            if !parents.is_empty() {
                self.send(Pulled::Childless { report, parents }).await?;
            }
        }
        tally.rejected = self.rejected;
        tally.kept = tally.kept.saturating_sub(self.rejected);
        tally.duplicates = tally.read - tally.kept - tally.rejected;
        // Only archives give a total, and they say themselves what it proves.
        tally.completeness.get_or_insert(Completeness::Complete);
        // Since the window before was done: pages of this one may have come early.
        let spent = self.client.spent();
        let before = std::mem::replace(&mut self.spent, spent);
        (tally.calls, tally.waited_ms) = (spent.calls - before.calls, spent.waited_ms - before.waited_ms);
        tally.misfits = self.all_misfits() - self.misfits;
        self.send(Pulled::WindowDone { window: self.window, tally, settled: true }).await
    }
}

impl Sink for Output<'_> {
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
        self.send(Pulled::Progress { window: self.window, page, pages, read: self.read, calls: self.client.spent().calls }).await
    }
}
