//! Measures a merge of 10,000 rows into one million and into ten million rows: from the written
//! rows of a run to its commit, in this process, with real files and a real catalogue. Prints a
//! line `| what | measured | bound |` for each figure and fails if one is beyond its bound. The
//! peak memory is reset before each merge.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its figures"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot measure has nothing better to do"
)]
#![allow(clippy::disallowed_methods, reason = "its clock is a stopwatch")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use chatlake::clock::Clock;
use chatlake::connectors::report::{ColumnKind, UpdateMode};
use chatlake::connectors::{Connector, Window};
use chatlake::datasets::columns::{self, ColumnInfo};
use chatlake::datasets::segments::{Segments, WrittenSegment};
use chatlake::datasets::update_mode::{DayRanges, Drops, build};
use chatlake::datasets::versions::{Commit, Retention, Version, Versions};
use chatlake::db::Db;
use chatlake::ids::{DatasetId, RunId, UserId};
use jiff::civil::date;
use jiff::tz::TimeZone;

const NEW: i64 = 10_000;
const DAYS: i64 = 360;
const DAY: i64 = 86_400_000;
/// 2026-01-01T00:00:00Z
const FIRST: i64 = 1_767_225_600_000;
const MIB: f64 = 1_048_576.0;
const MAX_MIB: f64 = 512.0;

fn main() -> ExitCode {
    // `cargo test --all-targets` runs this file too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    if !std::env::args().any(|argument| argument == "--table") {
        println!("| what | measured | bound |\n| --- | --- | --- |");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let mut missed = 0;
    for rows in [1_000_000, 10_000_000] {
        missed += runtime.block_on(measure(rows));
    }
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A catalogue with one DataSet, and its segments.
struct MergeBench {
    db: Db,
    segments: Segments,
    versions: Versions,
    dataset: DatasetId,
    declared: Vec<ColumnInfo>,
    _dir: tempfile::TempDir,
}

impl MergeBench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (db, clock) = (
            Db::open(&dir.path().join("chatlake.db")).await.unwrap(),
            Clock::system(),
        );
        let segments =
            Segments::new(dir.path().join("segments"), db.clone(), clock.clone()).unwrap();
        let versions = Versions::new(
            db.clone(),
            segments.clone(),
            clock,
            Retention {
                versions: 10,
                days: 30,
            },
        );
        let (user, dataset) = (UserId::new(), DatasetId::new());
        let mut tx = db.write().await.unwrap();
        sqlx::query(
            "INSERT INTO users (id, email, name, role, created_at, updated_at)
             VALUES ($1, $1, 'Olga', 'admin', 0, 0)",
        )
        .bind(&user)
        .execute(&mut *tx)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO datasets (
                 id, owner_id, connector, report, name, description, menus, update_mode, time_zone,
                 created_at, updated_at
             )
             VALUES ($1, $2, 'livechat', 'chat', 'Chat', '', '{}', 'merge', 'UTC', 0, 0)",
        )
        .bind(&dataset)
        .bind(&user)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        let declared = columns::columns_of(Connector::LiveChat.report("chat").unwrap());
        Self {
            db,
            segments,
            versions,
            dataset,
            declared,
            _dir: dir,
        }
    }

    /// An ended run; only its segments matter here.
    async fn run(&self) -> RunId {
        let run = RunId::new();
        let mut tx = self.db.write().await.unwrap();
        sqlx::query(
            "INSERT INTO runs (
                 id, dataset_id, trigger, state, source_key, queued_at, due_at, finished_at
             )
             VALUES ($1, $2, 'manual', 'failed', '', 0, 0, 0)",
        )
        .bind(&run)
        .bind(&self.dataset)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        run
    }

    async fn write(
        &self,
        run: &RunId,
        chats: impl Iterator<Item = (i64, i64)>,
    ) -> Vec<WrittenSegment> {
        let mut writer = self.segments.writer(&self.dataset, run);
        let mut chats = chats.peekable();
        while chats.peek().is_some() {
            let part: Vec<(i64, i64)> = chats.by_ref().take(8_192).collect();
            writer.write(&self.batch(&part)).await.unwrap();
        }
        writer.finish().await.unwrap()
    }

    /// Chats by number and start. Every third column is empty.
    fn batch(&self, chats: &[(i64, i64)]) -> RecordBatch {
        let arrays = self
            .declared
            .iter()
            .enumerate()
            .map(|(at, column)| -> ArrayRef {
                let has_values = at % 3 != 2;
                match (column.name.as_str(), column.kind) {
                    ("id", _) => Arc::new(StringArray::from_iter_values(
                        chats.iter().map(|(number, _)| format!("CH{number:010X}")),
                    )),
                    ("started_timestamp", _) => Arc::new(
                        TimestampMicrosecondArray::from_iter_values(
                            chats.iter().map(|(_, start)| *start * 1_000),
                        )
                        .with_timezone("UTC"),
                    ),
                    (_, ColumnKind::Text) if has_values => {
                        Arc::new(StringArray::from_iter_values(chats.iter().map(
                            |(number, _)| format!("{} {}", column.name, number % 9_973),
                        )))
                    }
                    (_, ColumnKind::Integer) if has_values => {
                        Arc::new(Int64Array::from_iter_values(
                            chats.iter().map(|(number, _)| number % 4_001),
                        ))
                    }
                    _ => arrow::array::new_null_array(&column.kind.arrow(), chats.len()),
                }
            });
        RecordBatch::try_new(columns::to_schema(&self.declared), arrays.collect()).unwrap()
    }

    /// Merges the rows of a run into a version. Returns the new version and the number of dropped
    /// rows.
    async fn merge(
        &self,
        into: &Version,
        run: &RunId,
        written: Vec<WrittenSegment>,
        drops: Drops,
    ) -> (Version, u64) {
        let pin = self.versions.pin(into);
        let built = build(
            &self.segments,
            (&self.dataset, run),
            UpdateMode::Merge,
            &pin.segments,
            written,
            drops,
        )
        .await
        .unwrap();
        let commit = Commit {
            order: Some(&built.order),
            base: Some(&pin.id),
            ..Commit::new(&self.dataset, run, &self.declared, &built.written)
        };
        let mut tx = self.db.write().await.unwrap();
        let version = self.versions.commit(&mut tx, &commit).await.unwrap();
        tx.commit().await.unwrap();
        (version, built.dropped)
    }
}

