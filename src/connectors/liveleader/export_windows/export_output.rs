//! Emits the rows and counts of complete answers in the order of their windows, and drops chats that
//! were also in the previous answer.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use tokio::sync::mpsc;

use super::super::id_set::IdSet;
use super::super::rows::unwritable;
use super::export_pull::{ChatCounts, ExportPull, ParsedExport, PendingExport};
use crate::connectors::upstream::CallStats;
use crate::connectors::{Completeness, PullError, PullEvent, WindowCounts};

/// The interval of progress events during a long answer.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Emits complete answers in order.
pub(super) struct ExportOutput<'o> {
    pull_state: &'o ExportPull,
    out: &'o mpsc::Sender<PullEvent>,
    /// Ids of the previous answer.
    pub previous_ids: IdSet,
    call_stats: CallStats,
}

impl<'o> ExportOutput<'o> {
    pub fn new(pull_state: &'o ExportPull, out: &'o mpsc::Sender<PullEvent>) -> Self {
        Self {
            pull_state,
            out,
            previous_ids: IdSet::default(),
            call_stats: pull_state.client.call_stats(),
        }
    }

    /// Waits for an answer and sends progress events.
    pub async fn wait(&self, pending: &mut PendingExport) -> Result<ParsedExport, PullError> {
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        loop {
            tokio::select! {
                biased;
                read = &mut pending.reading => return read.map_err(|_| PullError::Cancelled)?,
                _ = tick.tick() => {
                    self.send(PullEvent::Progress {
                        window: Some(pending.windows.start),
                        page: 1,
                        pages: 1,
                        read: self.pull_state.read.load(Ordering::Relaxed),
                        calls: self.pull_state.client.call_stats().calls,
                    })
                    .await?;
                }
            }
        }
    }

    /// Emits the rows and the counts of the answer to these windows.
    pub async fn emit(
        &mut self,
        range: Range<usize>,
        mut answer: ParsedExport,
    ) -> Result<(), PullError> {
        self.remember_extras(&mut answer);
        let in_both = answer.ids.intersection(&self.previous_ids);
        let mut batches = answer.spool.batches();
        let mut removed_ids = HashSet::new();
        while let Some((report, batch)) = batches.next().await? {
            let batch = if in_both.is_empty() {
                batch
            } else {
                self.without(report, &batch, &in_both, &mut removed_ids)?
            };
            if batch.num_rows() > 0 {
                self.send(PullEvent::Rows { report, batch }).await?;
            }
        }
        for (report, parents) in answer
            .empty_parents
            .into_iter()
            .enumerate()
            .filter(|(_, parents)| !parents.is_empty())
        {
            self.send(PullEvent::EmptyParents { report, parents })
                .await?;
        }
        self.previous_ids = std::mem::take(&mut answer.ids);
        // Chats that were also in the previous answer are stored there; chats that a menu excludes
        // are excluded in both.
        let mut twice = removed_ids.len() as u64;
        for count in &mut answer.counts {
            let of_this = twice.min(count.kept);
            (count.kept, count.duplicates, twice) = (
                count.kept - of_this,
                count.duplicates + of_this,
                twice - of_this,
            );
        }
        let call_stats = self.pull_state.client.call_stats();
        let cost = std::mem::replace(&mut self.call_stats, call_stats);
        for (nth, (window, count)) in range.clone().zip(&answer.counts).enumerate() {
            let ChatCounts {
                read,
                kept,
                duplicates,
                left_out,
                rejected,
            } = *count;
            // One document contains the whole period and its end is marked, so nothing can shift as
            // between pages.
            let completeness = Some(Completeness::Complete);
            let mut counts = WindowCounts {
                read,
                kept,
                duplicates,
                left_out,
                rejected,
                completeness,
                ..WindowCounts::default()
            };
            // The costs of the answer are counted in its first window.
            if nth == 0 {
                (counts.pages, counts.calls, counts.waited_ms) = (
                    1,
                    call_stats.calls - cost.calls,
                    call_stats.waited_ms - cost.waited_ms,
                );
                (counts.misfits, counts.repaired) = (answer.misfits, answer.repaired);
            }
            self.send(PullEvent::WindowDone {
                window: Some(window),
                counts,
                is_boundary: window + 1 == range.end,
            })
            .await?;
        }
        Ok(())
    }

    /// Registers the new undeclared fields of an answer, so that later rows have columns for them.
    fn remember_extras(&self, answer: &mut ParsedExport) {
        let mut known = self
            .pull_state
            .known_extras
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (known, new_extras) in known.iter_mut().zip(std::mem::take(&mut answer.extras)) {
            known.extend(
                new_extras
                    .into_iter()
                    .filter(|name| !known.contains(name))
                    .collect::<Vec<_>>(),
            );
        }
    }

    /// The rows of all chats except those in `in_both`.
    fn without(
        &self,
        report: usize,
        batch: &RecordBatch,
        in_both: &HashSet<u64>,
        removed_ids: &mut HashSet<u64>,
    ) -> Result<RecordBatch, PullError> {
        let key = self.pull_state.reports[report]
            .key
            .first()
            .and_then(|name| batch.column_by_name(name))
            .ok_or_else(unwritable)?;
        let ids = key.as_string_opt::<i32>().ok_or_else(unwritable)?;
        let is_kept = |at: usize| {
            if ids.is_null(at) || ids.value(at).is_empty() {
                return true;
            }
            let id = self.pull_state.hasher.hash_one(ids.value(at));
            let twice = in_both.contains(&id);
            if twice {
                removed_ids.insert(id);
            }
            !twice
        };
        let is_kept = BooleanArray::from((0..ids.len()).map(is_kept).collect::<Vec<bool>>());
        filter_record_batch(batch, &is_kept).map_err(|_| unwritable())
    }

    async fn send(&self, event: PullEvent) -> Result<(), PullError> {
        tokio::select! {
            biased;
            () = self.pull_state.client.cancel().cancelled() => Err(PullError::Cancelled),
            sent = self.out.send(event) => sent.map_err(|_| PullError::Cancelled),
        }
    }
}
