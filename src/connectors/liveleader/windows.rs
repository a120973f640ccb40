//! A pull, window by window. Small windows are asked for several at a time, large ones one by one; a few answers are on their way at
//! once and are handed on in order, each when it is known to be whole.

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

use super::client::{Client, Period};
use super::document::{Document, Pieces, Stop, malformed};
use super::ids::Ids;
use super::rows::{Rows, id, start, unwritable};
use super::spool::{Spool, Turn};
use super::xml::{self, Chat};
use crate::connectors::report::Report;
use crate::connectors::upstream::Spent;
use crate::connectors::{Completeness, PullError, PullRequest, Pulled, Tally, Window};

/// Answers on their way at once.
const AT_ONCE: usize = 4;
/// Windows that are asked for together at most, a month of days.
const MOST_TOGETHER: usize = 31;
/// An answer below this is small, and one above that is large, in bytes.
const SMALL: u64 = 1 << 20;
const LARGE: u64 = 8 << 20;
/// Chats of one answer; their ids are kept to drop what comes twice.
const MOST_CHATS: usize = 2_000_000;
/// How often it is told how far a long answer is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What all windows of a pull share.
struct Job {
    client: Client,
    reports: Vec<&'static Report>,
    /// Only chats with this operator, in lower case.
    login: Option<String>,
    /// In which the windows are days.
    zone: TimeZone,
    scratch: PathBuf,
    hasher: RandomState,
    /// By report, the fields that came so far and that no column declares.
    known: Mutex<Vec<Vec<String>>>,
    /// Chats that were read so far.
    read: AtomicU64,
}

/// What one answer held.
struct Answer {
    spool: Spool,
    ids: Ids,
    /// For each of its windows.
    counts: Vec<Count>,
    extras: Vec<Vec<String>>,
    /// By report, chats that gave it no row, by their ids.
    childless: Vec<Vec<String>>,
    misfits: u64,
    repaired: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    read: u64,
    kept: u64,
    duplicates: u64,
    left_out: u64,
    rejected: u64,
}

/// An answer on its way.
struct Coming {
    windows: Range<usize>,
    turn: Arc<Turn>,
    reading: AbortOnDropHandle<Result<Answer, PullError>>,
}

impl Drop for Coming {
    fn drop(&mut self) {
        self.turn.give_up();
    }
}

/// Pulls the reports, reading each document once.
pub(super) async fn pull(client: Client, request: &PullRequest, out: &mpsc::Sender<Pulled>) -> Result<(), PullError> {
    let job = Arc::new(Job {
        client,
        reports: request.reports.clone(),
        login: request.menus.login.as_ref().map(|login| login.to_lowercase()),
        zone: request.zone.clone(),
        scratch: request.scratch.clone(),
        hasher: RandomState::new(),
        known: Mutex::new(request.reports.iter().enumerate().map(|(at, _)| request.extras.get(at).cloned().unwrap_or_default()).collect()),
        read: AtomicU64::new(0),
    });
    let windows: Arc<[Window]> = request.windows.as_slice().into();
    let mut output = Output { job: &job, out, before: Ids::default(), spent: job.client.spent() };
    if let Some(behind) = request.behind {
        // Its rows are there already: only its ids are wanted, for what stands in both.
        output.before = job.fetch(&[behind], Turn::now()).await.map_err(|error| named(error, behind))?.ids;
        job.read.store(0, Ordering::Relaxed);
    }
    let mut plan = Plan { windows: &windows, next: 0, together: 1 };
    let mut coming: VecDeque<Coming> = VecDeque::new();
    loop {
        while coming.len() < AT_ONCE
            && let Some(range) = plan.next()
        {
            coming.push_back(job.begin(&windows, range));
        }
        let Some(mut first) = coming.pop_front() else { return Ok(()) };
        first.turn.come();
        let range = first.windows.clone();
        match output.wait(&mut first).await {
            Ok(answer) => {
                plan.learn(answer.bytes);
                output.hand_on(range, answer).await?;
            }
            // Of several windows perhaps only one cannot be read.
            Err(PullError::Malformed { .. } | PullError::Unavailable(_)) if range.len() > 1 => {
                plan.together = 1;
                for at in range {
                    let mut one = job.begin(&windows, at..at + 1);
                    one.turn.come();
                    let answer = output.wait(&mut one).await.map_err(|error| named(error, windows[at]))?;
                    output.hand_on(at..at + 1, answer).await?;
                }
            }
            Err(error) => return Err(named(error, windows[range.start])),
        }
    }
}

