//! A DataSet that fails is loud and keeps trying: retries, what takes it off its schedule and brings it back, data that is late, and a
//! run that makes no progress; by a clock that a test moves.

use axum::http::StatusCode;
use chatlake::accounts::ChangeAccount;
use chatlake::actor::{Role, Scope};
use chatlake::clock::Clock;
use chatlake::connectors::Menus;
use chatlake::connectors::report::Report;
use chatlake::datasets::upkeep::Retry;
use chatlake::datasets::{Dataset, Description, Name, Settings};
use chatlake::ids::{AccountId, DatasetId, RunId};
use chatlake::puller::queue;
use chatlake::puller::run::{Run, State, Trigger};
use chatlake::puller::schedules::Schedule;
use chatlake::sandbox::faults::{Fault, Kind};
use chatlake::secret::Secret;
use serde_json::{Value, json};

use super::house::{House, NOON, Page};
use super::process::until;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

/// Time stands still until it is moved, and runs are pulled.
pub async fn pulling() -> House {
    let house = House::with(Clock::stopped_at(NOON), |_| {}).await;
    house.app.start_pulling().await.unwrap();
    house
}

pub async fn ended(house: &House, run: &RunId) -> Run {
    until("the run is over", async || queue::get(&house.app.db, run).await.unwrap().filter(|run| run.state.is_final())).await
}

/// Runs a DataSet by hand, to the end.
pub async fn run(house: &House, who: &chatlake::actor::Actor, dataset: &DatasetId) -> Run {
    let run = house.app.puller.run_now(who, dataset, Trigger::Manual).await.unwrap();
    ended(house, &run.id).await
}

async fn now(house: &House, dataset: &DatasetId) -> Dataset {
    house.app.datasets.for_run(dataset).await.unwrap()
}

/// The newest run, once there are so many and it is over.
async fn newest(house: &House, dataset: &DatasetId, count: i64) -> Run {
    let newest = until("so many runs", async || {
        (queue::count(&house.app.db, dataset).await.unwrap() >= count).then_some(())?;
        queue::of_dataset(&house.app.db, dataset, 0, 1).await.unwrap().into_iter().next()
    })
    .await;
    ended(house, &newest.id).await
}

fn answers_nonsense(house: &House) {
    house.sandbox.faults().set(vec![Fault::new(Kind::Shape { body: "nonsense".to_owned() }).on("/agents")]);
}

fn of(report: &'static Report, account: &AccountId, name: &str, cron: Option<&str>) -> Settings {
    Settings {
        name: Name::parse(name).unwrap(),
        description: Description::default(),
        account_id: account.clone(),
        connector: chatlake::connectors::Connector::LiveChat,
        report,
        menus: Menus::default().check(report).unwrap(),
        update_mode: report.mode,
        options: Default::default(),
        time_zone: "UTC".to_owned(),
        schedule: cron.and_then(|cron| Schedule::parse(cron, "UTC", NOON).unwrap().planned(NOON)),
    }
}

/// A DataSet on this schedule.
pub async fn scheduled(house: &House, owner: &chatlake::actor::Actor, account: &AccountId, name: &str, cron: &str) -> DatasetId {
    let report = chatlake::connectors::Connector::LiveChat.report("agents").unwrap();
    house.app.datasets.create(owner, &of(report, account, name, Some(cron))).await.unwrap()
}

