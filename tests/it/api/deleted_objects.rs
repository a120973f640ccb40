//! An object that is deleted during a request answers like a missing one.

use std::collections::BTreeSet;

use chatlake::actor::Role;
use chatlake::clock::Clock;
use chatlake::error::{Error, ErrorKind};
use chatlake::puller::queue;
use chatlake::puller::run::Trigger;
use serde_json::json;

use crate::support::api_server::{ApiServer, OWNER};
use crate::support::context::TestContext;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_started_while_its_dataset_is_deleted_finds_no_dataset() {
    let fixture = ApiServer::new(10).await;
    let mut seen = BTreeSet::new();
    for _ in 0..25 {
        let dataset = fixture
            .data_dir
            .dataset(OWNER, &fixture.account, "agents")
            .await;
        let (runs, own) = (
            format!("/datasets/{dataset}/runs"),
            format!("/datasets/{dataset}"),
        );
        let ((run, said), (deleted, _)) = tokio::join!(
            fixture.send("POST", &runs, json!({})),
            fixture.send("DELETE", &own, json!({}))
        );
        assert!(
            matches!(run, 202 | 404) && deleted == 204,
            "{run} {deleted}: {said}"
        );
        seen.insert(run);
    }
    assert!(!seen.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_deleted_after_it_was_looked_up_is_not_found() {
    let ctx = TestContext::with(Clock::system(), |_| {}).await;
    let owner = ctx.person("olga", Role::Admin).await;
    let account = ctx.account(&owner, "Support").await.id;
    let dataset = ctx.dataset(&owner, &account, "agents", "Agents").await;
    let mut tx = ctx.app.db.write().await.unwrap();
    sqlx::query("DELETE FROM datasets WHERE id = $1")
        .bind(&dataset)
        .execute(&mut *tx)
        .await
        .unwrap();
    for trigger in [Trigger::Manual, Trigger::Schedule, Trigger::Retry] {
        let refused = queue::enqueue(
            &mut tx,
            ctx.clock.now(),
            &dataset,
            "key",
            trigger,
            Some(&owner.user),
        )
        .await
        .unwrap_err();
        assert_eq!(
            (refused.kind(), refused.code()),
            (ErrorKind::NotFound, "not_found"),
            "{refused}"
        );
    }
    assert!(
        !queue::enqueue_scheduled(
            &mut tx,
            ctx.clock.now(),
            &dataset,
            "key",
            ctx.clock.now(),
            0
        )
        .await
        .unwrap()
    );
    // All other rows that refer to an object.
    let backfill = "INSERT INTO backfills (
             id, dataset_id, from_day, to_day, chunk_days, remaining_to, state, created_at,
             resumed_at
         )
         VALUES ('bf_x', $1, '2026-01-01', '2026-01-31', 7, '2026-01-24', 'running', 1, 1)";
    let refused: Error = sqlx::query(backfill)
        .bind(&dataset)
        .execute(&mut *tx)
        .await
        .unwrap_err()
        .into();
    assert_eq!(
        (refused.kind(), refused.code()),
        (ErrorKind::NotFound, "not_found"),
        "{refused}"
    );
}
