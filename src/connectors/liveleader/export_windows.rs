//! Pulls an export window by window. Small windows are requested several at a time, large ones one
//! by one. A few requests are in flight at once; their answers are emitted in order, each after its
//! document is known to be complete.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use jiff::tz::TimeZone;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::client::{ExportPeriod, LiveLeaderClient};
use super::document::{ChunkStream, DocumentReader, ParseStop, malformed};
use super::id_set::IdSet;
use super::rows::{ChatRows, id, start, unwritable};
use super::spool::{DiskTurn, Spool};
use super::xml::{self, ExportedChat};
use crate::connectors::report::Report;
use crate::connectors::upstream::CallStats;
use crate::connectors::{Completeness, PullError, PullEvent, PullRequest, Window, WindowCounts};

/// Concurrent requests.
const MAX_CONCURRENT: usize = 4;
/// The maximum number of windows in one request: a month of days.
const MAX_WINDOWS_PER_REQUEST: usize = 31;
/// An answer below the first size is small, one above the second is large, in bytes.
const SMALL_ANSWER_BYTES: u64 = 1 << 20;
const LARGE_ANSWER_BYTES: u64 = 8 << 20;
/// The maximum number of chats in one answer; their ids are stored to drop duplicates.
const MAX_CHATS: usize = 2_000_000;
/// The interval of progress events during a long answer.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The state that all windows of a pull share.
struct ExportPull {
    client: LiveLeaderClient,
    reports: Vec<&'static Report>,
    /// Only chats with this operator, in lower case.
    login: Option<String>,
    /// The time zone of the windows.
    zone: TimeZone,
    scratch: PathBuf,
    hasher: RandomState,
    /// The undeclared fields so far, by report.
    known_extras: Mutex<Vec<Vec<String>>>,
    /// Chats that were read so far.
    read: AtomicU64,
}

/// The parsed chats of one answer.
struct ParsedExport {
    spool: Spool,
    ids: IdSet,
    /// For each of its windows.
    counts: Vec<ChatCounts>,
    extras: Vec<Vec<String>>,
    /// Ids of chats without rows, by report.
    empty_parents: Vec<Vec<String>>,
    misfits: u64,
    repaired: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct ChatCounts {
    read: u64,
    kept: u64,
    duplicates: u64,
    left_out: u64,
    rejected: u64,
}

/// A request in flight.
struct PendingExport {
    windows: Range<usize>,
    turn: Arc<DiskTurn>,
    reading: AbortOnDropHandle<Result<ParsedExport, PullError>>,
}

impl Drop for PendingExport {
    fn drop(&mut self) {
        self.turn.abandon();
    }
}

/// Pulls the reports. Each document is read once.
pub(super) async fn pull(
    client: LiveLeaderClient,
    request: &PullRequest,
    out: &mpsc::Sender<PullEvent>,
) -> Result<(), PullError> {
    let pull_state = Arc::new(ExportPull {
        client,
        reports: request.reports.clone(),
        login: request
            .menus
            .login
            .as_ref()
            .map(|login| login.to_lowercase()),
        zone: request.zone.clone(),
        scratch: request.scratch.clone(),
        hasher: RandomState::new(),
        known_extras: Mutex::new(
            request
                .reports
                .iter()
                .enumerate()
                .map(|(at, _)| request.extras.get(at).cloned().unwrap_or_default())
                .collect(),
        ),
        read: AtomicU64::new(0),
    });
    let windows: Arc<[Window]> = request.windows.as_slice().into();
    let mut output = ExportOutput {
        pull_state: &pull_state,
        out,
        previous_ids: IdSet::default(),
        call_stats: pull_state.client.call_stats(),
    };
    if let Some(previous) = request.previous_window {
        // The rows of the previous window are already stored: only its ids are needed, to drop
        // chats that are in both windows.
        output.previous_ids = pull_state
            .fetch(&[previous], DiskTurn::granted())
            .await
            .map_err(|error| with_window(error, previous))?
            .ids;
        pull_state.read.store(0, Ordering::Relaxed);
    }
    let mut planner = WindowPlanner {
        windows: &windows,
        next: 0,
        windows_per_request: 1,
    };
    let mut pending: VecDeque<PendingExport> = VecDeque::new();
    loop {
        while pending.len() < MAX_CONCURRENT
            && let Some(range) = planner.next()
        {
            pending.push_back(pull_state.begin(&windows, range));
        }
        let Some(mut first) = pending.pop_front() else {
            return Ok(());
        };
        first.turn.grant();
        let range = first.windows.clone();
        match output.wait(&mut first).await {
            Ok(answer) => {
                planner.adapt(answer.bytes);
                output.emit(range, answer).await?;
            }
            // The error may concern only one of the windows, so they are requested one by one.
            Err(PullError::Malformed { .. } | PullError::Unavailable(_)) if range.len() > 1 => {
                planner.windows_per_request = 1;
                for at in range {
                    let mut one = pull_state.begin(&windows, at..at + 1);
                    one.turn.grant();
                    let answer = output
                        .wait(&mut one)
                        .await
                        .map_err(|error| with_window(error, windows[at]))?;
                    output.emit(at..at + 1, answer).await?;
                }
            }
            Err(error) => return Err(with_window(error, windows[range.start])),
        }
    }
}

/// Adds the window to an error.
fn with_window(error: PullError, window: Window) -> PullError {
    match error {
        PullError::Malformed { at, why } => PullError::Malformed {
            at,
            why: format!("{why} (days: {window})"),
        },
        other => other,
    }
}

/// Decides which windows are requested together.
struct WindowPlanner<'w> {
    windows: &'w [Window],
    next: usize,
    windows_per_request: usize,
}

