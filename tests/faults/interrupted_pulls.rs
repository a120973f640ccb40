//! A pull that is interrupted, by a vendor that wants a long pause or by the end of the server,
//! goes on where it was.

use chatlake::sandbox::faults::{Fault, FaultKind, RetryAfter};
use serde_json::Value;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, SqlitePool};

use crate::support::data_dir::DataDir;
use crate::support::sandbox::LocalSandbox;
use crate::support::server::Server;
use crate::support::until;

/// While no server runs: the pause is over.
async fn pass_time(data_dir: &DataDir) {
    let mut catalogue =
        SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(data_dir.catalogue()))
            .await
            .unwrap();
    sqlx::query("UPDATE runs SET due_at = 0 WHERE state = 'waiting'")
        .execute(&mut catalogue)
        .await
        .unwrap();
    sqlx::query("UPDATE accounts SET paused_until = NULL")
        .execute(&mut catalogue)
        .await
        .unwrap();
    catalogue.close().await.unwrap();
}

/// Starts a server, lets it sweep, and stops it again.
async fn sweep(data_dir: &DataDir) {
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(data_dir.catalogue()))
        .await
        .unwrap();
    let dropped = "INSERT INTO segments (id, dataset_id, state, created_at, dropped_at)
         VALUES ($1, 'none', 'dropped', 0, 0)";
    sqlx::query(dropped)
        .bind(chatlake::ids::SegmentId::new())
        .execute(&pool)
        .await
        .unwrap();
    let server = data_dir.serve().await;
    until("the sweep has come round", async || {
        let left: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM segments WHERE dataset_id = 'none'")
                .fetch_one(&pool)
                .await
                .unwrap();
        (left == 0).then_some(())
    })
    .await;
    pool.close().await;
    server.stop().await;
}

/// Checkpointed rows that were lost while a run waited, as by a fault of the sweep or of a disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_checkpointed_rows_were_lost_fails_and_the_rows_before_stay() {
    let (data_dir, vendor) = (
        DataDir::new(),
        LocalSandbox::still(700, std::time::Duration::ZERO).await,
    );
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let chats = data_dir.dataset(&email, &account, "chat").await;
    let server = data_dir.serve().await;
    let whole = server.over(&server.run(&chats, &token).await, &token).await;
    let (before, calls) = (
        server.csv(&chats, &token).await,
        vendor.sandbox.calls_total(),
    );
    // Once interrupted, it keeps what each window brought.
    vendor.sandbox.faults().set(vec![pause(0)]);
    let run = server.run(&chats, &token).await;
    waits(&server, &run, &token).await;
    server.stop().await;
    // The first days have no chats: it goes on until a day with rows is checkpointed.
    let (mut done, mut lost) = (0, 0);
    while lost == 0 {
        pass_time(&data_dir).await;
        vendor.sandbox.faults().set(vec![pause(calls / 2)]);
        let server = data_dir.serve().await;
        done = until("it waits with more windows done", async || {
            let run = server.get(&format!("/runs/{run}"), &token).await.1;
            run["windows_done"]
                .as_u64()
                .filter(|now| *now > done && run["state"] == "waiting")
        })
        .await;
        server.stop().await;
        let mut catalogue = SqliteConnection::connect_with(
            &SqliteConnectOptions::new().filename(data_dir.catalogue()),
        )
        .await
        .unwrap();
        let lose = "UPDATE segments
             SET state = 'dropped', dropped_at = 0
             WHERE state = 'staged' AND rows > 0";
        lost = sqlx::query(lose)
            .execute(&mut catalogue)
            .await
            .unwrap()
            .rows_affected();
        catalogue.close().await.unwrap();
    }
    pass_time(&data_dir).await;
    vendor.sandbox.faults().clear();
    let server = data_dir.serve().await;
    let over = server.over(&run, &token).await;
    assert_eq!(
        (over["state"].as_str(), over["error"]["code"].as_str()),
        (Some("failed"), Some("rows_missing")),
        "{over}"
    );
    assert!(
        over["error"]["message"]
            .as_str()
            .unwrap()
            .contains(&whole["rows"].to_string()),
        "{over}"
    );
    assert_eq!(server.csv(&chats, &token).await, before);
    // The next run reads all of it again.
    let again = server.over(&server.run(&chats, &token).await, &token).await;
    assert_eq!(
        (again["state"].as_str(), &again["rows"]),
        (Some("succeeded"), &whole["rows"]),
        "{again}"
    );
    let verified = data_dir.run(&["verify", "--deep"]).await;
    assert_eq!(verified.code, 0, "{verified:?}");
}

