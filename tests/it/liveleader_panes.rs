//! LiveLeader in the product: its account and its DataSets through the panes, and its runs with
//! their ledger.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use axum::http::StatusCode;
use chatlake::accounts::NewAccount;
use chatlake::actor::Role;
use chatlake::clock::Clock;
use chatlake::connectors::report::UpdateMode;
use chatlake::connectors::{Completeness, Connector, Menus};
use chatlake::datasets::options::DatasetOptions;
use chatlake::datasets::{DatasetDescription, DatasetName, DatasetSettings};
use chatlake::ids::{AccountId, DatasetId};
use chatlake::puller::backfills;
use chatlake::puller::coverage;
use chatlake::puller::ledger;
use chatlake::puller::run::{Run, RunState, Trigger};
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::sandbox::truth::TruthQuestion;
use chatlake::secret::Secret;

use crate::support::context::TestContext;
use crate::support::http::PersonBrowser;
use crate::support::panes::{PaneSession, before_spring};
use crate::support::sandbox::of_size;
use crate::support::{NOON, until};

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
    let ctx = before_spring().await;
    let maren = PaneSession::new(&ctx, "maren", Role::Admin).await;
    let page = maren.get("/connect/liveleader").await;
    let words = page.words("[data-pane=credentials]");
    assert!(
        words.contains("requires the password in the URL of each request")
            && words.contains("by requesting the chats of the last minute."),
        "{words}"
    );
    assert!(
        words.contains("Account time zone") && !words.contains("sent without encryption"),
        "{words}"
    );
    // Wrong, without permission and without a plan are told apart beside the fields or above them.
    let vendor = ("api_url", ctx.vendor.as_str());
    let wrong = |email, password| {
        let mut typed: Vec<(&str, &str)> = CREDENTIALS.to_vec();
        typed[2].1 = email;
        typed[3].1 = password;
        typed.push(vendor);
        typed
    };
    let refused = maren
        .press(
            &page,
            "connect",
            &wrong("operator@sandbox.test", "canary-4711"),
        )
        .await;
    assert!(
        refused
            .wrong("password")
            .contains("rejected these credentials")
            && !refused.text.contains("canary-4711"),
        "{}",
        refused.text
    );
    // The address that was typed is one without https: the pane says so in red.
    assert!(
        refused
            .words("[data-pane=credentials] .band.is-bad")
            .contains("sent without encryption")
    );
    for (email, message) in [
        ("guest@sandbox.test", "does not have the account permission"),
        ("starter@sandbox.test", "does not include data export"),
    ] {
        let refused = maren
            .press(&page, "connect", &wrong(email, "sandbox-password"))
            .await;
        assert!(refused.text.contains(message), "{}", refused.text);
    }
    ctx.sandbox.faults().set(vec![Fault::new(FaultKind::Html)]);
    let refused = maren
        .press(
            &page,
            "connect",
            &wrong("operator@sandbox.test", "sandbox-password"),
        )
        .await;
    assert!(
        refused
            .text
            .contains("Possible causes: wrong email or password"),
        "{}",
        refused.text
    );
    ctx.sandbox.faults().clear();

    let page = maren
        .press(
            &page,
            "connect",
            &wrong("operator@sandbox.test", "sandbox-password"),
        )
        .await;
    assert_eq!(page.open_pane(), ["details"]);
    let words = page.words("[data-pane=credentials]");
    assert!(
        words.contains("Night desk, connected, data export works, without encryption (http)"),
        "{words}"
    );
    let (reports, login) = (
        page.all("#report option"),
        page.each("#login", |e| e.value().name().to_owned()),
    );
    assert_eq!(
        (reports, login),
        (
            ["Chats", "Chat Messages", "Chat Operators"]
                .map(str::to_owned)
                .to_vec(),
            vec!["input".to_owned()]
        )
    );

    let preview = maren
        .press(
            &page,
            "preview",
            &[
                ("report", "chats"),
                ("start_days", "3"),
                ("end_days", "0"),
                ("login", "zofia@sandbox.test"),
            ],
        )
        .await;
    let head = preview.words("#preview");
    assert!(
        head.contains("transcript") && head.contains(" call"),
        "{head}"
    );
    assert!(
        preview
            .all("#preview tbody tr")
            .iter()
            .all(|row| row.contains("zofia@sandbox.test"))
    );
    assert!(!preview.all("#preview tbody tr").is_empty());

    let typed = [
        ("report", "chat_messages"),
        ("start_days", "7"),
        ("end_days", "1"),
        ("login", " zofia@sandbox.test "),
    ];
    let page = maren.press(&page, "details", &typed).await;
    assert_eq!(page.open_pane(), ["scheduling"], "{}", page.text);
    assert!(
        page.words("[data-pane=details]")
            .contains("login zofia@sandbox.test")
    );
    let page = maren.press(&page, "schedule", &[]).await;
    let page = maren
        .press(&page, "save", &[("name", "Zofia at night")])
        .await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    let made = ctx.app.datasets.list(&maren.actor).await.unwrap().remove(0);
    assert_eq!(
        (made.connector, made.report.id, made.menus.login.as_deref()),
        (
            Connector::LiveLeader,
            "chat_messages",
            Some("zofia@sandbox.test")
        )
    );

    // The account's own page, too.
    let account = ctx.app.accounts.list(&maren.actor).await.unwrap().remove(0);
    let page = maren.get(&format!("/accounts/{}/edit", account.id)).await;
    assert!(
        page.text.contains("sent without encryption")
            && page.text.contains("requires the password in the URL")
    );
    assert!(!page.text.contains("sandbox-password"));
    let page = maren.get("/accounts/new?connector=liveleader").await;
    assert!(
        page.text.contains("Add a LiveLeader account")
            && !page.text.contains("sent without encryption")
    );
}

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