/// Says for which days an answer could not be read.
fn named(error: PullError, window: Window) -> PullError {
    match error {
        PullError::Malformed { at, why } => PullError::Malformed { at, why: format!("{why} (days: {window})") },
        other => other,
    }
}

/// Which windows are asked for together.
struct Plan<'w> {
    windows: &'w [Window],
    next: usize,
    together: usize,
}

impl Plan<'_> {
    /// The next few windows that follow each other.
    fn next(&mut self) -> Option<Range<usize>> {
        let from = self.next;
        self.windows.get(from)?;
        let follows = |at: &usize| self.windows[at - 1].to.tomorrow().ok() == Some(self.windows[*at].from);
        self.next = from + 1 + (from + 1..self.windows.len().min(from + self.together)).take_while(follows).count();
        Some(from..self.next)
    }

    /// Small answers are asked for in larger ones.
    fn learn(&mut self, bytes: u64) {
        if bytes < SMALL {
            self.together = (self.together * 2).min(MOST_TOGETHER);
        } else if bytes > LARGE {
            self.together = (self.together / 2).max(1);
        }
    }
}

impl Job {
    fn begin(self: &Arc<Self>, windows: &Arc<[Window]>, range: Range<usize>) -> Coming {
        let (job, windows, turn, its) = (self.clone(), windows.clone(), Turn::later(), range.clone());
        let its_turn = turn.clone();
        let reading = AbortOnDropHandle::new(tokio::spawn(async move { job.fetch(&windows[its], its_turn).await }));
        Coming { windows: range, turn, reading }
    }

    /// Reads the windows, which follow each other, in one answer.
    async fn fetch(self: &Arc<Self>, windows: &[Window], turn: Arc<Turn>) -> Result<Answer, PullError> {
        let (Some(first), Some(last)) = (windows.first(), windows.last()) else { return Err(PullError::Cancelled) };
        let period = Period::days(Window { from: first.from, to: last.to }, &self.zone)?;
        let windows: Arc<[Window]> = windows.into();
        let (shared, asked) = (self.clone(), period.clone());
        let begin = move || {
            let (job, windows, turn, period) = (shared.clone(), windows.clone(), turn.clone(), asked.clone());
            Document::new(job.client.parsers(), move |pieces, label| job.read(pieces, label, &period, &windows, turn))
        };
        self.client.export(&period, begin).await
    }

    /// Reads one document to its end.
    fn read(&self, pieces: Pieces, label: Option<String>, period: &Period, windows: &[Window], turn: Arc<Turn>) -> Result<Answer, Stop> {
        let mut rows: Vec<Rows> = self.reports.iter().map(|report| Rows::new(report, self.client.zone())).collect();
        for (rows, known) in rows.iter_mut().zip(self.known.lock().unwrap_or_else(PoisonError::into_inner).iter()) {
            rows.expect(known);
        }
        let mut answer = Answer {
            spool: Spool::new(self.scratch.clone(), turn),
            ids: Ids::default(),
            counts: vec![Count::default(); windows.len()],
            extras: Vec::new(),
            childless: vec![Vec::new(); self.reports.len()],
            misfits: 0,
            repaired: 0,
            bytes: 0,
        };
        let mut bytes = 0;
        let mut stopped = None;
        let counted = Counted { from: pieces, bytes: &mut bytes };
        let read = xml::read(counted, label.as_deref(), |chat| match self.take(chat, period, windows, &mut rows, &mut answer) {
            Ok(()) => true,
            Err(why) => {
                stopped = Some(why);
                false
            }
        });
        if let Some(why) = stopped {
            return Err(why);
        }
        read?;
        for (report, rows) in rows.iter_mut().enumerate() {
            for batch in rows.rest().ok_or_else(|| Stop::Own(unwritable()))? {
                answer.spool.push(report, batch)?;
            }
            answer.misfits += rows.misfits();
            answer.extras.push(rows.extras());
        }
        answer.bytes = bytes;
        Ok(answer)
    }

