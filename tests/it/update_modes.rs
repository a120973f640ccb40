//! How new rows meet those that are there, and what guards those: told through the API and the pages, with the sandbox as vendor and a
//! clock that the test moves.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use chatlake::accounts::{ChangeAccount, NewAccount};
use chatlake::actor::{Role, Scope};
use chatlake::auth::tokens::{self, NewToken};
use chatlake::clock::{Clock, iso};
use chatlake::connectors::Connector;
use chatlake::ids::{AccountId, DatasetId, RunId};
use chatlake::sandbox::Options;
use chatlake::sandbox::faults::{Fault, Kind, RetryAfter};
use chatlake::secret::Secret;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::datasets::house::{Browser, House};
use crate::house::whole;

pub const DAY: i64 = 86_400_000;

/// An owner with a browser, a token and an account, and a clock to move.
pub struct Desk {
    pub house: House,
    pub owner: Browser,
    token: String,
    account: AccountId,
}

impl Desk {
    pub async fn new() -> Self {
        let clock = Clock::stopped_at(crate::house::NOON);
        let house = House::at(Options { chats: 900, days: 20, ..Options::default() }, clock).await;
        let owner = house.person("olga", Role::Editor).await;
        let account = house.account("sandbox-key").await;
        let new = NewToken { name: "script".to_owned(), scope: Scope::Manage, days: 30 };
        let token = tokens::create(&house.app.db, &house.app.clock, &owner.actor, &new).await.unwrap().1.reveal().to_owned();
        Self { house, owner, token, account }
    }

    pub async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(format!("/api/v1{path}")).header("host", "127.0.0.1:8080");
        let request = request.header("authorization", format!("Bearer {}", self.token)).header("content-type", "application/json");
        let body = if method == "GET" { Body::empty() } else { Body::from(body.to_string()) };
        let answer = self.house.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = whole(answer.into_body()).await;
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    pub async fn dataset(&self, report: &str, rest: Value) -> DatasetId {
        let mut new = json!({"name": report, "account_id": self.account, "report": report});
        new.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let (status, made) = self.call("POST", "/datasets", new).await;
        assert_eq!(status, 201, "{made}");
        DatasetId::parse(made["id"].as_str().unwrap()).unwrap()
    }

    pub async fn change(&self, dataset: &DatasetId, patch: Value) -> Value {
        let (status, now) = self.call("PATCH", &format!("/datasets/{dataset}"), patch).await;
        assert_eq!(status, 200, "{now}");
        now
    }

    /// A LiveLeader account.
    pub async fn leader(&self) -> AccountId {
        let boss = self.house.person("mia", Role::Admin).await;
        let new = NewAccount {
            connector: Connector::LiveLeader,
            name: "Night desk".to_owned(),
            credentials: BTreeMap::from([("email".to_owned(), Secret::new("operator@sandbox.test")), ("password".to_owned(), Secret::new("sandbox-password"))]),
            api_url: Some(self.house.vendor().to_owned()),
            requests_per_minute: Some(60_000),
            time_zone: None,
        };
        let id = self.house.app.accounts.create(&boss.actor, &new).await.unwrap().id;
        let share = ChangeAccount { shared: Some(true), ..ChangeAccount::default() };
        self.house.app.accounts.update(&boss.actor, &id, &share).await.unwrap();
        id
    }

    /// Begins a backfill in chunks of two days.
    pub async fn begin(&self, dataset: &DatasetId, from: &str, to: &str) {
        let (status, begun) = self.call("POST", &format!("/datasets/{dataset}/backfills"), json!({"from": from, "to": to, "chunk_days": 2})).await;
        assert_eq!(status, 202, "{begun}");
    }

