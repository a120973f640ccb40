//! Damaged rows cause the same error everywhere, and the page says how to repair them.

use axum::http::StatusCode;
use chatlake::puller::run::RunState;
use serde_json::{Value, json};

use super::IntegrityFixture;
use super::etag;
use crate::support::until;

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

    // Modes that keep existing rows fail and change nothing.
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
    // A Replace repairs the DataSet, even with the same rows.
    fixture.update_mode("replace").await;
    let repair = fixture.pull_rows(&["ann", "bob", "cid"]).await;
    assert_eq!((repair.state, repair.outcome), (RunState::Succeeded, None));
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