async fn waits(server: &Server, run: &str, token: &str) -> Value {
    until("the run waits", async || {
        let run = server.get(&format!("/runs/{run}"), token).await.1;
        assert!(
            !matches!(
                run["state"].as_str().unwrap(),
                "failed" | "cancelled" | "succeeded"
            ),
            "{run}"
        );
        (run["state"] == "waiting").then_some(run)
    })
    .await
}

fn pause(skip: u64) -> Fault {
    Fault::new(FaultKind::TooManyRequests {
        retry_after: RetryAfter::Seconds(3_600),
    })
    .on("/chats")
    .skip(skip)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_paused_and_killed_goes_on_behind_the_windows_it_has() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(700).await);
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let chats = data_dir.dataset(&email, &account, "chat").await;
    let messages = data_dir.dataset(&email, &account, "chat_messages").await;
    let server = data_dir.serve().await;

    // A whole pull, to know what one costs and brings. 15 days are 15 windows.
    let whole = server.over(&server.run(&chats, &token).await, &token).await;
    assert_eq!(
        (whole["state"].as_str(), whole["windows"].as_u64()),
        (Some("succeeded"), Some(15)),
        "{whole}"
    );
    let calls = vendor.sandbox.calls_total();

    // At once the vendor wants a pause of an hour. Both DataSets share the reading, and so the
    // pause.
    vendor.sandbox.faults().set(vec![pause(0)]);
    vendor.sandbox.forget_calls();
    let (run, other) = (
        server.run(&chats, &token).await,
        server.run(&messages, &token).await,
    );
    let (first, second) = (
        waits(&server, &run, &token).await,
        waits(&server, &other, &token).await,
    );
    assert_eq!(
        (
            first["shared_by"].as_u64(),
            second["shared_by"].as_u64(),
            vendor.sandbox.calls_total()
        ),
        (Some(2), Some(2), 1)
    );
    let paused = server.get(&format!("/accounts/{account}"), &token).await.1["paused_until"]
        .as_str()
        .unwrap()
        .to_owned();

    // The end of the server changes nothing: nobody asks, and the hour is the same.
    server.kill();
    vendor.sandbox.faults().clear();
    let server = data_dir.serve().await;
    assert_eq!(
        server.get(&format!("/runs/{run}"), &token).await.1["waits_until"],
        first["waits_until"]
    );
    assert_eq!(
        server.get(&format!("/accounts/{account}"), &token).await.1["paused_until"].as_str(),
        Some(paused.as_str())
    );
    let (third, calls_before) = (
        data_dir.dataset(&email, &account, "agents").await,
        vendor.sandbox.calls_total(),
    );
    waits(&server, &server.run(&third, &token).await, &token).await;
    assert_eq!(
        vendor.sandbox.calls_total(),
        calls_before,
        "the whole account waits"
    );

    // It goes on, gets some windows and is paused again; then once more, and is killed.
    server.stop().await;
    pass_time(&data_dir).await;
    vendor.sandbox.faults().set(vec![pause(calls / 2)]);
    let server = data_dir.serve().await;
    let halfway = waits(&server, &run, &token).await;
    let done = halfway["windows_done"].as_u64().unwrap();
    assert!((3..15).contains(&done), "{halfway}");
    server.stop().await;
    // A sweep while it waits leaves what it has alone.
    sweep(&data_dir).await;
    pass_time(&data_dir).await;
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 60_000 })
            .on("/chats")
            .skip(calls / 2),
    ]);
    let server = data_dir.serve().await;
    until("more windows", async || {
        server.get(&format!("/runs/{run}"), &token).await.1["windows_done"]
            .as_u64()
            .filter(|now| *now > done)
    })
    .await;
    let ledger = server
        .get(&format!("/datasets/{chats}/windows?limit=100"), &token)
        .await
        .1;
    server.kill();
    let there: Vec<&str> = ledger["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["run_id"] == *run && line["state"] == "done")
        .map(|line| line["from"].as_str().unwrap())
        .collect();
    // The newest of them may not have been on the disk yet.
    let there = &there[..there.len() - 1];
    assert!(there.len() as u64 >= done);
    vendor.sandbox.faults().clear();
    vendor.sandbox.forget_calls();

    let server = data_dir.serve().await;
    let (end, other_end) = (
        server.over(&run, &token).await,
        server.over(&other, &token).await,
    );
    for run in [&end, &other_end] {
        assert_eq!(
            (
                run["state"].as_str(),
                run["verified"].as_bool(),
                run["windows_done"].as_u64()
            ),
            (Some("succeeded"), Some(true), Some(15)),
            "{run}"
        );
        assert_eq!(
            run["read"].as_u64(),
            whole["read"].as_u64(),
            "no window is counted twice: {run}"
        );
    }
    // What was proven of a window stays with it, whichever attempt read it: only the newest three
    // days were read twice.
    let ledger = server
        .get(&format!("/datasets/{chats}/windows?limit=15"), &token)
        .await
        .1;
    let proven: Vec<&str> = ledger["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["completeness"].as_str().unwrap())
        .collect();
    let young = proven.iter().filter(|word| **word == "reread").count();
    assert!(
        proven[..15 - young].iter().all(|word| *word == "verified") && (2..=3).contains(&young),
        "{proven:?}"
    );
    assert_eq!(
        (
            end["completeness"].as_str(),
            other_end["completeness"].as_str()
        ),
        (Some("reread"), Some("reread"))
    );
    // Calls that the killed server had under way may be counted late; they were for windows that it
    // did not have.
    let requested: Vec<String> = vendor
        .sandbox
        .calls()
        .iter()
        .filter_map(|call| call.argument("date_from"))
        .collect();
    assert!(
        requested.iter().all(|day| !there.contains(&day.as_str())),
        "{there:?} were there, and {requested:?} were asked for"
    );
    let (rows, all) = (
        server.csv(&chats, &token).await,
        server.csv(&messages, &token).await,
    );
    assert_eq!(
        (rows.rows as u64, Some(all.rows as u64)),
        (whole["rows"].as_u64().unwrap(), other_end["rows"].as_u64())
    );
    assert!(all.rows > rows.rows);
    server.stop().await;

    // What is in the files is what a pull in one piece brings.
    let server = data_dir.serve().await;
    let again = server
        .over(&server.run(&messages, &token).await, &token)
        .await;
    assert_eq!(again["rows"], other_end["rows"]);
    assert_eq!(server.csv(&messages, &token).await.digest, all.digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_earlier_report_are_not_reused_after_a_report_change() {
    let (data_dir, vendor) = (DataDir::new(), LocalSandbox::new(300).await);
    let email = data_dir.person("olga", "admin").await;
    let token = data_dir.token(&email, "manage").await;
    let account = data_dir
        .account(&email, &vendor.address, "sandbox-key")
        .await;
    let dataset = data_dir.dataset(&email, &account, "chat").await;
    vendor.sandbox.faults().set(vec![pause(0)]);
    let server = data_dir.serve().await;
    let run = server.run(&dataset, &token).await;
    waits(&server, &run, &token).await;
    server.stop().await;
    pass_time(&data_dir).await;
    vendor.sandbox.faults().set(vec![pause(16)]);
    let server = data_dir.serve().await;
    let halfway = waits(&server, &run, &token).await;
    assert!(halfway["windows_done"].as_u64().unwrap() > 0, "{halfway}");
    // The same days and the same pages, other rows.
    let answer = server
        .send(
            "PATCH",
            &format!("/api/v1/datasets/{dataset}"),
            &token,
            Some(serde_json::json!({"report": "chat_messages"})),
        )
        .await;
    assert_eq!(answer.status(), 200);
    server.stop().await;
    pass_time(&data_dir).await;
    vendor.sandbox.faults().clear();
    let server = data_dir.serve().await;
    let over = server.over(&run, &token).await;
    assert_eq!(
        (
            over["state"].as_str(),
            over["read"].as_u64(),
            over["windows_done"].as_u64()
        ),
        (Some("succeeded"), Some(300), Some(15)),
        "{over}"
    );
    let (status, schema) = server
        .get(&format!("/datasets/{dataset}/schema"), &token)
        .await;
    let columns: Vec<&str> = schema["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap())
        .collect();
    assert!(
        status == 200 && columns[0] == "chat_id" && !columns.contains(&"visitor_name"),
        "{columns:?}"
    );
    let again = server
        .over(&server.run(&dataset, &token).await, &token)
        .await;
    assert_eq!(
        over["rows"], again["rows"],
        "as many as a pull in one piece brings"
    );
}
