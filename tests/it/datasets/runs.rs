//! Runs as pages show them: under way, stopped, over.

use std::time::Duration;

use axum::http::StatusCode;
use chatlake::actor::Role;
use chatlake::puller::queue;
use chatlake::puller::run::RunState;
use chatlake::sandbox::SandboxOptions;
use chatlake::web::humanize;
use http_body_util::BodyExt;

use crate::support::context::TestContext;
use crate::support::sandbox::of_size;

fn slow() -> SandboxOptions {
    SandboxOptions {
        chats: 2_000,
        days: 20,
        delay: Duration::from_millis(150),
        ..SandboxOptions::default()
    }
}

#[tokio::test]
async fn a_run_goes_from_the_button_to_its_record() {
    let ctx = TestContext::with_sandbox(of_size(900, 20)).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    let dataset = ctx
        .oslo_dataset(&owner.actor, &account, "chat", "Chats")
        .await;
    let overview = format!("/datasets/{dataset}");
    assert!(
        owner
            .get(&overview)
            .await
            .texts("h2")
            .contains(&"Not run yet".to_owned())
    );
    let answer = owner.post(&format!("{overview}/run"), &[]).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::SEE_OTHER, overview.as_str())
    );
    let page = owner.get(&overview).await;
    assert!(page.texts(".toast")[0].contains("Run started."));
    assert!(page.text.contains("<run-progress") && page.text.contains("/stop"));
    owner.post(&format!("{overview}/run"), &[]).await;
    assert!(owner.get(&overview).await.texts(".toast")[0].contains("already in progress"));
    let run = queue::of_dataset(&ctx.app.db, &dataset, 0, 10)
        .await
        .unwrap();
    assert_eq!(run.len(), 1, "a DataSet has one run alive");
    let run = ctx.ended(&run[0].id).await;
    let page = owner.get(&overview).await;
    assert!(!page.text.contains("<run-progress"));
    let record = page.texts(".run-detail")[0].clone();
    for part in [
        "olga, Run now",
        "Date ranges",
        "Pages",
        "Duplicates",
        "Pulled twice: two pulls of the newest days agree. LiveChat reports",
        " chats pulled, ",
    ] {
        assert!(record.contains(part), "{part}: {record}");
    }
    // Numbers have their units.
    let (chats, rows) = (
        humanize::grouped(run.records_kept),
        humanize::grouped(run.rows),
    );
    assert!(
        record.contains(&format!(
            "{chats} chats pulled, {chats} saved as {rows} rows"
        )),
        "{record}"
    );
    assert!(
        record.contains("Duplicates0 chats") && !record.contains("records"),
        "{record}"
    );
    assert!(page.texts("svg.chart rect").len() == 1 && page.texts(".as-table td").len() == 2);
    let own = owner.get(&format!("/runs/{}", run.id)).await;
    assert!(own.texts(".run-detail table")[0].contains("Verified"));
    assert_eq!(owner.get("/activity").await.texts("tr[data-row]").len(), 1);
    let history = owner.get(&format!("{overview}/history")).await;
    assert_eq!(history.texts("details.fold").len(), 1);
    assert!(history.texts(".sums")[0].contains("1 of 1"));
}

