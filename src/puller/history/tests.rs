//! Tests of what a commit records for the history.

use super::*;
use crate::clock::Clock;
use crate::connectors::Window;
use crate::datasets::segments::Segments;
use crate::datasets::versions::{Commit, Retention, Versions};
use crate::db::Db;
use crate::puller::ledger;
use crate::puller::queue::{self, CommitStats, RunPlan};
use crate::puller::run::Trigger;
use crate::puller::testing::one_dataset;

struct Bench {
    _dir: tempfile::TempDir,
    db: Db,
    clock: Clock,
    versions: Versions,
    dataset: DatasetId,
    /// Each version also contains the rows of the previous one.
    builds: bool,
}

impl Bench {
    async fn new(mode: &str) -> Self {
        let (dir, db, _, dataset) = one_dataset(mode).await;
        let clock = Clock::stopped_at(1_795_176_000_000);
        let segments =
            Segments::new(dir.path().join("segments"), db.clone(), clock.clone()).unwrap();
        let versions = Versions::new(
            db.clone(),
            segments,
            clock.clone(),
            Retention {
                versions: 10,
                days: 30,
            },
        );
        Self {
            _dir: dir,
            db,
            clock,
            versions,
            dataset,
            builds: mode != "replace",
        }
    }

    /// Commits a run of one day without rows.
    async fn run(&self, day: &str) -> RunId {
        self.clock.advance(1_000);
        let mut tx = self.db.write().await.unwrap();
        let id = queue::enqueue(
            &mut tx,
            self.clock.now(),
            &self.dataset,
            "key",
            Trigger::Manual,
            None,
        )
        .await
        .unwrap();
        tx.commit().await.unwrap();
        let run = queue::claim(
            &self.db,
            &self.clock,
            &queue::WorkerLeases::new("holder"),
            8,
        )
        .await
        .unwrap()
        .remove(0);
        let day = day.parse().unwrap();
        let plan: RunPlan =
            queue::load_or_create_plan(&self.db, &run, "plan", &[Window { from: day, to: day }])
                .await
                .unwrap()
                .unwrap();
        assert_eq!(plan.windows.len(), 1);
        queue::record_window(
            &self.db,
            &self.clock,
            &run,
            0,
            &crate::connectors::WindowCounts::default(),
            0,
        )
        .await
        .unwrap();
        let before = self.versions.current(&self.dataset).await.unwrap();
        let base = before
            .as_ref()
            .filter(|_| self.builds)
            .map(|version| &version.id);
        let commit = Commit {
            base,
            ..Commit::new(&self.dataset, &run.id, &[], &[])
        };
        let stats = CommitStats {
            rows_before: before.as_ref().map(|version| version.rows),
            ..CommitStats::default()
        };
        queue::commit_with(&self.db, &self.clock, &self.versions, &run, &commit, &stats)
            .await
            .unwrap()
            .unwrap();
        id
    }

    async fn days(&self, run: &RunId) -> Vec<String> {
        ledger::contributing_windows(&self.db, run)
            .await
            .unwrap()
            .iter()
            .filter_map(|line| line.window)
            .map(|window| window.to_string())
            .collect()
    }
}

#[tokio::test]
async fn a_replace_run_stands_alone_and_a_merge_run_builds_on_earlier_runs() {
    for (mode, wanted) in [
        ("replace", vec!["2026-11-03"]),
        ("merge", vec!["2026-11-03", "2026-11-02", "2026-11-01"]),
    ] {
        let bench = Bench::new(mode).await;
        let mut last = None;
        for day in ["2026-11-01", "2026-11-02", "2026-11-03"] {
            last = Some(bench.run(day).await);
        }
        assert_eq!(bench.days(&last.unwrap()).await, wanted, "{mode}");
    }
}

#[tokio::test]
async fn rows_before_and_after_are_recorded_on_the_run() {
    let bench = Bench::new("replace").await;
    let first = bench.run("2026-11-01").await;
    let second = bench.run("2026-11-02").await;
    let run = queue::get(&bench.db, &first).await.unwrap().unwrap();
    assert_eq!(
        (run.rows_before, run.rows_after, run.change()),
        (None, Some(0), None)
    );
    let run = queue::get(&bench.db, &second).await.unwrap().unwrap();
    assert_eq!(
        (run.rows_before, run.rows_after, run.change()),
        (Some(0), Some(0), Some(0))
    );
}
