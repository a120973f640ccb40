//! What must not disturb how a DataSet is kept up, and what must: backfills beside the schedule,
//! one trouble told after another, a schedule that begins anew, a person who pauses, stops, or does
//! not want to wait.

use chatlake::actor::{Actor, Role, Scope};
use chatlake::clock::Clock;
use chatlake::datasets::policies::{NotificationKind, NotificationSettings, RetryPolicy};
use chatlake::datasets::{Dataset, DatasetDescription, DatasetName, DatasetSettings};
use chatlake::ids::DatasetId;
use chatlake::puller::backfills::{BackfillRange, BackfillState};
use chatlake::puller::queue::WorkerLeases;
use chatlake::puller::run::{Run, RunState, Trigger};
use chatlake::puller::schedules::Schedule;
use chatlake::puller::{queue, scheduler};
use chatlake::sandbox::faults::{Fault, FaultKind};

use crate::support::context::TestContext;
use crate::support::datasets::{merging, scheduled};
use crate::support::{DAY, HOUR, MINUTE, NOON, until};

async fn now(ctx: &TestContext, dataset: &DatasetId) -> Dataset {
    ctx.app.datasets.for_run(dataset).await.unwrap()
}

fn by(owner: &Actor) -> chatlake::auth::audit::AuditActor<'_> {
    chatlake::auth::audit::AuditActor {
        actor: owner,
        address: None,
    }
}

/// Days that are past, in one chunk.
fn past(ctx: &TestContext, days: i32) -> BackfillRange {
    let today = ctx
        .clock
        .timestamp()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let back = |days: i32| {
        today
            .saturating_sub(jiff::Span::new().days(days))
            .to_string()
    };
    BackfillRange::check(&back(days + 2), &back(days), "7", today).unwrap()
}

/// Everything that is told of this DataSet goes to a webhook that nobody takes.
async fn set_notifications(
    ctx: &TestContext,
    owner: &Actor,
    dataset: &DatasetId,
    on: &[NotificationKind],
    after: i64,
) {
    let hooks = &ctx.app.puller.notifications;
    let known = hooks
        .webhooks()
        .await
        .unwrap()
        .into_iter()
        .next()
        .map(|hook| hook.id.to_string());
    let hook = match known {
        Some(hook) => hook,
        None => hooks
            .add_webhook("Team chat", "http://127.0.0.1:9/x")
            .await
            .unwrap()
            .0
            .id
            .to_string(),
    };
    let notify = NotificationSettings::new(Some(Vec::new()), vec![hook], on.into(), after).unwrap();
    ctx.app
        .datasets
        .set_notifications(owner, dataset, &notify)
        .await
        .unwrap();
}

/// What was told since then, in order.
async fn notifications_since(ctx: &TestContext, since: i64) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT kind FROM notifications WHERE created_at >= $1 ORDER BY created_at, id",
    )
    .bind(since)
    .fetch_all(ctx.app.db.read())
    .await
    .unwrap()
}

async fn notifications(ctx: &TestContext) -> Vec<String> {
    notifications_since(ctx, 0).await
}

