//! LiveLeader in the product: its account and its DataSets through the panes, and its runs with their ledger.

use std::collections::{BTreeMap, HashSet};

use axum::http::StatusCode;
use chatlake::accounts::NewAccount;
use chatlake::actor::Role;
use chatlake::connectors::{Connector, Menus};
use chatlake::datasets::{Description, Name, Settings};
use chatlake::ids::{AccountId, DatasetId};
use chatlake::puller::run::State;
use chatlake::puller::windows;
use chatlake::sandbox::Options;
use chatlake::sandbox::faults::{Fault, Kind};
use chatlake::sandbox::truth::Question;
use chatlake::secret::Secret;

use crate::datasets::house::{Browser, House};
use crate::panes::{Seat, before_spring};

const CREDENTIALS: [(&str, &str); 6] = [
    ("account_id", "new"),
    ("account_name", "Night desk"),
    ("credentials.email", "operator@sandbox.test"),
    ("credentials.password", "sandbox-password"),
    ("requests_per_minute", "60000"),
    ("account_zone", "Europe/Oslo"),
];

#[tokio::test]
async fn the_panes_say_what_the_vendor_does_with_a_password_and_take_a_typed_login() {
    let house = before_spring().await;
    let maren = Seat::new(&house, "maren", Role::Admin).await;
    let page = maren.get("/connect/liveleader").await;
    let words = page.words("[data-pane=credentials]");
    assert!(words.contains("wants the password in the address of each request") && words.contains("the chats of the last minute, nothing else"), "{words}");
    assert!(words.contains("Time zone of the vendor account") && !words.contains("travels in the clear"), "{words}");
    // Wrong, without permission and without a plan are told apart beside the fields or above them.
    let vendor = ("api_url", house.vendor.as_str());
    let wrong = |email, password| {
        let mut typed: Vec<(&str, &str)> = CREDENTIALS.to_vec();
        typed[2].1 = email;
        typed[3].1 = password;
        typed.push(vendor);
        typed
    };
    let refused = maren.press(&page, "connect", &wrong("operator@sandbox.test", "canary-4711")).await;
    assert!(refused.wrong("password").contains("did not accept") && !refused.text.contains("canary-4711"), "{}", refused.text);
    // The address that was typed is one without https: the pane says so in red.
    assert!(refused.words("[data-pane=credentials] .band.is-bad").contains("travels in the clear"));
    for (email, told) in [("guest@sandbox.test", "lacks the account permission"), ("starter@sandbox.test", "does not include data export")] {
        let refused = maren.press(&page, "connect", &wrong(email, "sandbox-password")).await;
        assert!(refused.text.contains(told), "{}", refused.text);
    }
    house.sandbox.faults().set(vec![Fault::new(Kind::Html)]);
    let refused = maren.press(&page, "connect", &wrong("operator@sandbox.test", "sandbox-password")).await;
    assert!(refused.text.contains("the answer does not say which"), "{}", refused.text);
    house.sandbox.faults().clear();

    let page = maren.press(&page, "connect", &wrong("operator@sandbox.test", "sandbox-password")).await;
    assert_eq!(page.open_pane(), ["details"]);
    let words = page.words("[data-pane=credentials]");
    assert!(words.contains("Night desk, connected, data export answers, over plain http"), "{words}");
    let (reports, login) = (page.all("#report option"), page.each("#login", |e| e.value().name().to_owned()));
    assert_eq!((reports, login), (["Chats", "Chat Messages", "Chat Operators"].map(str::to_owned).to_vec(), vec!["input".to_owned()]));

    let preview = maren.press(&page, "preview", &[("report", "chats"), ("start_days", "3"), ("end_days", "0"), ("login", "zofia@sandbox.test")]).await;
    let head = preview.words("#preview");
    assert!(head.contains("transcript") && head.contains(" call"), "{head}");
    assert!(preview.all("#preview tbody tr").iter().all(|row| row.contains("zofia@sandbox.test")));
    assert!(!preview.all("#preview tbody tr").is_empty());

    let typed = [("report", "chat_messages"), ("start_days", "7"), ("end_days", "1"), ("login", " zofia@sandbox.test ")];
    let page = maren.press(&page, "details", &typed).await;
    assert_eq!(page.open_pane(), ["scheduling"], "{}", page.text);
    assert!(page.words("[data-pane=details]").contains("login zofia@sandbox.test"));
    let page = maren.press(&page, "schedule", &[]).await;
    let page = maren.press(&page, "save", &[("name", "Zofia at night")]).await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let made = house.app.datasets.list(&maren.actor).await.unwrap().remove(0);
    assert_eq!((made.connector, made.report.id, made.menus.login.as_deref()), (Connector::LiveLeader, "chat_messages", Some("zofia@sandbox.test")));

    // The account's own page, too.
    let account = house.app.accounts.list(&maren.actor).await.unwrap().remove(0);
    let page = maren.get(&format!("/accounts/{}/edit", account.id)).await;
    assert!(page.text.contains("travels in the clear") && page.text.contains("wants the password in the address"));
    assert!(!page.text.contains("sandbox-password"));
    let page = maren.get("/accounts/new?connector=liveleader").await;
    assert!(page.text.contains("Add a LiveLeader account") && !page.text.contains("travels in the clear"));
}

