//! What happens to stored rows on a disk that loses bits: one error everywhere, a page that says what heals them; and runs that change
//! nothing, which leave versions and downloads as they are.

use std::path::PathBuf;

use axum::http::{Method, StatusCode};
use chatlake::actor::{Actor, Role, Scope};
use chatlake::ids::DatasetId;
use chatlake::puller::run::{Outcome, Run, State};
use chatlake::sandbox::faults::{Fault, Kind};
use serde_json::{Value, json};

use super::history::call;
use super::house::{Browser, House, Page};
use super::process::until;

/// A DataSet of agents, its owner and a token.
struct Stage {
    house: House,
    owner: Actor,
    browser: Browser,
    token: String,
    dataset: DatasetId,
}

impl Stage {
    async fn new() -> Self {
        let house = House::live().await;
        let (owner, browser) = house.at_browser("olga", Role::Editor).await;
        let token = house.token(&owner, Scope::Manage).await;
        let account = house.account(&owner, "Support").await.id;
        let dataset = house.dataset(&owner, &account, "agents", "People").await;
        Self { house, owner, browser, token, dataset }
    }

    fn path(&self, rest: &str) -> String {
        format!("/datasets/{}{rest}", self.dataset)
    }

    /// A run that brings agents with these names.
    async fn brings(&self, names: &[&str]) -> Run {
        let people: Vec<Value> = names.iter().map(|name| json!({"login": format!("{name}@house.test"), "name": name})).collect();
        self.house.sandbox.faults().set(vec![Fault::new(Kind::Shape { body: Value::from(people).to_string() }).on("/agents")]);
        self.house.run(&self.owner, &self.dataset).await
    }

    async fn call(&self, method: &str, rest: &str, body: Value) -> (StatusCode, Value) {
        call(&self.house, &self.token, method, &self.path(rest), body).await
    }

    async fn update_mode(&self, mode: &str) {
        let (status, told) = self.call("PATCH", "", json!({"update_mode": mode})).await;
        assert_eq!(status, StatusCode::OK, "{told}");
    }

    async fn csv(&self, etag: Option<&str>) -> Page {
        let authorization = format!("Bearer {}", self.token);
        let mut headers = vec![("authorization", authorization.as_str())];
        headers.extend(etag.map(|etag| ("if-none-match", etag)));
        self.house.browser().send(Method::GET, &format!("/api/v1{}", self.path("/data?format=csv")), None, &headers).await
    }

    async fn versions(&self) -> Vec<Value> {
        self.call("GET", "/versions", Value::Null).await.1["items"].as_array().unwrap().clone()
    }

