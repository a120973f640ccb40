//! A run that is stopped, wherever it is; one whose rows are not put away, since the disk does not
//! answer; and one that panics.

use std::path::PathBuf;

use chatlake::actor::{Actor, Role};
use chatlake::clock::Clock;
use chatlake::ids::{DatasetId, RunId};
use chatlake::puller::queue;
use chatlake::puller::run::{Run, RunState, Trigger};
use serde_json::json;

use crate::support::context::TestContext;
use crate::support::data_dir::DataDir;
use crate::support::datasets::merging;
use crate::support::sandbox::LocalSandbox;
use crate::support::{MINUTE, NOON, until};

/// A file of rows that nobody can open to an end: whoever tries waits. It is put back when this
/// ends.
struct BlockedFile {
    file: PathBuf,
}

impl BlockedFile {
    async fn new(ctx: &TestContext) -> Self {
        let segments = ctx.dir.path().join("data/segments");
        let file = std::fs::read_dir(segments)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|end| end == "parquet"));
        let blocked = Self {
            file: file.unwrap(),
        };
        std::fs::rename(&blocked.file, blocked.with_extension("away")).unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(&blocked.file)
                .status()
                .unwrap()
                .success()
        );
        blocked
    }

    fn with_extension(&self, end: &str) -> PathBuf {
        self.file.with_extension(end)
    }
}