/// Of the last fourteen days, up to the one so many days back.
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

#[tokio::test(flavor = "multi_thread")]
async fn a_run_keeps_its_ledger_day_by_day_and_three_reports_are_read_at_once() {
    let ctx = TestContext::with_sandbox(of_size(2_000, 30)).await;
    let maren = ctx.person_with_session("maren", Role::Admin).await;
    let account = account(&ctx, &maren).await;
    let mut datasets = Vec::new();
    for report in ["chats", "chat_messages", "chat_operators"] {
        datasets.push(dataset(&ctx, &maren, &account, report).await);
    }
    ctx.sandbox.forget_calls();
    let mut runs = Vec::new();
    for dataset in &datasets {
        runs.push(
            ctx.app
                .puller
                .run_now(
                    &maren.actor,
                    dataset,
                    chatlake::puller::run::Trigger::Manual,
                )
                .await
                .unwrap(),
        );
    }
    let today = chatlake::clock::Clock::system()
        .timestamp()
        .to_zoned(jiff::tz::TimeZone::get("Europe/Oslo").unwrap())
        .date();
    let range = Menus {
        start_days: Some(14),
        end_days: Some(1),
        ..Menus::default()
    }
    .range(today)
    .unwrap();
    for (run, report) in runs
        .iter()
        .zip(["chats", "chat_messages", "chat_operators"])
    {
        let run = ctx.ended(&run.id).await;
        assert_eq!(
            (run.state, run.shared_by),
            (RunState::Succeeded, 3),
            "{:?}",
            run.failure
        );
        let question = TruthQuestion {
            connector: Some("liveleader".to_owned()),
            report: report.to_owned(),
            date_from: Some(range.from),
            date_to: Some(range.to),
            timezone: Some("Europe/Oslo".to_owned()),
            ..TruthQuestion::default()
        };
        let truth = ctx.sandbox.truth(&question).unwrap();
        assert_eq!(run.rows, truth["count"].as_i64().unwrap(), "{report}");
        let lines = ledger::of_run(&ctx.app.db, &run.id).await.unwrap();
        assert_eq!(
            (
                lines.len(),
                lines
                    .iter()
                    .all(|line| line.completeness() == Some(Completeness::Complete))
            ),
            (14, true)
        );
        assert_eq!(
            lines.iter().map(|line| line.counts.kept).sum::<u64>(),
            truth["chats"].as_u64().unwrap()
        );
        assert_eq!(
            lines
                .iter()
                .map(|line| line.window.unwrap().from)
                .collect::<HashSet<_>>()
                .len(),
            14
        );
    }
    assert!(
        ctx.sandbox.calls_total() < 14,
        "{} calls for 14 days and three reports",
        ctx.sandbox.calls_total()
    );
    // The file is what the vendor holds, in sub-seconds too.
    let csv = maren
        .get(&format!("/datasets/{}/download?format=csv", datasets[0]))
        .await;
    assert_eq!(csv.status, StatusCode::OK);
    let mut rows = csv::Reader::from_reader(csv.bytes.as_slice());
    let starts: Vec<String> = rows
        .records()
        .map(|row| row.unwrap()[6].to_owned())
        .collect();
    assert!(
        starts.iter().any(|start| start.contains('.')),
        "milliseconds are not lost on the way"
    );

    // A vendor that breaks leaves the old rows, and the record says what came instead of a
    // document.
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::WrongRoot)]);
    let failed = ctx.run(&maren.actor, &datasets[0]).await;
    let failure = failed.failure.unwrap();
    assert_eq!(
        (failed.state, failure.code.as_str()),
        (RunState::Failed, "malformed")
    );
    assert!(
        failure
            .message
            .contains("a <error> document instead of <chats>")
            && failure.message.contains("(days: "),
        "{}",
        failure.message
    );
    let after = maren
        .get(&format!("/datasets/{}/download?format=csv", datasets[0]))
        .await;
    assert_eq!(after.bytes, csv.bytes);
}

