//! Tests of chunks: their days, their progress, failures, and the order of runs.

use super::actions::insert_backfill;
use super::chunks::{ChunkFailure, enqueue_chunk, last_chunk_failure, stop_backfill};
use super::*;
use crate::clock::Clock;
use crate::puller::queue::{self, Claimed};
use crate::puller::run::{RunState, Trigger};
use crate::puller::testing::one_dataset;

const NOON: Millis = 1_795_176_000_000;

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

fn backfill(from: &str, to: &str, remaining_to: Option<&str>, chunk_days: u32) -> Backfill {
    Backfill {
        id: BackfillId::new(),
        dataset_id: DatasetId::new(),
        days: Window {
            from: day(from),
            to: day(to),
        },
        chunk_days,
        remaining_to: remaining_to.map(day),
        state: BackfillState::Running,
        retry_at: None,
        stop_reason: None,
        requested_by: None,
        requested_by_name: None,
        created_at: 0,
        ended_at: None,
        rows: 0,
        run: None,
    }
}

#[test]
fn chunks_go_from_the_newest_day_to_the_oldest() {
    let mut backfill = backfill("2026-01-01", "2026-01-31", Some("2026-01-31"), 7);
    let mut chunks = Vec::new();
    while let Some(chunk) = backfill.next() {
        assert_eq!(backfill.chunks_done(), chunks.len() as i64);
        chunks.push(chunk.to_string());
        backfill.remaining_to =
            (chunk.from > backfill.days.from).then(|| chunk.from.yesterday().unwrap());
    }
    let wanted = [
        "2026-01-25 to 2026-01-31",
        "2026-01-18 to 2026-01-24",
        "2026-01-11 to 2026-01-17",
        "2026-01-04 to 2026-01-10",
        "2026-01-01 to 2026-01-03",
    ];
    assert_eq!(chunks, wanted);
    assert_eq!((backfill.chunks(), backfill.chunks_done()), (5, 5));
}

#[test]
fn the_requested_days_are_validated() {
    let today = day("2026-11-20");
    let fields =
        |from: &str, to: &str, chunk: &str| match BackfillRange::check(from, to, chunk, today) {
            Ok(_) => Vec::new(),
            Err(error) => error
                .field_errors()
                .iter()
                .map(|(field, _)| field.clone())
                .collect(),
        };
    assert!(fields("2026-01-01", "2026-11-20", "31").is_empty());
    assert!(fields(" 2026-11-20 ", "2026-11-20", "1").is_empty());
    assert_eq!(fields("2026-01-02", "2026-01-01", "7"), ["from"]);
    assert_eq!(fields("2026-11-01", "2026-11-21", "7"), ["to"]);
    assert_eq!(
        fields("yesterday", "2026-02-30", "0"),
        ["from", "to", "chunk_days"]
    );
    assert_eq!(fields("2016-11-13", "2026-11-20", "32"), ["chunk_days"]);
    assert_eq!(fields("2010-01-01", "2026-11-20", "7"), ["from"]);
}

struct Bench {
    _dir: tempfile::TempDir,
    db: Db,
    clock: Clock,
    dataset: DatasetId,
}

impl Bench {
    async fn new() -> Self {
        let (dir, db, _, dataset) = one_dataset("merge").await;
        Self {
            _dir: dir,
            db,
            clock: Clock::stopped_at(NOON),
            dataset,
        }
    }

    async fn begin(&self, from: &str, to: &str, chunk: &str) -> Result<Backfill> {
        let range = BackfillRange::check(from, to, chunk, day("2026-11-20"))?;
        let mut tx = self.db.write().await.unwrap();
        let id = insert_backfill(&mut tx, &self.dataset, &range, None, self.clock.now()).await?;
        tx.commit().await.unwrap();
        get(&self.db, &self.dataset, &id).await
    }

    async fn reload(&self, backfill: &Backfill) -> Backfill {
        get(&self.db, &self.dataset, &backfill.id).await.unwrap()
    }

    /// Queues the next chunk and claims a run.
    async fn chunk(&self, backfill: &Backfill) -> Claimed {
        enqueue_chunk(
            &self.db,
            &self.reload(backfill).await,
            "key",
            self.clock.now(),
        )
        .await
        .unwrap();
        self.claim().await.unwrap()
    }

    async fn claim(&self) -> Option<Claimed> {
        queue::claim(
            &self.db,
            &self.clock,
            &queue::WorkerLeases::new("holder"),
            8,
        )
        .await
        .unwrap()
        .into_iter()
        .next()
    }

