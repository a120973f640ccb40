//! What must not disturb how a DataSet is kept up, and what must: backfills beside the schedule, one trouble told after another, a
//! schedule that begins anew, a person who pauses, stops, or does not want to wait.

use chatlake::actor::{Actor, Role, Scope};
use chatlake::clock::Clock;
use chatlake::connectors::report::UpdateMode;
use chatlake::connectors::{Connector, Menus};
use chatlake::datasets::upkeep::{Kind as Told, Notify, Retry};
use chatlake::datasets::{Dataset, Description, Name, Settings};
use chatlake::ids::{AccountId, DatasetId};
use chatlake::puller::backfills::{Asked, State as Stage};
use chatlake::puller::queue::Holder;
use chatlake::puller::run::{Run, State, Trigger};
use chatlake::puller::schedules::Schedule;
use chatlake::puller::{queue, scheduler};
use chatlake::sandbox::faults::{Fault, Kind};

use super::house::{House, NOON};
use super::process::until;
use super::upkeep::{pulling, run, scheduled};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

async fn now(house: &House, dataset: &DatasetId) -> Dataset {
    house.app.datasets.for_run(dataset).await.unwrap()
}

fn by(owner: &Actor) -> chatlake::auth::audit::By<'_> {
    chatlake::auth::audit::By { actor: owner, address: None }
}

/// Chats that merge, on this schedule.
pub async fn merging(house: &House, owner: &Actor, account: &AccountId, cron: Option<&str>) -> DatasetId {
    let (report, now) = (Connector::LiveChat.report("chat").unwrap(), house.clock.now());
    let settings = Settings {
        name: Name::parse("Chats").unwrap(),
        description: Description::default(),
        account_id: account.clone(),
        connector: Connector::LiveChat,
        report,
        menus: Menus::default().check(report).unwrap(),
        update_mode: UpdateMode::Merge,
        options: Default::default(),
        time_zone: "UTC".to_owned(),
        schedule: cron.and_then(|cron| Schedule::parse(cron, "UTC", now).unwrap().planned(now)),
    };
    house.app.datasets.create(owner, &settings).await.unwrap()
}

/// Days that are past, in one chunk.
fn past(house: &House, days: i32) -> Asked {
    let today = house.clock.timestamp().to_zoned(jiff::tz::TimeZone::UTC).date();
    let back = |days: i32| today.saturating_sub(jiff::Span::new().days(days)).to_string();
    Asked::check(&back(days + 2), &back(days), "7", today).unwrap()
}

/// Everything that is told of this DataSet goes to a webhook that nobody takes.
async fn told_of(house: &House, owner: &Actor, dataset: &DatasetId, on: &[Told], after: i64) {
    let hooks = &house.app.puller.notices;
    let known = hooks.webhooks().await.unwrap().into_iter().next().map(|hook| hook.id.to_string());
    let hook = match known {
        Some(hook) => hook,
        None => hooks.add_webhook("Team chat", "http://127.0.0.1:9/x").await.unwrap().0.id.to_string(),
    };
    let notify = Notify::new(Some(Vec::new()), vec![hook], on.into(), after).unwrap();
    house.app.datasets.set_notify(owner, dataset, &notify).await.unwrap();
}

/// What was told since then, in order.
async fn told_since(house: &House, since: i64) -> Vec<String> {
    sqlx::query_scalar("SELECT kind FROM notices WHERE created_at >= $1 ORDER BY created_at, id").bind(since).fetch_all(house.app.db.read()).await.unwrap()
}

async fn told(house: &House) -> Vec<String> {
    told_since(house, 0).await
}

