//! An account that its owner takes back: DataSets of others on it stop, say why, and come back when it is shared again.

use axum::http::StatusCode;
use chatlake::accounts::ChangeAccount;
use chatlake::actor::{Actor, Role, Scope};
use chatlake::datasets::upkeep::Why;
use chatlake::ids::{AccountId, DatasetId};
use chatlake::puller::queue;
use chatlake::puller::run::{Run, State, Trigger};
use chatlake::sandbox::faults::{Fault, Kind, RetryAfter};
use serde_json::{Value, json};

use super::house::House;
use super::process::until;
use super::upkeep::{api, ended, pulling, run};

const HOUR: i64 = 3_600_000;

struct World {
    house: House,
    owner: Actor,
    account: AccountId,
    eva: Actor,
    token: String,
    dataset: DatasetId,
}

impl World {
    /// Olga shares an account; Eva has a DataSet on it that is pulled every hour.
    async fn new() -> Self {
        let house = pulling().await;
        let owner = house.person("olga", Role::Editor).await;
        let account = house.account(&owner, "Support").await.id;
        let eva = house.person("eva", Role::Editor).await;
        let token = house.token(&eva, Scope::Manage).await;
        share(&house, &owner, &account, true).await;
        let dataset = hourly(&house, &eva, &token, &account, "Agents of Eva").await;
        Self { house, owner, account, eva, token, dataset }
    }

    async fn told(&self) -> Value {
        api(&self.house, &self.token, "GET", &format!("/datasets/{}", self.dataset), json!({})).await.1
    }

    async fn stopped(&self) -> Option<Why> {
        self.house.app.datasets.for_run(&self.dataset).await.unwrap().stopped().map(|stopped| stopped.why)
    }
}

async fn share(house: &House, owner: &Actor, account: &AccountId, shared: bool) {
    house.app.accounts.update(owner, account, &ChangeAccount { shared: Some(shared), ..ChangeAccount::default() }).await.unwrap();
    house.app.puller.kept.notify_one();
}

async fn hourly(house: &House, of: &Actor, token: &str, account: &AccountId, name: &str) -> DatasetId {
    let dataset = house.dataset(of, account, "agents", name).await;
    let (status, told) = api(house, token, "PATCH", &format!("/datasets/{dataset}"), json!({"schedule": {"cron": "0 * * * *"}})).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    dataset
}