    async fn end(&self, run: &Claimed, state: RunState) {
        self.clock.advance(1_000);
        let mut tx = self.db.write().await.unwrap();
        sqlx::query(
            "UPDATE runs
             SET state = $1, finished_at = $2, error_message = 'It rained.'
             WHERE id = $3",
        )
        .bind(state)
        .bind(self.clock.now())
        .bind(&run.id)
        .execute(&mut *tx)
        .await
        .unwrap();
        if state == RunState::Succeeded {
            chunk_committed(&mut tx, &run.id, self.clock.now())
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
    }
}

#[tokio::test]
async fn each_chunk_is_counted_with_its_commit_and_the_last_one_finishes() {
    let bench = Bench::new().await;
    let backfill = bench.begin("2026-01-01", "2026-01-10", "5").await.unwrap();
    let first = bench.chunk(&backfill).await;
    assert_eq!(
        (first.trigger, first.range.unwrap().to_string().as_str()),
        (Trigger::Backfill, "2026-01-06 to 2026-01-10")
    );
    // A second call does not queue another run.
    enqueue_chunk(
        &bench.db,
        &bench.reload(&backfill).await,
        "key",
        bench.clock.now(),
    )
    .await
    .unwrap();
    assert!(bench.claim().await.is_none());
    bench.end(&first, RunState::Succeeded).await;
    let now = bench.reload(&backfill).await;
    assert_eq!(
        (now.remaining_to, now.chunks_done(), now.state),
        (Some(day("2026-01-05")), 1, BackfillState::Running)
    );
    let last = bench.chunk(&backfill).await;
    bench.end(&last, RunState::Succeeded).await;
    let now = bench.reload(&backfill).await;
    assert_eq!(
        (now.remaining_to, now.chunks_done(), now.state),
        (None, 2, BackfillState::Finished)
    );
    assert!(now.ended_at.is_some() && now.next().is_none());
}

#[tokio::test]
async fn there_is_one_backfill_at_a_time_and_other_runs_go_first() {
    let bench = Bench::new().await;
    let backfill = bench.begin("2026-01-01", "2026-01-10", "5").await.unwrap();
    assert_eq!(
        bench
            .begin("2026-01-01", "2026-01-02", "1")
            .await
            .unwrap_err()
            .code(),
        "backfill_under_way"
    );
    enqueue_chunk(&bench.db, &backfill, "key", bench.clock.now())
        .await
        .unwrap();
    bench.clock.advance(5_000);
    let mut tx = bench.db.write().await.unwrap();
    let wanted = queue::enqueue(
        &mut tx,
        bench.clock.now(),
        &bench.dataset,
        "other",
        Trigger::Schedule,
        None,
    )
    .await
    .unwrap();
    let again = queue::enqueue(
        &mut tx,
        bench.clock.now(),
        &bench.dataset,
        "other",
        Trigger::Manual,
        None,
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        wanted, again,
        "a queued chunk is not returned instead of a run"
    );
    let running = bench.claim().await.unwrap();
    assert_eq!(
        running.id, wanted,
        "the scheduled run goes first, although it was queued later"
    );
    assert!(
        bench.claim().await.is_none(),
        "one run of a DataSet at a time"
    );
    bench.end(&running, RunState::Succeeded).await;
    let chunk = bench.claim().await.unwrap();
    assert_eq!(chunk.trigger, Trigger::Backfill);
    // While the chunk is running, the next due run waits for it.
    let mut tx = bench.db.write().await.unwrap();
    let next = queue::enqueue(
        &mut tx,
        bench.clock.now(),
        &bench.dataset,
        "other",
        Trigger::Schedule,
        None,
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    assert!(bench.claim().await.is_none());
    bench.end(&chunk, RunState::Succeeded).await;
    assert_eq!(bench.claim().await.unwrap().id, next);
}

#[tokio::test]
async fn a_failed_chunk_is_the_stop_reason_until_the_backfill_is_resumed() {
    let bench = Bench::new().await;
    let backfill = bench.begin("2026-01-01", "2026-01-10", "5").await.unwrap();
    let why = async || {
        last_chunk_failure(&bench.db, &backfill.id)
            .await
            .unwrap()
            .map(|failed| failed.why)
    };
    assert_eq!(why().await, None);
    let chunk = bench.chunk(&backfill).await;
    bench.end(&chunk, RunState::Failed).await;
    assert_eq!(why().await.as_deref(), Some("It rained."));
    stop_backfill(
        &bench.db,
        &backfill,
        &ChunkFailure {
            why: "It rained.".to_owned(),
            by_person: false,
        },
        bench.clock.now(),
    )
    .await
    .unwrap();
    let now = bench.reload(&backfill).await;
    assert_eq!(
        (now.state, now.stop_reason.as_deref(), now.chunks_done()),
        (BackfillState::Stopped, Some("It rained."), 0)
    );
    let mut tx = bench.db.write().await.unwrap();
    sqlx::query("UPDATE backfills SET state = 'running', stop_reason = NULL, resumed_at = $1")
        .bind(bench.clock.now())
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        why().await,
        None,
        "an earlier failure does not count after the backfill was resumed"
    );
    assert_eq!(
        bench.chunk(&backfill).await.range,
        chunk.range,
        "it resumes where it stopped"
    );
}