    fn take(&self, chat: &Chat, period: &Period, windows: &[Window], rows: &mut [Rows], answer: &mut Answer) -> Result<(), Stop> {
        self.read.fetch_add(1, Ordering::Relaxed);
        let at = self.window_of(chat, windows);
        let count = &mut answer.counts[at];
        count.read += 1;
        // The vendor may take the end of a period as a part of it. Such a chat comes again with the next period, and is no double there.
        if start(chat, self.client.zone()).is_some_and(|start| period.is_before(start)) {
            count.left_out += 1;
            return Ok(());
        }
        // One without an id is nobody's double.
        if let Some(id) = id(chat) {
            if answer.ids.len() >= MOST_CHATS {
                return Err(Stop::Own(malformed(format!("the document has more than {MOST_CHATS} chats"))));
            }
            if !answer.ids.insert(self.hasher.hash_one(id)) {
                count.duplicates += 1;
                return Ok(());
            }
        }
        if self.login.as_ref().is_some_and(|login| !chat.operators().any(|operator| operator.to_lowercase() == *login)) {
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
                return Err(Stop::Own(unwritable()));
            }
            if rows.is_childless(chat) {
                answer.childless[report].extend(id(chat).map(str::to_owned));
            }
            for batch in rows.take() {
                answer.spool.push(report, batch)?;
            }
        }
        Ok(())
    }

    /// The window on whose days the chat began; the first or last one when it began before or after all of them.
    fn window_of(&self, chat: &Chat, windows: &[Window]) -> usize {
        if windows.len() < 2 {
            return 0;
        }
        let Some(start) = start(chat, self.client.zone()) else { return 0 };
        let day = start.at.to_zoned(self.zone.clone()).date();
        windows.iter().position(|window| day <= window.to).unwrap_or(windows.len() - 1)
    }
}

/// Counts what is read.
struct Counted<'c> {
    from: Pieces,
    bytes: &'c mut u64,
}

impl std::io::Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(into)?;
        *self.bytes += read as u64;
        Ok(read)
    }
}

/// Hands whole answers on, in order.
struct Output<'o> {
    job: &'o Job,
    out: &'o mpsc::Sender<Pulled>,
    /// Ids of the answer before.
    before: Ids,
    spent: Spent,
}