impl WindowPlanner<'_> {
    /// The next group of consecutive windows.
    fn next(&mut self) -> Option<Range<usize>> {
        let from = self.next;
        self.windows.get(from)?;
        let follows =
            |at: &usize| self.windows[at - 1].to.tomorrow().ok() == Some(self.windows[*at].from);
        self.next = from
            + 1
            + (from + 1..self.windows.len().min(from + self.windows_per_request))
                .take_while(follows)
                .count();
        Some(from..self.next)
    }

    /// Adapts the number of windows per request to the size of an answer.
    fn adapt(&mut self, bytes: u64) {
        if bytes < SMALL_ANSWER_BYTES {
            self.windows_per_request = (self.windows_per_request * 2).min(MAX_WINDOWS_PER_REQUEST);
        } else if bytes > LARGE_ANSWER_BYTES {
            self.windows_per_request = (self.windows_per_request / 2).max(1);
        }
    }
}

impl ExportPull {
    fn begin(self: &Arc<Self>, windows: &Arc<[Window]>, range: Range<usize>) -> PendingExport {
        let turn = DiskTurn::waiting();
        let (pull_state, windows, task_range, task_turn) =
            (self.clone(), windows.clone(), range.clone(), turn.clone());
        let reading = AbortOnDropHandle::new(tokio::spawn(async move {
            pull_state.fetch(&windows[task_range], task_turn).await
        }));
        PendingExport {
            windows: range,
            turn,
            reading,
        }
    }

    /// Requests consecutive windows in one answer.
    async fn fetch(
        self: &Arc<Self>,
        windows: &[Window],
        turn: Arc<DiskTurn>,
    ) -> Result<ParsedExport, PullError> {
        let (Some(first), Some(last)) = (windows.first(), windows.last()) else {
            return Err(PullError::Cancelled);
        };
        let period = ExportPeriod::days(
            Window {
                from: first.from,
                to: last.to,
            },
            &self.zone,
        )?;
        let windows: Arc<[Window]> = windows.into();
        let (shared, requested) = (self.clone(), period.clone());
        let begin = move || {
            let (pull_state, windows, turn, period) = (
                shared.clone(),
                windows.clone(),
                turn.clone(),
                requested.clone(),
            );
            DocumentReader::new(pull_state.client.parser_slots(), move |pieces, label| {
                pull_state.read(pieces, label, &period, &windows, turn)
            })
        };
        self.client.export(&period, begin).await
    }

    /// Parses one document to its end.
    fn read(
        &self,
        pieces: ChunkStream,
        label: Option<String>,
        period: &ExportPeriod,
        windows: &[Window],
        turn: Arc<DiskTurn>,
    ) -> Result<ParsedExport, ParseStop> {
        let mut rows: Vec<ChatRows> = self
            .reports
            .iter()
            .map(|report| ChatRows::new(report, self.client.zone()))
            .collect();
        for (rows, known) in rows.iter_mut().zip(
            self.known_extras
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter(),
        ) {
            rows.add_extra_columns(known);
        }
        let mut answer = ParsedExport {
            spool: Spool::new(self.scratch.clone(), turn),
            ids: IdSet::default(),
            counts: vec![ChatCounts::default(); windows.len()],
            extras: Vec::new(),
            empty_parents: vec![Vec::new(); self.reports.len()],
            misfits: 0,
            repaired: 0,
            bytes: 0,
        };
        let mut bytes = 0;
        let mut stopped = None;
        let counted = CountingReader {
            from: pieces,
            bytes: &mut bytes,
        };
        let read = xml::read(counted, label.as_deref(), |chat| {
            match self.add_chat(chat, period, windows, &mut rows, &mut answer) {
                Ok(()) => true,
                Err(why) => {
                    stopped = Some(why);
                    false
                }
            }
        });
        if let Some(why) = stopped {
            return Err(why);
        }
        read?;
        for (report, rows) in rows.iter_mut().enumerate() {
            for batch in rows
                .finish_batches()
                .ok_or_else(|| ParseStop::Internal(unwritable()))?
            {
                answer.spool.push(report, batch)?;
            }
            answer.misfits += rows.misfits();
            answer.extras.push(rows.extras());
        }
        answer.bytes = bytes;
        Ok(answer)
    }