async fn kills(house: &House, run: &chatlake::ids::RunId) {
    let mut tx = house.app.db.write().await.unwrap();
    sqlx::query("UPDATE runs SET attempt = 3 WHERE id = $1").bind(run).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    queue::rescue(&house.app.db, &house.clock).await.unwrap();
    assert_eq!(queue::get(&house.app.db, run).await.unwrap().unwrap().state, State::Parked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_leaves_schedule_retry_and_notices_as_they_are_however_it_ends() {
    let house = House::live().await;
    let (owner, mut browser) = house.at_browser("olga", Role::Editor).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = merging(&house, &owner, &account, Some("0 4 1 1 *")).await;
    told_of(&house, &owner, &dataset, &Told::ALL, 1).await;
    assert_eq!(house.run(&owner, &dataset).await.state, State::Succeeded);
    let puller = &house.app.puller;
    let over = async || {
        until("the backfill is over", async || Some(puller.backfills(&owner, &dataset).await.unwrap().remove(0)).filter(|b| b.state != Stage::Running)).await
    };

    // A chunk that fails is the backfill's affair: that it has stopped is told, and nothing else.
    house.app.datasets.set_upkeep(&owner, &dataset, Retry::NEVER, None).await.unwrap();
    house.sandbox.faults().set(vec![Fault::new(Kind::Html).on("/chats")]);
    puller.backfill(&owner, &dataset, &past(&house, 10)).await.unwrap();
    let stopped = over().await;
    assert!(stopped.state == Stage::Stopped && stopped.why.is_some(), "{stopped:?}");
    assert_eq!((now(&house, &dataset).await.upkeep.retry_at, told(&house).await), (None, vec!["failure".to_owned()]));
    let about: Vec<String> = sqlx::query_scalar("SELECT about FROM notices").fetch_all(house.app.db.read()).await.unwrap();
    assert!(about[0].contains("backfill_stopped") && about[0].contains("can resume it under History, Backfill"), "{about:?}");
    house.app.datasets.set_upkeep(&owner, &dataset, Retry::USUAL, None).await.unwrap();
    let good = browser.get("/datasets").await.words(".status-cell");
    assert!(good.starts_with("Up to date"), "{good}");
    let page = browser.get(&format!("/datasets/{dataset}")).await;
    assert!(!page.words(".head .facts").contains("Failed") && page.text.contains("has stopped."), "{}", page.words("main"));

    // One that succeeds mends nothing.
    assert_eq!(house.run(&owner, &dataset).await.state, State::Failed);
    let before = now(&house, &dataset).await.upkeep;
    assert!(before.retry_at.is_some());
    house.sandbox.faults().clear();
    puller.resume_backfill(&owner, &dataset, &stopped.id).await.unwrap();
    assert_eq!(over().await.state, Stage::Finished);
    let after = now(&house, &dataset).await.upkeep;
    assert_eq!((after.retry_at, after.last_success_at, told(&house).await), (before.retry_at, before.last_success_at, vec!["failure".to_owned(); 2]));
    let bad = browser.get("/datasets").await.words(".status-cell");
    assert!(bad.starts_with("Failed"), "{bad}");
    assert!(browser.get(&format!("/datasets/{dataset}")).await.words(".head .facts").contains("Failed"));

    // Nor does one that a person stops.
    house.sandbox.faults().set(vec![Fault::new(Kind::Late { ms: 300_000 }).on("/chats")]);
    let begun = puller.backfill(&owner, &dataset, &past(&house, 20)).await.unwrap();
    until("its chunk is at work", async || {
        let run = puller.backfills(&owner, &dataset).await.unwrap().remove(0).run?;
        (queue::get(&house.app.db, &run).await.unwrap()?.state == State::Running).then_some(())
    })
    .await;
    puller.cancel_backfill(&owner, &dataset, &begun.id).await.unwrap();
    until("its chunk has ended", async || puller.backfills(&owner, &dataset).await.unwrap().remove(0).run.is_none().then_some(())).await;
    assert_eq!(now(&house, &dataset).await.upkeep.retry_at, before.retry_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_stops_the_server_leaves_its_dataset_on_its_schedule() {
    let house = House::new().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = merging(&house, &owner, &account, Some("0 * * * *")).await;
    told_of(&house, &owner, &dataset, &Told::ALL, 1).await;
    house.app.puller.backfill(&owner, &dataset, &past(&house, 10)).await.unwrap();
    scheduler::tick(&house.app.puller).await.unwrap();
    let chunk = queue::of_dataset(&house.app.db, &dataset, 0, 1).await.unwrap().remove(0);
    assert_eq!(chunk.trigger, Trigger::Backfill);
    kills(&house, &chunk.id).await;
    let after = now(&house, &dataset).await;
    assert!(after.next_run_at.is_some() && after.stopped().is_none(), "{after:?}");
    assert!(told(&house).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_after_it_was_late_and_again_after_it_was_brought_back() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = scheduled(&house, &owner, &account, "Agents", "0 12 * * *").await;
    told_of(&house, &owner, &dataset, &Told::ALL, 1).await;
    house.app.datasets.set_upkeep(&owner, &dataset, Retry::NEVER, Some(1)).await.unwrap();
    house.app.puller.kept.notify_one();
    house.clock.advance(HOUR + 1);
    until("it is late", async || now(&house, &dataset).await.upkeep.late_since).await;
    let fails = async || {
        house.sandbox.faults().set(vec![Fault::new(Kind::Status { status: 400 })]);
        assert_eq!(run(&house, &owner, &dataset).await.state, State::Failed);
    };
    fails().await;
    assert_eq!(told(&house).await, ["late", "failure"]);
    fails().await;
    assert_eq!(told(&house).await.len(), 2, "once, until one succeeds");

    // Something takes it off; what fails once it is back is told.
    let mut tx = house.app.db.write().await.unwrap();
    sqlx::query("UPDATE datasets SET next_run_at = NULL, stopped_at = $1, stopped_why = 'parked' WHERE id = $2")
        .bind(house.clock.now())
        .bind(&dataset)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    house.app.puller.bring_back(&owner, &dataset).await.unwrap();
    fails().await;
    assert_eq!(told(&house).await, ["late", "failure", "failure"]);
    house.sandbox.faults().clear();
    house.clock.advance(MINUTE);
    assert_eq!(run(&house, &owner, &dataset).await.state, State::Succeeded);
    assert_eq!(told(&house).await, ["late", "failure", "failure", "recovery"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_it_off_its_schedule_is_told_as_that_or_as_a_failure_to_whoever_wants_only_those() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let both = scheduled(&house, &owner, &account, "Both", "0 * * * *").await;
    told_of(&house, &owner, &both, &Told::ALL, 3).await;
    house.sandbox.faults().set(vec![Fault::new(Kind::Status { status: 401 })]);
    for _ in 0..3 {
        assert_eq!(run(&house, &owner, &both).await.failure.unwrap().code, "unauthorized");
    }
    assert_eq!(told(&house).await, ["stopped"], "it is not told as a failure besides");

    let other = house.account(&owner, "Sales").await.id;
    let failures = scheduled(&house, &owner, &other, "Failures", "0 * * * *").await;
    told_of(&house, &owner, &failures, &[Told::Failure, Told::Recovery], 3).await;
    house.clock.advance(MINUTE);
    for _ in 0..3 {
        run(&house, &owner, &failures).await;
    }
    assert!(now(&house, &failures).await.stopped().is_some());
    assert_eq!(told_since(&house, NOON + MINUTE).await, ["failure"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stops_the_server_is_told_once_as_off_its_schedule() {
    let house = House::new().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let (all, failures) = (scheduled(&house, &owner, &account, "All", "0 * * * *").await, scheduled(&house, &owner, &account, "Failures", "0 * * * *").await);
    told_of(&house, &owner, &all, &Told::ALL, 1).await;
    told_of(&house, &owner, &failures, &[Told::Failure], 1).await;
    for (dataset, kind) in [(&all, "stopped"), (&failures, "failure")] {
        let run = house.app.puller.run_now(&owner, dataset, Trigger::Manual).await.unwrap();
        kills(&house, &run.id).await;
        assert!(now(&house, dataset).await.stopped().is_some());
        assert_eq!(told_since(&house, house.clock.now()).await, [kind]);
        house.clock.advance(MINUTE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_after_as_many_as_were_chosen() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = house.dataset(&owner, &account, "agents", "Agents").await;
    told_of(&house, &owner, &dataset, &Told::ALL, 2).await;
    house.sandbox.faults().set(vec![Fault::new(Kind::Status { status: 400 })]);
    let mut counts = Vec::new();
    for _ in 0..3 {
        run(&house, &owner, &dataset).await;
        counts.push(told(&house).await.len());
    }
    assert_eq!(counts, [0, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_api_is_told_once_at_each_stage() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = house.dataset(&owner, &account, "agents", "Agents").await;
    told_of(&house, &owner, &dataset, &Told::ALL, 1).await;
    let mut tx = house.app.db.write().await.unwrap();
    sqlx::query("UPDATE accounts SET api_ends_on = '2027-01-19'").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    house.app.puller.kept.notify_one();
    // Sixty days before it; the day counts in UTC.
    for (left, stage) in
        [(60, "known"), (45, "known"), (30, "a month"), (20, "a month"), (7, "a week"), (3, "a week"), (1, "a day"), (0, "a day"), (-1, "over")]
    {
        let at = NOON + (60 - left) * DAY;
        house.clock.advance(at - house.clock.now());
        let key = format!("2027-01-19 {stage}");
        until(&key, async || {
            house.app.puller.kept.notify_one();
            let told: Option<String> = sqlx::query_scalar("SELECT sunset_told FROM accounts").fetch_one(house.app.db.read()).await.unwrap();
            (told.as_ref() == Some(&key)).then_some(())
        })
        .await;
        let first = ![45, 20, 3, 0].contains(&left);
        assert_eq!(told_since(&house, at).await.len(), usize::from(first), "{left} days before");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_that_begins_anew_is_late_only_by_what_it_asks_for_from_then_on() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let paused = scheduled(&house, &owner, &account, "Paused", "0 13 * * *").await;
    let by_hand = house.dataset(&owner, &account, "agents", "By hand").await;
    for dataset in [&paused, &by_hand] {
        house.app.datasets.set_upkeep(&owner, dataset, Retry::NEVER, None).await.unwrap();
        assert_eq!(run(&house, &owner, dataset).await.state, State::Succeeded);
    }
    house.app.puller.pause(by(&owner), &paused).await.unwrap();
    house.clock.advance(30 * DAY);
    // Neither may run, so that only the clock decides.
    house.sandbox.faults().set(vec![Fault::new(Kind::Status { status: 400 })]);
    house.app.puller.resume(by(&owner), &paused).await.unwrap();
    let stored = now(&house, &by_hand).await;
    let daily = Settings {
        name: Name::parse("By hand").unwrap(),
        description: Description::default(),
        account_id: account.clone(),
        connector: stored.connector,
        report: stored.report,
        menus: stored.menus.clone(),
        update_mode: stored.update_mode,
        options: Default::default(),
        time_zone: "UTC".to_owned(),
        schedule: Schedule::parse("0 13 * * *", "UTC", house.clock.now()).unwrap().planned(house.clock.now()),
    };
    house.app.datasets.configure(&owner, &by_hand, &daily).await.unwrap();
    let expected = house.clock.now() + HOUR + 6 * HOUR;
    for dataset in [&paused, &by_hand] {
        let due = until("it is reckoned anew", async || {
            house.app.puller.kept.notify_one();
            let at: Option<i64> = sqlx::query_scalar("SELECT late_at FROM datasets WHERE id = $1").bind(dataset).fetch_one(house.app.db.read()).await.unwrap();
            at.filter(|at| *at > NOON + 20 * DAY)
        })
        .await;
        assert_eq!((due, now(&house, dataset).await.upkeep.late_since), (expected, None), "13:00 and six hours");
    }
    house.clock.advance(7 * HOUR + 1);
    for dataset in [&paused, &by_hand] {
        until("it is late now", async || now(&house, dataset).await.upkeep.late_since).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_schedule_is_never_late() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let going = scheduled(&house, &owner, &account, "Going on", "0 13 * * *").await;
    let paused = scheduled(&house, &owner, &account, "Paused", "0 13 * * *").await;
    let expected = scheduled(&house, &owner, &account, "Paused and expected", "0 13 * * *").await;
    for (dataset, hours) in [(&going, None), (&paused, None), (&expected, Some(2))] {
        house.app.datasets.set_upkeep(&owner, dataset, Retry::NEVER, hours).await.unwrap();
        assert_eq!(run(&house, &owner, dataset).await.state, State::Succeeded);
    }
    for dataset in [&paused, &expected] {
        house.app.puller.pause(by(&owner), dataset).await.unwrap();
    }
    house.sandbox.faults().set(vec![Fault::new(Kind::Status { status: 400 })]);
    house.clock.advance(3 * DAY);
    until("the one that is not paused is late", async || now(&house, &going).await.upkeep.late_since).await;
    // All are looked at together.
    for dataset in [&paused, &expected] {
        assert_eq!(now(&house, dataset).await.upkeep.late_since, None);
    }
    assert!(told(&house).await.iter().all(|about| !about.contains("Paused")), "{:?}", told(&house).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_late_a_quarter_of_the_time_between_two_runs_after_it_was_due_within_bounds() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    // It is noon of a Friday.
    for (cron, due) in [
        ("0 13 * * 1", 3 * DAY + HOUR + 6 * HOUR),
        ("0 13 * * *", HOUR + 6 * HOUR),
        ("0 13,17 * * *", HOUR + HOUR),
        ("*/20 * * * *", 20 * MINUTE + 15 * MINUTE),
    ] {
        let dataset = scheduled(&house, &owner, &account, cron, cron).await;
        let late_at = until("it is reckoned", async || {
            house.app.puller.kept.notify_one();
            sqlx::query_scalar::<_, Option<i64>>("SELECT late_at FROM datasets WHERE id = $1").bind(&dataset).fetch_one(house.app.db.read()).await.unwrap()
        })
        .await;
        assert_eq!(late_at - NOON, due, "{cron}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_pauses_or_stops_is_not_tried_again() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = scheduled(&house, &owner, &account, "Agents", "0 13 * * *").await;
    house.sandbox.faults().set(vec![Fault::new(Kind::Html).on("/agents")]);
    let retry_at = async || now(&house, &dataset).await.upkeep.retry_at;
    run(&house, &owner, &dataset).await;
    assert!(retry_at().await.is_some());
    told_of(&house, &owner, &dataset, &[Told::Stopped], 1).await;
    house.app.puller.pause(by(&owner), &dataset).await.unwrap();
    assert_eq!(retry_at().await, None);
    // Whoever wants to know is told, once; and the account says so.
    house.app.puller.pause(by(&owner), &dataset).await.unwrap();
    let about: Vec<String> = sqlx::query_scalar("SELECT about FROM notices").fetch_all(house.app.db.read()).await.unwrap();
    assert!(about.len() == 1 && about[0].contains("olga paused the schedule.") && about[0].contains("can resume the schedule"), "{about:?}");
    let accounts = house.signed_in(&owner).await.get("/accounts").await;
    assert!(accounts.text.contains("Paused"), "{}", accounts.text);
    // Also when it is run by hand meanwhile.
    let failed = run(&house, &owner, &dataset).await;
    assert!(retry_at().await.is_none() && !failed.failure.unwrap().action.contains("retry"));
    house.app.puller.resume(by(&owner), &dataset).await.unwrap();
    run(&house, &owner, &dataset).await;
    assert!(retry_at().await.is_some());
    house.app.datasets.unschedule(&owner, &dataset).await.unwrap();
    assert_eq!(retry_at().await, None);

    // One that waits because the vendor asked for it, stopped: nothing comes of it.
    run(&house, &owner, &dataset).await;
    assert!(retry_at().await.is_some());
    house.sandbox.faults().set(vec![Fault::new(Kind::TooManyRequests { retry_after: chatlake::sandbox::faults::RetryAfter::Seconds(7_200) }).on("/agents")]);
    let waits = house.app.puller.run_now(&owner, &dataset, Trigger::Manual).await.unwrap();
    until("it waits", async || (queue::get(&house.app.db, &waits.id).await.unwrap()?.state == State::Waiting).then_some(())).await;
    house.app.puller.cancel(&owner, &waits.id).await.unwrap();
    assert_eq!(retry_at().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn run_now_takes_over_the_run_that_waits_for_its_turn() {
    let house = House::new().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = scheduled(&house, &owner, &account, "Agents", "0 13 * * *").await;
    let key = now(&house, &dataset).await.source_key();
    let mut tx = house.app.db.write().await.unwrap();
    assert!(queue::schedule_in(&mut tx, NOON, &dataset, &key, NOON + MINUTE, 0).await.unwrap());
    tx.commit().await.unwrap();
    let waits = queue::of_dataset(&house.app.db, &dataset, 0, 1).await.unwrap().remove(0).id;
    let queued = async || -> Run { queue::get(&house.app.db, &waits).await.unwrap().unwrap() };
    assert_eq!((queued().await.trigger, queued().await.due_at), (Trigger::Schedule, NOON + MINUTE));
    let mine = house.app.puller.run_now(&owner, &dataset, Trigger::Manual).await.unwrap();
    assert_eq!(mine.id, waits, "one run, not two");
    assert_eq!((mine.trigger, mine.started_by, mine.due_at), (Trigger::Manual, Some(owner.user.clone()), NOON));
    // What the schedule wants meanwhile is this run.
    let mut tx = house.app.db.write().await.unwrap();
    assert_eq!(queue::enqueue_in(&mut tx, NOON, &dataset, &key, Trigger::Schedule, None).await.unwrap(), waits);
    tx.commit().await.unwrap();
    assert_eq!(queued().await.trigger, Trigger::Manual);
    assert!(!queue::claim(&house.app.db, &Clock::stopped_at(NOON), &Holder::new("test"), 1).await.unwrap().is_empty(), "it is due at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_deletes_an_account_has_the_recipients_told_once() {
    let house = pulling().await;
    let (owner, mut browser) = house.at_browser("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let (daily, by_hand) = (scheduled(&house, &owner, &account, "Daily", "0 13 * * *").await, house.dataset(&owner, &account, "agents", "By hand").await);
    for dataset in [&daily, &by_hand] {
        told_of(&house, &owner, dataset, &Told::ALL, 1).await;
    }
    browser.submit(&format!("/accounts/{account}/delete"), &[]).await;
    until("it is told", async || (!told(&house).await.is_empty()).then_some(())).await;
    let about: Vec<String> = sqlx::query_scalar("SELECT about FROM notices").fetch_all(house.app.db.read()).await.unwrap();
    assert!(about.len() == 1 && about[0].contains("“Support”") && about[0].contains("Daily"), "{about:?}");
    house.clock.advance(MINUTE);
    house.app.puller.kept.notify_one();

    // With another account it works again, and that is told.
    let other = house.account(&owner, "Sales").await.id;
    let stored = now(&house, &daily).await;
    let settings = Settings {
        name: Name::parse("Daily").unwrap(),
        description: Description::default(),
        account_id: other,
        connector: stored.connector,
        report: stored.report,
        menus: stored.menus.clone(),
        update_mode: stored.update_mode,
        options: Default::default(),
        time_zone: "UTC".to_owned(),
        schedule: Schedule::parse("0 13 * * *", "UTC", house.clock.now()).unwrap().planned(house.clock.now()),
    };
    house.app.datasets.configure(&owner, &daily, &settings).await.unwrap();
    assert_eq!(run(&house, &owner, &daily).await.state, State::Succeeded);
    assert_eq!(told(&house).await, ["stopped", "recovery"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_run_by_hand_is_reminded_of_once_each_time_it_was_not_run_for_so_long() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = house.dataset(&owner, &account, "agents", "By hand").await;
    told_of(&house, &owner, &dataset, &Told::ALL, 1).await;
    let token = house.token(&owner, Scope::Manage).await;
    let body = serde_json::json!({"schedule": {"remind_after_hours": 24}}).to_string();
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let answer = house.browser().send(axum::http::Method::PATCH, &format!("/api/v1/datasets/{dataset}"), Some(body), &headers).await;
    assert_eq!(answer.status, axum::http::StatusCode::OK, "{}", answer.text);
    assert_eq!(run(&house, &owner, &dataset).await.state, State::Succeeded);
    let reminders = async || -> i64 {
        let codes: Vec<String> = sqlx::query_scalar("SELECT about FROM notices WHERE kind = 'late'").fetch_all(house.app.db.read()).await.unwrap();
        i64::try_from(codes.iter().filter(|about| about.contains("\"code\":\"reminder\"")).count()).unwrap()
    };
    let looked = async || house.app.puller.kept.notify_one();
    house.clock.advance(24 * HOUR - 1);
    looked().await;
    assert_eq!(reminders().await, 0);
    house.clock.advance(1);
    until("somebody is reminded", async || {
        looked().await;
        (reminders().await == 1).then_some(())
    })
    .await;
    house.clock.advance(23 * HOUR);
    looked().await;
    assert_eq!(reminders().await, 1, "once");
    house.clock.advance(HOUR);
    until("and again after as long", async || {
        looked().await;
        (reminders().await == 2).then_some(())
    })
    .await;
    assert_eq!(run(&house, &owner, &dataset).await.state, State::Succeeded);
    house.clock.advance(23 * HOUR);
    looked().await;
    assert_eq!(reminders().await, 2, "a run begins it anew");
    assert!(told(&house).await.iter().all(|kind| kind == "late"), "that somebody pressed Run Now is no news");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheduling_pane_says_who_is_told() {
    let house = House::new().await;
    let (owner, mut browser) = house.at_browser("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = house.dataset(&owner, &account, "agents", "Agents").await;
    let mut line = async || browser.get(&format!("/datasets/{dataset}/settings")).await.words("[data-told]");
    assert!(line().await.starts_with("No notifications are set up. Change this under Notifications"), "{}", line().await);
    told_of(&house, &owner, &dataset, &Told::ALL, 1).await;
    assert!(line().await.starts_with("Notifications go to: Team chat."), "{}", line().await);
    told_of(&house, &owner, &dataset, &[], 1).await;
    assert!(line().await.starts_with("No notifications are set up."), "{}", line().await);
}
