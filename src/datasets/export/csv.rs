//! Encodes CSV for `pipe`: RFC 4180 with CRLF, UTF-8 and a header line. Null and empty text are
//! both an empty field; a NUL becomes U+FFFD.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow::array::{Array, AsArray, RecordBatch, StringBuilder};
use arrow::csv::WriterBuilder;
use arrow::csv::writer::Terminator;
use arrow::datatypes::{Schema, SchemaRef};
use prometheus_client::metrics::counter::Counter;

use super::super::columns::{self, ColumnInfo};
use super::super::segments::{BatchReader, Segments};
use super::super::versions::Pin;
use super::cell_text::{count_nul, has_nul, printable, printable_of, replace_nul, with_columns};
use super::pipe::Encode;
use crate::error::{Error, Result};

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

fn guard_batch(batch: &RecordBatch) -> Result<RecordBatch> {
    with_columns(batch, |array| {
        let texts = array.as_string_opt::<i32>()?;
        if !texts.iter().flatten().any(needs_guard) {
            return None;
        }
        let mut marked =
            StringBuilder::with_capacity(texts.len(), texts.value_data().len() + texts.len());
        for text in texts {
            marked.append_option(text.map(guard));
        }
        Some(Arc::new(marked.finish()))
    })
}

/// Puts a `'` before text that a spreadsheet could read as a formula, and before text that already
/// begins with `'`, so that `unguard` can restore the original text. Plain numbers are unchanged.
pub fn guard(text: &str) -> Cow<'_, str> {
    if needs_guard(text) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Reverses `guard`.
pub fn unguard(text: &str) -> &str {
    text.strip_prefix('\'').unwrap_or(text)
}

pub(super) fn needs_guard(text: &str) -> bool {
    match text.chars().next() {
        Some(
            '=' | '+' | '@' | '\t' | '\r' | '\n' | '\0' | '\'' | '\u{ff1d}' | '\u{ff0b}'
            | '\u{ff0d}' | '\u{ff20}',
        ) => true,
        Some('-') => !is_plain_number(&text[1..]),
        _ => false,
    }
}