    fn add_chat(
        &self,
        chat: &ExportedChat,
        period: &ExportPeriod,
        windows: &[Window],
        rows: &mut [ChatRows],
        answer: &mut ParsedExport,
    ) -> Result<(), ParseStop> {
        self.read.fetch_add(1, Ordering::Relaxed);
        let at = self.window_of(chat, windows);
        let count = &mut answer.counts[at];
        count.read += 1;
        // The vendor may include the end of a period. Such a chat is also in the next period, where
        // it must not count as a duplicate.
        if start(chat, self.client.zone()).is_some_and(|start| period.ends_before(start)) {
            count.left_out += 1;
            return Ok(());
        }
        // A chat without id is never a duplicate.
        if let Some(id) = id(chat) {
            if answer.ids.len() >= MAX_CHATS {
                return Err(ParseStop::Internal(malformed(format!(
                    "the document has more than {MAX_CHATS} chats"
                ))));
            }
            if !answer.ids.insert(self.hasher.hash_one(id)) {
                count.duplicates += 1;
                return Ok(());
            }
        }
        if self.login.as_ref().is_some_and(|login| {
            !chat
                .operators()
                .any(|operator| operator.to_lowercase() == *login)
        }) {
            count.left_out += 1;
            return Ok(());
        }
        if id(chat).is_none() {
            count.rejected += 1;
            return Ok(());
        }
        count.kept += 1;
        answer.repaired += chat.repaired();
        for (report, rows) in rows.iter_mut().enumerate() {
            if !rows.chat(chat) {
                return Err(ParseStop::Internal(unwritable()));
            }
            if rows.has_no_rows(chat) {
                answer.empty_parents[report].extend(id(chat).map(str::to_owned));
            }
            for batch in rows.take_batches() {
                answer.spool.push(report, batch)?;
            }
        }
        Ok(())
    }

    /// The window in which the chat started; the first or last one if it started before or after
    /// all of them.
    fn window_of(&self, chat: &ExportedChat, windows: &[Window]) -> usize {
        if windows.len() < 2 {
            return 0;
        }
        let Some(start) = start(chat, self.client.zone()) else {
            return 0;
        };
        let day = start.at.to_zoned(self.zone.clone()).date();
        windows
            .iter()
            .position(|window| day <= window.to)
            .unwrap_or(windows.len() - 1)
    }
}

/// Counts the bytes that are read.
struct CountingReader<'c> {
    from: ChunkStream,
    bytes: &'c mut u64,
}

impl std::io::Read for CountingReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(into)?;
        *self.bytes += read as u64;
        Ok(read)
    }
}

/// Emits complete answers in order.
struct ExportOutput<'o> {
    pull_state: &'o ExportPull,
    out: &'o mpsc::Sender<PullEvent>,
    /// Ids of the previous answer.
    previous_ids: IdSet,
    call_stats: CallStats,
}

impl ExportOutput<'_> {
    /// Waits for an answer and sends progress events.
    async fn wait(&self, pending: &mut PendingExport) -> Result<ParsedExport, PullError> {
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        loop {
            tokio::select! {
                biased;
                read = &mut pending.reading => return read.map_err(|_| PullError::Cancelled)?,
                _ = tick.tick() => {
                    let (read, calls) = (self.pull_state.read.load(Ordering::Relaxed), self.pull_state.client.call_stats().calls);
                    self.send(PullEvent::Progress { window: Some(pending.windows.start), page: 1, pages: 1, read, calls }).await?;
                }
            }
        }
    }

    async fn emit(
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

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn small_answers_grow_to_a_month_and_gaps_are_not_bridged() {
        let day = |d: i8| Window {
            from: date(2026, 10, d),
            to: date(2026, 10, d),
        };
        let windows: Vec<Window> = (1..=9).chain(12..=31).map(day).collect();
        let mut planner = WindowPlanner {
            windows: &windows,
            next: 0,
            windows_per_request: 1,
        };
        let mut sizes = Vec::new();
        while let Some(range) = planner.next() {
            sizes.push(range.len());
            planner.adapt(10);
        }
        assert_eq!(sizes, [1, 2, 4, 2, 16, 4]);
        planner.adapt(LARGE_ANSWER_BYTES + 1);
        assert_eq!(planner.windows_per_request, 15);
        planner.adapt(SMALL_ANSWER_BYTES);
        assert_eq!(planner.windows_per_request, 15);
    }
}
