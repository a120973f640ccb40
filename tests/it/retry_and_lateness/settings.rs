//! The settings of retries and lateness in the pane and the API.

use axum::http::StatusCode;
use chatlake::actor::{Role, Scope};
use chatlake::datasets::policies::RetryPolicy;
use serde_json::{Value, json};

use crate::support::context::TestContext;
use crate::support::panes::PaneSession;

#[tokio::test(flavor = "multi_thread")]
async fn retry_and_lateness_are_set_in_the_pane_and_the_api_with_errors_next_to_the_field() {
    let ctx = TestContext::new().await;
    let olga = PaneSession::new(&ctx, "olga", Role::Admin).await;
    let page = olga.connect().await;
    let page = olga.press(&page, "details", &[("report", "agents")]).await;
    assert_eq!(
        (
            page.form().0["retry"].as_str(),
            page.form().0["retry_every"].as_str(),
            page.form().0["retry_most"].as_str()
        ),
        ("always", "15", "3")
    );
    let odd = [
        ("retry", "always"),
        ("retry_every", "many"),
        ("retry_most", "0"),
        ("expected_hours", "-1"),
    ];
    let wrong = olga.press(&page, "schedule", &odd).await;
    assert_eq!(
        (wrong.status, wrong.open_pane()),
        (
            StatusCode::UNPROCESSABLE_ENTITY,
            vec!["scheduling".to_owned()]
        )
    );
    assert!(
        ["retry_every", "retry_most", "expected_hours"]
            .iter()
            .all(|field| !wrong.wrong(field).is_empty()),
        "{}",
        wrong.text
    );
    assert_eq!(
        wrong.form().0["retry_every"],
        "many",
        "what was typed stays"
    );
    let good = [
        ("retry_every", "2"),
        ("retry_unit", "hours"),
        ("retry_most", "5"),
        ("expected_hours", "36"),
        ("every", "manual"),
    ];
    let page = olga.press(&wrong, "schedule", &good).await;
    olga.press(&page, "save", &[]).await;
    let dataset = ctx.app.datasets.list(&olga.actor).await.unwrap().remove(0);
    assert_eq!(
        (dataset.policies.retry(), dataset.policies.expected_hours),
        (RetryPolicy::new(120, 5).unwrap(), Some(36))
    );
    let settings = olga
        .get(&format!("/datasets/{}/settings", dataset.id))
        .await;
    assert_eq!(
        (
            settings.form().0["retry_unit"].as_str(),
            settings.form().0["expected_hours"].as_str()
        ),
        ("hours", "36")
    );

    let token = ctx.token(&olga.actor, Scope::Manage).await;
    let path = format!("/datasets/{}", dataset.id);
    let (_, response) = ctx.api(&token, "GET", &path, json!({})).await;
    assert_eq!(
        (&response["retry"], &response["late"]),
        (&json!({"every_minutes": 120, "at_most": 5}), &json!(false))
    );
    let (status, response) = ctx
        .api(
            &token,
            "PATCH",
            &path,
            json!({"retry": null, "expected_within_hours": null}),
        )
        .await;
    assert_eq!(
        (
            status,
            &response["retry"],
            &response["expected_within_hours"]
        ),
        (StatusCode::OK, &Value::Null, &Value::Null),
        "{response}"
    );
    for (body, field) in [
        (
            json!({"retry": {"every_minutes": 0, "at_most": 3}}),
            "retry",
        ),
        (
            json!({"retry": {"every_minutes": 15, "at_most": 21}}),
            "retry",
        ),
        (json!({"expected_within_hours": 0}), "expected_within_hours"),
    ] {
        let (status, response) = ctx.api(&token, "PATCH", &path, body).await;
        assert_eq!(
            (status, response["error"]["field"].as_str()),
            (StatusCode::UNPROCESSABLE_ENTITY, Some(field)),
            "{response}"
        );
    }
    let made = json!({"name": "Other", "account_id": dataset.account_id, "report": "agents",
        "retry": {"every_minutes": 5, "at_most": 1}, "expected_within_hours": 3});
    let (status, response) = ctx.api(&token, "POST", "/datasets", made).await;
    assert_eq!(
        (
            status,
            &response["retry"]["every_minutes"],
            &response["expected_within_hours"]
        ),
        (StatusCode::CREATED, &json!(5), &json!(3)),
        "{response}"
    );
}