async fn kills(ctx: &TestContext, run: &chatlake::ids::RunId) {
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE runs SET attempt = 3 WHERE id = $1")
        .bind(run)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    queue::requeue_interrupted(&ctx.app.db, &ctx.clock)
        .await
        .unwrap();
    assert_eq!(
        queue::get(&ctx.app.db, run).await.unwrap().unwrap().state,
        RunState::Parked
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_leaves_schedule_retry_and_notices_as_they_are_however_it_ends() {
    let ctx = TestContext::with_workers().await;
    let (owner, mut browser) = ctx.signed_in_person("olga", Role::Editor).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = merging(&ctx, &owner, &account, Some("0 4 1 1 *")).await;
    set_notifications(&ctx, &owner, &dataset, &NotificationKind::ALL, 1).await;
    assert_eq!(ctx.run(&owner, &dataset).await.state, RunState::Succeeded);
    let puller = &ctx.app.puller;
    let over = async || {
        until("the backfill is over", async || {
            Some(puller.backfills(&owner, &dataset).await.unwrap().remove(0))
                .filter(|b| b.state != BackfillState::Running)
        })
        .await
    };

    // A chunk that fails is the backfill's affair: that it has stopped is told, and nothing else.
    ctx.app
        .datasets
        .set_retry_policy(&owner, &dataset, RetryPolicy::NEVER, None)
        .await
        .unwrap();
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Html).on("/chats")]);
    puller
        .backfill(&owner, &dataset, &past(&ctx, 10))
        .await
        .unwrap();
    let stopped = over().await;
    assert!(
        stopped.state == BackfillState::Stopped && stopped.stop_reason.is_some(),
        "{stopped:?}"
    );
    assert_eq!(
        (
            now(&ctx, &dataset).await.policies.retry_at,
            notifications(&ctx).await
        ),
        (None, vec!["failure".to_owned()])
    );
    let about: Vec<String> = sqlx::query_scalar("SELECT about FROM notifications")
        .fetch_all(ctx.app.db.read())
        .await
        .unwrap();
    assert!(
        about[0].contains("backfill_stopped")
            && about[0].contains("can resume it under History, Backfill"),
        "{about:?}"
    );
    ctx.app
        .datasets
        .set_retry_policy(&owner, &dataset, RetryPolicy::DEFAULT, None)
        .await
        .unwrap();
    let good = browser.get("/datasets").await.words(".status-cell");
    assert!(good.starts_with("Up to date"), "{good}");
    let page = browser.get(&format!("/datasets/{dataset}")).await;
    assert!(
        !page.words(".head .facts").contains("Failed") && page.text.contains("has stopped."),
        "{}",
        page.words("main")
    );

    // One that succeeds mends nothing.
    assert_eq!(ctx.run(&owner, &dataset).await.state, RunState::Failed);
    let before = now(&ctx, &dataset).await.policies;
    assert!(before.retry_at.is_some());
    ctx.sandbox.faults().clear();
    puller
        .resume_backfill(&owner, &dataset, &stopped.id)
        .await
        .unwrap();
    assert_eq!(over().await.state, BackfillState::Finished);
    let after = now(&ctx, &dataset).await.policies;
    assert_eq!(
        (
            after.retry_at,
            after.last_success_at,
            notifications(&ctx).await
        ),
        (
            before.retry_at,
            before.last_success_at,
            vec!["failure".to_owned(); 2]
        )
    );
    let bad = browser.get("/datasets").await.words(".status-cell");
    assert!(bad.starts_with("Failed"), "{bad}");
    assert!(
        browser
            .get(&format!("/datasets/{dataset}"))
            .await
            .words(".head .facts")
            .contains("Failed")
    );

    // Nor does one that a person stops.
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 300_000 }).on("/chats"),
    ]);
    let begun = puller
        .backfill(&owner, &dataset, &past(&ctx, 20))
        .await
        .unwrap();
    until("its chunk is at work", async || {
        let run = puller
            .backfills(&owner, &dataset)
            .await
            .unwrap()
            .remove(0)
            .run?;
        (queue::get(&ctx.app.db, &run).await.unwrap()?.state == RunState::Running).then_some(())
    })
    .await;
    puller
        .cancel_backfill(&owner, &dataset, &begun.id)
        .await
        .unwrap();
    until("its chunk has ended", async || {
        puller
            .backfills(&owner, &dataset)
            .await
            .unwrap()
            .remove(0)
            .run
            .is_none()
            .then_some(())
    })
    .await;
    assert_eq!(now(&ctx, &dataset).await.policies.retry_at, before.retry_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_stops_the_server_leaves_its_dataset_on_its_schedule() {
    let ctx = TestContext::new().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = merging(&ctx, &owner, &account, Some("0 * * * *")).await;
    set_notifications(&ctx, &owner, &dataset, &NotificationKind::ALL, 1).await;
    ctx.app
        .puller
        .backfill(&owner, &dataset, &past(&ctx, 10))
        .await
        .unwrap();
    scheduler::tick(&ctx.app.puller).await.unwrap();
    let chunk = queue::of_dataset(&ctx.app.db, &dataset, 0, 1)
        .await
        .unwrap()
        .remove(0);
    assert_eq!(chunk.trigger, Trigger::Backfill);
    kills(&ctx, &chunk.id).await;
    let after = now(&ctx, &dataset).await;
    assert!(
        after.next_run_at.is_some() && after.stopped().is_none(),
        "{after:?}"
    );
    assert!(notifications(&ctx).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_notified_after_lateness_and_again_after_a_restart() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = scheduled(&ctx, &owner, &account, "Agents", "0 12 * * *").await;
    set_notifications(&ctx, &owner, &dataset, &NotificationKind::ALL, 1).await;
    ctx.app
        .datasets
        .set_retry_policy(&owner, &dataset, RetryPolicy::NEVER, Some(1))
        .await
        .unwrap();
    ctx.app.puller.wake_deadlines.notify_one();
    ctx.clock.advance(HOUR + 1);
    until("it is late", async || {
        now(&ctx, &dataset).await.policies.late_since
    })
    .await;
    let fails = async || {
        ctx.sandbox
            .faults()
            .set(vec![Fault::new(FaultKind::Status { status: 400 })]);
        assert_eq!(ctx.run(&owner, &dataset).await.state, RunState::Failed);
    };
    fails().await;
    assert_eq!(notifications(&ctx).await, ["late", "failure"]);
    fails().await;
    assert_eq!(
        notifications(&ctx).await.len(),
        2,
        "once, until one succeeds"
    );

    // Something takes it off; what fails once it is back is told.
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query(
        "UPDATE datasets
         SET next_run_at = NULL, stopped_at = $1, stop_reason = 'parked'
         WHERE id = $2",
    )
    .bind(ctx.clock.now())
    .bind(&dataset)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    ctx.app
        .puller
        .restart_schedule(&owner, &dataset)
        .await
        .unwrap();
    fails().await;
    assert_eq!(notifications(&ctx).await, ["late", "failure", "failure"]);
    ctx.sandbox.faults().clear();
    ctx.clock.advance(MINUTE);
    assert_eq!(ctx.run(&owner, &dataset).await.state, RunState::Succeeded);
    assert_eq!(
        notifications(&ctx).await,
        ["late", "failure", "failure", "recovery"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_notified_as_stopped_or_as_a_failure_to_recipients_of_failures_only() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let both = scheduled(&ctx, &owner, &account, "Both", "0 * * * *").await;
    set_notifications(&ctx, &owner, &both, &NotificationKind::ALL, 3).await;
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 401 })]);
    for _ in 0..3 {
        assert_eq!(
            ctx.run(&owner, &both).await.failure.unwrap().code,
            "unauthorized"
        );
    }
    assert_eq!(
        notifications(&ctx).await,
        ["stopped"],
        "it is not told as a failure besides"
    );

    let other = ctx.account(&owner, "Sales").await.id;
    let failures = scheduled(&ctx, &owner, &other, "Failures", "0 * * * *").await;
    set_notifications(
        &ctx,
        &owner,
        &failures,
        &[NotificationKind::Failure, NotificationKind::Recovery],
        3,
    )
    .await;
    ctx.clock.advance(MINUTE);
    for _ in 0..3 {
        ctx.run(&owner, &failures).await;
    }
    assert!(now(&ctx, &failures).await.stopped().is_some());
    assert_eq!(notifications_since(&ctx, NOON + MINUTE).await, ["failure"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_crashes_the_server_is_notified_once_as_stopped() {
    let ctx = TestContext::new().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let (all, failures) = (
        scheduled(&ctx, &owner, &account, "All", "0 * * * *").await,
        scheduled(&ctx, &owner, &account, "Failures", "0 * * * *").await,
    );
    set_notifications(&ctx, &owner, &all, &NotificationKind::ALL, 1).await;
    set_notifications(&ctx, &owner, &failures, &[NotificationKind::Failure], 1).await;
    for (dataset, kind) in [(&all, "stopped"), (&failures, "failure")] {
        let run = ctx
            .app
            .puller
            .run_now(&owner, dataset, Trigger::Manual)
            .await
            .unwrap();
        kills(&ctx, &run.id).await;
        assert!(now(&ctx, dataset).await.stopped().is_some());
        assert_eq!(notifications_since(&ctx, ctx.clock.now()).await, [kind]);
        ctx.clock.advance(MINUTE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_notified_after_the_chosen_number_of_failures() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "Agents").await;
    set_notifications(&ctx, &owner, &dataset, &NotificationKind::ALL, 2).await;
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 400 })]);
    let mut counts = Vec::new();
    for _ in 0..3 {
        ctx.run(&owner, &dataset).await;
        counts.push(notifications(&ctx).await.len());
    }
    assert_eq!(counts, [0, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sunset_of_an_api_is_notified_once_per_stage() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "Agents").await;
    set_notifications(&ctx, &owner, &dataset, &NotificationKind::ALL, 1).await;
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE accounts SET api_ends_on = '2027-01-19'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    ctx.app.puller.wake_deadlines.notify_one();
    // Sixty days before it; the day counts in UTC.
    for (left, stage) in [
        (60, "known"),
        (45, "known"),
        (30, "a month"),
        (20, "a month"),
        (7, "a week"),
        (3, "a week"),
        (1, "a day"),
        (0, "a day"),
        (-1, "over"),
    ] {
        let at = NOON + (60 - left) * DAY;
        ctx.clock.advance(at - ctx.clock.now());
        let key = format!("2027-01-19 {stage}");
        until(&key, async || {
            ctx.app.puller.wake_deadlines.notify_one();
            let notified: Option<String> =
                sqlx::query_scalar("SELECT sunset_notified FROM accounts")
                    .fetch_one(ctx.app.db.read())
                    .await
                    .unwrap();
            (notified.as_ref() == Some(&key)).then_some(())
        })
        .await;
        let first = ![45, 20, 3, 0].contains(&left);
        assert_eq!(
            notifications_since(&ctx, at).await.len(),
            usize::from(first),
            "{left} days before"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_schedule_is_late_only_by_runs_due_after_the_restart() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let paused = scheduled(&ctx, &owner, &account, "Paused", "0 13 * * *").await;
    let by_hand = ctx.dataset(&owner, &account, "agents", "By hand").await;
    for dataset in [&paused, &by_hand] {
        ctx.app
            .datasets
            .set_retry_policy(&owner, dataset, RetryPolicy::NEVER, None)
            .await
            .unwrap();
        assert_eq!(ctx.run(&owner, dataset).await.state, RunState::Succeeded);
    }
    ctx.app.puller.pause(by(&owner), &paused).await.unwrap();
    ctx.clock.advance(30 * DAY);
    // Neither may run, so that only the clock decides.
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 400 })]);
    ctx.app.puller.resume(by(&owner), &paused).await.unwrap();
    let stored = now(&ctx, &by_hand).await;
    let daily = DatasetSettings {
        name: DatasetName::parse("By hand").unwrap(),
        description: DatasetDescription::default(),
        account_id: account.clone(),
        connector: stored.connector,
        report: stored.report,
        menus: stored.menus.clone(),
        update_mode: stored.update_mode,
        options: Default::default(),
        time_zone: "UTC".to_owned(),
        schedule: Schedule::parse("0 13 * * *", "UTC", ctx.clock.now())
            .unwrap()
            .to_stored(ctx.clock.now()),
    };
    ctx.app
        .datasets
        .configure(&owner, &by_hand, &daily)
        .await
        .unwrap();
    let expected = ctx.clock.now() + HOUR + 6 * HOUR;
    for dataset in [&paused, &by_hand] {
        let due = until("it is reckoned anew", async || {
            ctx.app.puller.wake_deadlines.notify_one();
            let at: Option<i64> = sqlx::query_scalar("SELECT late_at FROM datasets WHERE id = $1")
                .bind(dataset)
                .fetch_one(ctx.app.db.read())
                .await
                .unwrap();
            at.filter(|at| *at > NOON + 20 * DAY)
        })
        .await;
        assert_eq!(
            (due, now(&ctx, dataset).await.policies.late_since),
            (expected, None),
            "13:00 and six hours"
        );
    }
    ctx.clock.advance(7 * HOUR + 1);
    for dataset in [&paused, &by_hand] {
        until("it is late now", async || {
            now(&ctx, dataset).await.policies.late_since
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_schedule_is_never_late() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let going = scheduled(&ctx, &owner, &account, "Going on", "0 13 * * *").await;
    let paused = scheduled(&ctx, &owner, &account, "Paused", "0 13 * * *").await;
    let expected = scheduled(&ctx, &owner, &account, "Paused and expected", "0 13 * * *").await;
    for (dataset, hours) in [(&going, None), (&paused, None), (&expected, Some(2))] {
        ctx.app
            .datasets
            .set_retry_policy(&owner, dataset, RetryPolicy::NEVER, hours)
            .await
            .unwrap();
        assert_eq!(ctx.run(&owner, dataset).await.state, RunState::Succeeded);
    }
    for dataset in [&paused, &expected] {
        ctx.app.puller.pause(by(&owner), dataset).await.unwrap();
    }
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Status { status: 400 })]);
    ctx.clock.advance(3 * DAY);
    until("the one that is not paused is late", async || {
        now(&ctx, &going).await.policies.late_since
    })
    .await;
    // All are looked at together.
    for dataset in [&paused, &expected] {
        assert_eq!(now(&ctx, dataset).await.policies.late_since, None);
    }
    assert!(
        notifications(&ctx)
            .await
            .iter()
            .all(|about| !about.contains("Paused")),
        "{:?}",
        notifications(&ctx).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_late_a_quarter_of_the_time_between_two_runs_after_it_was_due_within_bounds() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    // It is noon of a Friday.
    for (cron, due) in [
        ("0 13 * * 1", 3 * DAY + HOUR + 6 * HOUR),
        ("0 13 * * *", HOUR + 6 * HOUR),
        ("0 13,17 * * *", HOUR + HOUR),
        ("*/20 * * * *", 20 * MINUTE + 15 * MINUTE),
    ] {
        let dataset = scheduled(&ctx, &owner, &account, cron, cron).await;
        let late_at = until("it is reckoned", async || {
            ctx.app.puller.wake_deadlines.notify_one();
            sqlx::query_scalar::<_, Option<i64>>("SELECT late_at FROM datasets WHERE id = $1")
                .bind(&dataset)
                .fetch_one(ctx.app.db.read())
                .await
                .unwrap()
        })
        .await;
        assert_eq!(late_at - NOON, due, "{cron}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_pauses_or_stops_is_not_tried_again() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = scheduled(&ctx, &owner, &account, "Agents", "0 13 * * *").await;
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Html).on("/agents")]);
    let retry_at = async || now(&ctx, &dataset).await.policies.retry_at;
    ctx.run(&owner, &dataset).await;
    assert!(retry_at().await.is_some());
    set_notifications(&ctx, &owner, &dataset, &[NotificationKind::Stopped], 1).await;
    ctx.app.puller.pause(by(&owner), &dataset).await.unwrap();
    assert_eq!(retry_at().await, None);
    // Whoever wants to know is told, once; and the account says so.
    ctx.app.puller.pause(by(&owner), &dataset).await.unwrap();
    let about: Vec<String> = sqlx::query_scalar("SELECT about FROM notifications")
        .fetch_all(ctx.app.db.read())
        .await
        .unwrap();
    assert!(
        about.len() == 1
            && about[0].contains("olga paused the schedule.")
            && about[0].contains("can resume the schedule"),
        "{about:?}"
    );
    let accounts = ctx.signed_in(&owner).await.get("/accounts").await;
    assert!(accounts.text.contains("Paused"), "{}", accounts.text);
    // Also when it is run by hand meanwhile.
    let failed = ctx.run(&owner, &dataset).await;
    assert!(retry_at().await.is_none() && !failed.failure.unwrap().action.contains("retry"));
    ctx.app.puller.resume(by(&owner), &dataset).await.unwrap();
    ctx.run(&owner, &dataset).await;
    assert!(retry_at().await.is_some());
    ctx.app.datasets.unschedule(&owner, &dataset).await.unwrap();
    assert_eq!(retry_at().await, None);

    // One that waits because the vendor asked for it, stopped: nothing comes of it.
    ctx.run(&owner, &dataset).await;
    assert!(retry_at().await.is_some());
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::TooManyRequests {
            retry_after: chatlake::sandbox::faults::RetryAfter::Seconds(7_200),
        })
        .on("/agents"),
    ]);
    let waits = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap();
    until("it waits", async || {
        (queue::get(&ctx.app.db, &waits.id).await.unwrap()?.state == RunState::Waiting)
            .then_some(())
    })
    .await;
    ctx.app.puller.cancel(&owner, &waits.id).await.unwrap();
    assert_eq!(retry_at().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_now_takes_over_the_run_that_waits_for_its_turn() {
    let ctx = TestContext::new().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = scheduled(&ctx, &owner, &account, "Agents", "0 13 * * *").await;
    let key = now(&ctx, &dataset).await.source_key();
    let mut tx = ctx.app.db.write().await.unwrap();
    assert!(
        queue::enqueue_scheduled(&mut tx, NOON, &dataset, &key, NOON + MINUTE, 0)
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    let waits = queue::of_dataset(&ctx.app.db, &dataset, 0, 1)
        .await
        .unwrap()
        .remove(0)
        .id;
    let queued = async || -> Run { queue::get(&ctx.app.db, &waits).await.unwrap().unwrap() };
    assert_eq!(
        (queued().await.trigger, queued().await.due_at),
        (Trigger::Schedule, NOON + MINUTE)
    );
    let mine = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap();
    assert_eq!(mine.id, waits, "one run, not two");
    assert_eq!(
        (mine.trigger, mine.started_by, mine.due_at),
        (Trigger::Manual, Some(owner.user.clone()), NOON)
    );
    // What the schedule wants meanwhile is this run.
    let mut tx = ctx.app.db.write().await.unwrap();
    assert_eq!(
        queue::enqueue(&mut tx, NOON, &dataset, &key, Trigger::Schedule, None)
            .await
            .unwrap(),
        waits
    );
    tx.commit().await.unwrap();
    assert_eq!(queued().await.trigger, Trigger::Manual);
    assert!(
        !queue::claim(
            &ctx.app.db,
            &Clock::stopped_at(NOON),
            &WorkerLeases::new("test"),
            1
        )
        .await
        .unwrap()
        .is_empty(),
        "it is due at once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_account_notifies_the_recipients_once() {
    let ctx = TestContext::stopped_with_workers().await;
    let (owner, mut browser) = ctx.signed_in_person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let (daily, by_hand) = (
        scheduled(&ctx, &owner, &account, "Daily", "0 13 * * *").await,
        ctx.dataset(&owner, &account, "agents", "By hand").await,
    );
    for dataset in [&daily, &by_hand] {
        set_notifications(&ctx, &owner, dataset, &NotificationKind::ALL, 1).await;
    }
    browser
        .submit(&format!("/accounts/{account}/delete"), &[])
        .await;
    until("it is told", async || {
        (!notifications(&ctx).await.is_empty()).then_some(())
    })
    .await;
    let about: Vec<String> = sqlx::query_scalar("SELECT about FROM notifications")
        .fetch_all(ctx.app.db.read())
        .await
        .unwrap();
    assert!(
        about.len() == 1 && about[0].contains("“Support”") && about[0].contains("Daily"),
        "{about:?}"
    );
    ctx.clock.advance(MINUTE);
    ctx.app.puller.wake_deadlines.notify_one();

    // With another account it works again, and that is told.
    let other = ctx.account(&owner, "Sales").await.id;
    let stored = now(&ctx, &daily).await;
    let settings = DatasetSettings {
        name: DatasetName::parse("Daily").unwrap(),
        description: DatasetDescription::default(),
        account_id: other,
        connector: stored.connector,
        report: stored.report,
        menus: stored.menus.clone(),
        update_mode: stored.update_mode,
        options: Default::default(),
        time_zone: "UTC".to_owned(),
        schedule: Schedule::parse("0 13 * * *", "UTC", ctx.clock.now())
            .unwrap()
            .to_stored(ctx.clock.now()),
    };
    ctx.app
        .datasets
        .configure(&owner, &daily, &settings)
        .await
        .unwrap();
    assert_eq!(ctx.run(&owner, &daily).await.state, RunState::Succeeded);
    assert_eq!(notifications(&ctx).await, ["stopped", "recovery"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_run_by_hand_is_reminded_of_once_each_time_it_was_not_run_for_so_long() {
    let ctx = TestContext::stopped_with_workers().await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "By hand").await;
    set_notifications(&ctx, &owner, &dataset, &NotificationKind::ALL, 1).await;
    let token = ctx.token(&owner, Scope::Manage).await;
    let body = serde_json::json!({"schedule": {"remind_after_hours": 24}}).to_string();
    let bearer = format!("Bearer {token}");
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let answer = ctx
        .browser()
        .send(
            axum::http::Method::PATCH,
            &format!("/api/v1/datasets/{dataset}"),
            Some(body),
            &headers,
        )
        .await;
    assert_eq!(answer.status, axum::http::StatusCode::OK, "{}", answer.text);
    assert_eq!(ctx.run(&owner, &dataset).await.state, RunState::Succeeded);
    let reminders = async || -> i64 {
        let codes: Vec<String> =
            sqlx::query_scalar("SELECT about FROM notifications WHERE kind = 'late'")
                .fetch_all(ctx.app.db.read())
                .await
                .unwrap();
        i64::try_from(
            codes
                .iter()
                .filter(|about| about.contains("\"code\":\"reminder\""))
                .count(),
        )
        .unwrap()
    };
    let wake_keeper = async || ctx.app.puller.wake_deadlines.notify_one();
    ctx.clock.advance(24 * HOUR - 1);
    wake_keeper().await;
    assert_eq!(reminders().await, 0);
    ctx.clock.advance(1);
    until("somebody is reminded", async || {
        wake_keeper().await;
        (reminders().await == 1).then_some(())
    })
    .await;
    ctx.clock.advance(23 * HOUR);
    wake_keeper().await;
    assert_eq!(reminders().await, 1, "once");
    ctx.clock.advance(HOUR);
    until("and again after as long", async || {
        wake_keeper().await;
        (reminders().await == 2).then_some(())
    })
    .await;
    assert_eq!(ctx.run(&owner, &dataset).await.state, RunState::Succeeded);
    ctx.clock.advance(23 * HOUR);
    wake_keeper().await;
    assert_eq!(reminders().await, 2, "a run begins it anew");
    assert!(
        notifications(&ctx).await.iter().all(|kind| kind == "late"),
        "that somebody pressed Run Now is no news"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheduling_pane_names_the_recipients_of_notifications() {
    let ctx = TestContext::new().await;
    let (owner, mut browser) = ctx.signed_in_person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "Agents").await;
    let mut line = async || {
        browser
            .get(&format!("/datasets/{dataset}/settings"))
            .await
            .words("[data-told]")
    };
    assert!(
        line()
            .await
            .starts_with("No notifications are set up. Change this under Notifications"),
        "{}",
        line().await
    );
    set_notifications(&ctx, &owner, &dataset, &NotificationKind::ALL, 1).await;
    assert!(
        line().await.starts_with("Notifications go to: Team chat."),
        "{}",
        line().await
    );
    set_notifications(&ctx, &owner, &dataset, &[], 1).await;
    assert!(
        line().await.starts_with("No notifications are set up."),
        "{}",
        line().await
    );
}