/// Digits with an optional fraction and exponent.
fn is_plain_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    digits(whole)
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|e| digits(e.strip_prefix(['-', '+']).unwrap_or(e)))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::super::super::testing::{World, batch, integer, mixed, number, text, timestamp};
    use super::super::super::versions::Version;
    use super::super::pipe::{EncoderPool, PART_BYTES, pipe};
    use super::*;
    use crate::connectors::report::ColumnKind;

    fn stream(
        world: &World,
        version: &Version,
        options: CsvOptions,
    ) -> impl futures_util::Stream<Item = std::io::Result<bytes::Bytes>> + use<> {
        let encoder = csv(&world.segments, world.versions.pin(version), options).unwrap();
        pipe(&world.clock, &EncoderPool::default(), encoder, |_| {})
    }

    async fn download(world: &World, version: &Version, options: CsvOptions) -> Vec<u8> {
        let mut stream = Box::pin(stream(world, version, options));
        let mut body = Vec::new();
        while let Some(chunk) = stream.next().await {
            body.extend_from_slice(&chunk.unwrap());
        }
        body
    }

    fn parse(body: &[u8]) -> Vec<Vec<String>> {
        let mut reader = ::csv::ReaderBuilder::new()
            .has_headers(false)
            .terminator(::csv::Terminator::CRLF)
            .from_reader(body);
        reader
            .records()
            .map(|record| record.unwrap().iter().map(str::to_owned).collect())
            .collect()
    }

    #[tokio::test]
    async fn every_cell_reads_back_as_it_was() {
        let world = World::new().await;
        let words = [
            Some("a, b"),
            Some("say \"hi\""),
            Some("x\r\ny"),
            Some("x\ny"),
            Some("lone\rCR"),
            Some("nul\0"),
            Some("\u{1f600}"),
            Some(" pad "),
            Some(""),
            None,
            Some("=1+1"),
            Some("\\"),
            Some("\""),
        ];
        let version = world
            .pull(&[batch(vec![
                ("a", ColumnKind::Text, text(words.to_vec())),
                ("b,\"\r\n", ColumnKind::Json, text(words.to_vec())),
            ])])
            .await;
        let rows = parse(&download(&world, &version, CsvOptions::default()).await);
        assert_eq!(rows[0], ["a", "b,\"\r\n"]);
        let expected: Vec<_> = words
            .iter()
            .map(|word| vec![word.unwrap_or_default().replace('\0', "\u{fffd}"); 2])
            .collect();
        assert_eq!(rows[1..], expected);
    }

    #[tokio::test]
    async fn each_nul_is_written_as_a_replacement_character_and_counted() {
        let world = World::new().await;
        let words = vec![Some("before\0after"), Some("none"), None, Some("\0\0")];
        let clean = batch(vec![("a\0b", ColumnKind::Text, text(vec![Some("ok"); 3]))]);
        let version = world
            .pull(&[batch(vec![("a\0b", ColumnKind::Text, text(words))]), clean])
            .await;
        let mut encoder = csv(
            &world.segments,
            world.versions.pin(&version),
            CsvOptions::default(),
        )
        .unwrap();
        let mut body = Vec::new();
        while !encoder.encode(&mut body, PART_BYTES).unwrap() {}
        assert_eq!(
            String::from_utf8(body).unwrap(),
            "a\u{fffd}b\r\nbefore\u{fffd}after\r\nnone\r\n\"\"\r\n\u{fffd}\u{fffd}\r\nok\r\nok\r\nok\r\n"
        );
        assert_eq!(
            encoder.replaced_nul.get(),
            3,
            "the name of a column does not count"
        );
    }

    #[tokio::test]
    async fn the_bytes_are_as_promised() {
        let world = World::new().await;
        let version = world
            .pull(&[batch(vec![
                (
                    "at",
                    ColumnKind::Timestamp,
                    timestamp(vec![
                        Some(1_795_162_530_000),
                        Some(1_795_162_530_120),
                        Some(-1),
                        None,
                    ]),
                ),
                (
                    "rate",
                    ColumnKind::Number,
                    number(vec![Some(0.1), Some(-3.0), Some(1e21), None]),
                ),
                (
                    "text",
                    ColumnKind::Text,
                    text(vec![Some("lone\rCR"), Some(""), Some("é"), None]),
                ),
            ])])
            .await;
        let body = String::from_utf8(
            download(
                &world,
                &version,
                CsvOptions {
                    bom: true,
                    ..CsvOptions::default()
                },
            )
            .await,
        )
        .unwrap();
        let expected = "\u{feff}at,rate,text\r\n2026-11-20T08:15:30Z,0.1,\"lone\rCR\"\r\n2026-11-20T08:15:30.120Z,-3.0,\r\n1969-12-31T23:59:59.999Z,1e21,é\r\n,,\r\n";
        assert_eq!(body, expected);
        let body = download(
            &world,
            &version,
            CsvOptions {
                columns: Some(vec!["text".to_owned(), "at".to_owned()]),
                ..CsvOptions::default()
            },
        )
        .await;
        assert!(body.starts_with(b"text,at\r\n\"lone\rCR\",2026-11-20T08:15:30Z\r\n"));
    }

    #[tokio::test]
    async fn a_row_of_one_empty_cell_is_a_row() {
        let world = World::new().await;
        let version = world
            .pull(&[batch(vec![(
                "a",
                ColumnKind::Text,
                text(vec![None, Some("x"), Some("")]),
            )])])
            .await;
        let body = download(&world, &version, CsvOptions::default()).await;
        assert_eq!(body, b"a\r\n\"\"\r\nx\r\n\"\"\r\n");
        assert_eq!(parse(&body).len(), 4);
    }

    #[tokio::test]
    async fn no_rows_have_a_header_and_widening_rows_are_aligned() {
        let world = World::new().await;
        let narrow = batch(vec![("id", ColumnKind::Integer, integer(vec![Some(1)]))]);
        let wide = batch(vec![
            ("id", ColumnKind::Integer, integer(vec![Some(2)])),
            ("x_mood", ColumnKind::Json, text(vec![Some("glad")])),
        ]);
        let version = world.pull(&[narrow.clone(), wide, narrow]).await;
        assert_eq!(
            download(&world, &version, CsvOptions::default()).await,
            b"id,x_mood\r\n1,\r\n2,glad\r\n1,\r\n"
        );
        let run = world.new_run().await;
        let empty = world.commit(&run, &[], &[]).await;
        assert_eq!(
            download(&world, &empty, CsvOptions::default()).await,
            b"id,x_mood\r\n"
        );
    }

    #[tokio::test]
    async fn formulas_are_marked_in_cells_and_names() {
        let world = World::new().await;
        let words = vec![
            Some("=1+1"),
            Some("-5.2"),
            Some("-5-2"),
            Some("+47 123"),
            Some("@me"),
            Some("'quoted"),
            Some("\u{ff1d}x"),
            Some("plain"),
            None,
        ];
        let version = world
            .pull(&[batch(vec![
                ("=1+1", ColumnKind::Text, text(words.clone())),
                ("n", ColumnKind::Integer, integer(vec![Some(-1); 9])),
            ])])
            .await;
        let rows = parse(
            &download(
                &world,
                &version,
                CsvOptions {
                    guard: true,
                    ..CsvOptions::default()
                },
            )
            .await,
        );
        let first: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(
            first,
            [
                "'=1+1",
                "'=1+1",
                "-5.2",
                "'-5-2",
                "'+47 123",
                "'@me",
                "''quoted",
                "'\u{ff1d}x",
                "plain",
                ""
            ]
        );
        assert!(rows[1..].iter().all(|row| row[1] == "-1"));
        for (row, word) in rows[1..].iter().zip(words) {
            assert_eq!(unguard(&row[0]), word.unwrap_or_default());
        }
    }

    #[tokio::test]
    async fn columns_that_are_not_there_are_refused_at_once() {
        let world = World::new().await;
        let version = world.pull(&[mixed(0, 1)]).await;
        for columns in [vec!["nope"], vec!["id", "id"], vec![]] {
            let options = CsvOptions {
                columns: Some(columns.into_iter().map(str::to_owned).collect()),
                ..CsvOptions::default()
            };
            assert!(csv(&world.segments, world.versions.pin(&version), options).is_err());
        }
    }

    #[tokio::test]
    async fn a_download_that_breaks_ends_with_an_error() {
        let world = World::new().await;
        let version = world
            .pull(&[
                mixed(0, 10),
                batch(vec![("x_new", ColumnKind::Text, text(vec![Some("y")]))]),
            ])
            .await;
        world.segments.remove(&version.segments[1].id).unwrap();
        let pieces: Vec<_> = stream(&world, &version, CsvOptions::default())
            .map(|piece| piece.is_ok())
            .collect()
            .await;
        assert!(!pieces.last().unwrap());
    }

    #[tokio::test]
    async fn a_client_that_stops_reading_is_given_up_and_its_pin_with_it() {
        let world = World::new().await;
        let wide = "x".repeat(64 << 10);
        let version = world
            .pull(&[batch(vec![(
                "a",
                ColumnKind::Text,
                text(vec![Some(&wide); 200]),
            )])])
            .await;
        let mut stream = Box::pin(stream(&world, &version, CsvOptions::default()));
        assert!(stream.next().await.unwrap().is_ok());
        // Reads nothing until the encoder has released the version: the rest of the stream must
        // then be an error.
        for n in 1..=4 {
            world.pull(&[mixed(0, n)]).await;
        }
        while world.versions.get(&version.id).await.unwrap().is_some() {
            world.clock.advance(10_000);
            world
                .versions
                .apply_retention(&world.dataset)
                .await
                .unwrap();
        }
        let pieces: Vec<_> = stream.map(|piece| piece.is_ok()).collect().await;
        assert!(!pieces.last().unwrap());
        assert!(pieces.len() < 40);
    }

    #[tokio::test]
    async fn an_encoder_that_lets_go_of_its_files_after_each_part_writes_the_same() {
        const PART: usize = 64 << 10;
        let world = World::new().await;
        let wide = "x".repeat(300);
        let rows = |from: i64, count: i64| {
            let ids = integer((from..from + count).map(Some).collect());
            batch(vec![
                ("id", ColumnKind::Integer, ids),
                (
                    "text",
                    ColumnKind::Text,
                    text(vec![Some(wide.as_str()); usize::try_from(count).unwrap()]),
                ),
            ])
        };
        let version = world
            .pull(&[rows(0, 6_000), rows(6_000, 1), rows(6_001, 4_000)])
            .await;
        let whole = download(&world, &version, CsvOptions::default()).await;
        let mut encoder = csv(
            &world.segments,
            world.versions.pin(&version),
            CsvOptions::default(),
        )
        .unwrap();
        let (mut parts, mut last) = (Vec::new(), false);
        while !last {
            let mut part = Vec::new();
            last = encoder.encode(&mut part, PART).unwrap();
            assert!(part.len() < 2 * PART, "{}", part.len());
            encoder.release();
            parts.push(part);
        }
        assert!(
            parts.len() > 10 && parts.concat() == whole,
            "{} parts",
            parts.len()
        );
        // Writes as many bytes into a buffer that is not empty.
        let mut encoder = csv(
            &world.segments,
            world.versions.pin(&version),
            CsvOptions::default(),
        )
        .unwrap();
        let mut all = Vec::new();
        while !encoder.encode(&mut all, PART).unwrap() {}
        assert!(all == whole);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]
        #[test]
        fn what_is_marked_can_be_unmarked(text in "[=+\\-@\t\r\n\0'＝＋－＠0-9.eE]{0,4}.{0,6}") {
            let marked = guard(&text);
            proptest::prop_assert_eq!(unguard(&marked), text.as_str());
            proptest::prop_assert!(!marked.starts_with(['=', '+', '@', '\t', '\r', '\n', '\0']));
        }
    }
}
