//! An owner looks at an older version and reverts to it.

use axum::http::StatusCode;
use chatlake::actor::Scope;
use chatlake::puller::run::{RunState, Trigger};
use chatlake::sandbox::faults::{Fault, FaultKind};
use serde_json::json;

use super::dataset_with_two_versions;
use crate::support::context::TestContext;
use crate::support::until;

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_views_an_older_version_and_reverts_to_it() {
    let ctx = TestContext::with_workers().await;
    let (owner, mut browser, dataset, one, two) = dataset_with_two_versions(&ctx).await;
    let base = format!("/datasets/{dataset}");
    let history = browser.get(&format!("{base}/history")).await;
    let (old, now) = (
        one.version_id.clone().unwrap(),
        two.version_id.clone().unwrap(),
    );
    assert!(
        history.has(&format!("a[href='{base}/versions/{old}/revert']"))
            && !history.has(&format!("a[href='{base}/versions/{now}/revert']")),
        "{}",
        history.text
    );
    assert!(
        history.all(".charts svg[role=img]").len() == 2 && history.all(".charts table").len() == 2,
        "each picture has its table"
    );
    assert!(
        history
            .attribute(".charts svg", "aria-label")
            .unwrap()
            .contains("0 failed")
    );
    let rows = format!("−{}", one.rows);
    assert!(
        history
            .all(".history-run .rows")
            .iter()
            .any(|words| words.starts_with(&rows)),
        "{:?}",
        history.all(".history-run .rows")
    );

    // The older rows, by pages and sorted, within their version.
    let data = browser
        .get(&format!("{base}/data?version={old}&sort=login"))
        .await;
    assert!(
        data.words(".band").contains("Version 1, created"),
        "{}",
        data.words(".band")
    );
    assert_eq!(data.all("table.data tbody tr").len() as i64, one.rows);
    let links = data.all("thead a").len();
    assert!(
        links > 3
            && data
                .text
                .matches(&format!("version={old}&#38;sort="))
                .count()
                + data
                    .text
                    .matches(&format!("version={old}&amp;sort="))
                    .count()
                >= links,
        "sorting stays in the version"
    );
    assert_eq!(
        data.attribute("input[name=version]", "value").as_deref(),
        Some(old.as_str())
    );
    assert!(
        browser
            .get(&format!("{base}/data"))
            .await
            .words("h2")
            .contains("no rows")
    );
    assert_eq!(
        browser
            .get(&format!(
                "{base}/data?version={}",
                chatlake::ids::VersionId::new()
            ))
            .await
            .status,
        StatusCode::NOT_FOUND
    );

    let question = browser.get(&format!("{base}/versions/{old}/revert")).await;
    assert!(
        question.title().contains("Revert to version 1?")
            && question
                .words(".ask-body")
                .contains("Version 2 (0 rows) stays in History"),
        "{}",
        question.words(".ask-body")
    );
    let back = browser
        .submit(&format!("{base}/versions/{old}/revert"), &[])
        .await;
    assert!(
        back.toast().contains("Reverted to version 1."),
        "{}",
        back.toast()
    );
    assert_eq!(
        browser
            .get(&format!("{base}/data"))
            .await
            .all("table.data tbody tr")
            .len() as i64,
        one.rows
    );
    let newest = &back.all(".history-run .asked")[0];
    assert_eq!(newest, "reverted to version 1");

    // The run and the audit log name the person.
    let runs = chatlake::puller::queue::of_dataset(&ctx.app.db, &dataset, 0, 1)
        .await
        .unwrap();
    let run = &runs[0];
    assert_eq!(
        (
            run.trigger,
            run.started_by.as_ref(),
            run.reverted_to,
            run.change()
        ),
        (Trigger::Revert, Some(&owner.user), Some(1), Some(one.rows))
    );
    let page = browser.get(&format!("/runs/{}", run.id)).await;
    assert!(
        page.words(".run-log")
            .contains("olga reverted to version 1."),
        "{}",
        page.words(".run-log")
    );
    let trail = chatlake::auth::audit::list(&ctx.app.db, None, 10)
        .await
        .unwrap();
    assert!(
        trail
            .iter()
            .any(|entry| entry.action == "version.revert"
                && entry.actor.as_ref() == Some(&owner.user))
    );
    // And forward again: the version that was current still exists.
    let (status, run) = ctx
        .api(
            &ctx.token(&owner, Scope::Manage).await,
            "POST",
            &format!("{base}/revert"),
            json!({"version": now}),
        )
        .await;
    assert_eq!(
        (
            status,
            run["trigger"].as_str(),
            run["back_to"].as_i64(),
            run["rows_after"].as_i64()
        ),
        (StatusCode::OK, Some("revert"), Some(2), Some(0)),
        "{run}"
    );
    assert!(
        browser
            .get(&format!("{base}/data"))
            .await
            .words("h2")
            .contains("no rows")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_revert_during_a_run_and_the_current_version_cannot_be_deleted() {
    let ctx = TestContext::with_workers().await;
    let (owner, mut browser, dataset, one, two) = dataset_with_two_versions(&ctx).await;
    let base = format!("/datasets/{dataset}");
    let token = ctx.token(&owner, Scope::Manage).await;
    let (old, now) = (one.version_id.unwrap(), two.version_id.unwrap());
    ctx.sandbox.faults().set(vec![
        Fault::new(FaultKind::Late { ms: 300_000 }).on("/agents"),
    ]);
    let run = ctx
        .app
        .puller
        .run_now(&owner, &dataset, Trigger::Manual)
        .await
        .unwrap();
    until("it is at work", async || {
        (ctx.app.puller.get(&owner, &run.id).await.unwrap().state == RunState::Running)
            .then_some(())
    })
    .await;
    let (status, error) = ctx
        .api(
            &token,
            "POST",
            &format!("{base}/revert"),
            json!({"version": old}),
        )
        .await;
    assert_eq!(
        (status, error["error"]["code"].as_str()),
        (StatusCode::CONFLICT, Some("run_under_way")),
        "{error}"
    );
    let question = browser.get(&format!("{base}/versions/{old}/revert")).await;
    assert!(
        question.words(".ask").contains("A run is in progress") && !question.has(".ask form"),
        "{}",
        question.text
    );
    assert_eq!(
        browser
            .post(&format!("{base}/versions/{old}/revert"), &[])
            .await
            .status,
        StatusCode::CONFLICT
    );
    ctx.app.puller.cancel(&owner, &run.id).await.unwrap();
    ctx.sandbox.faults().clear();
    until("it has ended", async || {
        ctx.app
            .puller
            .get(&owner, &run.id)
            .await
            .unwrap()
            .state
            .is_final()
            .then_some(())
    })
    .await;

    for (version, code) in [
        (&now, "version_current"),
        (&chatlake::ids::VersionId::new(), "not_found"),
    ] {
        let (_, error) = ctx
            .api(
                &token,
                "POST",
                &format!("{base}/revert"),
                json!({"version": version}),
            )
            .await;
        assert_eq!(error["error"]["code"], code);
        let (_, error) = ctx
            .api(
                &token,
                "DELETE",
                &format!("{base}/versions/{version}"),
                json!({}),
            )
            .await;
        assert_eq!(error["error"]["code"], code);
    }
    assert!(
        browser
            .get(&format!("{base}/versions/{now}/delete"))
            .await
            .words(".ask")
            .contains("cannot be deleted")
    );
    let gone = browser
        .submit(&format!("{base}/versions/{old}/delete"), &[])
        .await;
    assert_eq!(gone.toast(), "Version 1 deleted.");
    assert_eq!(
        browser
            .get(&format!("{base}/data?version={old}"))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    let trail = chatlake::auth::audit::list(&ctx.app.db, None, 10)
        .await
        .unwrap();
    assert!(
        trail.iter().any(|entry| entry.action == "version.delete"
            && entry.object.as_deref() == Some(old.as_str()))
    );
    let (status, _) = ctx
        .api(
            &token,
            "POST",
            &format!("{base}/revert"),
            json!({"version": old}),
        )
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}
