//! What happens to stored rows on a disk that loses bits: one error everywhere, a page that says
//! what heals them; and runs that change nothing, which leave versions and downloads as they are.

use std::path::PathBuf;

use axum::http::{Method, StatusCode};
use chatlake::actor::{Actor, Role, Scope};
use chatlake::ids::DatasetId;
use chatlake::puller::run::{Run, RunOutcome, RunState};
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::support::context::TestContext;
use crate::support::http::{Browser, Page};
use crate::support::until;

/// A DataSet of agents, its owner and a token.
struct IntegrityFixture {
    ctx: TestContext,
    owner: Actor,
    browser: Browser,
    token: String,
    dataset: DatasetId,
}

impl IntegrityFixture {
    async fn new() -> Self {
        let ctx = TestContext::with_workers().await;
        let (owner, browser) = ctx.signed_in_person("olga", Role::Editor).await;
        let token = ctx.token(&owner, Scope::Manage).await;
        let account = ctx.account(&owner, "Support").await.id;
        let dataset = ctx.dataset(&owner, &account, "agents", "People").await;
        Self {
            ctx,
            owner,
            browser,
            token,
            dataset,
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/datasets/{}{rest}", self.dataset)
    }

    /// A run that brings agents with these names.
    async fn pull_rows(&self, names: &[&str]) -> Run {
        let people: Vec<Value> = names
            .iter()
            .map(|name| json!({"login": format!("{name}@house.test"), "name": name}))
            .collect();
        self.ctx.sandbox.faults().set(vec![
            Fault::new(FaultKind::Shape {
                body: Value::from(people).to_string(),
            })
            .on("/agents"),
        ]);
        self.ctx.run(&self.owner, &self.dataset).await
    }

    async fn call(&self, method: &str, rest: &str, body: Value) -> (StatusCode, Value) {
        self.ctx
            .api(&self.token, method, &self.path(rest), body)
            .await
    }

    async fn update_mode(&self, mode: &str) {
        let (status, response) = self.call("PATCH", "", json!({"update_mode": mode})).await;
        assert_eq!(status, StatusCode::OK, "{response}");
    }

    async fn csv(&self, etag: Option<&str>) -> Page {
        let authorization = format!("Bearer {}", self.token);
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(etag.map(|etag| ("if-none-match", etag)));
        self.ctx
            .browser()
            .send(
                Method::GET,
                &format!("/api/v1{}", self.path("/data?format=csv")),
                None,
                &headers,
            )
            .await
    }

    async fn versions(&self) -> Vec<Value> {
        self.call("GET", "/versions", Value::Null).await.1["items"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// The files of the current version.
    async fn files(&self) -> Vec<PathBuf> {
        let current = self
            .ctx
            .app
            .datasets
            .versions
            .current(&self.dataset)
            .await
            .unwrap()
            .unwrap();
        let segments = self.ctx.app.datasets.segments.dir().to_owned();
        current
            .segments
            .iter()
            .map(|segment| segments.join(format!("{}.parquet", segment.id)))
            .collect()
    }

    async fn flip_a_bit(&self) {
        let file = self.files().await.remove(0);
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(file, bytes).unwrap();
    }
}

fn etag(page: &Page) -> String {
    page.headers["etag"].to_str().unwrap().to_owned()
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

    // Another row is another version, and the rows from before have the tag from before, whatever
    // the version's id.
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
    // The same rows in another order are another file.
    fixture.pull_rows(&["bob", "ann"]).await;
    assert_ne!(etag(&fixture.csv(None).await), etag(&before));
    assert_eq!(wrong(&fixture).await, [""; 0]);
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
    assert_eq!(wrong(&fixture).await, [""; 0]);
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
    assert_eq!(wrong(&fixture).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_rows_give_the_same_error_everywhere_and_the_page_says_how_to_fix_them() {
    let mut fixture = IntegrityFixture::new().await;
    fixture.pull_rows(&["ann", "bob"]).await;
    fixture.pull_rows(&["ann", "bob", "cid"]).await;
    let whole = fixture.csv(None).await;
    fixture.flip_a_bit().await;

    for rest in ["/rows", "/data?format=csv"] {
        let (status, response) = fixture.call("GET", rest, Value::Null).await;
        assert_eq!(
            (status, response["error"]["code"].as_str()),
            (StatusCode::INTERNAL_SERVER_ERROR, Some("data_damaged")),
            "{rest}: {response}"
        );
        assert!(
            response["error"]["action"]
                .as_str()
                .unwrap()
                .contains("verify --deep"),
            "{response}"
        );
    }
    let download = fixture.browser.get(&fixture.path("/download")).await;
    assert_eq!(
        (download.status, download.location()),
        (StatusCode::SEE_OTHER, fixture.path("/data"))
    );
    let page = fixture.browser.get(&fixture.path("/data")).await;
    assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(
        page.text.contains("cannot be read") && page.text.contains("No file was downloaded"),
        "{}",
        page.text
    );
    assert!(
        page.words(".facts").starts_with("Damaged"),
        "{}",
        page.words(".facts")
    );
    let dataset = fixture.dataset.clone();
    until("the damage is noted", async || {
        (fixture
            .ctx
            .app
            .datasets
            .versions
            .integrity(&dataset)
            .await
            .unwrap()[0]
            .damaged
            == 1)
            .then_some(())
    })
    .await;
    let versions = fixture.versions().await;
    assert_eq!(
        (
            versions[0]["integrity"].as_str(),
            versions[1]["integrity"].as_str()
        ),
        (Some("damaged"), Some("checked")),
        "{versions:?}"
    );
    let intact = versions[1]["id"].as_str().unwrap().to_owned();
    for tab in ["", "/history", "/settings"] {
        let page = fixture.browser.get(&fixture.path(tab)).await;
        let band = page.words(".bands .band.is-bad");
        assert!(band.contains("At least 3 rows of version 2 cannot be read, because a stored file is damaged or missing"), "{tab}: {band}");
        assert!(
            page.has(&format!(
                ".band-actions a[href$='/versions/{intact}/revert']"
            )) && page.has(".band-actions form[action$='/run']"),
            "{tab}"
        );
    }
    let history = fixture.browser.get(&fixture.path("/history")).await;
    assert!(history.all(".tag.is-bad").contains(&"damaged".to_owned()));
    let list = fixture.browser.get("/datasets?quick=attention").await;
    assert_eq!(
        list.all(".status-cell"),
        ["Damaged some rows cannot be read"]
    );
    assert!(
        fixture
            .browser
            .get("/datasets")
            .await
            .all(".band")
            .iter()
            .any(|band| band.starts_with("1 DataSet has rows that cannot be read."))
    );

    // What adds to the rows fails and leaves them as they are.
    for mode in ["append", "merge"] {
        fixture.update_mode(mode).await;
        let run = fixture.pull_rows(&["dan"]).await;
        let failure = run.failure.unwrap();
        assert_eq!(
            (run.state, failure.code.as_str()),
            (RunState::Failed, "data_damaged"),
            "{mode}: {failure:?}"
        );
        assert!(
            !failure.message.contains("request") && failure.action.contains("History"),
            "{failure:?}"
        );
        assert_eq!(fixture.versions().await.len(), 2);
    }
    // A Replace heals, even with the very rows that are damaged.
    fixture.update_mode("replace").await;
    let healing = fixture.pull_rows(&["ann", "bob", "cid"]).await;
    assert_eq!(
        (healing.state, healing.outcome),
        (RunState::Succeeded, None)
    );
    let healed = fixture.csv(None).await;
    assert_eq!(
        (healed.status, etag(&healed), &healed.text),
        (StatusCode::OK, etag(&whole), &whole.text)
    );
    assert!(
        !fixture
            .browser
            .get(&fixture.path(""))
            .await
            .has(".band.is-bad")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intact_version_is_published_and_a_damaged_one_is_not() {
    let mut fixture = IntegrityFixture::new().await;
    fixture.pull_rows(&["ann"]).await;
    let first = fixture.csv(None).await;
    let second = fixture.pull_rows(&["ann", "bob"]).await;
    std::fs::remove_file(fixture.files().await.remove(0)).unwrap();
    let page = fixture.browser.get(&fixture.path("/data")).await;
    assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR);
    let intact = fixture.versions().await[1]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (status, response) = fixture
        .call("POST", "/revert", json!({"version": intact}))
        .await;
    assert_eq!(status, StatusCode::OK, "{response}");
    let back = fixture.csv(None).await;
    assert_eq!((etag(&back), &back.text), (etag(&first), &first.text));
    let damaged = second.version_id.unwrap();
    let (status, response) = fixture
        .call("POST", "/revert", json!({"version": damaged.as_str()}))
        .await;
    assert_eq!(
        (status, response["error"]["code"].as_str()),
        (StatusCode::INTERNAL_SERVER_ERROR, Some("data_damaged")),
        "{response}"
    );
    assert_eq!(
        fixture.csv(None).await.text,
        first.text,
        "nothing has changed"
    );
    // No page offers it.
    let revert_path = format!("/versions/{}/revert", damaged.as_str());
    assert!(
        !fixture
            .browser
            .get(&fixture.path("/history"))
            .await
            .has(&format!("a[href$='{revert_path}']"))
    );
    let page = fixture.browser.get(&fixture.path(&revert_path)).await;
    assert!(
        page.text.contains("Choose another version")
            && !page.has(&format!("form[action$='{revert_path}']")),
        "{}",
        page.text
    );
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
async fn an_append_of_nothing_to_nothing_makes_one_version() {
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

/// What `chatlake verify` would find.
async fn wrong(fixture: &IntegrityFixture) -> Vec<&'static str> {
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
