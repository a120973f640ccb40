//! Runs that kill the server three times are parked, and runs that a person stops end.

use std::time::Duration;

use chatlake::sandbox::faults::{Fault, FaultKind};

use super::CrashFixture;
use crate::support::{until, until_within};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_kills_the_server_three_times_is_parked_and_the_others_go_on() {
    let (fixture, mut server) = CrashFixture::new(100).await;
    let CrashFixture {
        data_dir,
        vendor,
        dataset,
        token,
        ..
    } = &fixture;
    let old = server.csv(dataset, token).await;
    let hang = || {
        vendor.sandbox.faults().set(vec![
            Fault::new(FaultKind::Late { ms: 300_000 }).on("/chats"),
        ])
    };
    hang();
    let run = server.run(dataset, token).await;
    for attempt in 1..=3 {
        until("the run is at work", async || {
            let run = server.get(&format!("/runs/{run}"), token).await.1;
            (run["state"] == "running" && run["attempt"] == attempt).then_some(())
        })
        .await;
        server.kill();
        server = data_dir.serve().await;
    }
    let parked = server.over(&run, token).await;
    assert_eq!(
        (parked["state"].as_str(), parked["error"]["code"].as_str()),
        (Some("parked"), Some("parked")),
        "{parked}"
    );
    for part in ["message", "who", "action"] {
        assert!(
            parked["error"][part]
                .as_str()
                .is_some_and(|text| !text.is_empty()),
            "{part} of {parked}"
        );
    }
    assert_eq!(server.csv(dataset, token).await, old);
    // A fourth start does not change this.
    server.kill();
    let server = data_dir.serve().await;
    assert_eq!(server.run_state(&run, token).await, "parked");
    vendor.sandbox.faults().clear();
    let new = fixture.pulled(&server).await;
    assert_eq!(new.rows, old.rows);
    fixture.check(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_stopped_while_it_is_queued_and_while_it_is_running() {
    let (fixture, server) = CrashFixture::new(100).await;
    let CrashFixture {
        data_dir,
        vendor,
        dataset,
        token,
        ..
    } = &fixture;
    let old = server.csv(dataset, token).await;
    server.stop().await;
    let account = data_dir.run(&["account", "list", "--json"]).await.json()[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let other = data_dir
        .dataset("olga@house.test", &account, "agents")
        .await;
    let server = data_dir.serve_with(&["--workers", "1"]).await;
    vendor.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 300_000 }).on("/chats"),
    ]);
    let working = server.run(dataset, token).await;
    until("it is at work", async || {
        (server.run_state(&working, token).await == "running").then_some(())
    })
    .await;
    let queued = server.run(&other, token).await;
    assert_eq!(
        server.run(&other, token).await,
        queued,
        "pressing again answers the run that is there"
    );
    assert_eq!(server.run_state(&queued, token).await, "queued");
    let (status, stopped) = server.post(&format!("/runs/{queued}/cancel"), token).await;
    assert_eq!(
        (status, stopped["state"].as_str()),
        (200, Some("cancelled")),
        "one that waits ends at once"
    );
    let (status, response) = server.post(&format!("/runs/{working}/cancel"), token).await;
    assert_eq!(status, 200, "{response}");
    let over = until_within(
        Duration::from_secs(10),
        "one at work ends soon",
        async || {
            let run = server.get(&format!("/runs/{working}"), token).await.1;
            (run["state"] == "cancelled").then_some(run)
        },
    )
    .await;
    assert_eq!(over["version"], serde_json::Value::Null);
    assert_eq!(server.csv(dataset, token).await, old);
    let (status, still) = server.post(&format!("/runs/{working}/cancel"), token).await;
    assert_eq!(
        (status, still["state"].as_str()),
        (200, Some("cancelled")),
        "one that is over stays as it is"
    );
    vendor.sandbox.faults().clear();
    let run = server.run(&other, token).await;
    assert_eq!(
        server.over(&run, token).await["state"],
        "succeeded",
        "the worker is free again"
    );
}
