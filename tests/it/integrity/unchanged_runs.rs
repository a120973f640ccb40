//! Runs that change nothing leave versions and downloads as they are.

use axum::http::StatusCode;
use chatlake::puller::run::{RunOutcome, RunState};
use serde_json::Value;

use super::IntegrityFixture;
use super::etag;

/// The checks of `chatlake verify` that fail.
async fn failed_checks(fixture: &IntegrityFixture) -> Vec<&'static str> {
    let app = &fixture.ctx.app;
    let mut found =
        chatlake::datasets::verify_versions::verify(&app.db, &app.datasets.segments, true)
            .await
            .unwrap();
    found.extend(
        chatlake::puller::verify_runs::verify(&app.db)
            .await
            .unwrap(),
    );
    found.into_iter().map(|finding| finding.check).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_changes_nothing_makes_no_version_and_downloads_keep_their_tag() {
    let mut fixture = IntegrityFixture::new().await;
    let first = fixture.pull_rows(&["ann", "bob"]).await;
    let before = fixture.csv(None).await;
    let again = fixture.pull_rows(&["ann", "bob"]).await;
    assert_eq!(
        (again.state, again.outcome, again.rows),
        (RunState::Succeeded, Some(RunOutcome::Unchanged), 2)
    );
    assert_eq!(
        (&again.version_id, again.change()),
        (&first.version_id, Some(0))
    );
    assert_eq!(fixture.versions().await.len(), 1);
    let after = fixture.csv(None).await;
    assert_eq!((etag(&after), &after.text), (etag(&before), &before.text));
    assert_eq!(
        fixture.csv(Some(&etag(&before))).await.status,
        StatusCode::NOT_MODIFIED
    );
    let (status, response) = fixture
        .ctx
        .api(
            &fixture.token,
            "GET",
            &format!("/runs/{}", again.id),
            Value::Null,
        )
        .await;
    assert_eq!(
        (
            status,
            response["outcome"].as_str(),
            response["rows"].as_u64()
        ),
        (StatusCode::OK, Some("unchanged"), Some(2)),
        "{response}"
    );
    assert_eq!(
        response["version"].as_str(),
        first.version_id.as_ref().map(|id| id.as_str())
    );
    let history = fixture.browser.get(&fixture.path("/history")).await;
    assert!(
        history
            .all(".history-run .rows")
            .iter()
            .any(|words| words.ends_with("no changes")),
        "{:?}",
        history.all(".history-run .rows")
    );

    // Another row makes another version, and the earlier rows have the earlier tag, whatever the id
    // of the version.
    let changed = fixture.pull_rows(&["ann", "bob", "cid"]).await;
    assert_eq!((changed.outcome, fixture.versions().await.len()), (None, 2));
    assert_ne!(etag(&fixture.csv(None).await), etag(&before));
    fixture.pull_rows(&["ann", "bob"]).await;
    let back = fixture.csv(None).await;
    assert_eq!(
        (etag(&back), fixture.versions().await.len()),
        (etag(&before), 3)
    );
    assert_ne!(
        back.headers["x-chatlake-version"],
        before.headers["x-chatlake-version"]
    );
    // The same rows in another order make another file.
    fixture.pull_rows(&["bob", "ann"]).await;
    assert_ne!(etag(&fixture.csv(None).await), etag(&before));
    assert_eq!(failed_checks(&fixture).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_of_identical_rows_changes_nothing() {
    let fixture = IntegrityFixture::new().await;
    fixture.update_mode("merge").await;
    fixture.pull_rows(&["ann", "bob", "cid"]).await;
    let before = fixture.csv(None).await;
    for same in [&["ann", "bob", "cid"][..], &["cid"], &["bob", "ann"]] {
        let run = fixture.pull_rows(same).await;
        assert_eq!(
            (run.state, run.outcome, run.rows),
            (
                RunState::Succeeded,
                Some(RunOutcome::Unchanged),
                same.len() as i64
            ),
            "{same:?}"
        );
    }
    let after = fixture.csv(None).await;
    assert_eq!(
        (etag(&after), &after.text),
        (etag(&before), &before.text),
        "the batch columns stay those of the run that brought the rows"
    );
    let run = fixture.pull_rows(&["ann", "dan"]).await;
    assert_eq!((run.outcome, run.rows_after), (None, Some(4)));
    assert_eq!(fixture.versions().await.len(), 2);
    assert_eq!(failed_checks(&fixture).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_rows_with_other_columns_are_another_version() {
    let fixture = IntegrityFixture::new().await;
    fixture.pull_rows(&["ann", "bob"]).await;
    fixture.update_mode("merge").await;
    let run = fixture.pull_rows(&["bob", "ann"]).await;
    assert_eq!(
        (run.state, run.outcome, run.rows_after),
        (RunState::Succeeded, None, Some(2)),
        "{run:?}"
    );
    assert!(fixture.csv(None).await.text.contains("_batch_id"));
    assert_eq!(
        fixture.pull_rows(&["ann"]).await.outcome,
        Some(RunOutcome::Unchanged)
    );
    assert_eq!(failed_checks(&fixture).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_changes_nothing_makes_the_rows_fresh() {
    let mut fixture = IntegrityFixture::new().await;
    fixture.pull_rows(&["ann"]).await;
    let mut tx = fixture.ctx.app.db.write().await.unwrap();
    sqlx::query("UPDATE versions SET created_at = created_at - 3 * 3600000")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let old = fixture.browser.get(&fixture.path("")).await;
    assert!(
        old.words(".facts").contains("Updated 3 hours ago"),
        "{}",
        old.words(".facts")
    );
    let again = fixture.pull_rows(&["ann"]).await;
    assert_eq!(again.outcome, Some(RunOutcome::Unchanged));
    let fresh = fixture.browser.get(&fixture.path("")).await;
    assert!(
        fresh.words(".facts").contains("Updated just now"),
        "{}",
        fresh.words(".facts")
    );
    assert_eq!(
        fixture.browser.get("/datasets").await.all(".status-cell"),
        ["Up to date no changes"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_append_to_an_empty_dataset_creates_one_version() {
    let fixture = IntegrityFixture::new().await;
    fixture.update_mode("append").await;
    let first = fixture.pull_rows(&[]).await;
    let again = fixture.pull_rows(&[]).await;
    assert_eq!(
        (first.state, again.state, again.outcome),
        (
            RunState::Succeeded,
            RunState::Succeeded,
            Some(RunOutcome::Unchanged)
        )
    );
    assert_eq!(fixture.versions().await.len(), 1);
}