#[tokio::test]
async fn a_run_is_stopped_and_the_rows_from_before_stay() {
    let ctx = TestContext::with_sandbox(slow()).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let stranger = ctx.person_with_session("stan", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    let dataset = ctx
        .oslo_dataset(&owner.actor, &account, "chat", "Chats")
        .await;
    owner.post(&format!("/datasets/{dataset}/run"), &[]).await;
    let run = queue::of_dataset(&ctx.app.db, &dataset, 0, 1)
        .await
        .unwrap()
        .remove(0);
    let stop = format!("/runs/{}/stop", run.id);
    // Stop asks first, and the question alone stops nothing.
    let overview = owner.get(&format!("/datasets/{dataset}")).await;
    assert!(
        overview
            .text
            .contains(&format!("href=\"{stop}\" data-dialog"))
    );
    let question = owner.get(&stop).await;
    assert_eq!(
        question.texts("[data-dialog-body] h1"),
        ["Cancel the run of “Chats”?"]
    );
    assert!(
        question.texts("[data-dialog-body]")[0].contains("The DataSet has no rows yet."),
        "{:?}",
        question.texts("[data-dialog-body]")
    );
    assert!(
        !queue::get(&ctx.app.db, &run.id)
            .await
            .unwrap()
            .unwrap()
            .cancel_requested
    );
    assert_eq!(
        stranger.post(&stop, &[]).await.status,
        StatusCode::NOT_FOUND
    );
    let answer = owner.post(&stop, &[]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(ctx.ended(&run.id).await.state, RunState::Cancelled);
    assert!(
        owner
            .get(&format!("/datasets/{dataset}"))
            .await
            .text
            .contains("The run was cancelled before it finished.")
    );
    owner.post(&stop, &[]).await;
    assert_eq!(
        owner.get("/datasets").await.texts(".toast"),
        ["The run had already ended."]
    );
    assert!(
        owner.get(&stop).await.texts("[data-dialog-body]")[0]
            .contains("The run has already ended.")
    );
}

#[tokio::test]
async fn run_events_report_progress_and_end_with_the_run() {
    let ctx = TestContext::with_sandbox(SandboxOptions {
        delay: Duration::from_millis(500),
        ..slow()
    })
    .await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    let dataset = ctx
        .oslo_dataset(&owner.actor, &account, "chat", "Chats")
        .await;
    owner.post(&format!("/datasets/{dataset}/run"), &[]).await;
    let run = queue::of_dataset(&ctx.app.db, &dataset, 0, 1)
        .await
        .unwrap()
        .remove(0);
    let answer = owner.open(&format!("/runs/{}/events", run.id)).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert_eq!(answer.headers()["x-accel-buffering"], "no");
    let text = tokio::time::timeout(Duration::from_secs(60), answer.into_body().collect())
        .await
        .unwrap()
        .unwrap()
        .to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let news: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert!(news.len() > 3, "{text}");
    assert!(
        news.iter()
            .any(|n| n["title"].as_str().unwrap().contains(", date range ")
                && n["line"].as_str().unwrap().contains("rows so far")),
        "{text}"
    );
    let last = news.last().unwrap();
    assert_eq!(
        (last["final"].as_bool(), last["state"].as_str()),
        (Some(true), Some("succeeded"))
    );
    assert!(news.iter().rev().skip(1).all(|n| n["final"] == false));
    let poll: serde_json::Value =
        serde_json::from_slice(&owner.get(&format!("/runs/{}/progress", run.id)).await.bytes)
            .unwrap();
    assert_eq!(&poll, last);
}

#[tokio::test]
async fn events_end_when_the_server_stops() {
    let ctx = TestContext::with_sandbox(slow()).await;
    let owner = ctx.person_with_session("olga", Role::Editor).await;
    let account = ctx.shared_account("sandbox-key").await;
    let dataset = ctx
        .oslo_dataset(&owner.actor, &account, "chat", "Chats")
        .await;
    owner.post(&format!("/datasets/{dataset}/run"), &[]).await;
    let run = queue::of_dataset(&ctx.app.db, &dataset, 0, 1)
        .await
        .unwrap()
        .remove(0);
    let mut body = owner
        .open(&format!("/runs/{}/events", run.id))
        .await
        .into_body();
    assert!(body.frame().await.is_some());
    let TestContext { app, .. } = ctx;
    let stopping = tokio::spawn(app.stop());
    let rest = tokio::time::timeout(Duration::from_secs(5), body.collect())
        .await
        .expect("the stream must end")
        .unwrap()
        .to_bytes();
    assert!(String::from_utf8_lossy(&rest).contains("event: stopping"));
    stopping.await.unwrap();
}
