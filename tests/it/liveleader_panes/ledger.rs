//! The ledger of a run of LiveLeader, and shared reads.

use std::collections::HashSet;

use axum::http::StatusCode;
use chatlake::actor::Role;
use chatlake::connectors::{Completeness, Menus};
use chatlake::puller::ledger;
use chatlake::puller::run::RunState;
use chatlake::sandbox::faults::{Fault, FaultKind};
use chatlake::sandbox::truth::TruthQuestion;

use super::account;
use super::dataset;
use crate::support::context::TestContext;
use crate::support::sandbox::of_size;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_a_ledger_line_per_day_and_three_reports_share_a_read() {
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

    // A failing vendor leaves the old rows, and the run record says what came instead of a
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