/// Runs them side by side, so that they share their reading, to a good end.
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

/// These cells of all rows.
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

/// By a clock that stands, at noon.
async fn at_noon() -> (TestContext, PersonBrowser, AccountId, jiff::civil::Date) {
    let clock = Clock::stopped_at(NOON);
    let today = clock
        .timestamp()
        .to_zoned(jiff::tz::TimeZone::get("Europe/Oslo").unwrap())
        .date();
    let ctx = TestContext::with_sandbox_at(of_size(2_000, 40), clock.clone()).await;
    // Runs that wait for each other wait by this clock.
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

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_lost_its_operators_and_messages_is_emptied_at_the_next_look_back() {
    let (ctx, maren, account, today) = at_noon().await;
    let mut made = Vec::new();
    for report in ["chats", "chat_messages", "chat_operators"] {
        made.push(dataset_with(&ctx, &maren, &account, report, UpdateMode::Merge, 3, 1).await);
    }
    let all: Vec<&DatasetId> = made.iter().collect();
    run_all(&ctx, &maren, &all).await;
    let rows = async || {
        (
            cells(&maren, &made[1], &["chat_id", "position"]).await,
            cells(&maren, &made[2], &["chat_id", "operator"]).await,
        )
    };
    let set = |rows: Vec<Vec<String>>| rows.into_iter().collect::<BTreeSet<_>>();
    let (messages, operators) = rows().await;
    let lookback = truth_of(
        &ctx,
        today.saturating_sub(jiff::Span::new().days(3)),
        today.yesterday().unwrap(),
    );

    // The first chat of every answer; the three look at the same answers.
    ctx.sandbox.faults().set(vec![Fault::new(FaultKind::Bare)]);
    let runs = run_all(&ctx, &maren, &all).await;
    ctx.sandbox.faults().clear();
    for run in &runs {
        let lines = ledger::of_run(&ctx.app.db, &run.id).await.unwrap();
        assert_eq!(lines.len(), 3, "the days that it looks back");
    }
    let bare: BTreeSet<String> =
        cells(&maren, &made[0], &["id", "operator_count", "message_count"])
            .await
            .into_iter()
            .filter(|row| row[1] == "0")
            .map(|row| {
                assert_eq!(row[2], "0", "{row:?}");
                row[0].clone()
            })
            .collect();
    assert!(
        !bare.is_empty() && bare.len() < 4 && bare.is_subset(&lookback),
        "{bare:?}"
    );
    let (messages_left, operators_left) = rows().await;
    let without = |rows: &[Vec<String>]| {
        rows.iter()
            .filter(|row| !bare.contains(&row[0]))
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(
        (messages_left.len(), operators_left.len()),
        (without(&messages).len(), without(&operators).len()),
        "each once"
    );
    assert_eq!(
        (set(messages_left), set(operators_left)),
        (without(&messages), without(&operators))
    );
    let left: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM windows WHERE empty_parents IS NOT NULL")
            .fetch_one(ctx.app.db.read())
            .await
            .unwrap();
    assert_eq!(left, 0, "what was noted for the merge goes with it");

    // And filled again, when the vendor has them back.
    run_all(&ctx, &maren, &all).await;
    let (messages_again, operators_again) = rows().await;
    assert_eq!(
        (messages_again.len(), operators_again.len()),
        (messages.len(), operators.len())
    );
    assert_eq!(
        (set(messages_again), set(operators_again)),
        (set(messages), set(operators))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_follows_the_vendor_and_merge_keeps_what_it_deleted() {
    let (ctx, maren, account, today) = at_noon().await;
    let (partition, merge) = (
        dataset_with(&ctx, &maren, &account, "chats", UpdateMode::Partition, 0, 1).await,
        dataset_with(&ctx, &maren, &account, "chats", UpdateMode::Merge, 0, 1).await,
    );
    run_all(&ctx, &maren, &[&partition, &merge]).await;
    let span = |days: i64| today.saturating_sub(jiff::Span::new().days(days));
    let before = truth_of(&ctx, span(14), span(1));
    let ids = async |dataset: &DatasetId| {
        let ids: Vec<String> = cells(&maren, dataset, &["id"])
            .await
            .into_iter()
            .flatten()
            .collect();
        let set: BTreeSet<String> = ids.iter().cloned().collect();
        assert_eq!(set.len(), ids.len(), "each once");
        set
    };
    assert_eq!(
        (ids(&partition).await, ids(&merge).await),
        (before.clone(), before.clone())
    );
    // After each of its answers the vendor loses some.
    ctx.sandbox
        .faults()
        .set(vec![Fault::new(FaultKind::Mutate { seed: 3 })]);
    for _ in 0..4 {
        run_all(&ctx, &maren, &[&partition, &merge]).await;
    }
    ctx.sandbox.faults().clear();
    run_all(&ctx, &maren, &[&partition, &merge]).await;
    let after = truth_of(&ctx, span(14), span(1));
    assert!(
        after.is_subset(&before) && after.len() < before.len(),
        "the vendor has lost some"
    );
    assert_eq!((ids(&partition).await, ids(&merge).await), (after, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn past_days_are_backfilled_and_the_calendar_shows_each() {
    let (ctx, maren, account, today) = at_noon().await;
    let chats = dataset_with(&ctx, &maren, &account, "chats", UpdateMode::Merge, 2, 1).await;
    run_all(&ctx, &maren, &[&chats]).await;
    let span = |days: i64| today.saturating_sub(jiff::Span::new().days(days));
    let days = async || {
        let dataset = ctx.app.datasets.get(&maren.actor, &chats).await.unwrap();
        coverage::of_dataset(&ctx.app.db, &ctx.app.clock, &dataset)
            .await
            .unwrap()
    };
    let states_by_day = |days: &[coverage::CoverageDay]| {
        days.iter()
            .map(|day| (day.day, day.state))
            .collect::<Vec<_>>()
    };
    let held = |first: i64, last: i64| {
        (last..=first)
            .rev()
            .map(|back| (span(back), coverage::DayState::Unverified))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        states_by_day(&days().await),
        held(14, 1),
        "LiveLeader tells no count to hold a day to"
    );

    let to = maren
        .post(
            &format!("/datasets/{chats}/backfill"),
            &[
                ("from", &span(25).to_string()),
                ("to", &span(17).to_string()),
                ("chunk_days", "4"),
            ],
        )
        .await;
    assert_eq!(to.status, StatusCode::SEE_OTHER, "{}", to.text);
    let done = until("the backfill has ended", async || {
        Some(
            ctx.app
                .puller
                .backfills(&maren.actor, &chats)
                .await
                .unwrap()
                .remove(0),
        )
        .filter(|backfill| backfill.state != backfills::BackfillState::Running)
    })
    .await;
    assert_eq!(
        (done.state, done.chunks_done()),
        (backfills::BackfillState::Finished, 3),
        "{:?}",
        done.stop_reason
    );
    let missing = |back: i64| (span(back), coverage::DayState::Missing);
    assert_eq!(
        states_by_day(&days().await),
        [held(25, 17), vec![missing(16), missing(15)], held(14, 1)].concat()
    );
    let all = &truth_of(&ctx, span(25), span(17)) | &truth_of(&ctx, span(14), span(1));
    let ids: Vec<String> = cells(&maren, &chats, &["id"])
        .await
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(
        (ids.len(), ids.into_iter().collect::<BTreeSet<_>>()),
        (all.len(), all)
    );

    let page = maren
        .get(&format!("/datasets/{chats}/coverage"))
        .await
        .html();
    let count = |css: &str| page.select(&scraper::Selector::parse(css).unwrap()).count();
    assert_eq!(
        (count("a.cal-day.is-held"), count("a.cal-day.is-missing")),
        (23, 2)
    );
    // The next pull looks back over two days, and nothing that was filled goes.
    let run = run_all(&ctx, &maren, &[&chats]).await.remove(0);
    assert_eq!(ledger::of_run(&ctx.app.db, &run.id).await.unwrap().len(), 2);
    assert_eq!(states_by_day(&days().await).len(), 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_was_not_over_when_it_was_read_is_stale_until_it_is_read_again() {
    let (ctx, maren, account, today) = at_noon().await;
    let chats = dataset_with(&ctx, &maren, &account, "chats", UpdateMode::Merge, 1, 0).await;
    let state = async || {
        let dataset = ctx.app.datasets.get(&maren.actor, &chats).await.unwrap();
        let days = coverage::of_dataset(&ctx.app.db, &ctx.app.clock, &dataset)
            .await
            .unwrap();
        days.into_iter().find(|day| day.day == today).unwrap().state
    };
    run_all(&ctx, &maren, &[&chats]).await;
    assert_eq!(state().await, coverage::DayState::SoFar);
    ctx.app.clock.advance(86_400_000);
    assert_eq!(state().await, coverage::DayState::Stale);
    run_all(&ctx, &maren, &[&chats]).await;
    assert_eq!(state().await, coverage::DayState::Unverified);
}
