//! The server dies at any moment of a pull, and comes back: readers see the old rows or the new
//! ones, whole, and the run goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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
use chatlake::sandbox::faults::{Fault, FaultKind};
use jiff::civil::date;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;
use crate::support::server::{Csv, Server};
use crate::support::{until, until_within};

/// A DataSet with a first version, and who may look at it.
struct CrashFixture {
    data_dir: DataDir,
    vendor: LocalSandbox,
    dataset: String,
    token: String,
    /// How often a whole pull calls the vendor.
    calls: u64,
}

impl CrashFixture {
    async fn new(chats: u64) -> (Self, Server) {
        let (data_dir, vendor) = (
            DataDir::new(),
            LocalSandbox::still(chats, Duration::from_millis(3)).await,
        );
        let email = data_dir.person("olga", "admin").await;
        let token = data_dir.token(&email, "manage").await;
        let account = data_dir
            .account(&email, &vendor.address, "sandbox-key")
            .await;
        let dataset = data_dir.dataset(&email, &account, "chat").await;
        let server = data_dir.serve().await;
        let mut fixture = Self {
            data_dir,
            vendor,
            dataset,
            token,
            calls: 0,
        };
        fixture.pulled(&server).await;
        fixture.calls = fixture.vendor.sandbox.calls_total();
        (fixture, server)
    }

    /// Pulls once, without trouble.
    async fn pulled(&self, server: &Server) -> Csv {
        let run = server.run(&self.dataset, &self.token).await;
        assert_eq!(server.over(&run, &self.token).await["state"], "succeeded");
        server.csv(&self.dataset, &self.token).await
    }

    /// What the catalogue and the directory must hold whatever happened. `over`: no run is alive.
    async fn check(&self, over: bool) {
        let pool = reader(&self.data_dir).await;
        let whole: String = sqlx::query_scalar("PRAGMA integrity_check")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(whole, "ok");
        assert!(
            sqlx::query("PRAGMA foreign_key_check")
                .fetch_all(&pool)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            count(
                &pool,
                "SELECT COUNT(*)
                 FROM version_segments v
                 JOIN segments s ON s.id = v.segment_id
                 WHERE s.state <> 'kept'"
            )
            .await,
            0
        );
        let unread = "SELECT COUNT(*)
             FROM versions v
             WHERE v.rows <> (
                 SELECT COALESCE(SUM(s.rows), 0)
                 FROM version_segments x
                 JOIN segments s ON s.id = x.segment_id
                 WHERE x.version_id = v.id
             )";
        assert_eq!(
            count(&pool, unread).await,
            0,
            "every version has the rows it tells"
        );
        assert_eq!(
            count(
                &pool,
                "SELECT COUNT(*)
                 FROM (SELECT run_id FROM versions GROUP BY run_id HAVING COUNT(*) > 1)"
            )
            .await,
            0,
            "one commit a run"
        );
        let succeeded = "SELECT COUNT(*)
             FROM runs r
             LEFT JOIN versions v ON v.id = r.version_id AND v.run_id = r.id
             WHERE r.state = 'succeeded'
                 AND r.id IN (SELECT run_id FROM versions)
                 AND v.id IS NULL";
        assert_eq!(count(&pool, succeeded).await, 0);
        if over {
            assert_eq!(
                count(
                    &pool,
                    "SELECT COUNT(*)
                     FROM segments s
                     JOIN runs r ON r.id = s.run_id
                     WHERE s.state = 'staged'"
                )
                .await,
                0,
                "nothing stays staged"
            );
            assert_eq!(
                count(
                    &pool,
                    "SELECT COUNT(*) FROM runs WHERE state IN ('queued', 'running', 'waiting')"
                )
                .await,
                0
            );
        }
        let kept: Vec<(String, i64)> =
            sqlx::query_as("SELECT id, bytes FROM segments WHERE state = 'kept'")
                .fetch_all(&pool)
                .await
                .unwrap();
        for (id, bytes) in kept {
            let about = std::fs::metadata(
                self.data_dir
                    .data()
                    .join("segments")
                    .join(format!("{id}.parquet")),
            )
            .unwrap();
            assert_eq!(i64::try_from(about.len()).unwrap(), bytes, "{id}");
        }
        pool.close().await;
    }
}