    /// The same, to its end.
    pub async fn backfill(&self, dataset: &DatasetId, from: &str, to: &str) -> Value {
        self.begin(dataset, from, to).await;
        for _ in 0..1_000 {
            let (_, all) = self.call("GET", &format!("/datasets/{dataset}/backfills"), Value::Null).await;
            if all["items"][0]["state"] != "running" {
                return all["items"][0].clone();
            }
            self.house.app.clock.advance(200);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the backfill does not end");
    }

    /// Runs it to its end, while the clock goes on, and answers the run.
    pub async fn run(&self, dataset: &DatasetId) -> Value {
        let (_, run) = self.call("POST", &format!("/datasets/{dataset}/runs"), json!({})).await;
        let path = format!("/runs/{}", run["id"].as_str().unwrap_or_else(|| panic!("no run was made: {run}")));
        for _ in 0..1_000 {
            let (_, run) = self.call("GET", &path, Value::Null).await;
            assert!(run["state"].is_string(), "{run}");
            if matches!(run["state"].as_str().unwrap(), "succeeded" | "failed" | "cancelled" | "parked") {
                return run;
            }
            self.house.app.clock.advance(200);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the run does not end");
    }

    pub async fn good_run(&self, dataset: &DatasetId) -> Value {
        let run = self.run(dataset).await;
        assert_eq!(run["state"], "succeeded", "{run}");
        run
    }

    /// The rows of the current version, by column.
    pub async fn rows(&self, dataset: &DatasetId) -> Vec<BTreeMap<String, String>> {
        let request = Request::get(format!("/api/v1/datasets/{dataset}/data")).header("host", "127.0.0.1:8080");
        let request = request.header("authorization", format!("Bearer {}", self.token)).body(Body::empty()).unwrap();
        let answer = self.house.router.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let bytes = whole(answer.into_body()).await;
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        reader.deserialize().map(Result::unwrap).collect()
    }

    pub async fn column(&self, dataset: &DatasetId, name: &str) -> Vec<String> {
        self.rows(dataset).await.into_iter().map(|mut row| row.remove(name).unwrap_or_else(|| panic!("there is no column {name}"))).collect()
    }

    pub fn answers(&self, body: &Value) {
        self.house.sandbox.faults().set(vec![Fault::new(Kind::Shape { body: body.to_string() })]);
    }

    /// A chat of `days` days ago with these messages.
    pub fn chat(&self, id: &str, days: i64, messages: &[&str]) -> Value {
        let started = (self.house.app.clock.now() - days * DAY) / 1_000;
        let messages: Vec<Value> = messages.iter().map(|text| json!({"text": text})).collect();
        json!({"id": id, "started_timestamp": started, "messages": messages})
    }

    /// The vendor holds these chats, all in the one window that is asked for.
    pub fn holds(&self, chats: &[Value]) {
        self.answers(&json!({"chats": chats, "total": chats.len(), "pages": 1}));
    }

    fn truth(&self, from: &str, to: &str) -> usize {
        let question = json!({"report": "chat", "date_from": from, "date_to": to, "timezone": "UTC"});
        self.house.sandbox.truth(&serde_json::from_value(question).unwrap()).unwrap()["count"].as_u64().unwrap() as usize
    }
}

pub const YESTERDAY: fn() -> Value = || json!({"start_days": 1, "end_days": 1});

#[tokio::test(flavor = "multi_thread")]
async fn append_keeps_all_rows_and_says_which_run_brought_them() {
    let desk = Desk::new().await;
    desk.answers(&json!([{"login": "ann"}, {"login": "bob"}]));
    let dataset = desk.dataset("agents", json!({})).await;
    desk.good_run(&dataset).await;
    assert!(!desk.rows(&dataset).await[0].contains_key("_batch_id"), "Replace needs no such column");
    desk.change(&dataset, json!({"update_mode": "append"})).await;
    desk.answers(&json!([{"login": "bob", "mood": "glad"}]));
    let second = desk.good_run(&dataset).await;
    assert_eq!((&second["rows"], &second["rows_before"], &second["rows_after"], &second["rows_dropped"]), (&json!(1), &json!(2), &json!(3), &json!(0)));
    desk.good_run(&dataset).await;
    assert_eq!(desk.column(&dataset, "login").await, ["ann", "bob", "bob", "bob"]);
    assert_eq!(desk.column(&dataset, "mood").await, ["", "", "glad", "glad"]);
    assert_eq!(desk.column(&dataset, "_batch_id").await, ["", "", "1", "2"], "rows of before the change have none");
    let moments = desk.column(&dataset, "_batch_last_run").await;
    assert!(moments[0].is_empty() && moments[2] < moments[3] && moments[2].ends_with('Z'), "{moments:?}");
    let columns: Vec<String> = desk.call("GET", &format!("/datasets/{dataset}/schema"), Value::Null).await.1["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(columns[columns.len() - 2..], ["_batch_id", "_batch_last_run"]);
    // Nothing to add is nothing to lose.
    desk.answers(&json!([]));
    let empty = desk.good_run(&dataset).await;
    assert_eq!((&empty["outcome"], &empty["rows"], desk.rows(&dataset).await.len()), (&json!("kept"), &json!(0), 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn merge_takes_new_rows_for_old_ones_by_the_reports_key_or_a_chosen_one() {
    let desk = Desk::new().await;
    desk.answers(&json!([{"login": "ann", "name": "Ann"}, {"login": "bob", "name": "Bob"}, {"login": "cyd", "name": "Bob"}, {"login": "dee"}]));
    let dataset = desk.dataset("agents", json!({"update_mode": "merge"})).await;
    desk.good_run(&dataset).await;
    desk.answers(&json!([{"login": "bob", "name": "Robert"}, {"login": "eve", "name": "Eve"}]));
    let run = desk.good_run(&dataset).await;
    assert_eq!((&run["rows"], &run["rows_dropped"], &run["rows_after"]), (&json!(2), &json!(1), &json!(5)));
    assert_eq!(desk.column(&dataset, "login").await, ["ann", "cyd", "dee", "bob", "eve"]);

    let now = desk.change(&dataset, json!({"key": ["name"]})).await;
    assert_eq!(now["key"], json!(["name"]));
    desk.answers(&json!([{"login": "rob", "name": "Bob"}, {"login": "nil"}]));
    desk.good_run(&dataset).await;
    assert_eq!(desk.column(&dataset, "login").await, ["ann", "dee", "bob", "eve", "rob", "nil"], "a row without a key takes nobody's place");
    assert_eq!(desk.change(&dataset, json!({"key": []})).await["key"], json!(["login"]), "back to the report's own");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_chat_that_was_read_go_also_when_it_has_none_any_more() {
    let desk = Desk::new().await;
    let dataset = desk.dataset("chat_messages", json!({"menus": YESTERDAY(), "update_mode": "merge"})).await;
    desk.holds(&[desk.chat("A", 1, &["a1", "a2"]), desk.chat("B", 1, &["b1", "b2"]), desk.chat("C", 1, &["c1"])]);
    desk.good_run(&dataset).await;
    assert_eq!(desk.column(&dataset, "text").await, ["a1", "a2", "b1", "b2", "c1"]);
    // A was emptied, B lost its second message, D is new, and C was not read.
    desk.holds(&[desk.chat("A", 1, &[]), desk.chat("B", 1, &["b1"]), desk.chat("D", 1, &["d1"])]);
    let run = desk.good_run(&dataset).await;
    assert_eq!(desk.column(&dataset, "text").await, ["c1", "b1", "d1"]);
    assert_eq!(run["rows_dropped"], json!(4));
    let left: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM windows WHERE childless IS NOT NULL").fetch_one(desk.house.app.db.read()).await.unwrap();
    assert_eq!(left, 0, "what was noted for the merge goes with it");
    // Even when nothing else came.
    desk.holds(&[desk.chat("C", 1, &[])]);
    desk.good_run(&dataset).await;
    assert_eq!(desk.column(&dataset, "text").await, ["b1", "d1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_replaces_the_days_that_were_pulled_and_merge_keeps_what_the_vendor_deleted() {
    let desk = Desk::new().await;
    let menus = YESTERDAY();
    let partition = desk.dataset("chat", json!({"menus": menus, "update_mode": "partition"})).await;
    let merge = desk.dataset("chat", json!({"menus": menus, "update_mode": "merge"})).await;
    desk.holds(&[desk.chat("A", 1, &[]), desk.chat("B", 1, &[])]);
    for dataset in [&partition, &merge] {
        desk.good_run(dataset).await;
    }
    // The next day: another day is pulled.
    desk.house.app.clock.advance(DAY);
    desk.holds(&[desk.chat("C", 1, &[]), desk.chat("D", 1, &[])]);
    for dataset in [&partition, &merge] {
        desk.good_run(dataset).await;
        assert_eq!(desk.column(dataset, "id").await, ["A", "B", "C", "D"]);
    }
    // That day again: C is gone.
    desk.holds(&[desk.chat("D", 1, &[]), desk.chat("E", 1, &[])]);
    let run = desk.good_run(&partition).await;
    assert_eq!((desk.column(&partition, "id").await, &run["rows_dropped"]), (["A", "B", "D", "E"].map(str::to_owned).into(), &json!(2)));
    desk.good_run(&merge).await;
    assert_eq!(desk.column(&merge, "id").await, ["A", "B", "C", "D", "E"]);
    // Segments that lost no row are the same files.
    let versions = desk.house.app.datasets.versions.list(&partition).await.unwrap();
    assert_eq!(versions[0].segments[0], versions[2].segments[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn look_back_pulls_all_days_once_and_then_what_is_new_with_some_days_before() {
    let desk = Desk::new().await;
    let days = json!({"start_days": 10, "end_days": 1});
    let dataset = desk.dataset("chat", json!({"menus": days, "update_mode": "merge", "options": {"look_back": 2}})).await;
    let asked = async |run: &Value| {
        let windows = desk.call("GET", &format!("/datasets/{dataset}/windows"), Value::Null).await.1;
        let of_run = windows["items"].as_array().unwrap().iter().filter(|window| window["run"] == run["id"] || window["run_id"] == run["id"]).cloned();
        of_run.map(|window| window["from"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // It is noon of 20 November.
    let first = desk.good_run(&dataset).await;
    let got = asked(&first).await;
    assert_eq!((got.len(), got[0].as_str(), got[9].as_str()), (10, "2026-11-10", "2026-11-19"));
    assert_eq!(desk.rows(&dataset).await.len(), desk.truth("2026-11-10", "2026-11-19"));
    // Again on the same day: the last two days.
    assert_eq!(asked(&desk.good_run(&dataset).await).await, ["2026-11-18", "2026-11-19"]);
    desk.house.app.clock.advance(DAY);
    let next = desk.good_run(&dataset).await;
    assert_eq!(asked(&next).await, ["2026-11-18", "2026-11-19", "2026-11-20"]);
    assert_eq!(next["rows_dropped"].as_u64().unwrap() as usize, desk.truth("2026-11-18", "2026-11-19"));
    // Nothing ran for three days: none of them is missed.
    desk.house.app.clock.advance(3 * DAY);
    assert_eq!(asked(&desk.good_run(&dataset).await).await, ["2026-11-19", "2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"]);
    let ids: std::collections::BTreeSet<String> = desk.column(&dataset, "id").await.into_iter().collect();
    assert_eq!((ids.len(), desk.rows(&dataset).await.len()), (desk.truth("2026-11-10", "2026-11-23"), ids.len()));
    // Something else is asked for: what is held says nothing of it.
    desk.change(&dataset, json!({"menus": {"start_days": 10, "end_days": 1, "group": "1"}})).await;
    assert_eq!(asked(&desk.good_run(&dataset).await).await.len(), 10);
    // Never further back than Start Days.
    desk.change(&dataset, json!({"menus": {"start_days": 3, "end_days": 1}, "options": {"look_back": 10}})).await;
    desk.good_run(&dataset).await;
    assert_eq!(asked(&desk.good_run(&dataset).await).await, ["2026-11-21", "2026-11-22", "2026-11-23"]);
    // And off again.
    desk.change(&dataset, json!({"menus": {"start_days": 10, "end_days": 1}, "options": {"look_back": 0}})).await;
    assert_eq!(asked(&desk.good_run(&dataset).await).await.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_rows_is_kept_believed_or_a_failure_as_the_dataset_says() {
    let desk = Desk::new().await;
    for (on_empty, state, outcome, code, left) in
        [("keep", "succeeded", json!("kept"), "", 2), ("empty", "succeeded", Value::Null, "", 0), ("fail", "failed", Value::Null, "empty_answer", 2)]
    {
        let dataset = desk.dataset("agents", json!({"options": {"on_empty": on_empty}})).await;
        desk.answers(&json!([{"login": "ann"}, {"login": "bob"}]));
        desk.good_run(&dataset).await;
        desk.answers(&json!([]));
        let run = desk.run(&dataset).await;
        assert_eq!((run["state"].as_str().unwrap(), &run["outcome"], run["rows"].as_i64()), (state, &outcome, Some(0)), "{on_empty}: {run}");
        assert_eq!(run["error"]["code"].as_str().unwrap_or_default(), code);
        assert_eq!(desk.rows(&dataset).await.len(), left, "{on_empty}");
        let id = dataset.to_string();
        let row = desk.owner.get("/datasets").await.texts(&format!("tr:has([href='/datasets/{id}'])"))[0].clone();
        if on_empty == "fail" {
            assert!(row.contains("Failed"), "{row}");
        } else {
            assert!(row.contains("0 rows"), "{row}");
            let record = desk.owner.get(&format!("/datasets/{id}/history")).await.texts(".history-list details")[0].clone();
            assert!(on_empty != "keep" || (record.contains("0 rows") && record.contains("existing rows unchanged")), "{record}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_lost_too_many_rows_is_held_until_somebody_accepts_it_or_a_later_run_is_better() {
    let desk = Desk::new().await;
    let agents = |number: usize| json!((0..number).map(|n| json!({"login": format!("agent{n}")})).collect::<Vec<_>>());
    let dataset = desk.dataset("agents", json!({"options": {"hold_drop": 50}})).await;
    desk.answers(&agents(10));
    desk.good_run(&dataset).await;
    desk.answers(&agents(5));
    assert_eq!(desk.good_run(&dataset).await["outcome"], Value::Null, "half is not more than half");
    desk.answers(&agents(2));
    let held = desk.run(&dataset).await;
    assert_eq!((&held["state"], &held["outcome"], &held["error"]["code"]), (&json!("failed"), &json!("held"), &json!("held")), "{held}");
    assert_eq!((&held["rows"], &held["rows_before"], &held["rows_after"]), (&json!(2), &json!(5), &json!(2)));
    assert_eq!(desk.rows(&dataset).await.len(), 5, "people read the rows from before");
    let (_, told) = desk.call("GET", &format!("/datasets/{dataset}"), Value::Null).await;
    assert_eq!((&told["held_version"], &told["rows"]), (&held["version"], &json!(5)));
    // It is loud, and its rows can be looked at.
    let list = desk.owner.get("/datasets").await.text();
    assert!(list.contains("Waiting for approval") && list.contains("1 DataSet failed.") && list.contains("Publish these rows"), "{list}");
    let run = RunId::parse(held["id"].as_str().unwrap()).unwrap();
    let page = desk.owner.get(&format!("/runs/{run}")).await;
    assert!(page.texts(".three")[0].contains("60 % fewer"), "{}", page.text());
    let rows = desk.owner.get(&format!("/datasets/{dataset}/download?version={}", held["version"].as_str().unwrap())).await;
    assert_eq!(rows.text().lines().count(), 3);

    // The next run holds its own version; the first one can be accepted no more.
    desk.answers(&agents(1));
    let second = desk.run(&dataset).await;
    assert_eq!(second["outcome"], "held");
    let (status, refused) = desk.call("POST", &format!("/runs/{run}/accept"), json!({})).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("not_held")));
    assert_eq!(desk.call("GET", &format!("/runs/{run}"), Value::Null).await.1["outcome"], "superseded");
    assert!(!desk.owner.get(&format!("/runs/{run}")).await.text().contains("Publish these rows"));
    let (status, accepted) = desk.call("POST", &format!("/runs/{}/accept", second["id"].as_str().unwrap()), json!({})).await;
    assert_eq!((status, &accepted["state"], &accepted["outcome"], &accepted["accepted_by"]), (200, &json!("succeeded"), &json!("accepted"), &json!("olga")));
    assert!(accepted["error"].is_null() && accepted["accepted_at"].is_string(), "{accepted}");
    assert_eq!(desk.rows(&dataset).await.len(), 1);
    let list = desk.owner.get("/datasets").await.text();
    assert!(list.contains("Up to date") && !list.contains("DataSet failed."), "{list}");

    // A later run that brings enough takes the place of a held one by itself.
    desk.answers(&agents(9));
    desk.good_run(&dataset).await;
    desk.answers(&agents(1));
    let third = desk.run(&dataset).await;
    assert_eq!(third["outcome"], "held");
    desk.answers(&agents(8));
    desk.good_run(&dataset).await;
    assert_eq!(desk.call("GET", &format!("/runs/{}", third["id"].as_str().unwrap()), Value::Null).await.1["outcome"], "superseded");
    let (_, told) = desk.call("GET", &format!("/datasets/{dataset}"), Value::Null).await;
    assert_eq!((&told["held_version"], &told["rows"]), (&Value::Null, &json!(8)));
    // By the button of its page.
    desk.answers(&agents(3));
    let fourth = desk.run(&dataset).await;
    let to = desk.owner.post(&format!("/runs/{}/accept", fourth["id"].as_str().unwrap()), &[]).await;
    assert_eq!((to.status.as_u16(), to.header("location")), (303, format!("/datasets/{dataset}").as_str()));
    assert_eq!(desk.rows(&dataset).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_waits_no_more_once_it_is_deleted_or_another_version_is_brought_back() {
    let desk = Desk::new().await;
    let agents = |number: usize| json!((0..number).map(|n| json!({"login": format!("agent{n}")})).collect::<Vec<_>>());
    let dataset = desk.dataset("agents", json!({"options": {"hold_drop": 50}})).await;
    desk.answers(&agents(10));
    let first = desk.good_run(&dataset).await;
    desk.answers(&agents(9));
    desk.good_run(&dataset).await;
    for deleted in [true, false] {
        desk.answers(&agents(2));
        let held = desk.run(&dataset).await;
        assert_eq!(held["outcome"], "held");
        let (status, answer) = if deleted {
            desk.call("DELETE", &format!("/datasets/{dataset}/versions/{}", held["version"].as_str().unwrap()), json!({})).await
        } else {
            desk.call("POST", &format!("/datasets/{dataset}/revert"), json!({"version": first["version"]})).await
        };
        assert!((200..300).contains(&status), "{answer}");
        let run = format!("/runs/{}", held["id"].as_str().unwrap());
        let (status, refused) = desk.call("POST", &format!("{run}/accept"), json!({})).await;
        assert_eq!((status, &refused["error"]["code"]), (409, &json!("not_held")), "{refused}");
        assert_eq!(desk.call("GET", &run, Value::Null).await.1["outcome"], if deleted { "discarded" } else { "superseded" });
        let (_, told) = desk.call("GET", &format!("/datasets/{dataset}"), Value::Null).await;
        assert_eq!((&told["held_version"], &told["rows"]), (&Value::Null, &json!(if deleted { 9 } else { 10 })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_loses_too_many_rows_is_held_as_well() {
    let desk = Desk::new().await;
    let options = json!({"update_mode": "merge", "options": {"hold_drop": 50}, "menus": YESTERDAY()});
    let dataset = desk.dataset("chat_messages", options).await;
    desk.holds(&[desk.chat("A", 1, &["a", "b", "c", "x"]), desk.chat("B", 1, &["d"])]);
    desk.good_run(&dataset).await;
    desk.holds(&[desk.chat("A", 1, &[]), desk.chat("C", 1, &["e"])]);
    let held = desk.run(&dataset).await;
    assert_eq!((&held["outcome"], &held["rows"], &held["rows_before"], &held["rows_after"]), (&json!("held"), &json!(1), &json!(5), &json!(2)), "{held}");
    assert_eq!(desk.rows(&dataset).await.len(), 5);
    let (status, _) = desk.call("POST", &format!("/runs/{}/accept", held["id"].as_str().unwrap()), json!({})).await;
    assert_eq!((status, desk.column(&dataset, "text").await), (200, vec!["d".to_owned(), "e".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_few_days_do_not_have_are_not_missing_where_rows_of_several_runs_are_kept() {
    let desk = Desk::new().await;
    let stop = json!({"update_mode": "append", "options": {"on_added": "stop", "on_removed": "stop"}});
    let dataset = desk.dataset("agents", stop).await;
    for (logins, state) in [
        (json!([{"login": "ann", "mood": "glad"}]), "succeeded"),
        (json!([{"login": "bob"}]), "succeeded"),
        (json!([{"login": "eve", "mood": "calm"}]), "succeeded"),
        (json!([{"login": "kim", "shift": "late"}]), "failed"),
    ] {
        desk.answers(&logins);
        let run = desk.run(&dataset).await;
        assert_eq!(run["state"], state, "{run}");
        assert_eq!(run["schema_change"].is_null(), state == "succeeded", "{run}");
    }
    assert_eq!(desk.column(&dataset, "mood").await, ["glad", "", "calm"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backfill_goes_past_days_without_rows_and_stops_where_a_version_is_brought_back() {
    let desk = Desk::new().await;
    let leader = desk.leader().await;
    for (mode, on_empty) in [("append", "check"), ("merge", "keep"), ("merge", "check"), ("partition", "check")] {
        let dataset = desk.dataset("chats", json!({"account_id": leader, "update_mode": mode, "options": {"on_empty": on_empty}, "menus": YESTERDAY()})).await;
        let first = desk.good_run(&dataset).await;
        let rows = desk.rows(&dataset).await.len();
        assert!(rows > 0 && first["rows"] == json!(rows));
        // Long before there were chats.
        let done = desk.backfill(&dataset, "2026-08-01", "2026-08-06").await;
        assert_eq!((&done["state"], &done["chunks_done"]), (&json!("finished"), &json!(3)), "{mode} {on_empty}: {done}");
        assert_eq!(desk.rows(&dataset).await.len(), rows, "{mode} {on_empty}");
        let (_, days) = desk.call("GET", &format!("/datasets/{dataset}/coverage"), Value::Null).await;
        let state = days["items"].as_array().unwrap().iter().find(|day| day["day"] == "2026-08-03").map_or(json!("missing"), |day| day["state"].clone());
        assert_eq!(state, if on_empty == "keep" { "missing" } else { "held" }, "{mode} {on_empty}");
    }

    let dataset = desk.dataset("chats", json!({"account_id": leader, "update_mode": "merge", "menus": YESTERDAY()})).await;
    let first = desk.good_run(&dataset).await;
    desk.change(&dataset, json!({"menus": {"start_days": 3, "end_days": 1}})).await;
    assert_eq!(desk.good_run(&dataset).await["outcome"], Value::Null);
    desk.house.sandbox.faults().set(vec![Fault::new(Kind::TooManyRequests { retry_after: RetryAfter::Seconds(7_200) })]);
    desk.begin(&dataset, "2026-11-10", "2026-11-15").await;
    let newest = async || desk.call("GET", &format!("/datasets/{dataset}/runs"), Value::Null).await.1["items"][0].clone();
    while newest().await["state"] != "waiting" {
        desk.house.app.clock.advance(200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (status, reverted) = desk.call("POST", &format!("/datasets/{dataset}/revert"), json!({"version": first["version"]})).await;
    assert_eq!(status, 200, "{reverted}");
    let (_, all) = desk.call("GET", &format!("/datasets/{dataset}/backfills"), Value::Null).await;
    assert_eq!((&all["items"][0]["state"], &all["items"][0]["why"]), (&json!("stopped"), &json!("The DataSet was reverted to version 1.")), "{all}");
    assert!(newest().await["trigger"] == "revert" || newest().await["state"] == "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_column_is_told_on_the_run_and_stops_it_where_that_is_wanted() {
    let desk = Desk::new().await;
    let dataset = desk.dataset("agents", json!({})).await;
    desk.answers(&json!([{"login": "ann", "mood": "glad"}]));
    let first = desk.good_run(&dataset).await;
    assert!(first["schema_change"].is_null());
    desk.answers(&json!([{"login": "ann", "shoes": 42}]));
    let second = desk.good_run(&dataset).await;
    assert_eq!(second["schema_change"], json!({"added": ["shoes"], "removed": ["mood"], "retyped": [], "verdict": "warn"}));
    let page = desk.owner.get(&format!("/runs/{}", second["id"].as_str().unwrap())).await;
    assert_eq!(page.texts(".run-detail .band.is-warn"), ["1 column is new: shoes. 1 column was removed: mood."]);
    assert!(desk.good_run(&dataset).await["schema_change"].is_null(), "what went away is told once");

    desk.change(&dataset, json!({"options": {"on_added": "accept", "on_removed": "stop"}})).await;
    desk.answers(&json!([{"login": "ann", "shoes": 42, "hat": 1}]));
    assert_eq!(desk.good_run(&dataset).await["schema_change"]["verdict"], "accept");
    let before = desk.rows(&dataset).await;
    desk.answers(&json!([{"login": "bob"}]));
    let stopped = desk.run(&dataset).await;
    assert_eq!((&stopped["state"], &stopped["error"]["code"]), (&json!("failed"), &json!("schema_changed")), "{stopped}");
    assert_eq!((&stopped["schema_change"]["removed"], &stopped["schema_change"]["verdict"]), (&json!(["shoes", "hat"]), &json!("stop")));
    assert_eq!(desk.rows(&dataset).await, before);
    assert!(desk.owner.get("/datasets").await.text().contains("this DataSet is set to stop when columns change"));
    // Another report is what somebody asked for.
    desk.change(&dataset, json!({"report": "groups", "options": {"on_added": "stop"}})).await;
    desk.answers(&json!([{"id": 1, "name": "Sales"}]));
    desk.good_run(&dataset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_beside_its_field_by_programs_and_pages() {
    let desk = Desk::new().await;
    let new = |rest: Value| {
        let mut new = json!({"name": "X", "account_id": desk.account, "report": "agents"});
        new.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        new
    };
    for (rest, field) in [
        (json!({"update_mode": "upsert"}), "update_mode"),
        (json!({"update_mode": "partition"}), "update_mode"),
        (json!({"update_mode": "merge", "key": ["shoe_size"]}), "key"),
        (json!({"update_mode": "replace", "options": {"look_back": 3}}), "look_back"),
        (json!({"update_mode": "merge", "options": {"look_back": 3}}), "look_back"),
        (json!({"update_mode": "append", "options": {"hold_drop": 3}}), "hold_drop"),
        (json!({"options": {"hold_drop": 300}}), "hold_drop"),
        (json!({"options": {"on_empty": "sometimes"}}), "on_empty"),
        (json!({"options": {"on_added": "perhaps"}}), "on_added"),
        (json!({"options": {"second_read": "perhaps"}}), "options.second_read"),
    ] {
        let (status, refused) = desk.call("POST", "/datasets", new(rest.clone())).await;
        assert_eq!((status, refused["error"]["field"].as_str()), (422, Some(field)), "{rest}: {refused}");
    }
    assert_eq!(desk.call("POST", "/datasets", new(json!({"options": {"colour": 1}}))).await.0, 422);
    // What an earlier mode took is let go with it.
    let dataset = desk.dataset("chat", json!({"update_mode": "partition", "options": {"look_back": 5}})).await;
    let now = desk.change(&dataset, json!({"update_mode": "replace"})).await;
    assert_eq!((&now["update_mode"], &now["options"]["look_back"]), (&json!("replace"), &json!(0)));

    // The settings of a DataSet, by a browser without scripts.
    let page = desk.owner.get(&format!("/datasets/{dataset}/settings")).await.page();
    let mut fields: BTreeMap<String, String> = crate::panes::fields_of(&page);
    fields.insert("step".to_owned(), "schedule".to_owned());
    let press = async |changed: &[(&str, &str)]| {
        let mut all = fields.clone();
        all.extend(changed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let pairs: Vec<(&str, &str)> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        desk.owner.post(&format!("/datasets/{dataset}/settings"), &pairs).await
    };
    for (changed, field) in [
        (&[("update_mode", "merge"), ("key", "id, shoe_size")][..], "key"),
        (&[("update_mode", "merge"), ("look_back", "some")][..], "look_back"),
        (&[("hold_drop", "120")][..], "hold_drop"),
        (&[("on_retyped", "never")][..], "on_retyped"),
        (&[("second_read", "perhaps")][..], "second_read"),
    ] {
        let answer = press(changed).await;
        assert_eq!(answer.status.as_u16(), 422, "{changed:?}");
        assert!(answer.text().contains(&format!("id=\"{field}-wrong\"")), "{changed:?}");
    }
    let shown = press(&[("update_mode", "append"), ("step", "next_runs")]).await;
    assert!(shown.text().contains("Every run pulls 7 days"), "the pane warns");
    let saved =
        press(&[("update_mode", "merge"), ("key", "visitor_id, rate"), ("look_back", "3"), ("on_empty", "keep"), ("on_added", "stop"), ("second_read", "off")])
            .await;
    assert_eq!(saved.status.as_u16(), 303, "{}", saved.text());
    let (_, now) = desk.call("GET", &format!("/datasets/{dataset}"), Value::Null).await;
    assert_eq!((&now["update_mode"], &now["key"]), (&json!("merge"), &json!(["visitor_id", "rate"])));
    let options =
        json!({"look_back": 3, "on_empty": "keep", "hold_drop": 0, "on_added": "stop", "on_removed": "warn", "on_retyped": "warn", "second_read": false});
    assert_eq!(now["options"], options);
    let page = desk.owner.get(&format!("/datasets/{dataset}/settings")).await.page();
    let again = crate::panes::fields_of(&page);
    let shown = ["update_mode", "key", "look_back", "on_empty", "second_read"].map(|name| again[name].as_str());
    assert_eq!(shown, ["merge", "visitor_id, rate", "3", "keep", "off"]);
    assert!(iso(desk.house.app.clock.now()).starts_with("2026-11-2"));
}