async fn account(house: &House, who: &Browser) -> AccountId {
    let new = NewAccount {
        connector: Connector::LiveLeader,
        name: "Night desk".to_owned(),
        credentials: BTreeMap::from([("email".to_owned(), Secret::new("operator@sandbox.test")), ("password".to_owned(), Secret::new("sandbox-password"))]),
        api_url: Some(house.vendor().to_owned()),
        requests_per_minute: Some(60_000),
        time_zone: Some("Europe/Oslo".to_owned()),
    };
    house.app.accounts.create(&who.actor, &new).await.unwrap().id
}

async fn dataset(house: &House, who: &Browser, account: &AccountId, report: &str) -> DatasetId {
    let report = Connector::LiveLeader.report(report).unwrap();
    let settings = Settings {
        name: Name::parse(report.title).unwrap(),
        description: Description::parse("").unwrap(),
        account_id: account.clone(),
        connector: Connector::LiveLeader,
        report,
        menus: Menus { start_days: Some(14), end_days: Some(1), ..Menus::default() }.check(report).unwrap(),
        update_mode: report.mode,
        options: chatlake::datasets::options::Options::default(),
        time_zone: "Europe/Oslo".to_owned(),
        schedule: None,
    };
    house.app.datasets.create(&who.actor, &settings).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_keeps_its_ledger_day_by_day_and_three_reports_are_read_at_once() {
    let house = House::with(Options { chats: 2_000, days: 30, ..Options::default() }).await;
    let maren = house.person("maren", Role::Admin).await;
    let account = account(&house, &maren).await;
    let mut datasets = Vec::new();
    for report in ["chats", "chat_messages", "chat_operators"] {
        datasets.push(dataset(&house, &maren, &account, report).await);
    }
    house.sandbox.forget_calls();
    let mut runs = Vec::new();
    for dataset in &datasets {
        runs.push(house.app.puller.run_now(&maren.actor, dataset, chatlake::puller::run::Trigger::Manual).await.unwrap());
    }
    let today = chatlake::clock::Clock::system().timestamp().to_zoned(jiff::tz::TimeZone::get("Europe/Oslo").unwrap()).date();
    let range = Menus { start_days: Some(14), end_days: Some(1), ..Menus::default() }.range(today).unwrap();
    for (run, report) in runs.iter().zip(["chats", "chat_messages", "chat_operators"]) {
        let run = house.ended(&run.id).await;
        assert_eq!((run.state, run.shared_by), (State::Succeeded, 3), "{:?}", run.failure);
        let question = Question {
            connector: Some("liveleader".to_owned()),
            report: report.to_owned(),
            date_from: Some(range.from),
            date_to: Some(range.to),
            timezone: Some("Europe/Oslo".to_owned()),
            ..Question::default()
        };
        let truth = house.sandbox.truth(&question).unwrap();
        assert_eq!(run.rows, truth["count"].as_i64().unwrap(), "{report}");
        let lines = windows::of_run(&house.app.db, &run.id).await.unwrap();
        assert_eq!((lines.len(), lines.iter().all(|line| line.word() == Some("complete"))), (14, true));
        assert_eq!(lines.iter().map(|line| line.tally.kept).sum::<u64>(), truth["chats"].as_u64().unwrap());
        assert_eq!(lines.iter().map(|line| line.window.unwrap().from).collect::<HashSet<_>>().len(), 14);
    }
    assert!(house.sandbox.calls_total() < 14, "{} calls for 14 days and three reports", house.sandbox.calls_total());
    // The file is what the vendor holds, in sub-seconds too.
    let csv = maren.get(&format!("/datasets/{}/download?format=csv", datasets[0])).await;
    assert_eq!(csv.status, StatusCode::OK);
    let mut rows = csv::Reader::from_reader(csv.bytes.as_slice());
    let starts: Vec<String> = rows.records().map(|row| row.unwrap()[6].to_owned()).collect();
    assert!(starts.iter().any(|start| start.contains('.')), "milliseconds are not lost on the way");

    // A vendor that breaks leaves the old rows, and the record says what came instead of a document.
    house.sandbox.faults().set(vec![Fault::new(Kind::WrongRoot)]);
    let failed = house.run(&maren, &datasets[0]).await;
    let failure = failed.failure.unwrap();
    assert_eq!((failed.state, failure.code.as_str()), (State::Failed, "malformed"));
    assert!(failure.message.contains("it is a <error> document, not <chats>") && failure.message.contains("asked for"), "{}", failure.message);
    let after = maren.get(&format!("/datasets/{}/download?format=csv", datasets[0])).await;
    assert_eq!(after.bytes, csv.bytes);
}
