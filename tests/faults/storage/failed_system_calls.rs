//! One write, sync or rename fails: nothing is lost, and nothing needs to be restarted.

use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};

use super::Faults;
use super::Template;
use super::change_dataset;
use super::logins;
use super::pull_rows;
use crate::support::{rounds, until};

const ENOSPC: i32 = 28;

const EIO: i32 = 5;

/// The state at the end of a scenario.
#[derive(Debug, PartialEq, Eq)]
struct FinalState {
    after: Vec<Vec<String>>,
    name: String,
    versions: usize,
    files: usize,
}

/// Start, sign-in, three pulls with an append and a merge, an edit, a second start with a sweep.
async fn scenario(template: &Template, at: u64, errno: i32) -> (FinalState, u64) {
    let what = &format!("call {at}, errno {errno}");
    let data_dir = template.copy();
    let faults = Faults::new(&data_dir, at, errno);
    let Template {
        dataset,
        token,
        email,
        ..
    } = template;
    let path = format!("/datasets/{dataset}");
    let server = faults.serve(&data_dir).await;
    let cookies = until("somebody signs in", async || {
        let (status, cookies) = server.sign_in(email).await;
        assert!(matches!(status, 303 | 503), "{what}: {status}");
        (status == 303).then_some(cookies)
    })
    .await;
    assert_eq!(server.page("/datasets", &cookies).await, 200, "{what}");
    let mut after = vec![pull_rows(&server, template, what).await];
    change_dataset(
        &server,
        "PATCH",
        &path,
        token,
        json!({"update_mode": "append"}),
        what,
    )
    .await;
    after.push(pull_rows(&server, template, what).await);
    change_dataset(
        &server,
        "PATCH",
        &path,
        token,
        json!({"update_mode": "merge"}),
        what,
    )
    .await;
    after.push(pull_rows(&server, template, what).await);
    change_dataset(
        &server,
        "PATCH",
        &path,
        token,
        json!({"name": "Edited"}),
        what,
    )
    .await;
    change_dataset(
        &server,
        "PATCH",
        &format!("{path}/retention"),
        token,
        json!({"versions": 1}),
        what,
    )
    .await;
    assert_eq!(server.page("/readyz", "").await, 200, "{what}");
    let first_log = server.err();
    server.stop().await;

    // The dropped segments count as a day old. They are swept at the start.
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .connect_with(SqliteConnectOptions::new().filename(data_dir.catalogue()))
        .await
        .unwrap();
    let (running, staged): (i64, i64) = sqlx::query_as(
        "SELECT
             (SELECT COUNT(*) FROM runs WHERE state IN ('queued', 'running', 'waiting')),
             (SELECT COUNT(*) FROM segments WHERE state = 'staged')",
    )
    .fetch_one(&pool)
    .await
    .unwrap();
    assert_eq!((running, staged), (0, 0), "{what}: {first_log}");
    sqlx::query("UPDATE segments SET dropped_at = 0 WHERE state = 'dropped'")
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    let server = faults.serve(&data_dir).await;
    let files = || {
        std::fs::read_dir(data_dir.data().join("segments"))
            .unwrap()
            .count()
    };
    if at == 0 || faults.calls() < at {
        until(&format!("{what}: the sweep is done"), async || {
            (files() == 1).then_some(())
        })
        .await;
    }
    after.push(logins(&server, dataset, token).await);
    let (_, about) = server.get(&path, token).await;
    let (_, versions) = server.get(&format!("{path}/versions"), token).await;
    let log = format!("{first_log}{}", server.err());
    server.stop().await;
    // Segments that the fault kept from the sweep are swept at the next start.
    let server = faults.serve(&data_dir).await;
    until(&format!("{what}: the sweep is done"), async || {
        (files() == 1).then_some(())
    })
    .await;
    server.stop().await;
    let ended = data_dir.run(&["verify", "--deep", "--json"]).await;
    assert_eq!(
        (ended.code, ended.out.trim()),
        (0, "[]"),
        "{what}: {ended:?}"
    );
    assert!(
        log.lines().count() < 60 && !log.contains("panicked"),
        "{what}: {log}"
    );
    let final_state = FinalState {
        after,
        name: about["name"].as_str().unwrap().to_owned(),
        versions: versions["items"].as_array().unwrap().len(),
        files: files(),
    };
    (final_state, faults.calls())
}

/// Lets chosen calls fail, in several parallel scenarios, and compares their final state with that
/// of a scenario without a fault.
async fn compare_with_no_fault(template: &Template, chosen: impl Fn(u64) -> Vec<(u64, i32)>) {
    let (whole, calls) = scenario(template, 0, 0).await;
    assert_eq!(
        whole.after.iter().map(Vec::len).collect::<Vec<_>>(),
        [30, 60, 30, 30],
        "{whole:?}"
    );
    assert!(calls > 100, "only {calls} calls were seen");
    let chosen = chosen(calls);
    let lanes = 4;
    let lane = |first: usize| {
        let chosen: Vec<_> = chosen.iter().skip(first).step_by(lanes).copied().collect();
        let whole = &whole;
        async move {
            for (at, errno) in chosen {
                let (final_state, _) = scenario(template, at, errno).await;
                assert_eq!(&final_state, whole, "call {at} of {calls}, errno {errno}");
            }
        }
    };
    tokio::join!(lane(0), lane(1), lane(2), lane(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_sync_or_rename_that_fails_loses_nothing_and_leaves_nothing_broken() {
    let template = Template::new().await;
    compare_with_no_fault(&template, |calls| {
        (1..=8)
            .map(|n| (n * calls / 9, if n % 2 == 0 { ENOSPC } else { EIO }))
            .collect()
    })
    .await;
    drop(template.vendor);
}

/// The test above with every call, or in a short soak with one of 20 calls.
#[tokio::test(flavor = "multi_thread")]
async fn soak_every_write_sync_and_rename_fails_once() {
    // One of this many calls fails; `None` outside of a soak.
    if let Some(step) = rounds(None, Some(20), Some(1)) {
        let template = Template::new().await;
        compare_with_no_fault(&template, |calls| {
            (1..=calls)
                .step_by(step)
                .flat_map(|at| [(at, ENOSPC), (at, EIO)])
                .collect()
        })
        .await;
    }
}
