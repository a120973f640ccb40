//! Requests windows and parses their documents. The parsed rows stay in a spool until the document
//! is known to be complete.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::tz::TimeZone;
use tokio_util::task::AbortOnDropHandle;

use super::super::client::{ExportPeriod, LiveLeaderClient};
use super::super::document::{ChunkStream, DocumentReader, ParseStop, malformed};
use super::super::id_set::IdSet;
use super::super::rows::{ChatRows, id, start, unwritable};
use super::super::spool::{DiskTurn, Spool};
use super::super::xml::{self, ExportedChat};
use crate::connectors::report::Report;
use crate::connectors::{PullError, PullRequest, Window};

/// The maximum number of chats in one answer; their ids are stored to drop duplicates.
const MAX_CHATS: usize = 2_000_000;

/// The state that all windows of a pull share.
pub(super) struct ExportPull {
    pub client: LiveLeaderClient,
    pub reports: Vec<&'static Report>,
    /// Only chats with this operator, in lower case.
    login: Option<String>,
    /// The time zone of the windows.
    zone: TimeZone,
    scratch: PathBuf,
    pub hasher: RandomState,
    /// The undeclared fields so far, by report.
    pub known_extras: Mutex<Vec<Vec<String>>>,
    /// Chats that were read so far.
    pub read: AtomicU64,
}

/// The parsed chats of one answer.
pub(super) struct ParsedExport {
    pub spool: Spool,
    pub ids: IdSet,
    /// For each of its windows.
    pub counts: Vec<ChatCounts>,
    pub extras: Vec<Vec<String>>,
    /// Ids of chats without rows, by report.
    pub empty_parents: Vec<Vec<String>>,
    pub misfits: u64,
    pub repaired: u64,
    pub bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ChatCounts {
    pub read: u64,
    pub kept: u64,
    pub duplicates: u64,
    pub left_out: u64,
    pub rejected: u64,
}

/// A request in flight.
pub(super) struct PendingExport {
    pub windows: Range<usize>,
    pub turn: Arc<DiskTurn>,
    pub reading: AbortOnDropHandle<Result<ParsedExport, PullError>>,
}

impl Drop for PendingExport {
    fn drop(&mut self) {
        self.turn.abandon();
    }
}

impl ExportPull {
    pub fn new(client: LiveLeaderClient, request: &PullRequest) -> Self {
        Self {
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
        }
    }

    /// Starts a request for these windows.
    pub fn begin(self: &Arc<Self>, windows: &Arc<[Window]>, range: Range<usize>) -> PendingExport {
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
    pub async fn fetch(
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