    /// The files of the current version.
    async fn files(&self) -> Vec<PathBuf> {
        let current = self.house.app.datasets.versions.current(&self.dataset).await.unwrap().unwrap();
        let segments = self.house.app.datasets.segments.dir().to_owned();
        current.segments.iter().map(|segment| segments.join(format!("{}.parquet", segment.id))).collect()
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
    let mut stage = Stage::new().await;
    let first = stage.brings(&["ann", "bob"]).await;
    let before = stage.csv(None).await;
    let again = stage.brings(&["ann", "bob"]).await;
    assert_eq!((again.state, again.outcome, again.rows), (State::Succeeded, Some(Outcome::Unchanged), 2));
    assert_eq!((&again.version_id, again.change()), (&first.version_id, Some(0)));
    assert_eq!(stage.versions().await.len(), 1);
    let after = stage.csv(None).await;
    assert_eq!((etag(&after), &after.text), (etag(&before), &before.text));
    assert_eq!(stage.csv(Some(&etag(&before))).await.status, StatusCode::NOT_MODIFIED);
    let (status, told) = call(&stage.house, &stage.token, "GET", &format!("/runs/{}", again.id), Value::Null).await;
    assert_eq!((status, told["outcome"].as_str(), told["rows"].as_u64()), (StatusCode::OK, Some("unchanged"), Some(2)), "{told}");
    assert_eq!(told["version"].as_str(), first.version_id.as_ref().map(|id| id.as_str()));
    let history = stage.browser.get(&stage.path("/history")).await;
    assert!(history.all(".history-run .rows").iter().any(|words| words.ends_with("no changes")), "{:?}", history.all(".history-run .rows"));

    // Another row is another version, and the rows from before have the tag from before, whatever the version's id.
    let changed = stage.brings(&["ann", "bob", "cid"]).await;
    assert_eq!((changed.outcome, stage.versions().await.len()), (None, 2));
    assert_ne!(etag(&stage.csv(None).await), etag(&before));
    stage.brings(&["ann", "bob"]).await;
    let back = stage.csv(None).await;
    assert_eq!((etag(&back), stage.versions().await.len()), (etag(&before), 3));
    assert_ne!(back.headers["x-chatlake-version"], before.headers["x-chatlake-version"]);
    // The same rows in another order are another file.
    stage.brings(&["bob", "ann"]).await;
    assert_ne!(etag(&stage.csv(None).await), etag(&before));
    assert_eq!(wrong(&stage).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_brings_the_rows_that_are_there_changes_nothing() {
    let stage = Stage::new().await;
    stage.update_mode("merge").await;
    stage.brings(&["ann", "bob", "cid"]).await;
    let before = stage.csv(None).await;
    for same in [&["ann", "bob", "cid"][..], &["cid"], &["bob", "ann"]] {
        let run = stage.brings(same).await;
        assert_eq!((run.state, run.outcome, run.rows), (State::Succeeded, Some(Outcome::Unchanged), same.len() as i64), "{same:?}");
    }
    let after = stage.csv(None).await;
    assert_eq!((etag(&after), &after.text), (etag(&before), &before.text), "the batch columns stay those of the run that brought the rows");
    let run = stage.brings(&["ann", "dan"]).await;
    assert_eq!((run.outcome, run.rows_after), (None, Some(4)));
    assert_eq!(stage.versions().await.len(), 2);
    assert_eq!(wrong(&stage).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_rows_with_other_columns_are_another_version() {
    let stage = Stage::new().await;
    stage.brings(&["ann", "bob"]).await;
    stage.update_mode("merge").await;
    let run = stage.brings(&["bob", "ann"]).await;
    assert_eq!((run.state, run.outcome, run.rows_after), (State::Succeeded, None, Some(2)), "{run:?}");
    assert!(stage.csv(None).await.text.contains("_batch_id"));
    assert_eq!(stage.brings(&["ann"]).await.outcome, Some(Outcome::Unchanged));
    assert_eq!(wrong(&stage).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_rows_are_one_error_everywhere_and_the_page_says_what_heals_them() {
    let mut stage = Stage::new().await;
    stage.brings(&["ann", "bob"]).await;
    stage.brings(&["ann", "bob", "cid"]).await;
    let whole = stage.csv(None).await;
    stage.flip_a_bit().await;

    for rest in ["/rows", "/data?format=csv"] {
        let (status, told) = stage.call("GET", rest, Value::Null).await;
        assert_eq!((status, told["error"]["code"].as_str()), (StatusCode::INTERNAL_SERVER_ERROR, Some("data_damaged")), "{rest}: {told}");
        assert!(told["error"]["action"].as_str().unwrap().contains("verify --deep"), "{told}");
    }
    let download = stage.browser.get(&stage.path("/download")).await;
    assert_eq!((download.status, download.leads_to()), (StatusCode::SEE_OTHER, stage.path("/data")));
    let page = stage.browser.get(&stage.path("/data")).await;
    assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(page.text.contains("cannot be read") && page.text.contains("No file was downloaded"), "{}", page.text);
    assert!(page.words(".facts").starts_with("Damaged"), "{}", page.words(".facts"));
    let dataset = stage.dataset.clone();
    until("the damage is noted", async || (stage.house.app.datasets.versions.integrity(&dataset).await.unwrap()[0].damaged == 1).then_some(())).await;
    let versions = stage.versions().await;
    assert_eq!((versions[0]["integrity"].as_str(), versions[1]["integrity"].as_str()), (Some("damaged"), Some("checked")), "{versions:?}");
    let intact = versions[1]["id"].as_str().unwrap().to_owned();
    for tab in ["", "/history", "/settings"] {
        let page = stage.browser.get(&stage.path(tab)).await;
        let band = page.words(".bands .band.is-bad");
        assert!(band.contains("At least 3 rows of version 2 cannot be read, because a stored file is damaged or missing"), "{tab}: {band}");
        assert!(page.has(&format!(".band-actions a[href$='/versions/{intact}/revert']")) && page.has(".band-actions form[action$='/run']"), "{tab}");
    }
    let history = stage.browser.get(&stage.path("/history")).await;
    assert!(history.all(".tag.is-bad").contains(&"damaged".to_owned()));
    let list = stage.browser.get("/datasets?quick=attention").await;
    assert_eq!(list.all(".status-cell"), ["Damaged some rows cannot be read"]);
    assert!(stage.browser.get("/datasets").await.all(".band").iter().any(|band| band.starts_with("1 DataSet has rows that cannot be read.")));

    // What adds to the rows fails and leaves them as they are.
    for mode in ["append", "merge"] {
        stage.update_mode(mode).await;
        let run = stage.brings(&["dan"]).await;
        let failure = run.failure.unwrap();
        assert_eq!((run.state, failure.code.as_str()), (State::Failed, "data_damaged"), "{mode}: {failure:?}");
        assert!(!failure.message.contains("request") && failure.action.contains("History"), "{failure:?}");
        assert_eq!(stage.versions().await.len(), 2);
    }
    // A Replace heals, even with the very rows that are damaged.
    stage.update_mode("replace").await;
    let healing = stage.brings(&["ann", "bob", "cid"]).await;
    assert_eq!((healing.state, healing.outcome), (State::Succeeded, None));
    let healed = stage.csv(None).await;
    assert_eq!((healed.status, etag(&healed), &healed.text), (StatusCode::OK, etag(&whole), &whole.text));
    assert!(!stage.browser.get(&stage.path("")).await.has(".band.is-bad"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_intact_version_is_published_and_a_damaged_one_is_not() {
    let mut stage = Stage::new().await;
    stage.brings(&["ann"]).await;
    let first = stage.csv(None).await;
    let second = stage.brings(&["ann", "bob"]).await;
    std::fs::remove_file(stage.files().await.remove(0)).unwrap();
    let page = stage.browser.get(&stage.path("/data")).await;
    assert_eq!(page.status, StatusCode::INTERNAL_SERVER_ERROR);
    let intact = stage.versions().await[1]["id"].as_str().unwrap().to_owned();
    let (status, told) = stage.call("POST", "/revert", json!({"version": intact})).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    let back = stage.csv(None).await;
    assert_eq!((etag(&back), &back.text), (etag(&first), &first.text));
    let damaged = second.version_id.unwrap();
    let (status, told) = stage.call("POST", "/revert", json!({"version": damaged.as_str()})).await;
    assert_eq!((status, told["error"]["code"].as_str()), (StatusCode::INTERNAL_SERVER_ERROR, Some("data_damaged")), "{told}");
    assert_eq!(stage.csv(None).await.text, first.text, "nothing has changed");
    // No page offers it.
    let asked = format!("/versions/{}/revert", damaged.as_str());
    assert!(!stage.browser.get(&stage.path("/history")).await.has(&format!("a[href$='{asked}']")));
    let page = stage.browser.get(&stage.path(&asked)).await;
    assert!(page.text.contains("Choose another version") && !page.has(&format!("form[action$='{asked}']")), "{}", page.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_changes_nothing_makes_the_rows_fresh() {
    let mut stage = Stage::new().await;
    stage.brings(&["ann"]).await;
    let mut tx = stage.house.app.db.write().await.unwrap();
    sqlx::query("UPDATE versions SET created_at = created_at - 3 * 3600000").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let old = stage.browser.get(&stage.path("")).await;
    assert!(old.words(".facts").contains("Updated 3 hours ago"), "{}", old.words(".facts"));
    let again = stage.brings(&["ann"]).await;
    assert_eq!(again.outcome, Some(Outcome::Unchanged));
    let fresh = stage.browser.get(&stage.path("")).await;
    assert!(fresh.words(".facts").contains("Updated just now"), "{}", fresh.words(".facts"));
    assert_eq!(stage.browser.get("/datasets").await.all(".status-cell"), ["Up to date no changes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_of_nothing_to_nothing_makes_one_version() {
    let stage = Stage::new().await;
    stage.update_mode("append").await;
    let first = stage.brings(&[]).await;
    let again = stage.brings(&[]).await;
    assert_eq!((first.state, again.state, again.outcome), (State::Succeeded, State::Succeeded, Some(Outcome::Unchanged)));
    assert_eq!(stage.versions().await.len(), 1);
}

/// What `chatlake verify` would find.
async fn wrong(stage: &Stage) -> Vec<&'static str> {
    let app = &stage.house.app;
    let mut found = chatlake::datasets::verify::look(&app.db, &app.datasets.segments, true).await.unwrap();
    found.extend(chatlake::puller::verify::look(&app.db).await.unwrap());
    found.into_iter().map(|finding| finding.check).collect()
}
