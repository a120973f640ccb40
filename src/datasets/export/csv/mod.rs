//! Encodes CSV for `pipe`: RFC 4180 with CRLF, UTF-8 and a header line. Null and empty text are
//! both an empty field; a NUL becomes U+FFFD.

mod formula_guard;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use arrow::csv::writer::Terminator;
use arrow::datatypes::{Schema, SchemaRef};
use prometheus_client::metrics::counter::Counter;

use super::cell_text::{count_nul, has_nul, printable, printable_of, replace_nul};
use super::pipe::Encode;
use crate::datasets::columns::{self, ColumnInfo};
use crate::datasets::segments::{BatchReader, Segments};
use crate::datasets::versions::Pin;
use crate::error::{Error, Result};
use formula_guard::guard_batch;
pub(super) use formula_guard::needs_guard;
pub use formula_guard::{guard, unguard};

/// CSV options.
#[derive(Clone, Debug, Default)]
pub struct CsvOptions {
    /// The columns to write, in this order; `None` for all.
    pub columns: Option<Vec<String>>,
    /// Start with a byte order mark, so that Excel recognizes UTF-8.
    pub bom: bool,
    /// Mark text that a spreadsheet would read as a formula with a leading `'`; see `guard`.
    pub guard: bool,
}

/// Creates an encoder of a version for `pipe`. Fails only for invalid `options`. The version stays
/// pinned until the encoder is dropped.
pub fn csv(segments: &Segments, version: Pin, options: CsvOptions) -> Result<Encoder> {
    let columns = select_columns(&version.columns, options.columns.as_deref())?;
    let schema = columns::to_schema(&columns);
    let segments = segments.clone();
    Ok(Encoder {
        segments,
        version,
        columns,
        schema,
        options,
        begun: false,
        segment: 0,
        row: 0,
        reader: None,
        batch: None,
        replaced_nul: Counter::default(),
    })
}

/// Writes a version part by part. It remembers its position as a segment and row number, so that it
/// can close its files and continue later.
pub struct Encoder {
    segments: Segments,
    version: Pin,
    columns: Vec<ColumnInfo>,
    schema: SchemaRef,
    options: CsvOptions,
    begun: bool,
    /// The position of the next row: segment and row number.
    segment: usize,
    row: u64,
    reader: Option<BatchReader>,
    batch: Option<BufferedRows>,
    /// The number of NUL characters written as U+FFFD; may be shared with other downloads.
    pub replaced_nul: Counter<u64, AtomicU64>,
}

/// Rows that were read but not yet written.
struct BufferedRows {
    batch: RecordBatch,
    /// The approximate size of a row in bytes.
    bytes: usize,
    may_have_nul: bool,
}

impl Encode for Encoder {
    fn encode(&mut self, part: &mut Vec<u8>, at_least: usize) -> Result<bool> {
        if !self.begun {
            self.begun = true;
            self.begin(part)?;
        }
        let enough = part.len() + at_least;
        while part.len() < enough {
            let Some(BufferedRows {
                batch,
                bytes,
                may_have_nul,
            }) = self.next_rows()?
            else {
                return Ok(true);
            };
            // Encodes half a part at a time, so that no part becomes much larger than requested.
            let rows = (at_least / 2 / bytes).clamp(1, batch.num_rows());
            self.write(&batch.slice(0, rows), may_have_nul, part)?;
            self.row += rows as u64;
            self.batch = (rows < batch.num_rows()).then(|| BufferedRows {
                batch: batch.slice(rows, batch.num_rows() - rows),
                bytes,
                may_have_nul,
            });
        }
        Ok(false)
    }

    fn release(&mut self) {
        (self.reader, self.batch) = (None, None);
    }
}

impl Encoder {
    fn begin(&self, part: &mut Vec<u8>) -> Result<()> {
        if self.options.bom {
            part.extend_from_slice("\u{feff}".as_bytes());
        }
        if !self.columns.is_empty() {
            let names = self.columns.iter().map(|column| {
                let name = replace_nul(&column.name);
                if self.options.guard {
                    guard(&name).into_owned()
                } else {
                    name.into_owned()
                }
            });
            let fields: Vec<_> = names
                .zip(self.schema.fields())
                .map(|(name, field)| field.as_ref().clone().with_name(name))
                .collect();
            write_batch(
                &printable(&RecordBatch::new_empty(Arc::new(Schema::new(fields))))?,
                true,
                part,
            )?;
        }
        Ok(())
    }

    /// Reads rows from the current position; `None` at the end of the version.
    fn next_rows(&mut self) -> Result<Option<BufferedRows>> {
        if let Some(rows) = self.batch.take() {
            return Ok(Some(rows));
        }
        while let Some(meta) = self.version.segments.get(self.segment) {
            if self.row == meta.rows {
                (self.segment, self.row, self.reader) = (self.segment + 1, 0, None);
                continue;
            }
            let reader = match &mut self.reader {
                Some(reader) => reader,
                none => {
                    let rest = self.row..meta.rows;
                    let ranges = (self.row > 0).then_some(std::slice::from_ref(&rest));
                    none.insert(self.segments.open(meta)?.read(&self.schema, ranges)?)
                }
            };
            let Some(batch) = reader.next() else {
                return Err(Error::internal(format!(
                    "segment {}: {} rows were read of {}",
                    meta.id, self.row, meta.rows
                )));
            };
            let batch = batch?;
            if batch.num_rows() > 0 {
                let bytes = (batch.get_array_memory_size() / batch.num_rows()).max(1);
                return Ok(Some(BufferedRows {
                    may_have_nul: has_nul(&batch),
                    batch,
                    bytes,
                }));
            }
        }
        let read: u64 = self.version.segments.iter().map(|meta| meta.rows).sum();
        if read == self.version.rows {
            Ok(None)
        } else {
            Err(Error::internal(format!(
                "{read} rows were read of {}",
                self.version.rows
            )))
        }
    }

    fn write(&self, batch: &RecordBatch, may_have_nul: bool, part: &mut Vec<u8>) -> Result<()> {
        if may_have_nul {
            self.replaced_nul.inc_by(count_nul(batch));
        }
        let batch = printable_of(batch, may_have_nul)?;
        let batch = if self.options.guard {
            guard_batch(&batch)?
        } else {
            batch
        };
        write_batch(&batch, false, part)
    }
}

fn write_batch(batch: &RecordBatch, header: bool, part: &mut Vec<u8>) -> Result<()> {
    let mut writer = WriterBuilder::new()
        .with_header(header)
        .with_line_terminator(Terminator::CRLF)
        .build(part);
    writer.write(batch).map_err(Error::internal)
}

/// The requested columns, in the requested order.
pub(super) fn select_columns(
    all: &[ColumnInfo],
    wanted: Option<&[String]>,
) -> Result<Vec<ColumnInfo>> {
    let Some(wanted) = wanted else {
        return Ok(all.to_vec());
    };
    let mut chosen: Vec<ColumnInfo> = Vec::with_capacity(wanted.len());
    for name in wanted {
        let column = all
            .iter()
            .find(|column| &column.name == name)
            .ok_or_else(|| Error::field("columns", format!("Column {name:?} does not exist.")))?;
        if chosen.iter().any(|has| has.name == column.name) {
            return Err(Error::field(
                "columns",
                format!("Column {name:?} is listed twice."),
            ));
        }
        chosen.push(column.clone());
    }
    if chosen.is_empty() {
        Err(Error::field(
            "columns",
            "List at least one column. Leave it out for all columns.",
        ))
    } else {
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests;