/// Returns the number of figures beyond their bound.
async fn measure(rows: i64) -> usize {
    let bench = MergeBench::new().await;
    let start = |number: i64| FIRST + number * (DAYS * DAY / rows);
    let run = bench.run().await;
    let written = bench
        .write(&run, (0..rows).map(|number| (number, start(number))))
        .await;
    let mut tx = bench.db.write().await.unwrap();
    let first = bench
        .versions
        .commit(
            &mut tx,
            &Commit::new(&bench.dataset, &run, &bench.declared, &written),
        )
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(first.rows as i64, rows);

    let key = vec![ColumnInfo {
        name: "id".to_owned(),
        kind: ColumnKind::Text,
        declared: true,
    }];
    let day = ColumnInfo {
        name: "started_timestamp".to_owned(),
        kind: ColumnKind::Timestamp,
        declared: true,
    };
    // Pulls the last days again: half of the rows exist already, half are new.
    let pulled = Window {
        from: date(2026, 12, 25),
        to: date(2026, 12, 29),
    };
    let within = DayRanges::of(day, &[pulled], &TimeZone::UTC).unwrap();
    let drops = Drops::Keys {
        columns: key.clone(),
        fallback: Vec::new(),
        empty_parents: Vec::new(),
        within: Some(within),
    };
    let run = bench.run().await;
    let last = (rows - NEW / 2..rows + NEW / 2).map(|number| (number, start(number.min(rows))));
    let written = bench.write(&run, last).await;
    let before = Began::now();
    let (second, dropped) = bench.merge(&first, &run, written, drops).await;
    assert_eq!(
        (dropped as i64, second.rows as i64),
        (NEW / 2, rows + NEW / 2)
    );
    let mut missed = before.line(&format!(
        "Merge of {} rows of the last days into {}",
        words(NEW),
        words(rows)
    ));

    // A chosen key, whose rows are spread over all old rows, so that every part loses one.
    let run = bench.run().await;
    let spread = (0..NEW)
        .map(|n| n * (rows / NEW))
        .map(|number| (number, start(rows)));
    let written = bench.write(&run, spread).await;
    let before = Began::now();
    let (third, dropped) = bench
        .merge(
            &second,
            &run,
            written,
            Drops::Keys {
                columns: key,
                fallback: Vec::new(),
                empty_parents: Vec::new(),
                within: None,
            },
        )
        .await;
    assert!(dropped as i64 >= NEW && third.rows == second.rows + NEW as u64 - dropped);
    missed += before.line(&format!(
        "Merge of {} rows by a key spread over all of {}",
        words(NEW),
        words(rows)
    ));
    missed
}

struct Began(Instant);

impl Began {
    fn now() -> Self {
        // Resets the peak memory.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        Self(Instant::now())
    }

    /// Prints the figure. Returns 1 if it is beyond its bound, otherwise 0.
    fn line(self, what: &str) -> usize {
        let seconds = self.0.elapsed().as_secs_f64();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        let peak = peak
            .trim()
            .trim_end_matches(" kB")
            .trim()
            .parse::<f64>()
            .unwrap()
            * 1_024.0
            / MIB;
        println!("| {what} | {seconds:.2} s, peak memory {peak:.0} MiB | under {MAX_MIB:.0} MiB |");
        let is_beyond = peak >= MAX_MIB;
        if is_beyond {
            eprintln!("beyond its bound: {what}: {peak:.0} MiB");
        }
        usize::from(is_beyond)
    }
}

fn words(number: i64) -> String {
    match number {
        1_000_000 => "a million".to_owned(),
        10_000_000 => "ten million".to_owned(),
        number => format!("{},{:03}", number / 1_000, number % 1_000),
    }
}
