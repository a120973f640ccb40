//! LiveLeader in the product: its account and DataSets on the panes, and its runs.

mod credentials;
mod ledger;
mod repeated_pulls;

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use chatlake::accounts::NewAccount;
use chatlake::actor::Role;
use chatlake::clock::Clock;
use chatlake::connectors::report::UpdateMode;
use chatlake::connectors::{Connector, Menus};
use chatlake::datasets::options::DatasetOptions;
use chatlake::datasets::{DatasetDescription, DatasetName, DatasetSettings};
use chatlake::ids::{AccountId, DatasetId};
use chatlake::puller::run::{Run, RunState, Trigger};
use chatlake::sandbox::truth::TruthQuestion;
use chatlake::secret::Secret;

use crate::support::NOON;
use crate::support::context::TestContext;
use crate::support::http::PersonBrowser;
use crate::support::sandbox::of_size;

const CREDENTIALS: [(&str, &str); 6] = [
    ("account_id", "new"),
    ("account_name", "Night desk"),
    ("credentials.email", "operator@sandbox.test"),
    ("credentials.password", "sandbox-password"),
    ("requests_per_minute", "60000"),
    ("account_zone", "Europe/Oslo"),
];

async fn account(ctx: &TestContext, who: &PersonBrowser) -> AccountId {
    let new = NewAccount {
        connector: Connector::LiveLeader,
        name: "Night desk".to_owned(),
        credentials: BTreeMap::from([
            ("email".to_owned(), Secret::new("operator@sandbox.test")),
            ("password".to_owned(), Secret::new("sandbox-password")),
        ]),
        api_url: Some(ctx.vendor.clone()),
        requests_per_minute: Some(60_000),
        time_zone: Some("Europe/Oslo".to_owned()),
    };
    ctx.app.accounts.create(&who.actor, &new).await.unwrap().id
}

async fn dataset(
    ctx: &TestContext,
    who: &PersonBrowser,
    account: &AccountId,
    report: &str,
) -> DatasetId {
    dataset_with(ctx, who, account, report, UpdateMode::Replace, 0, 1).await
}

/// A DataSet of the last fourteen days, up to the day so many days ago.
async fn dataset_with(
    ctx: &TestContext,
    who: &PersonBrowser,
    account: &AccountId,
    report: &str,
    update_mode: UpdateMode,
    look_back: u32,
    end_days: u32,
) -> DatasetId {
    let report = Connector::LiveLeader.report(report).unwrap();
    let settings = DatasetSettings {
        name: DatasetName::parse(report.title).unwrap(),
        description: DatasetDescription::parse("").unwrap(),
        account_id: account.clone(),
        connector: Connector::LiveLeader,
        report,
        menus: Menus {
            start_days: Some(14),
            end_days: Some(end_days),
            ..Menus::default()
        }
        .check(report)
        .unwrap(),
        update_mode,
        options: DatasetOptions {
            look_back,
            ..DatasetOptions::default()
        },
        time_zone: "Europe/Oslo".to_owned(),
        schedule: None,
    };
    ctx.app
        .datasets
        .create(&who.actor, &settings)
        .await
        .unwrap()
}

/// Runs them concurrently, so that they share their read, and expects success.
async fn run_all(ctx: &TestContext, who: &PersonBrowser, datasets: &[&DatasetId]) -> Vec<Run> {
    let mut runs = Vec::new();
    for dataset in datasets {
        runs.push(
            ctx.app
                .puller
                .run_now(&who.actor, dataset, Trigger::Manual)
                .await
                .unwrap(),
        );
    }
    for run in &mut runs {
        *run = ctx.ended(&run.id).await;
        assert_eq!(run.state, RunState::Succeeded, "{:?}", run.failure);
    }
    runs
}

/// The cells of these columns, for all rows.
async fn cells(who: &PersonBrowser, dataset: &DatasetId, names: &[&str]) -> Vec<Vec<String>> {
    let csv = who
        .get(&format!("/datasets/{dataset}/download?format=csv"))
        .await;
    assert_eq!(csv.status, StatusCode::OK);
    let mut rows = csv::Reader::from_reader(csv.bytes.as_slice());
    let at: Vec<usize> = names
        .iter()
        .map(|name| {
            rows.headers()
                .unwrap()
                .iter()
                .position(|head| head == *name)
                .unwrap()
        })
        .collect();
    rows.records()
        .map(Result::unwrap)
        .map(|row| at.iter().map(|at| row[*at].to_owned()).collect())
        .collect()
}

fn truth_of(ctx: &TestContext, from: jiff::civil::Date, to: jiff::civil::Date) -> BTreeSet<String> {
    let question = TruthQuestion {
        connector: Some("liveleader".to_owned()),
        report: "chats".to_owned(),
        date_from: Some(from),
        date_to: Some(to),
        timezone: Some("Europe/Oslo".to_owned()),
        ids: 1,
        ..TruthQuestion::default()
    };
    let truth = ctx.sandbox.truth(&question).unwrap();
    truth["ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect()
}

/// A product whose clock stands at noon.
async fn at_noon() -> (TestContext, PersonBrowser, AccountId, jiff::civil::Date) {
    let clock = Clock::stopped_at(NOON);
    let today = clock
        .timestamp()
        .to_zoned(jiff::tz::TimeZone::get("Europe/Oslo").unwrap())
        .date();
    let ctx = TestContext::with_sandbox_at(of_size(2_000, 40), clock.clone()).await;
    // Runs that wait for a shared read use this clock.
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            clock.advance(100);
        }
    });
    let maren = ctx.person_with_session("maren", Role::Admin).await;
    let account = account(&ctx, &maren).await;
    (ctx, maren, account, today)
}