async fn reader(data_dir: &DataDir) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(
            SqliteConnectOptions::new()
                .filename(data_dir.catalogue())
                .read_only(true),
        )
        .await
        .unwrap()
}

async fn count(pool: &SqlitePool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

/// When the server dies.
#[derive(Clone, Copy, Debug)]
enum KillMoment {
    /// As soon as the run is queued.
    Queued,
    /// When the vendor has been called so often for this run, in percent of all calls.
    Calls(u64),
    /// When so many windows are done.
    Windows(u64),
    /// So long after the last page.
    AfterLastPage(u64),
    /// As soon as anyone was told that it succeeded.
    Reported,
}

const KILL_MOMENTS: [KillMoment; 24] = [
    KillMoment::Queued,
    KillMoment::AfterLastPage(0),
    KillMoment::Calls(1),
    KillMoment::AfterLastPage(34),
    KillMoment::Calls(10),
    KillMoment::AfterLastPage(6),
    KillMoment::Calls(25),
    KillMoment::AfterLastPage(39),
    KillMoment::Calls(40),
    KillMoment::AfterLastPage(14),
    KillMoment::Calls(55),
    KillMoment::AfterLastPage(18),
    KillMoment::Calls(70),
    KillMoment::AfterLastPage(24),
    KillMoment::Calls(85),
    KillMoment::AfterLastPage(30),
    KillMoment::Windows(1),
    KillMoment::AfterLastPage(45),
    KillMoment::Windows(8),
    KillMoment::AfterLastPage(70),
    KillMoment::Windows(14),
    KillMoment::AfterLastPage(110),
    KillMoment::Calls(100),
    KillMoment::Reported,
];

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_at_any_point_of_a_pull_restarts_with_all_old_or_all_new_rows() {
    // Four directories at once: most of the time goes by waiting.
    let lane = |first: usize| async move {
        let (fixture, mut server) = CrashFixture::new(700).await;
        let mut ends = Vec::new();
        for moment in KILL_MOMENTS.into_iter().skip(first).step_by(4) {
            let (end, next) = die_and_return(&fixture, server, moment).await;
            ends.push((moment, end));
            server = next;
        }
        server.stop().await;
        fixture.check(true).await;
        ends
    };
    let (a, b, c, d) = tokio::join!(lane(0), lane(1), lane(2), lane(3));
    let ends: Vec<_> = [a, b, c, d].concat();
    let seen: BTreeMap<&str, usize> = ends.iter().fold(BTreeMap::new(), |mut seen, (_, end)| {
        *seen.entry(*end).or_default() += 1;
        seen
    });
    assert_eq!(ends.len(), KILL_MOMENTS.len());
    let before = seen.get("old").copied().unwrap_or(0);
    assert!(
        before >= 10 && before < KILL_MOMENTS.len(),
        "they died on one side of the commit only: {ends:?}"
    );
    assert!(
        ends.iter()
            .all(|(moment, end)| !matches!(moment, KillMoment::Reported) || *end == "new"),
        "what was told is kept: {ends:?}"
    );
}

/// Kills the server at this moment of a pull and starts it again. Which rows there were then, and
/// the new server.
async fn die_and_return(
    fixture: &CrashFixture,
    server: Server,
    moment: KillMoment,
) -> (&'static str, Server) {
    let CrashFixture {
        data_dir,
        vendor,
        dataset,
        token,
        calls,
    } = fixture;
    let old = server.csv(dataset, token).await;
    // The new rows are not the old ones.
    vendor.sandbox.end_chats(3);
    vendor.sandbox.forget_calls();
    let run = server.run(dataset, token).await;
    match moment {
        KillMoment::Queued => {}
        KillMoment::Calls(percent) => {
            let wanted = (calls * percent / 100).max(1);
            until("so many calls", async || {
                (vendor.sandbox.calls_total() >= wanted).then_some(())
            })
            .await;
        }
        KillMoment::Windows(wanted) => {
            until("so many windows", async || {
                (server.get(&format!("/runs/{run}"), token).await.1["windows_done"].as_u64()?
                    >= wanted)
                    .then_some(())
            })
            .await;
        }
        KillMoment::Reported => {
            server.over(&run, token).await;
        }
        KillMoment::AfterLastPage(ms) => {
            until("the last page", async || {
                (vendor.sandbox.calls_total() >= *calls).then_some(())
            })
            .await;
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }
    server.kill();
    fixture.check(false).await;

    let again = data_dir.serve().await;
    let back = until_within(Duration::from_secs(5), "the run is back", async || {
        let state = again.run_state(&run, token).await;
        matches!(state.as_str(), "queued" | "running" | "succeeded").then_some(state)
    })
    .await;
    let now = again.csv(dataset, token).await;
    let end = if now.version == old.version {
        assert_eq!(now, old, "{moment:?}: the old version, whole");
        "old"
    } else {
        "new"
    };
    let over = again.over(&run, token).await;
    assert_eq!(
        over["state"], "succeeded",
        "{moment:?}, back as {back}: {over}"
    );
    let new = again.csv(dataset, token).await;
    assert_eq!(
        (over["version"].as_str(), over["rows"].as_u64()),
        (Some(new.version.as_str()), Some(new.rows as u64)),
        "{moment:?}"
    );
    let (before, after): (BTreeSet<&String>, BTreeSet<&String>) =
        (old.ids.iter().collect(), new.ids.iter().collect());
    let repeated: Vec<&String> = after
        .iter()
        .copied()
        .filter(|id| new.ids.iter().filter(|other| other == id).count() > 1)
        .collect();
    let added: Vec<&&String> = after.difference(&before).collect();
    assert!(
        repeated.is_empty(),
        "{moment:?}: rows that are there twice: {repeated:?}"
    );
    assert_eq!(
        (new.rows, added.len()),
        (old.rows + 3, 3),
        "{moment:?}: added were {added:?}"
    );
    assert_ne!(new.digest, old.digest);
    if end == "new" {
        assert_eq!(now, new, "{moment:?}: the new version, whole");
    }
    assert_eq!(
        over["read"].as_u64(),
        Some(new.rows as u64),
        "{moment:?}: an interrupted attempt is not counted twice: {over}"
    );
    fixture.check(true).await;
    (end, again)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_kills_the_server_three_times_is_parked_and_the_others_go_on() {
    let (fixture, mut server) = CrashFixture::new(100).await;
    let CrashFixture {
        data_dir,
        vendor,
        dataset,
        token,
        ..
    } = &fixture;
    let old = server.csv(dataset, token).await;
    let hang = || {
        vendor.sandbox.faults().set(vec![
            Fault::new(FaultKind::Late { ms: 300_000 }).on("/chats"),
        ])
    };
    hang();
    let run = server.run(dataset, token).await;
    for attempt in 1..=3 {
        until("the run is at work", async || {
            let run = server.get(&format!("/runs/{run}"), token).await.1;
            (run["state"] == "running" && run["attempt"] == attempt).then_some(())
        })
        .await;
        server.kill();
        server = data_dir.serve().await;
    }
    let parked = server.over(&run, token).await;
    assert_eq!(
        (parked["state"].as_str(), parked["error"]["code"].as_str()),
        (Some("parked"), Some("parked")),
        "{parked}"
    );
    for part in ["message", "who", "action"] {
        assert!(
            parked["error"][part]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{part} of {parked}"
        );
    }
    assert_eq!(server.csv(dataset, token).await, old);
    // A fourth start leaves it there.
    server.kill();
    let server = data_dir.serve().await;
    assert_eq!(server.run_state(&run, token).await, "parked");
    vendor.sandbox.faults().clear();
    let new = fixture.pulled(&server).await;
    assert_eq!(new.rows, old.rows);
    fixture.check(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_while_it_waits_its_turn_and_while_it_is_at_work() {
    let (fixture, server) = CrashFixture::new(100).await;
    let CrashFixture {
        data_dir,
        vendor,
        dataset,
        token,
        ..
    } = &fixture;
    let old = server.csv(dataset, token).await;
    server.stop().await;
    let account = data_dir.run(&["account", "list", "--json"]).await.json()[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let other = data_dir
        .dataset("olga@house.test", &account, "agents")
        .await;
    let server = data_dir.serve_with(&["--workers", "1"]).await;
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 300_000 }).on("/chats"),
    ]);
    let working = server.run(dataset, token).await;
    until("it is at work", async || {
        (server.run_state(&working, token).await == "running").then_some(())
    })
    .await;
    let queued = server.run(&other, token).await;
    assert_eq!(
        server.run(&other, token).await,
        queued,
        "pressing again answers the run that is there"
    );
    assert_eq!(server.run_state(&queued, token).await, "queued");
    let (status, stopped) = server.post(&format!("/runs/{queued}/cancel"), token).await;
    assert_eq!(
        (status, stopped["state"].as_str()),
        (200, Some("cancelled")),
        "one that waits ends at once"
    );
    let (status, response) = server.post(&format!("/runs/{working}/cancel"), token).await;
    assert_eq!(status, 200, "{response}");
    let over = until_within(
        Duration::from_secs(10),
        "one at work ends soon",
        async || {
            let run = server.get(&format!("/runs/{working}"), token).await.1;
            (run["state"] == "cancelled").then_some(run)
        },
    )
    .await;
    assert_eq!(over["version"], serde_json::Value::Null);
    assert_eq!(server.csv(dataset, token).await, old);
    let (status, still) = server.post(&format!("/runs/{working}/cancel"), token).await;
    assert_eq!(
        (status, still["state"].as_str()),
        (200, Some("cancelled")),
        "one that is over stays as it is"
    );
    vendor.sandbox.faults().clear();
    let run = server.run(&other, token).await;
    assert_eq!(
        server.over(&run, token).await["state"],
        "succeeded",
        "the worker is free again"
    );
}

// ---- the fence, in the library ----

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
        sqlx::query("INSERT INTO datasets (id, owner_id, connector, report, name, description, menus, update_mode, time_zone, created_at, updated_at) VALUES ($1, $2, 'livechat', 'agents', 'N', '', '{}', 'replace', 'UTC', 0, 0)")
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
async fn one(db: &Db, clock: &Clock, holder: &str) -> Option<Claimed> {
    queue::claim(db, clock, &WorkerLeases::new(holder), 8)
        .await
        .unwrap()
        .into_iter()
        .next()
}

#[tokio::test]
async fn whoever_lost_the_lease_can_commit_nothing() {
    let FenceFixture {
        _dir,
        db,
        clock,
        versions,
        dataset,
        report,
    } = FenceFixture::new().await;
    let first = one(&db, &clock, "first").await.unwrap();
    assert!(one(&db, &clock, "second").await.is_none(), "a lease holds");
    assert_eq!(
        queue::extend_lease(&db, &clock, &first, "{}")
            .await
            .unwrap(),
        LeaseState::Active
    );
    // The first one sleeps through its lease.
    clock.advance(i64::try_from(queue::LEASE.as_millis()).unwrap() + 1);
    let second = one(&db, &clock, "second").await.unwrap();
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
    let run = one(&db, &clock, "one").await.unwrap();
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
async fn what_a_merge_has_to_know_of_a_window_outlasts_an_interruption_and_not_another_question() {
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
    let first = one(&db, &clock, "first").await.unwrap();
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
    let second = one(&db, &clock, "second").await.unwrap();
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
    // Whoever lost the lease writes nothing there.
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