impl Output<'_> {
    /// Waits for an answer, telling how far it is.
    async fn wait(&self, coming: &mut Coming) -> Result<Answer, PullError> {
        let mut tick = tokio::time::interval(TELL_EVERY);
        loop {
            tokio::select! {
                biased;
                read = &mut coming.reading => return read.map_err(|_| PullError::Cancelled)?,
                _ = tick.tick() => {
                    let (read, calls) = (self.job.read.load(Ordering::Relaxed), self.job.client.spent().calls);
                    self.send(Pulled::Progress { window: Some(coming.windows.start), page: 1, pages: 1, read, calls }).await?;
                }
            }
        }
    }

    async fn hand_on(&mut self, range: Range<usize>, mut answer: Answer) -> Result<(), PullError> {
        self.know(&mut answer);
        let both = answer.ids.both(&self.before);
        let mut batches = answer.spool.batches();
        let mut gone = HashSet::new();
        while let Some((report, batch)) = batches.next().await? {
            let batch = if both.is_empty() { batch } else { self.without(report, &batch, &both, &mut gone)? };
            if batch.num_rows() > 0 {
                self.send(Pulled::Rows { report, batch }).await?;
            }
        }
        for (report, parents) in answer.childless.into_iter().enumerate().filter(|(_, parents)| !parents.is_empty()) {
            self.send(Pulled::Childless { report, parents }).await?;
        }
        self.before = std::mem::take(&mut answer.ids);
        // What stood in the answer before as well was kept there; those that a menu left out are left out in both.
        let mut twice = gone.len() as u64;
        for count in &mut answer.counts {
            let of_this = twice.min(count.kept);
            (count.kept, count.duplicates, twice) = (count.kept - of_this, count.duplicates + of_this, twice - of_this);
        }
        let spent = self.job.client.spent();
        let cost = std::mem::replace(&mut self.spent, spent);
        for (nth, (window, count)) in range.clone().zip(&answer.counts).enumerate() {
            let Count { read, kept, duplicates, left_out, rejected } = *count;
            // One document holds the whole period and its end is marked, so there are no pages that could shift.
            let completeness = Some(Completeness::Complete);
            let mut tally = Tally { read, kept, duplicates, left_out, rejected, completeness, ..Tally::default() };
            // What the answer cost is told once.
            if nth == 0 {
                (tally.pages, tally.calls, tally.waited_ms) = (1, spent.calls - cost.calls, spent.waited_ms - cost.waited_ms);
                (tally.misfits, tally.repaired) = (answer.misfits, answer.repaired);
            }
            self.send(Pulled::WindowDone { window: Some(window), tally, settled: window + 1 == range.end }).await?;
        }
        Ok(())
    }

    /// Fields that came have their columns in what follows.
    fn know(&self, answer: &mut Answer) {
        let mut known = self.job.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (known, came) in known.iter_mut().zip(std::mem::take(&mut answer.extras)) {
            known.extend(came.into_iter().filter(|name| !known.contains(name)).collect::<Vec<_>>());
        }
    }

    /// The rows of all chats but those.
    fn without(&self, report: usize, batch: &RecordBatch, both: &HashSet<u64>, gone: &mut HashSet<u64>) -> Result<RecordBatch, PullError> {
        let key = self.job.reports[report].key.first().and_then(|name| batch.column_by_name(name)).ok_or_else(unwritable)?;
        let ids = key.as_string_opt::<i32>().ok_or_else(unwritable)?;
        let stays = |at: usize| {
            if ids.is_null(at) || ids.value(at).is_empty() {
                return true;
            }
            let id = self.job.hasher.hash_one(ids.value(at));
            let twice = both.contains(&id);
            if twice {
                gone.insert(id);
            }
            !twice
        };
        let stays = BooleanArray::from((0..ids.len()).map(stays).collect::<Vec<bool>>());
        filter_record_batch(batch, &stays).map_err(|_| unwritable())
    }

    async fn send(&self, pulled: Pulled) -> Result<(), PullError> {
        tokio::select! {
            biased;
            () = self.job.client.cancel().cancelled() => Err(PullError::Cancelled),
            sent = self.out.send(pulled) => sent.map_err(|_| PullError::Cancelled),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn small_answers_grow_to_a_month_and_gaps_are_not_bridged() {
        let day = |d: i8| Window { from: date(2026, 10, d), to: date(2026, 10, d) };
        let windows: Vec<Window> = (1..=9).chain(12..=31).map(day).collect();
        let mut plan = Plan { windows: &windows, next: 0, together: 1 };
        let mut sizes = Vec::new();
        while let Some(range) = plan.next() {
            sizes.push(range.len());
            plan.learn(10);
        }
        assert_eq!(sizes, [1, 2, 4, 2, 16, 4]);
        plan.learn(LARGE + 1);
        assert_eq!(plan.together, 15);
        plan.learn(SMALL);
        assert_eq!(plan.together, 15);
    }
}
