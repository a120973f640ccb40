//! A run that is stopped, wherever it is; one whose rows are not put away, since the disk does not answer; and one that panics.

use std::path::PathBuf;

use chatlake::actor::{Actor, Role};
use chatlake::clock::Clock;
use chatlake::ids::{DatasetId, RunId};
use chatlake::puller::queue;
use chatlake::puller::run::{Run, State, Trigger};
use serde_json::json;

use super::beside_the_schedule::merging;
use super::house::{House, NOON};
use super::process::{Home, StandIn, until};

const MINUTE: i64 = 60_000;

/// A file of rows that nobody can open to an end: whoever tries waits. It is put back when this ends.
struct Wedged {
    file: PathBuf,
}

impl Wedged {
    async fn new(house: &House) -> Self {
        let segments = house.dir.path().join("data/segments");
        let file = std::fs::read_dir(segments).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.extension().is_some_and(|end| end == "parquet"));
        let wedged = Self { file: file.unwrap() };
        std::fs::rename(&wedged.file, wedged.beside("away")).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&wedged.file).status().unwrap().success());
        wedged
    }

    fn beside(&self, end: &str) -> PathBuf {
        self.file.with_extension(end)
    }
}

impl Drop for Wedged {
    fn drop(&mut self) {
        use std::os::unix::fs::OpenOptionsExt;
        let pipe = self.beside("pipe");
        let _ = std::fs::rename(&self.file, &pipe);
        let _ = std::fs::rename(self.beside("away"), &self.file);
        // Whoever waits finds an empty file. Fails when nobody does.
        let _ = std::fs::OpenOptions::new().write(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(&pipe);
        let _ = std::fs::remove_file(&pipe);
    }
}

/// One worker: another one would take a run over whose lease has ended by a clock that jumps.
async fn with_chats() -> (House, Actor, DatasetId) {
    let house = House::with(Clock::stopped_at(NOON), |config| config.workers = 1).await;
    house.app.start_pulling().await.unwrap();
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = merging(&house, &owner, &account, None).await;
    (house, owner, dataset)
}

async fn found(house: &House, run: &RunId) -> Run {
    queue::get(&house.app.db, run).await.unwrap().unwrap()
}

/// The run once it is over, time going on by so much at each look.
async fn over(house: &House, run: &RunId, step: i64) -> Run {
    until("the run is over", async || {
        house.clock.advance(step);
        Some(found(house, run).await).filter(|run| run.state.is_final())
    })
    .await
}

/// A run whose rows have come, and that waits for the disk.
async fn merges(house: &House, owner: &Actor, dataset: &DatasetId) -> RunId {
    let run = house.app.puller.run_now(owner, dataset, Trigger::Manual).await.unwrap().id;
    until("its rows are put away", async || {
        house.clock.advance(1_000);
        house.app.puller.live.now(&run).filter(|progress| progress.phase == "Saving")
    })
    .await;
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_for_others_is_stopped_before_anything_is_asked() {
    let (house, owner, dataset) = with_chats().await;
    let run = house.app.puller.run_now(&owner, &dataset, Trigger::Manual).await.unwrap().id;
    until("it waits for others", async || (found(&house, &run).await.state == State::Running).then_some(())).await;
    house.app.puller.cancel(&owner, &run).await.unwrap();
    assert_eq!(over(&house, &run, 1_000).await.state, State::Cancelled);
    assert_eq!(house.sandbox.calls_total(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_rows_are_put_away_is_stopped_before_its_commit() {
    let (house, owner, dataset) = with_chats().await;
    let first = house.app.puller.run_now(&owner, &dataset, Trigger::Manual).await.unwrap().id;
    let first = over(&house, &first, 1_000).await;
    assert_eq!(first.state, State::Succeeded, "{first:?}");
    let wedged = Wedged::new(&house).await;
    let run = merges(&house, &owner, &dataset).await;
    house.app.puller.cancel(&owner, &run).await.unwrap();
    assert_eq!(over(&house, &run, 1).await.state, State::Cancelled);
    drop(wedged);
    let current = house.app.datasets.for_run(&dataset).await.unwrap().current.unwrap();
    assert_eq!(Some(current.version), first.version_id, "the rows from before are untouched");
    let next = house.app.puller.run_now(&owner, &dataset, Trigger::Manual).await.unwrap().id;
    assert_eq!(over(&house, &next, 1_000).await.state, State::Succeeded, "the worker is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_rows_are_not_put_away_for_five_minutes_is_stopped_and_tried_again() {
    let (house, owner, dataset) = with_chats().await;
    let first = house.app.puller.run_now(&owner, &dataset, Trigger::Manual).await.unwrap().id;
    assert_eq!(over(&house, &first, 1_000).await.state, State::Succeeded);
    let wedged = Wedged::new(&house).await;
    let run = merges(&house, &owner, &dataset).await;
    let stuck = over(&house, &run, MINUTE).await;
    let failure = stuck.failure.unwrap();
    assert_eq!((stuck.state, failure.code.as_str()), (State::Failed, "no_progress"), "{failure:?}");
    assert!(failure.message.contains("Saving the rows made no progress for 5 minutes") && failure.action.contains("retry 1 of 3"), "{failure:?}");
    drop(wedged);
    let retry = until("it is tried again", async || {
        house.clock.advance(MINUTE);
        queue::of_dataset(&house.app.db, &dataset, 0, 1).await.unwrap().into_iter().next().filter(|run| run.state == State::Succeeded)
    })
    .await;
    assert_eq!(retry.trigger, Trigger::Retry);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_rows_are_not_put_away_within_the_time_of_a_run_is_stopped() {
    let (house, owner, dataset) = with_chats().await;
    let first = house.app.puller.run_now(&owner, &dataset, Trigger::Manual).await.unwrap().id;
    assert_eq!(over(&house, &first, 1_000).await.state, State::Succeeded);
    let wedged = Wedged::new(&house).await;
    let run = merges(&house, &owner, &dataset).await;
    let failure = over(&house, &run, 24 * 60 * MINUTE).await.failure.unwrap();
    assert_eq!(failure.code, "run_too_long", "{failure:?}");
    drop(wedged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_its_run_alone_with_the_place_and_the_worker_goes_on() {
    let (home, vendor) = (Home::new(), StandIn::new(20).await);
    let email = home.person("olga", "admin").await;
    let token = home.token(&email, "manage").await;
    let account = home.account(&email, &vendor.address, "sandbox-key").await;
    let (one, other) = (home.dataset(&email, &account, "chat").await, home.dataset(&email, &account, "chat").await);
    // So many of two runs that share a reading end by it: what was read is of both, and while gathering the second may be there or not.
    for (place, ended) in [("save", 1..=1), ("read", 2..=2), ("gather", 1..=2)] {
        let server = home.spawn_in(&[("CHATLAKE_PANIC_AT", place)], &["--workers", "1"]);
        server.ready().await;
        for dataset in [&one, &other] {
            server.send("PATCH", &format!("/api/v1/datasets/{dataset}"), &token, Some(json!({"retry": null}))).await;
        }
        let runs = [server.run(&one, &token).await, server.run(&other, &token).await];
        let mut failed = 0;
        for run in &runs {
            let run = server.over(run, &token).await;
            if run["state"] == "failed" {
                failed += 1;
                let said = run["error"]["message"].as_str().unwrap();
                assert!(run["error"]["code"] == "internal" && said.contains("at src/db/marks.rs:") && !said.contains("kanarie"), "{place}: {run}");
            }
        }
        assert!(ended.contains(&failed), "{place}: {failed}");
        for dataset in [&one, &other] {
            let again = server.over(&server.run(dataset, &token).await, &token).await;
            assert_eq!(again["state"], "succeeded", "{place}: {again}");
        }
        server.stop().await;
        assert!(server.err().contains("a panic") && !server.err().contains("kanarie"), "{}", server.err());
    }
}
