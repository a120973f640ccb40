//! The task that encodes the rows of a `SegmentWriter` into files, one `FileWriter` per file.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::array::RecordBatch;
use tokio::sync::{mpsc, oneshot};

use super::digest::Digest;
use super::file_writer::FileWriter;
use super::{Segments, WrittenSegment};
use crate::datasets::columns::ColumnInfo;
use crate::error::{Error, Result};
use crate::ids::SegmentId;

/// A request of a `SegmentWriter` to its encoder task.
pub(super) enum WriterCommand {
    Begin {
        id: SegmentId,
        columns: Vec<ColumnInfo>,
        /// The id of each column in the file.
        field_ids: Vec<i64>,
        bytes: Arc<AtomicU64>,
    },
    /// Rows, with their digest if known.
    Write(RecordBatch, Option<Digest>),
    /// Closes the last segment, syncs the directory, and returns the segments that were closed
    /// since the last `Close`.
    Close(oneshot::Sender<Vec<WrittenSegment>>),
}

/// Carries out commands until the channel closes. A file that is open then has no footer, so no
/// reader accepts it as a segment. Blocks.
pub(super) fn write_all(
    segments: &Segments,
    mut from: mpsc::Receiver<WriterCommand>,
) -> Result<()> {
    let mut closed = Vec::new();
    let mut open: Option<FileWriter> = None;
    while let Some(command) = from.blocking_recv() {
        match command {
            WriterCommand::Begin {
                id,
                columns,
                field_ids,
                bytes,
            } => {
                if let Some(done) = open.take() {
                    closed.push(done.close()?);
                }
                open = Some(FileWriter::create(
                    segments.path(&id),
                    id,
                    columns,
                    &field_ids,
                    bytes,
                )?);
            }
            WriterCommand::Write(batch, digest) => match &mut open {
                Some(open) => open.write(&batch, digest)?,
                None => return Err(Error::internal("a batch came before its segment")),
            },
            WriterCommand::Close(to) => {
                if let Some(done) = open.take() {
                    closed.push(done.close()?);
                }
                File::open(&segments.0.dir)?.sync_all()?;
                // The receiver is gone if the writer was dropped.
                let _ = to.send(std::mem::take(&mut closed));
            }
        }
        segments.count_io();
    }
    Ok(())
}
