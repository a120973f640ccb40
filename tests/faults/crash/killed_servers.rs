//! A server that is killed at any moment of a pull restarts with all old or all new rows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::CrashFixture;
use crate::support::server::Server;
use crate::support::{until, until_within};

/// When the server is killed.
#[derive(Clone, Copy, Debug)]
enum KillMoment {
    /// As soon as the run is queued.
    Queued,
    /// After this share of the calls of the run, in percent.
    Calls(u64),
    /// After this number of complete windows.
    Windows(u64),
    /// After this time since the last page.
    AfterLastPage(u64),
    /// As soon as the success is reported.
    Reported,
}

const KILL_MOMENTS: [KillMoment; 24] = [
    KillMoment::Queued,
    KillMoment::AfterLastPage(0),
    KillMoment::Calls(1),
    KillMoment::AfterLastPage(34),
    KillMoment::Calls(10),
    KillMoment::AfterLastPage(6),
    KillMoment::Calls(25),
    KillMoment::AfterLastPage(39),
    KillMoment::Calls(40),
    KillMoment::AfterLastPage(14),
    KillMoment::Calls(55),
    KillMoment::AfterLastPage(18),
    KillMoment::Calls(70),
    KillMoment::AfterLastPage(24),
    KillMoment::Calls(85),
    KillMoment::AfterLastPage(30),
    KillMoment::Windows(1),
    KillMoment::AfterLastPage(45),
    KillMoment::Windows(8),
    KillMoment::AfterLastPage(70),
    KillMoment::Windows(14),
    KillMoment::AfterLastPage(110),
    KillMoment::Calls(100),
    KillMoment::Reported,
];

/// Kills the server at this moment of a pull and starts it again. Returns which rows there were
/// then, and the new server.
async fn kill_and_restart(
    fixture: &CrashFixture,
    server: Server,
    moment: KillMoment,
) -> (&'static str, Server) {
    let CrashFixture {
        data_dir,
        vendor,
        dataset,
        token,
        calls,
    } = fixture;
    let old = server.csv(dataset, token).await;
    // The new rows differ from the old rows.
    vendor.sandbox.end_chats(3);
    vendor.sandbox.forget_calls();
    let run = server.run(dataset, token).await;
    match moment {
        KillMoment::Queued => {}
        KillMoment::Calls(percent) => {
            let wanted = (calls * percent / 100).max(1);
            until("so many calls", async || {
                (vendor.sandbox.calls_total() >= wanted).then_some(())
            })
            .await;
        }
        KillMoment::Windows(wanted) => {
            until("so many windows", async || {
                (server.get(&format!("/runs/{run}"), token).await.1["windows_done"].as_u64()?
                    >= wanted)
                    .then_some(())
            })
            .await;
        }
        KillMoment::Reported => {
            server.over(&run, token).await;
        }
        KillMoment::AfterLastPage(ms) => {
            until("the last page", async || {
                (vendor.sandbox.calls_total() >= *calls).then_some(())
            })
            .await;
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }
    server.kill();
    fixture.check(false).await;

    let again = data_dir.serve().await;
    let back = until_within(Duration::from_secs(5), "the run is back", async || {
        let state = again.run_state(&run, token).await;
        matches!(state.as_str(), "queued" | "running" | "succeeded").then_some(state)
    })
    .await;
    let now = again.csv(dataset, token).await;
    let end = if now.version == old.version {
        assert_eq!(now, old, "{moment:?}: the old version, whole");
        "old"
    } else {
        "new"
    };
    let over = again.over(&run, token).await;
    assert_eq!(
        over["state"], "succeeded",
        "{moment:?}, back as {back}: {over}"
    );
    let new = again.csv(dataset, token).await;
    assert_eq!(
        (over["version"].as_str(), over["rows"].as_u64()),
        (Some(new.version.as_str()), Some(new.rows as u64)),
        "{moment:?}"
    );
    let (before, after): (BTreeSet<&String>, BTreeSet<&String>) =
        (old.ids.iter().collect(), new.ids.iter().collect());
    let repeated: Vec<&String> = after
        .iter()
        .copied()
        .filter(|id| new.ids.iter().filter(|other| other == id).count() > 1)
        .collect();
    let added: Vec<&&String> = after.difference(&before).collect();
    assert!(
        repeated.is_empty(),
        "{moment:?}: rows that are there twice: {repeated:?}"
    );
    assert_eq!(
        (new.rows, added.len()),
        (old.rows + 3, 3),
        "{moment:?}: added were {added:?}"
    );
    assert_ne!(new.digest, old.digest);
    if end == "new" {
        assert_eq!(now, new, "{moment:?}: the new version, whole");
    }
    assert_eq!(
        over["read"].as_u64(),
        Some(new.rows as u64),
        "{moment:?}: an interrupted attempt is not counted twice: {over}"
    );
    fixture.check(true).await;
    (end, again)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_at_any_point_of_a_pull_restarts_with_all_old_or_all_new_rows() {
    // Four directories at the same time, since the test mostly waits.
    let lane = |first: usize| async move {
        let (fixture, mut server) = CrashFixture::new(700).await;
        let mut ends = Vec::new();
        for moment in KILL_MOMENTS.into_iter().skip(first).step_by(4) {
            let (end, next) = kill_and_restart(&fixture, server, moment).await;
            ends.push((moment, end));
            server = next;
        }
        server.stop().await;
        fixture.check(true).await;
        ends
    };
    let (a, b, c, d) = tokio::join!(lane(0), lane(1), lane(2), lane(3));
    let ends: Vec<_> = [a, b, c, d].concat();
    let seen: BTreeMap<&str, usize> = ends.iter().fold(BTreeMap::new(), |mut seen, (_, end)| {
        *seen.entry(*end).or_default() += 1;
        seen
    });
    assert_eq!(ends.len(), KILL_MOMENTS.len());
    let before = seen.get("old").copied().unwrap_or(0);
    assert!(
        before >= 10 && before < KILL_MOMENTS.len(),
        "they died on one side of the commit only: {ends:?}"
    );
    assert!(
        ends.iter()
            .all(|(moment, end)| !matches!(moment, KillMoment::Reported) || *end == "new"),
        "a reported success is kept: {ends:?}"
    );
}
