//! How many versions of a DataSet are kept, and for how long.

use axum::http::StatusCode;
use chatlake::actor::Scope;
use serde_json::{Value, json};

use super::dataset_with_two_versions;
use crate::support::context::TestContext;
use crate::support::datasets::DatasetFixture;
use crate::support::{DAY, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_dataset_keeps_as_much_history_as_its_owner_says() {
    let ctx = TestContext::with_workers().await;
    let (owner, mut browser, dataset, ..) = dataset_with_two_versions(&ctx).await;
    let base = format!("/datasets/{dataset}");
    let form = browser.get(&format!("{base}/retention")).await;
    assert_eq!(
        (
            form.attribute("#versions", "placeholder").as_deref(),
            form.attribute("#days", "value").as_deref()
        ),
        (Some("10"), Some(""))
    );
    let wrong = browser
        .post(
            &format!("{base}/retention"),
            &[("versions", "0"), ("days", "many")],
        )
        .await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(
        wrong.wrong("days").contains("whole number"),
        "{}",
        wrong.text
    );
    let wrong = browser
        .post(
            &format!("{base}/retention"),
            &[("versions", "0"), ("days", "")],
        )
        .await;
    assert!(
        wrong.wrong("versions").contains("from 1 to 1000")
            && wrong.attribute("#versions", "value").as_deref() == Some("0"),
        "{}",
        wrong.text
    );
    let saved = browser
        .submit(
            &format!("{base}/retention"),
            &[("versions", "1"), ("days", "")],
        )
        .await;
    assert_eq!(saved.toast(), "Saved. 1 version deleted.");
    assert!(
        saved.text.contains("Keeps 1 version, up to 30 days."),
        "{}",
        saved.words("main")
    );
    ctx.run(&owner, &dataset).await;
    let token = ctx.token(&owner, Scope::Manage).await;
    // Retention runs after the commit that ends the run.
    until("one version is listed", async || {
        let (_, listed) = ctx
            .api(&token, "GET", &format!("{base}/versions"), Value::Null)
            .await;
        (listed["items"].as_array().unwrap().len() == 1).then_some(())
    })
    .await;
    let (status, kept) = ctx
        .api(
            &token,
            "PATCH",
            &format!("{base}/retention"),
            json!({"days": 5}),
        )
        .await;
    assert_eq!(
        (
            status,
            &kept["versions"],
            &kept["keeps_versions"],
            &kept["keeps_days"]
        ),
        (StatusCode::OK, &Value::Null, &json!(10), &json!(5)),
        "{kept}"
    );
    assert!(kept["bytes"].as_u64().unwrap() > 0, "{kept}");
    let (status, wrong) = ctx
        .api(
            &token,
            "PATCH",
            &format!("{base}/retention"),
            json!({"versions": 1001}),
        )
        .await;
    assert_eq!(
        (status, wrong["error"]["field"].as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("versions")),
        "{wrong}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_briefly_deletes_no_version() {
    let fixture = DatasetFixture::new().await;
    let dataset = fixture.dataset("agents", json!({})).await;
    assert_eq!(
        fixture
            .call(
                "PATCH",
                &format!("/datasets/{dataset}/retention"),
                json!({"versions": 10, "days": 5})
            )
            .await
            .0,
        200
    );
    for number in 0..3 {
        fixture.answers(&json!([{"login": format!("agent{number}")}]));
        fixture.good_run(&dataset).await;
    }
    fixture.answers(&json!([{"login": "another"}]));
    fixture.ctx.app.clock.jump(20 * DAY);
    fixture.good_run(&dataset).await;
    fixture.ctx.app.clock.jump(-20 * DAY);
    let versions = fixture
        .call("GET", &format!("/datasets/{dataset}/versions"), Value::Null)
        .await
        .1;
    assert_eq!(versions["items"].as_array().unwrap().len(), 4, "{versions}");
}