impl Drop for BlockedFile {
    fn drop(&mut self) {
        use std::os::unix::fs::OpenOptionsExt;
        let pipe = self.with_extension("pipe");
        let _ = std::fs::rename(&self.file, &pipe);
        let _ = std::fs::rename(self.with_extension("away"), &self.file);
        // Whoever waits finds an empty file. Fails when nobody does.
        let _ = std::fs::OpenOptions::new()
            .write(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(&pipe);
        let _ = std::fs::remove_file(&pipe);
    }
}

/// One worker: another one would take a run over whose lease has ended by a clock that jumps.
async fn with_chats() -> (TestContext, Actor, DatasetId) {
    let ctx = TestContext::with(Clock::stopped_at(NOON), |config| config.workers = 1).await;
    ctx.app.start_pulling().await.unwrap();
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = merging(&ctx, &owner, &account, None).await;
    (ctx, owner, dataset)
}

async fn found(ctx: &TestContext, run: &RunId) -> Run {
    queue::get(&ctx.app.db, run).await.unwrap().unwrap()
}

/// The run once it is over, time going on by so much at each look.
async fn over(ctx: &TestContext, run: &RunId, step: i64) -> Run {
    until("the run is over", async || {
        ctx.clock.advance(step);
        Some(found(ctx, run).await).filter(|run| run.state.is_final())
    })
    .await
}

/// A run whose rows have come, and that waits for the disk.
async fn merges(ctx: &TestContext, owner: &Actor, dataset: &DatasetId) -> RunId {
    let run = ctx
        .app
        .puller
        .run_now(owner, dataset, Trigger::Manual)
        .await
        .unwrap()
        .id;
    until("its rows are put away", async || {
        ctx.clock.advance(1_000);
        ctx.app
            .puller
            .live
            .current(&run)
            .filter(|progress| progress.phase == "Saving")
    })
    .await;
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_for_others_is_stopped_before_anything_is_asked() {
    let (ctx, owner, dataset) = with_chats().await;
    let run = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap()
        .id;
    until("it waits for others", async || {
        (found(&ctx, &run).await.state == RunState::Running).then_some(())
    })
    .await;
    ctx.app.puller.cancel(&owner, &run).await.unwrap();
    assert_eq!(over(&ctx, &run, 1_000).await.state, RunState::Cancelled);
    assert_eq!(ctx.sandbox.calls_total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_writing_rows_is_cancelled_before_its_commit() {
    let (ctx, owner, dataset) = with_chats().await;
    let first = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap()
        .id;
    let first = over(&ctx, &first, 1_000).await;
    assert_eq!(first.state, RunState::Succeeded, "{first:?}");
    let blocked = BlockedFile::new(&ctx).await;
    let run = merges(&ctx, &owner, &dataset).await;
    ctx.app.puller.cancel(&owner, &run).await.unwrap();
    assert_eq!(over(&ctx, &run, 1).await.state, RunState::Cancelled);
    drop(blocked);
    let current = ctx
        .app
        .datasets
        .for_run(&dataset)
        .await
        .unwrap()
        .current
        .unwrap();
    assert_eq!(
        Some(current.version),
        first.version_id,
        "the rows from before are untouched"
    );
    let next = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap()
        .id;
    assert_eq!(
        over(&ctx, &next, 1_000).await.state,
        RunState::Succeeded,
        "the worker is free again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_writes_no_rows_for_five_minutes_is_stopped_and_retried() {
    let (ctx, owner, dataset) = with_chats().await;
    let first = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap()
        .id;
    assert_eq!(over(&ctx, &first, 1_000).await.state, RunState::Succeeded);
    let blocked = BlockedFile::new(&ctx).await;
    let run = merges(&ctx, &owner, &dataset).await;
    let stuck = over(&ctx, &run, MINUTE).await;
    let failure = stuck.failure.unwrap();
    assert_eq!(
        (stuck.state, failure.code.as_str()),
        (RunState::Failed, "no_progress"),
        "{failure:?}"
    );
    assert!(
        failure
            .message
            .contains("Saving the rows made no progress for 5 minutes")
            && failure.action.contains("retry 1 of 3"),
        "{failure:?}"
    );
    drop(blocked);
    let retry = until("it is tried again", async || {
        ctx.clock.advance(MINUTE);
        queue::of_dataset(&ctx.app.db, &dataset, 0, 1)
            .await
            .unwrap()
            .into_iter()
            .next()
            .filter(|run| run.state == RunState::Succeeded)
    })
    .await;
    assert_eq!(retry.trigger, Trigger::Retry);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_rows_are_not_written_within_its_time_limit_is_stopped() {
    let (ctx, owner, dataset) = with_chats().await;
    let first = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap()
        .id;
    assert_eq!(over(&ctx, &first, 1_000).await.state, RunState::Succeeded);
    let blocked = BlockedFile::new(&ctx).await;
    let run = merges(&ctx, &owner, &dataset).await;
    let failure = over(&ctx, &run, 24 * 60 * MINUTE).await.failure.unwrap();
    assert_eq!(failure.code, "run_too_long", "{failure:?}");
    drop(blocked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_its_run_alone_with_the_place_and_the_worker_goes_on() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(20).await);
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let (one, other) = (
        data_dir.dataset(&email, &account, "chat").await,
        data_dir.dataset(&email, &account, "chat").await,
    );
    // So many of two runs that share a reading end by it: what was read is of both, and while
    // gathering the second may be there or not.
    for (place, ended) in [("save", 1..=1), ("read", 2..=2), ("batch_wait", 1..=2)] {
        let server = data_dir.spawn_in(&[("CHATLAKE_PANIC_AT", place)], &["--workers", "1"]);
        server.ready().await;
        for dataset in [&one, &other] {
            server
                .send(
                    "PATCH",
                    &format!("/api/v1/datasets/{dataset}"),
                    &token,
                    Some(json!({"retry": null})),
                )
                .await;
        }
        let runs = [
            server.run(&one, &token).await,
            server.run(&other, &token).await,
        ];
        let mut failed = 0;
        for run in &runs {
            let run = server.over(run, &token).await;
            if run["state"] == "failed" {
                failed += 1;
                let said = run["error"]["message"].as_str().unwrap();
                assert!(
                    run["error"]["code"] == "internal"
                        && said.contains("at src/db/failpoints.rs:")
                        && !said.contains("kanarie"),
                    "{place}: {run}"
                );
            }
        }
        assert!(ended.contains(&failed), "{place}: {failed}");
        for dataset in [&one, &other] {
            let again = server
                .over(&server.run(dataset, &token).await, &token)
                .await;
            assert_eq!(again["state"], "succeeded", "{place}: {again}");
        }
        server.stop().await;
        assert!(
            server.err().contains("a panic") && !server.err().contains("kanarie"),
            "{}",
            server.err()
        );
    }
}
