//! A stored DataSet that cannot be read affects no other DataSet.

use std::time::Duration;

use chatlake::datasets::verify_versions;
use serde_json::{Value, json};

use crate::support::datasets::DatasetFixture;

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_dataset_does_not_affect_the_others() {
    let fixture = DatasetFixture::new().await;
    let (good, bad) = (
        fixture.dataset("agents", json!({"name": "Good one"})).await,
        fixture.dataset("groups", json!({"name": "Bad one"})).await,
    );
    for broken in [
        "menus = x'00ff'",
        "menus = 'nonsense'",
        "schedule = x'00ff', next_run_at = 5",
        "expected_hours = 'soon'",
        "next_run_at = 'soon', schedule = '0 0 1 1 *'",
    ] {
        let mut tx = fixture.ctx.app.db.write().await.unwrap();
        let restore = "UPDATE datasets SET menus = '{}', schedule = NULL, expected_hours = NULL, next_run_at = NULL WHERE id = $1";
        sqlx::query(restore)
            .bind(&bad)
            .execute(&mut *tx)
            .await
            .unwrap();
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "UPDATE datasets SET {broken} WHERE id = $1"
        )))
        .bind(&bad)
        .execute(&mut *tx)
        .await
        .unwrap();
        // Makes this DataSet overdue.
        sqlx::query(
            "UPDATE datasets
             SET expected_hours = 1, late_since = NULL, lateness_key = NULL, last_success_at = 1
             WHERE id = $1",
        )
        .bind(&good)
        .execute(&mut *tx)
        .await
        .unwrap();
        tx.commit().await.unwrap();
        fixture.ctx.app.puller.wake_scheduler.notify_one();
        fixture.ctx.app.puller.wake_deadlines.notify_one();
        let mut rounds = 0;
        while fixture
            .call("GET", &format!("/datasets/{good}"), Value::Null)
            .await
            .1["late"]
            != true
        {
            fixture.ctx.app.puller.wake_deadlines.notify_one();
            tokio::time::sleep(Duration::from_millis(20)).await;
            rounds += 1;
            assert!(rounds < 500, "{broken}: the others are not checked");
        }
        let (status, list) = fixture.call("GET", "/datasets", Value::Null).await;
        assert!(
            status == 200 && list.to_string().contains("Good one"),
            "{broken}: {list}"
        );
        let page = fixture.owner.get("/datasets").await;
        assert_eq!(page.status.as_u16(), 200, "{broken}");
        let is_listed = page.text.contains("Bad one");
        assert!(
            is_listed || page.text.contains(&format!("damaged: {bad}")),
            "{broken}: {}",
            page.text
        );
        let segments = &fixture.ctx.app.datasets.segments;
        let found = verify_versions::verify(&fixture.ctx.app.db, segments, false)
            .await
            .unwrap();
        let checks: Vec<&str> = found
            .iter()
            .filter(|finding| finding.object == bad.as_str())
            .map(|finding| finding.check)
            .collect();
        assert_eq!(
            checks,
            if is_listed { &[][..] } else { &["record"] },
            "{broken}: verify says what the list says"
        );
        for address in ["/accounts", "/activity"] {
            assert_eq!(
                fixture.owner.get(address).await.status.as_u16(),
                200,
                "{broken} {address}"
            );
        }
    }
    assert_eq!(fixture.good_run(&good).await["state"], "succeeded");
}