pub async fn api(house: &House, token: &str, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = (method != "GET").then(|| body.to_string());
    let answer = house.browser().send(method.parse().unwrap(), &format!("/api/v1{path}"), body, &headers).await;
    (answer.status, serde_json::from_str(&answer.text).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_tried_again_by_runs_of_their_own_at_most_so_often() {
    let house = pulling().await;
    let (owner, mut browser) = house.at_browser("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = house.dataset(&owner, &account, "agents", "Agents").await;
    answers_nonsense(&house);
    let first = run(&house, &owner, &dataset).await;
    assert_eq!((first.state, first.failure.as_ref().unwrap().code.as_str()), (State::Failed, "malformed"));
    assert!(first.failure.unwrap().action.contains("retry 1 of 3"), "the run itself says what is next");
    for number in 1..=3 {
        let due = now(&house, &dataset).await.upkeep.retry_at.unwrap();
        let wait = due - house.clock.now();
        assert!((15 * MINUTE..=18 * MINUTE).contains(&wait), "retry {number} comes after {wait} ms");
        let page = browser.get(&format!("/datasets/{dataset}")).await;
        assert!(page.words(".facts").contains(&format!("Retry {number} of 3 today")), "{}", page.words(".facts"));
        house.clock.advance(wait - 1);
        tokio::task::yield_now().await;
        assert_eq!(queue::count(&house.app.db, &dataset).await.unwrap(), number, "not before it is due");
        house.clock.advance(100);
        let retry = newest(&house, &dataset, number + 1).await;
        assert_eq!((retry.trigger, retry.state), (Trigger::Retry, State::Failed));
    }
    let after = now(&house, &dataset).await;
    assert_eq!(after.upkeep.retry_at, None, "three retries and no more");
    let page = browser.get("/datasets").await;
    assert!(page.words(".status-cell").contains("Failed 4 runs in a row"), "{}", page.words(".status-cell"));

    // Run now does not wait for a retry, and a success ends the chain.
    run(&house, &owner, &dataset).await;
    assert!(now(&house, &dataset).await.upkeep.retry_at.is_some(), "a run by hand is tried again as well");
    house.sandbox.faults().clear();
    assert_eq!(run(&house, &owner, &dataset).await.state, State::Succeeded);
    assert_eq!(now(&house, &dataset).await.upkeep.retry_at, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_has_to_mend_is_not_tried_again_nor_what_is_not_to_be() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = house.dataset(&owner, &account, "agents", "Agents").await;
    for (fault, code) in [(Kind::Status { status: 400 }, "refused"), (Kind::Status { status: 401 }, "unauthorized"), (Kind::Status { status: 403 }, "refused")]
    {
        house.sandbox.faults().set(vec![Fault::new(fault)]);
        let failed = run(&house, &owner, &dataset).await;
        assert_eq!(failed.failure.unwrap().code, code);
        assert_eq!(now(&house, &dataset).await.upkeep.retry_at, None, "{code}");
    }
    answers_nonsense(&house);
    house.app.datasets.set_upkeep(&owner, &dataset, Retry::NEVER, None).await.unwrap();
    run(&house, &owner, &dataset).await;
    assert_eq!(now(&house, &dataset).await.upkeep.retry_at, None);
    // A retry that is to come goes when there is to be none; and when somebody stops the run that would be tried again.
    house.app.datasets.set_upkeep(&owner, &dataset, Retry::new(60, 2).unwrap(), None).await.unwrap();
    run(&house, &owner, &dataset).await;
    let due = now(&house, &dataset).await.upkeep.retry_at.unwrap() - house.clock.now();
    assert!((HOUR..=72 * MINUTE).contains(&due), "{due}");
    house.app.datasets.set_upkeep(&owner, &dataset, Retry::NEVER, None).await.unwrap();
    assert_eq!(now(&house, &dataset).await.upkeep.retry_at, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_and_lateness_are_chosen_in_the_pane_and_over_the_api_and_bad_values_are_told_beside_their_field() {
    let house = House::new().await;
    let olga = super::panes::Seat::new(&house, "olga", Role::Admin).await;
    let page = olga.connect().await;
    let page = olga.press(&page, "details", &[("report", "agents")]).await;
    assert_eq!((page.form().0["retry"].as_str(), page.form().0["retry_every"].as_str(), page.form().0["retry_most"].as_str()), ("always", "15", "3"));
    let odd = [("retry", "always"), ("retry_every", "many"), ("retry_most", "0"), ("expected_hours", "-1")];
    let wrong = olga.press(&page, "schedule", &odd).await;
    assert_eq!((wrong.status, wrong.open_pane()), (StatusCode::UNPROCESSABLE_ENTITY, vec!["scheduling".to_owned()]));
    assert!(["retry_every", "retry_most", "expected_hours"].iter().all(|field| !wrong.wrong(field).is_empty()), "{}", wrong.text);
    assert_eq!(wrong.form().0["retry_every"], "many", "what was typed stays");
    let good = [("retry_every", "2"), ("retry_unit", "hours"), ("retry_most", "5"), ("expected_hours", "36"), ("every", "manual")];
    let page = olga.press(&wrong, "schedule", &good).await;
    olga.press(&page, "save", &[]).await;
    let dataset = house.app.datasets.list(&olga.actor).await.unwrap().remove(0);
    assert_eq!((dataset.upkeep.retry(), dataset.upkeep.expected_hours), (Retry::new(120, 5).unwrap(), Some(36)));
    let settings = olga.get(&format!("/datasets/{}/settings", dataset.id)).await;
    assert_eq!((settings.form().0["retry_unit"].as_str(), settings.form().0["expected_hours"].as_str()), ("hours", "36"));

    let token = house.token(&olga.actor, Scope::Manage).await;
    let path = format!("/datasets/{}", dataset.id);
    let (_, told) = api(&house, &token, "GET", &path, json!({})).await;
    assert_eq!((&told["retry"], &told["late"]), (&json!({"every_minutes": 120, "at_most": 5}), &json!(false)));
    let (status, told) = api(&house, &token, "PATCH", &path, json!({"retry": null, "expected_within_hours": null})).await;
    assert_eq!((status, &told["retry"], &told["expected_within_hours"]), (StatusCode::OK, &Value::Null, &Value::Null), "{told}");
    for (body, field) in [
        (json!({"retry": {"every_minutes": 0, "at_most": 3}}), "retry"),
        (json!({"retry": {"every_minutes": 15, "at_most": 21}}), "retry"),
        (json!({"expected_within_hours": 0}), "expected_within_hours"),
    ] {
        let (status, told) = api(&house, &token, "PATCH", &path, body).await;
        assert_eq!((status, told["error"]["field"].as_str()), (StatusCode::UNPROCESSABLE_ENTITY, Some(field)), "{told}");
    }
    let made =
        json!({"name": "Other", "account_id": dataset.account_id, "report": "agents", "retry": {"every_minutes": 5, "at_most": 1}, "expected_within_hours": 3});
    let (status, told) = api(&house, &token, "POST", "/datasets", made).await;
    assert_eq!((status, &told["retry"]["every_minutes"], &told["expected_within_hours"]), (StatusCode::CREATED, &json!(5), &json!(3)), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_does_not_come_in_time_is_late_everywhere_until_it_comes() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let token = house.token(&owner, Scope::Read).await;
    let account = house.account(&owner, "Support").await.id;
    // By hand, and expected every two hours; by hand, and never expected; daily at 13:00, which is an hour away.
    let (asked, never) = (house.dataset(&owner, &account, "agents", "Asked").await, house.dataset(&owner, &account, "agents", "Never").await);
    let daily = scheduled(&house, &owner, &account, "Daily", "0 13 * * *").await;
    house.app.datasets.set_upkeep(&owner, &asked, Retry::NEVER, Some(2)).await.unwrap();
    house.app.datasets.set_upkeep(&owner, &daily, Retry::NEVER, None).await.unwrap();
    assert_eq!(run(&house, &owner, &asked).await.state, State::Succeeded);
    house.sandbox.faults().set(vec![Fault::new(Kind::Status { status: 400 })]);
    let late = async |dataset: &DatasetId| now(&house, dataset).await.upkeep.late_since;
    house.clock.advance(2 * HOUR - MINUTE);
    newest(&house, &daily, 1).await;
    assert_eq!((late(&asked).await, late(&daily).await), (None, None));
    house.clock.advance(2 * MINUTE);
    let since = until("it is late", async || late(&asked).await).await;
    assert_eq!(since, NOON + 2 * HOUR);
    // A quarter of a day would be six hours.
    house.clock.advance(5 * HOUR + 1);
    assert_eq!(until("the other is late", async || late(&daily).await).await, NOON + 7 * HOUR);

    // The session has ended meanwhile.
    let mut browser = house.signed_in(&owner).await;
    let list = browser.get("/datasets").await;
    assert!(list.all(".status.is-warn").contains(&"Late".to_owned()), "{:?}", list.all(".status"));
    assert!(list.all(".status-cell").contains(&"Late since today 14:00".to_owned()), "{:?}", list.all(".status-cell"));
    let page = browser.get(&format!("/datasets/{asked}")).await;
    assert!(page.words(".facts").contains("Late") && page.words(".band.is-warn").starts_with("Data is late. It was expected today 14:00."), "{}", page.text);
    let (_, told) = api(&house, &token, "GET", &format!("/datasets/{asked}"), json!({})).await;
    assert_eq!((&told["late"], &told["late_since"]), (&json!(true), &json!("2026-11-20T14:00:00Z")));
    let (_, told) = api(&house, &token, "GET", &format!("/datasets/{never}"), json!({})).await;
    assert_eq!(told["late"], json!(false));
    let metrics = house.metrics().await;
    assert!(metrics.contains("chatlake_datasets_late 2\n"), "{metrics}");
    assert!(metrics.contains(&format!("chatlake_dataset_last_success_age_seconds{{dataset=\"{asked}\"}} 25260\n")), "{metrics}");

    house.sandbox.faults().clear();
    assert_eq!(run(&house, &owner, &asked).await.state, State::Succeeded);
    assert_eq!(late(&asked).await, None);
    // Somebody who no longer expects anything is believed at once.
    house.clock.advance(3 * HOUR);
    until("it is late again", async || late(&asked).await).await;
    house.app.datasets.set_upkeep(&owner, &asked, Retry::NEVER, None).await.unwrap();
    house.app.puller.kept.notify_one();
    until("it is not late any more", async || late(&asked).await.is_none().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_take_all_datasets_of_the_account_off_their_schedules_until_it_works_again() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let (first, second) = (scheduled(&house, &owner, &account, "First", "0 * * * *").await, scheduled(&house, &owner, &account, "Second", "30 18 * * *").await);
    let wrong = |key: &str| ChangeAccount { credentials: [("api_key".to_owned(), Secret::new(key))].into(), ..ChangeAccount::default() };
    house.app.accounts.update(&owner, &account, &wrong("wrong")).await.unwrap();
    for refusals in 1..=3 {
        house.clock.advance(HOUR);
        assert_eq!(newest(&house, &first, refusals).await.failure.unwrap().code, "unauthorized");
        let dataset = now(&house, &first).await;
        assert_eq!((dataset.upkeep.retry_at, dataset.stopped().is_some()), (None, refusals == 3), "after {refusals}");
    }
    assert!(now(&house, &second).await.stopped().is_some(), "the others of the account as well");
    house.clock.advance(24 * HOUR);
    assert_eq!(queue::count(&house.app.db, &second).await.unwrap(), 0, "nobody knocks any more");

    // The session has ended meanwhile.
    let mut browser = house.signed_in(&owner).await;
    let says = |page: &Page, words: &str| assert!(page.text.contains(words), "{words}: {}", page.text);
    let list = browser.get("/datasets").await;
    assert!(list.all(".band-row .band").iter().all(|band| band.starts_with("Schedule stopped")), "{:?}", list.all(".band"));
    assert!(list.all(".status-cell").iter().all(|cell| cell == "Schedule stopped credentials rejected"), "{:?}", list.all(".status-cell"));
    says(&browser.get("/accounts").await, "Schedules stopped: 2 DataSets");
    let page = browser.get(&format!("/datasets/{second}")).await;
    assert!(page.words(".band.is-bad").contains("Schedule stopped") && page.has(&format!(".band a[href='/accounts/{account}/edit']")), "{}", page.text);
    let refused = browser.submit(&format!("/datasets/{second}/bring-back"), &[]).await;
    assert!(refused.toast().contains("still rejects the credentials"), "{}", refused.toast());

    // New credentials that the vendor takes bring them back by themselves.
    house.app.accounts.update(&owner, &account, &wrong("sandbox-key")).await.unwrap();
    assert!(house.app.accounts.check(&owner, &account).await.unwrap().ok);
    house.clock.advance(31_000);
    until("both are back", async || {
        let (first, second) = (now(&house, &first).await, now(&house, &second).await);
        (first.next_run_at.is_some() && second.next_run_at.is_some()).then_some(())
    })
    .await;
    assert!(now(&house, &first).await.stopped().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_run_takes_its_dataset_off_and_a_person_brings_it_back() {
    let house = House::new().await;
    let (owner, mut browser) = house.at_browser("olga", Role::Editor).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = scheduled(&house, &owner, &account, "Killer", "0 * * * *").await;
    let token = house.token(&owner, Scope::Manage).await;
    let run = house.app.puller.run_now(&owner, &dataset, Trigger::Manual).await.unwrap();
    let mut tx = house.app.db.write().await.unwrap();
    sqlx::query("UPDATE runs SET attempt = 3 WHERE id = $1").bind(&run.id).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    queue::rescue(&house.app.db, &house.clock).await.unwrap();
    assert_eq!(queue::get(&house.app.db, &run.id).await.unwrap().unwrap().state, State::Parked);
    assert!(now(&house, &dataset).await.next_run_at.is_none());
    let (_, told) = api(&house, &token, "GET", &format!("/datasets/{dataset}"), json!({})).await;
    assert_eq!(told["stopped"], json!({"since": "2026-11-20T12:00:00Z", "reason": "parked"}));
    assert!(browser.get("/datasets").await.words(".status-cell").contains("Schedule stopped a run stopped the server"));

    // Only who may change it; then once.
    let (stranger, mut other) = house.at_browser("stan", Role::Editor).await;
    assert_eq!(other.post(&format!("/datasets/{dataset}/bring-back"), &[]).await.status, StatusCode::NOT_FOUND);
    assert!(house.app.puller.bring_back(&stranger, &dataset).await.is_err());
    let back = browser.submit(&format!("/datasets/{dataset}/bring-back"), &[]).await;
    assert_eq!(back.toast(), "Schedule resumed. Next run today 13:00.");
    let (status, told) = api(&house, &token, "POST", &format!("/datasets/{dataset}/bring-back"), json!({})).await;
    assert_eq!((status, told["error"]["code"].as_str()), (StatusCode::CONFLICT, Some("not_stopped")), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_makes_no_progress_for_five_minutes_is_stopped_told_why_and_tried_again() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let (stuck, other) = (house.dataset(&owner, &account, "agents", "Agents").await, house.dataset(&owner, &account, "groups", "Groups").await);
    house.sandbox.faults().set(vec![Fault::new(Kind::Late { ms: 600_000 }).on("/agents")]);
    let run_id = house.app.puller.run_now(&owner, &stuck, Trigger::Manual).await.unwrap().id;
    let asked = || house.app.accounts.gauges().get(account.as_str()).is_some_and(|gauge| gauge.in_flight > 0);
    until("the vendor is asked", async || asked().then_some(())).await;
    // Some beats of the heart at the old time: it has made a call, and that is progress.
    tokio::time::sleep(queue::HEARTBEAT + std::time::Duration::from_millis(500)).await;
    house.clock.advance(5 * MINUTE);
    let over = ended(&house, &run_id).await;
    let failure = over.failure.unwrap();
    assert_eq!((over.state, failure.code.as_str()), (State::Failed, "no_progress"), "{failure:?}");
    assert!(failure.message.contains("no progress for 5 minutes") && failure.action.contains("retry 1 of 3"), "{failure:?}");
    assert_eq!(run(&house, &owner, &other).await.state, State::Succeeded, "the worker is free again");
    house.sandbox.faults().clear();
    house.clock.advance(18 * MINUTE);
    let retry = newest(&house, &stuck, 2).await;
    assert_eq!((retry.trigger, retry.state), (Trigger::Retry, State::Succeeded));
}

/// So often is it looked by the time that passes.
const LOOK: i64 = 30_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_at_work_is_nobody_elses_whatever_the_clock_shows() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = scheduled(&house, &owner, &account, "Agents", "0 9 1 1 *").await;
    house.sandbox.faults().set(vec![Fault::new(Kind::Late { ms: 5_000 }).on("/agents").times(1)]);
    let run = house.app.puller.run_now(&owner, &dataset, Trigger::Manual).await.unwrap().id;
    until("the vendor is asked", async || house.app.accounts.gauges().get(account.as_str()).filter(|gauge| gauge.in_flight > 0).map(|_| ())).await;
    // Four workers; three that took it over would park it.
    for _ in 0..4 {
        house.clock.set_by(24 * HOUR);
        house.app.puller.wake.notify_waiters();
        let claimed = queue::claim(&house.app.db, &house.clock, &house.app.puller.holder, 8).await.unwrap();
        assert!(claimed.is_empty(), "{claimed:?}");
        tokio::task::yield_now().await;
    }
    let over = ended(&house, &run).await;
    assert_eq!((over.state, over.attempt), (State::Succeeded, 1), "{over:?}");
    assert!(now(&house, &dataset).await.stopped().is_none());
    assert_eq!(house.sandbox.calls().iter().filter(|call| call.path.ends_with("/agents")).count(), 1, "it was read once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_by_days_keeps_nobody_waiting() {
    let house = pulling().await;
    let owner = house.person("olga", Role::Admin).await;
    let account = house.account(&owner, "Support").await.id;
    let dataset = scheduled(&house, &owner, &account, "Agents", "0 * * * *").await;
    let watched = house.dataset(&owner, &account, "groups", "Watched").await;
    house.app.datasets.set_upkeep(&owner, &watched, Retry::NEVER, Some(2)).await.unwrap();
    let set_by = async |by: i64| {
        house.clock.set_by(by);
        house.clock.advance(LOOK);
    };
    // Three days ahead by mistake: what happens then is written down for then.
    set_by(72 * HOUR).await;
    newest(&house, &dataset, 1).await;
    assert_eq!(run(&house, &owner, &watched).await.state, State::Succeeded);
    answers_nonsense(&house);
    run(&house, &owner, &dataset).await;
    let due = now(&house, &dataset).await.upkeep.retry_at.unwrap();
    assert!(due > NOON + 72 * HOUR);
    set_by(-72 * HOUR).await;
    let due = until("the retry is put right", async || now(&house, &dataset).await.upkeep.retry_at.filter(|at| *at <= house.clock.now() + 18 * MINUTE)).await;
    let before = queue::count(&house.app.db, &dataset).await.unwrap();
    // In a transaction of its own.
    until("the schedule is put right as well", async || (now(&house, &dataset).await.next_run_at == Some(NOON + HOUR)).then_some(())).await;
    house.clock.advance(due - house.clock.now());
    assert_eq!(newest(&house, &dataset, before + 1).await.trigger, Trigger::Retry);
    // Data that was pulled under that clock is late in good time.
    house.clock.advance(2 * HOUR);
    let since = until("it is late", async || now(&house, &watched).await.upkeep.late_since).await;
    assert!(since <= NOON + 2 * HOUR + 2 * LOOK, "{}", since - NOON);
}