/// Lets an hour pass, and answers the run that a DataSet's schedule began.
async fn next_run(house: &House, dataset: &DatasetId) -> Run {
    // A moment that comes while a run is alive makes no other run.
    until("no run is alive", async || {
        let newest = queue::of_dataset(&house.app.db, dataset, 0, 1).await.unwrap().into_iter().next();
        newest.is_none_or(|run| run.state.is_final()).then_some(())
    })
    .await;
    let before = queue::count(&house.app.db, dataset).await.unwrap();
    house.clock.advance(HOUR);
    until("a run by the schedule", async || {
        let newest = queue::of_dataset(&house.app.db, dataset, 0, 1).await.unwrap().into_iter().next()?;
        (queue::count(&house.app.db, dataset).await.unwrap() > before && newest.state.is_final()).then_some(newest)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn datasets_of_others_stop_say_why_and_come_back_when_it_is_shared_again() {
    let world = World::new().await;
    let house = &world.house;
    // Olga's own DataSet on it, and one of an admin, who may use every account.
    let own = hourly(house, &world.owner, &house.token(&world.owner, Scope::Manage).await, &world.account, "Own").await;
    let ada = house.person("ada", Role::Admin).await;
    let of_admin = hourly(house, &ada, &house.token(&ada, Scope::Manage).await, &world.account, "Of an admin").await;
    assert_eq!(next_run(house, &world.dataset).await.state, State::Succeeded);

    // The page says what happens before and after.
    let mut olga = house.signed_in(&world.owner).await;
    let edit = format!("/accounts/{}/edit", world.account);
    assert!(olga.get(&edit).await.text.contains("1 DataSet of another owner uses it. If you stop sharing, it stops updating"));
    let fields = [("name", "Support"), ("credentials.username", "agent@sandbox.test"), ("requests_per_minute", "60000"), ("account_zone", "UTC")];
    let saved = olga.submit(&edit, &fields).await;
    assert!(saved.toast().contains("1 DataSet of another owner stops updating"), "{}", saved.toast());
    until("it is off its schedule", async || (world.stopped().await == Some(Why::Unshared)).then_some(())).await;

    // The others go on, and this one asks the vendor for nothing, whoever asks for it.
    let calls = house.sandbox.calls_total();
    let runs = queue::count(&house.app.db, &world.dataset).await.unwrap();
    for dataset in [&own, &of_admin] {
        assert_eq!(next_run(house, dataset).await.state, State::Succeeded);
    }
    assert_eq!(queue::count(&house.app.db, &world.dataset).await.unwrap(), runs);
    assert!(house.sandbox.calls_total() > calls);
    for by in [&world.eva, &ada] {
        let refused = house.app.puller.run_now(by, &world.dataset, Trigger::Manual).await.unwrap_err();
        assert_eq!(refused.code(), "account_not_shared", "{refused}");
        let refused = house.app.puller.bring_back(by, &world.dataset).await.unwrap_err();
        assert_eq!(refused.code(), "account_not_shared", "{refused}");
    }
    let told = world.told().await;
    assert_eq!((&told["stopped"]["reason"], &told["next_run_at"]), (&json!("unshared"), &Value::Null), "{told}");
    let mut eva = house.signed_in(&world.eva).await;
    let page = eva.get(&format!("/datasets/{}", world.dataset)).await;
    assert!(page.words(".band").contains("the account is no longer shared with the owner of the DataSet"), "{}", page.words(".band"));
    let list = eva.get("/datasets").await;
    assert!(list.words(".band").contains("the account is no longer shared with the owner"), "{}", list.words(".band"));
    // Who may share the account again is led there.
    let page = house.signed_in(&ada).await.get(&format!("/datasets/{}", world.dataset)).await;
    assert_eq!(page.attribute(".band-actions a", "href"), Some(format!("/accounts/{}/edit", world.account)));
    assert_eq!(page.words(".band-actions a"), "Share the account again");

    // Shared again, it is back by itself and works.
    let (status, _) =
        api(house, &house.token(&world.owner, Scope::Manage).await, "PATCH", &format!("/accounts/{}", world.account), json!({"shared": true})).await;
    assert_eq!(status, StatusCode::OK);
    until("it is back on its schedule", async || world.told().await["next_run_at"].is_string().then_some(())).await;
    assert_eq!((world.stopped().await, next_run(house, &world.dataset).await.state), (None, State::Succeeded));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_the_vendor_fails_without_asking_again() {
    let world = World::new().await;
    let house = &world.house;
    // One that waits for as long as the vendor asked.
    house.sandbox.faults().set(vec![Fault::new(Kind::TooManyRequests { retry_after: RetryAfter::Seconds(7_200) })]);
    let waiting = house.app.puller.run_now(&world.eva, &world.dataset, Trigger::Manual).await.unwrap();
    until("it waits", async || (house.app.puller.get(&world.eva, &waiting.id).await.unwrap().state == State::Waiting).then_some(())).await;
    share(house, &world.owner, &world.account, false).await;
    until("it is off its schedule", async || (world.stopped().await == Some(Why::Unshared)).then_some(())).await;
    house.sandbox.faults().clear();
    let calls = house.sandbox.calls_total();
    house.clock.advance(2 * HOUR);
    let over = ended(house, &waiting.id).await;
    assert_eq!((over.state, over.failure.map(|failure| failure.code)), (State::Failed, Some("account_not_shared".to_owned())));
    assert_eq!(house.sandbox.calls_total(), calls, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_in_progress_is_stopped_and_an_admin_may_use_every_account() {
    let world = World::new().await;
    let house = &world.house;
    house.sandbox.faults().set(vec![Fault::new(Kind::Stall { after: 5 })]);
    let running = house.app.puller.run_now(&world.eva, &world.dataset, Trigger::Manual).await.unwrap();
    until("the vendor is asked", async || (house.sandbox.calls_total() > 0).then_some(())).await;
    share(house, &world.owner, &world.account, false).await;
    assert_eq!(ended(house, &running.id).await.state, State::Cancelled);
    house.sandbox.faults().clear();
    assert_eq!(world.stopped().await, Some(Why::Unshared));

    // Somebody who becomes an admin may use it.
    chatlake::auth::users::set_role(&house.app.db, &house.clock, &world.eva.user, Role::Admin, None).await.unwrap();
    house.app.puller.kept.notify_one();
    until("it is back on its schedule", async || world.stopped().await.is_none().then_some(())).await;
    let eva = Actor { role: Role::Admin, ..world.eva.clone() };
    assert_eq!(run(house, &eva, &world.dataset).await.state, State::Succeeded);
}
