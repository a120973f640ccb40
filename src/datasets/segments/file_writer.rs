//! Writes the file of one segment: its Parquet properties, and the checksums and the digest, which
//! are computed while writing.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_writer::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::checksum::ChecksumWriter;
use super::digest::Digest;
use super::{BATCH_ROWS, WrittenSegment, parquet};
use crate::datasets::columns::{self, ColumnInfo};
use crate::error::Result;
use crate::ids::SegmentId;

pub(super) const ROW_GROUP_ROWS: usize = 64 << 10;
const ROW_GROUP_BYTES: usize = 16 << 20;
/// Small pages, so that a reader of a hundred rows decodes few other rows.
const PAGE_ROWS: usize = 2_048;
const PAGE_BYTES: usize = 64 << 10;

/// A segment whose file is being written.
pub(super) struct FileWriter {
    id: SegmentId,
    columns: Vec<ColumnInfo>,
    schema: SchemaRef,
    writer: ArrowWriter<ChecksumWriter>,
    digest: Digest,
    bytes: Arc<AtomicU64>,
}

impl FileWriter {
    /// Creates the file, which must not exist. `bytes` is updated to the length of the file.
    pub fn create(
        path: PathBuf,
        id: SegmentId,
        columns: Vec<ColumnInfo>,
        field_ids: &[i64],
        bytes: Arc<AtomicU64>,
    ) -> Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(parquet)?))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_data_page_size_limit(PAGE_BYTES)
            // A reader of one page also decodes the dictionary, so the dictionary is as small as a
            // page.
            .set_dictionary_page_size_limit(PAGE_BYTES)
            .set_write_batch_size(256)
            .set_created_by(concat!("chatlake ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let schema = file_schema(&columns, field_ids);
        let writer =
            ArrowWriter::try_new(ChecksumWriter::new(file), schema.clone(), Some(properties))
                .map_err(parquet)?;
        Ok(Self {
            id,
            columns,
            schema,
            writer,
            digest: Digest::default(),
            bytes,
        })
    }

    /// Appends rows. `digest`: the digest of these rows, if known.
    pub fn write(&mut self, batch: &RecordBatch, digest: Option<Digest>) -> Result<()> {
        let batch = columns::conform(batch, &self.schema)?;
        let mut at = 0;
        while at < batch.num_rows() {
            let rows = BATCH_ROWS.min(batch.num_rows() - at);
            self.writer.write(&batch.slice(at, rows)).map_err(parquet)?;
            at += rows;
        }
        match digest {
            Some(digest) => self.digest = self.digest + digest,
            None => self.digest.add_batch(&batch)?,
        }
        self.bytes.store(
            (self.writer.bytes_written() + self.writer.in_progress_size()) as u64,
            Ordering::Relaxed,
        );
        Ok(())
    }

    /// Writes the footer and syncs the file.
    pub fn close(self) -> Result<WrittenSegment> {
        let (file, checksums) = self.writer.into_inner().map_err(parquet)?.finish();
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        let (rows, digest) = (self.digest.rows, Some(self.digest));
        Ok(WrittenSegment {
            id: self.id,
            rows,
            bytes,
            columns: self.columns,
            checksums: Some(checksums),
            digest,
        })
    }
}

/// The schema of a file: the columns, each with its field id, by which query engines identify it.
fn file_schema(columns: &[ColumnInfo], field_ids: &[i64]) -> SchemaRef {
    let with_id = |(column, id): (&ColumnInfo, &i64)| {
        let field = column.field();
        let mut metadata = field.metadata().clone();
        metadata.insert(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string());
        field.with_metadata(metadata)
    };
    Arc::new(Schema::new(
        columns
            .iter()
            .zip(field_ids)
            .map(with_id)
            .collect::<Vec<Field>>(),
    ))
}
