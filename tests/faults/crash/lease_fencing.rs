//! A worker that lost its lease, or was asked to stop, writes nothing.

use chatlake::clock::Clock;
use chatlake::connectors::report::Report;
use chatlake::connectors::{Connector, Window, WindowCounts};
use chatlake::datasets::columns;
use chatlake::datasets::segments::Segments;
use chatlake::datasets::versions::{Commit, Retention, Versions};
use chatlake::db::Db;
use chatlake::ids::{DatasetId, UserId};
use chatlake::puller::queue::{self, CallStats, Claimed, LeaseState, RunEnd, WorkerLeases};
use chatlake::puller::run::Trigger;
use jiff::civil::date;

struct FenceFixture {
    _dir: tempfile::TempDir,
    db: Db,
    clock: Clock,
    versions: Versions,
    dataset: DatasetId,
    report: &'static Report,
}

impl FenceFixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("chatlake.db")).await.unwrap();
        let clock = Clock::stopped_at(1_795_176_000_000);
        std::fs::create_dir(dir.path().join("segments")).unwrap();
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
        let (owner, dataset) = (UserId::new(), DatasetId::new());
        let mut tx = db.write().await.unwrap();
        sqlx::query(
            "INSERT INTO users (id, email, name, role, created_at, updated_at)
             VALUES ($1, 'o@h.test', 'O', 'admin', 0, 0)",
        )
        .bind(&owner)
        .execute(&mut *tx)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO datasets (id, owner_id, connector, report, name, description, menus, \
            update_mode, time_zone, created_at, updated_at) \
            VALUES ($1, $2, 'livechat', 'agents', 'N', '', '{}', 'replace', 'UTC', 0, 0)",
        )
        .bind(&dataset)
        .bind(&owner)
        .execute(&mut *tx)
        .await
        .unwrap();
        queue::enqueue(&mut tx, clock.now(), &dataset, "key", Trigger::Manual, None)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        Self {
            _dir: dir,
            db,
            clock,
            versions,
            dataset,
            report: Connector::LiveChat.report("agents").unwrap(),
        }
    }
}

/// The run that is due, claimed by this holder.
async fn claim_one(db: &Db, clock: &Clock, holder: &str) -> Option<Claimed> {
    queue::claim(db, clock, &WorkerLeases::new(holder), 8)
        .await
        .unwrap()
        .into_iter()
        .next()
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_commits_nothing() {
    let FenceFixture {
        _dir,
        db,
        clock,
        versions,
        dataset,
        report,
    } = FenceFixture::new().await;
    let first = claim_one(&db, &clock, "first").await.unwrap();
    assert!(
        claim_one(&db, &clock, "second").await.is_none(),
        "a lease holds"
    );
    assert_eq!(
        queue::extend_lease(&db, &clock, &first, "{}")
            .await
            .unwrap(),
        LeaseState::Active
    );
    // The lease of the first worker ends.
    clock.advance(i64::try_from(queue::LEASE.as_millis()).unwrap() + 1);
    let second = claim_one(&db, &clock, "second").await.unwrap();
    assert_eq!(
        (&second.id, second.fence, second.attempt),
        (&first.id, first.fence + 1, 2)
    );
    let declared = columns::columns_of(report);
    let written = versions
        .segments()
        .writer(&dataset, &first.id)
        .finish()
        .await
        .unwrap();
    let commit = Commit::new(&dataset, &first.id, &declared, &written);
    assert_eq!(
        queue::extend_lease(&db, &clock, &first, "{}")
            .await
            .unwrap(),
        LeaseState::Lost
    );
    assert_eq!(
        queue::load_or_create_plan(&db, &first, "key", &[])
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        queue::record_window(&db, &clock, &first, 0, &WindowCounts::default(), 0)
            .await
            .unwrap(),
        LeaseState::Lost
    );
    assert_eq!(
        queue::commit(&db, &clock, &versions, &first, &commit)
            .await
            .unwrap()
            .unwrap_err(),
        LeaseState::Lost
    );
    queue::end_run(
        &db,
        &clock,
        &first,
        &RunEnd::Cancelled,
        CallStats::default(),
    )
    .await
    .unwrap();
    queue::requeue(&db, &clock, &first, None, CallStats::default())
        .await
        .unwrap();
    assert!(versions.current(&dataset).await.unwrap().is_none());
    assert_eq!(
        queue::get(&db, &first.id)
            .await
            .unwrap()
            .unwrap()
            .state
            .word(),
        "running",
        "still in the second one's hands"
    );
    queue::commit(&db, &clock, &versions, &second, &commit)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        queue::commit(&db, &clock, &versions, &second, &commit)
            .await
            .unwrap()
            .unwrap_err(),
        LeaseState::Lost,
        "one commit a run"
    );
    assert_eq!(versions.list(&dataset).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_run_that_was_asked_to_stop_commits_nothing() {
    let FenceFixture {
        _dir,
        db,
        clock,
        versions,
        dataset,
        report,
    } = FenceFixture::new().await;
    let run = claim_one(&db, &clock, "one").await.unwrap();
    assert!(queue::cancel(&db, &clock, &run.id).await.unwrap());
    let declared = columns::columns_of(report);
    let commit = Commit::new(&dataset, &run.id, &declared, &[]);
    assert_eq!(
        queue::commit(&db, &clock, &versions, &run, &commit)
            .await
            .unwrap()
            .unwrap_err(),
        LeaseState::CancelRequested
    );
    assert!(versions.current(&dataset).await.unwrap().is_none());
}

#[tokio::test]
async fn empty_parents_of_a_window_survive_an_interruption_but_not_another_request() {
    let FenceFixture {
        _dir,
        db,
        clock,
        versions,
        dataset,
        ..
    } = FenceFixture::new().await;
    let day = |day| Window {
        from: date(2026, 11, day),
        to: date(2026, 11, day),
    };
    let first = claim_one(&db, &clock, "first").await.unwrap();
    queue::load_or_create_plan(&db, &first, "key", &[day(1), day(2)])
        .await
        .unwrap()
        .unwrap();
    queue::record_empty_parents(&db, &first, 0, &["A".to_owned(), "B".to_owned()])
        .await
        .unwrap();
    queue::record_window(&db, &clock, &first, 0, &WindowCounts::default(), 0)
        .await
        .unwrap();
    let written = versions
        .segments()
        .writer(&dataset, &first.id)
        .finish()
        .await
        .unwrap();
    queue::checkpoint(&db, &[(&first, &written)]).await.unwrap();
    clock.advance(i64::try_from(queue::LEASE.as_millis()).unwrap() + 1);
    let second = claim_one(&db, &clock, "second").await.unwrap();
    let plan = queue::load_or_create_plan(&db, &second, "key", &[])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (
            plan.remaining(),
            queue::empty_parents(&db, &second.id).await.unwrap()
        ),
        (vec![1], vec!["A".to_owned(), "B".to_owned()])
    );
    // The worker that lost its lease writes nothing here.
    queue::record_empty_parents(&db, &first, 1, &["C".to_owned()])
        .await
        .unwrap();
    assert_eq!(
        queue::empty_parents(&db, &second.id).await.unwrap().len(),
        2
    );
    queue::load_or_create_plan(&db, &second, "another key", &[day(3)])
        .await
        .unwrap()
        .unwrap();
    assert!(
        queue::empty_parents(&db, &second.id)
            .await
            .unwrap()
            .is_empty()
    );
}
